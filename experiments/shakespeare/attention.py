"""Causal self-attention with the normaliser that a comparison names."""

from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

import softmax_variants as sv
from experiments.shakespeare.config import AttentionName, ShakespeareConfig
from experiments.shakespeare.layers import linear

NORMALISERS: tuple[AttentionName, ...] = get_args(AttentionName)
FORMULAS: dict[AttentionName, str] = {
    "softmax": "softmax(q·k / √H)",
    "entmax15": "entmax(q·k / √H), alpha 1.5",
    "learned_alpha": "entmax(q·k / √H), a learned alpha in (1, 2) for each head",
    "sparsemax": "sparsemax(q·k / √H)",
    "softmax_n": "softmax with one more score of 0 that goes to nothing",
    "softpick": "relu(exp(x) − 1) / Σ |exp(x) − 1|",
    "ssmax": "softmax(s log(n) q·k / √H), n visible keys, a learned s for each head",
}


class Weights:
    """Takes what `dot_product_attention` sows: the weights of each layer, [batch, heads, T, S]."""

    def __init__(self) -> None:
        self.layers: list[Array] = []

    def sow(self, kind: str, name: str, value: Array) -> None:
        """Keeps the weights of one more layer."""
        del kind, name
        self.layers.append(value)


class Attention(nnx.Module):
    """Attention of every token to itself and to those before it.

    Args:
      config: The sizes.
      normaliser: What turns scores into weights.
      rngs: Random streams; `params` is read.
    """

    def __init__(
        self, config: ShakespeareConfig, normaliser: AttentionName, *, rngs: nnx.Rngs
    ) -> None:
        width, heads, context = config.width, config.heads, config.context
        # One product makes queries, keys and values.
        self.joint = linear(config, width, 3 * width, rngs)
        self.output = linear(config, width, width, rngs, residual=True)
        self.heads, self.normaliser, self.dropout = heads, normaliser, config.dropout
        if normaliser == "learned_alpha":
            # alpha = 1 + sigmoid(this) begins at 1.5, and never leaves its range.
            self.alpha_logit = nnx.Param(jnp.zeros(heads))
        if normaliser == "ssmax":
            # The mean scale over the positions of a context is at first that of softmax.
            first = 1.0 / np.mean(np.log(np.arange(1, max(context, 2) + 1)))
            self.scale = nnx.Param(jnp.full(heads, first, jnp.float32))

    def __call__(
        self,
        hidden: Float[Array, "batch length width"],
        key: Array | None = None,
        weights: Weights | None = None,
    ) -> Float[Array, "batch length width"]:
        """Returns the heads' outputs, mixed; `weights` is given the weights."""
        batch, length, width = hidden.shape
        joint = self.joint(hidden).reshape(batch, length, 3, self.heads, width // self.heads)
        query, keys, value = (joint[:, :, i] for i in range(3))
        mixed = sv.dot_product_attention(
            query,
            keys,
            value,
            is_causal=True,
            dropout_rng=key,
            dropout_rate=0.0 if key is None else self.dropout,
            broadcast_dropout=False,
            module=weights,
            **self._keywords(length, width // self.heads),
        )
        return self.output(mixed.reshape(batch, length, width))

    def alphas(self) -> Float[Array, " heads"]:
        """Returns the learned alpha of each head, between 1 and 2."""
        return 1.0 + jax.nn.sigmoid(self.alpha_logit[...])

    def _keywords(self, length: int, size: int) -> dict[str, Any]:
        """Returns what the normaliser adds to the call."""
        match self.normaliser:
            case "softmax":
                return {}
            case "entmax15":
                return {"normalizer": sv.entmax15}
            case "learned_alpha":
                alpha = self.alphas()[:, None, None]
                return {"normalizer": sv.entmax, "normalizer_parameters": {"alpha": alpha}}
            case "sparsemax":
                return {"normalizer": sv.sparsemax}
            case "softmax_n":
                return {"n": 1.0}
            case "softpick":
                return {"normalizer": sv.softpick}
            case "ssmax":
                counts = sv.visible_counts(length, length, is_causal=True)
                scale = self.scale[...][:, None, None]
                return {"scale": sv.scalable_softmax_scale(counts, scale, head_size=size)}
        raise NotImplementedError(f"no normaliser {self.normaliser!r}")
