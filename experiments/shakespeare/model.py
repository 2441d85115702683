"""A GPT as nanoGPT's: normalisation before each part, learned positions, tied embeddings."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from experiments.randomness import generator
from experiments.shakespeare.attention import Attention, Weights
from experiments.shakespeare.config import AttentionName, ShakespeareConfig
from experiments.shakespeare.layers import linear


class Block(nnx.Module):
    """Attention, then a multilayer perceptron, each added to what it reads.

    Args:
      config: The sizes.
      normaliser: What turns attention scores into weights.
      rngs: Random streams; `params` is read.
    """

    def __init__(
        self, config: ShakespeareConfig, normaliser: AttentionName, *, rngs: nnx.Rngs
    ) -> None:
        width = config.width
        self.attention_norm = _norm(width, rngs)
        self.attention = Attention(config, normaliser, rngs=rngs)
        self.perceptron_norm = _norm(width, rngs)
        self.up = linear(config, width, 4 * width, rngs)
        self.down = linear(config, 4 * width, width, rngs, residual=True)
        self.dropout = config.dropout

    def __call__(
        self,
        hidden: Float[Array, "batch length width"],
        key: Array | None = None,
        weights: Weights | None = None,
    ) -> Float[Array, "batch length width"]:
        """Returns the hidden state after the block; without a key nothing is dropped."""
        keys = [None] * 3 if key is None else list(jax.random.split(key, 3))
        mixed = self.attention(self.attention_norm(hidden), keys[0], weights)
        hidden = hidden + dropped(mixed, self.dropout, keys[1])
        inner = jax.nn.gelu(self.up(self.perceptron_norm(hidden)), approximate=False)
        return hidden + dropped(self.down(inner), self.dropout, keys[2])


class GPT(nnx.Module):
    """A causal language model.

    Args:
      config: The sizes.
      vocabulary: How many tokens there are.
      normaliser: What turns attention scores into weights.
      rngs: Random streams; `params` is read, in an order that the normaliser does not change.
    """

    def __init__(
        self,
        config: ShakespeareConfig,
        vocabulary: int,
        normaliser: AttentionName,
        *,
        rngs: nnx.Rngs,
    ) -> None:
        normal = nnx.initializers.normal(0.02)
        self.tokens = nnx.Embed(vocabulary, config.width, embedding_init=normal, rngs=rngs)
        self.positions = nnx.Embed(config.context, config.width, embedding_init=normal, rngs=rngs)
        self.blocks = nnx.List([Block(config, normaliser, rngs=rngs) for _ in range(config.layers)])
        self.norm = _norm(config.width, rngs)
        self.dropout = config.dropout

    def __call__(
        self,
        tokens: Int[Array, "batch length"],
        key: Array | None = None,
        weights: Weights | None = None,
    ) -> Float[Array, "batch length width"]:
        """Returns the last hidden state, which `table` turns into logits.

        Args:
          tokens: At most `context` of them.
          key: A random key for dropout; None drops nothing.
          weights: Is given the attention weights of every layer.
        """
        positions = self.positions.embedding[...][: tokens.shape[-1]]
        keys = [None] * (len(self.blocks) + 1)
        if key is not None and self.dropout > 0.0:
            keys = list(jax.random.split(key, len(keys)))
        hidden = dropped(self.tokens(tokens) + positions[None], self.dropout, keys[0])
        for block, of_block in zip(self.blocks, keys[1:], strict=True):
            hidden = block(hidden, of_block, weights)
        return self.norm(hidden)

    @property
    def table(self) -> Float[Array, "vocabulary width"]:
        """The embeddings of the tokens, which are the output's weights too."""
        return self.tokens.embedding[...]


def initial(
    config: ShakespeareConfig, normaliser: AttentionName, vocabulary: int, seed: int
) -> tuple[Any, Any]:
    """Returns a new model, divided once into its graph and its parameters.

    What all normalisers have in common is the same for all of them with one seed.
    """
    key = jnp.asarray(generator(seed, "weights").integers(2**32, size=2).astype(np.uint32))
    rngs = nnx.Rngs(params=jax.random.wrap_key_data(key))
    return nnx.split(GPT(config, vocabulary, normaliser, rngs=rngs), nnx.Param)


@functools.cache
def graph_of(config: ShakespeareConfig, normaliser: AttentionName, vocabulary: int) -> Any:
    """Returns a model without its parameters."""
    return jax.eval_shape(lambda: initial(config, normaliser, vocabulary, 0))[0]


def dropped(values: Array, rate: float, key: Array | None) -> Array:
    """Returns the values with a part of them at zero and the rest scaled up."""
    if key is None or rate == 0.0:
        return values
    kept = jax.random.bernoulli(key, 1.0 - rate, values.shape)
    return jnp.where(kept, values / (1.0 - rate), 0.0)


def _norm(width: int, rngs: nnx.Rngs) -> nnx.LayerNorm:
    return nnx.LayerNorm(width, epsilon=1e-5, use_bias=False, rngs=rngs)
