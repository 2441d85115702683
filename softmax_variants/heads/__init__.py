"""Large output layers: losses from hidden states and weights; import them from `softmax_variants`."""
