"""Softmax variants for JAX: maps from scores to probabilities, and the losses that train them."""

from softmax_variants.losses._classification import alpha_relu_loss as alpha_relu_loss
from softmax_variants.losses._classification import cross_entropy_loss as cross_entropy_loss
from softmax_variants.losses._classification import entmax15_loss as entmax15_loss
from softmax_variants.losses._classification import entmax_loss as entmax_loss
from softmax_variants.losses._classification import sparsemax_loss as sparsemax_loss
from softmax_variants.losses._fenchel_young import fenchel_young_loss as fenchel_young_loss
from softmax_variants.losses._geometry import GINI as GINI
from softmax_variants.losses._geometry import SHANNON as SHANNON
from softmax_variants.losses._geometry import tsallis as tsallis
from softmax_variants.maps._concrete import concrete_log_prob as concrete_log_prob
from softmax_variants.maps._entmax import entmax as entmax
from softmax_variants.maps._entmax import entmax15 as entmax15
from softmax_variants.maps._gumbel import categorical as categorical
from softmax_variants.maps._gumbel import gumbel_max as gumbel_max
from softmax_variants.maps._gumbel import gumbel_softmax as gumbel_softmax
from softmax_variants.maps._softmax import log_softmax as log_softmax
from softmax_variants.maps._softmax import softmax as softmax
from softmax_variants.maps._sparsemax import sparsemax as sparsemax
from softmax_variants.maps._straight_through import straight_through as straight_through

__version__ = "0.1.0.dev0"
