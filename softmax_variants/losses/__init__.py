"""Losses, one value per example; import them from `softmax_variants`."""
