"""Large output layers: losses from hidden states; import them from `softmax_variants`."""
