"""Layers for Flax NNX, where there is something to learn or to count."""

from softmax_variants.nnx._attention import DotProductAttention as DotProductAttention
from softmax_variants.nnx._attention import MultiHeadAttention as MultiHeadAttention
from softmax_variants.nnx._maps import Count as Count
from softmax_variants.nnx._maps import Entmax as Entmax
from softmax_variants.nnx._maps import GumbelSoftmax as GumbelSoftmax
from softmax_variants.nnx._maps import MultiMax as MultiMax
from softmax_variants.nnx._maps import Softmax as Softmax
from softmax_variants.nnx._output import MixtureOfSoftmaxes as MixtureOfSoftmaxes
from softmax_variants.nnx._output import OutputLayer as OutputLayer
