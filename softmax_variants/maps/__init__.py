"""Maps from logits to probabilities, one idea a file; import them from `softmax_variants`."""
