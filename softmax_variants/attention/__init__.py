"""Attention: weights over keys by any map from scores to probabilities, and sums of values."""
