"""Experiments with softmax variants: data, training, comparison and report."""
