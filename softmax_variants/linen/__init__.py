"""Layers for Flax Linen, where there is something to learn or to count."""

from softmax_variants.linen._attention import DotProductAttention as DotProductAttention
from softmax_variants.linen._attention import MultiHeadAttention as MultiHeadAttention
from softmax_variants.linen._maps import Entmax as Entmax
from softmax_variants.linen._maps import GumbelSoftmax as GumbelSoftmax
from softmax_variants.linen._maps import MultiMax as MultiMax
from softmax_variants.linen._maps import Softmax as Softmax
from softmax_variants.linen._output import MixtureOfSoftmaxes as MixtureOfSoftmaxes
from softmax_variants.linen._output import OutputLayer as OutputLayer
