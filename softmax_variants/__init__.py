"""Softmax variants for JAX: maps from scores to probabilities, and the losses that train them."""

from softmax_variants.maps._entmax import entmax as entmax
from softmax_variants.maps._entmax import entmax15 as entmax15
from softmax_variants.maps._softmax import log_softmax as log_softmax
from softmax_variants.maps._softmax import softmax as softmax
from softmax_variants.maps._sparsemax import sparsemax as sparsemax

__version__ = "0.1.0.dev0"
