"""Attention with a normalizer, and with the parameters that belong to the weights."""

from collections.abc import Callable
from typing import Any

from flax import nnx

from softmax_variants import _modules as shared
from softmax_variants._typing import Array, ArrayLike
from softmax_variants.nnx._maps import Entmax
from softmax_variants.nnx._streams import Streams, forked, next_key


class DotProductAttention(nnx.Module):
    """`dot_product_attention` with parameters: an `attention_fn` for `nnx.MultiHeadAttention`.

    Args:
      num_heads: of the queries.
      normalizer: a name in the table of variants, a map, or a layer such as
        `Entmax(shape=(num_heads, 1, 1))`, which learns an alpha for each head.
      sinks: the first number of attention sinks, above 0, which each head then learns; they need
        the normalizer "softmax", or `flash`. `None` for none.
      position_scale: "ssmax" or "asentmax": each head learns how its scores grow with the number
        of keys that a query sees. `None` is `1 / sqrt(H)` at every position.
      flash: whether it is `flash_attention`, in memory linear in the length: for the normalizers
        "softmax", "entmax15", "sparsemax" and `Entmax`, without dropout.
      rngs: with the stream `sample`, if the normalizer is random.

    Example:
      >>> import jax.numpy as jnp
      >>> from softmax_variants.nnx import DotProductAttention
      >>> x = jnp.ones((2, 5, 4, 3))  # batch, positions, heads, features
      >>> attention = DotProductAttention(4, sinks=1.0, position_scale="ssmax")
      >>> print(attention(x, x, x, is_causal=True).shape)
      (2, 5, 4, 3)

    References:
      Miller, `Attention Is Off By One
      <https://www.evanmiller.org/attention-is-off-by-one.html>`_, 2023; Nakanishi,
      `Scalable-Softmax Is Superior for Attention <https://arxiv.org/abs/2501.19399>`_, 2025.
    """

    def __init__(
        self,
        num_heads: int,
        *,
        normalizer: str | Callable[..., Any] = "softmax",
        sinks: float | None = None,
        position_scale: shared.PositionScale | None = None,
        flash: bool = False,
        rngs: nnx.Rngs | None = None,
    ) -> None:
        self.normalizer = shared.normalizer_of(normalizer)
        self.flash = flash
        shared.check_attention(
            self.normalizer, sinks, flash, learns_alpha=isinstance(normalizer, Entmax)
        )
        first = shared.initial_attention(num_heads, sinks, position_scale)
        self.params = nnx.data({name: nnx.Param(value) for name, value in first.items()})
        self.rngs = nnx.data(None)
        if shared.is_random(self.normalizer):
            self.rngs = forked(rngs, "the normalizer")

    def __call__(
        self,
        query: ArrayLike,
        key: ArrayLike,
        value: ArrayLike,
        bias: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        *,
        rngs: Streams | None = None,
        **keywords: Any,
    ) -> Array:
        """The output of `dot_product_attention`, whose further keywords may be given."""
        if self.rngs is not None:
            keywords["rng"] = next_key(rngs, self.rngs, "the normalizer")
        params = {name: param[...] for name, param in self.params.items()}
        if self.flash and isinstance(self.normalizer, Entmax):
            keywords["alpha"] = self.normalizer.alpha
        return shared.attend(
            params,
            query,
            key,
            value,
            bias,
            mask,
            normalizer=self.normalizer,
            flash=self.flash,
            **keywords,
        )


class MultiHeadAttention(nnx.MultiHeadAttention):
    """Flax's multi-head attention whose weights come from any normalizer.

    All else is Flax's: projections, dropout, grouped-query heads, and the cache of decoding.

    Args:
      num_heads: of the queries.
      in_features: the size of the inputs.
      normalizer: as in `DotProductAttention`.
      sinks: as in `DotProductAttention`.
      position_scale: as in `DotProductAttention`.
      flash: as in `DotProductAttention`.
      is_causal: whether position t sees the positions s <= t only; decoding does so by its cache.
      decode: whether the keys and values of earlier calls are cached.
      rngs: with the streams `params`, `dropout` for dropout and `sample` for a random normalizer.
      **keywords: further ones of `flax.nnx.MultiHeadAttention`.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> import softmax_variants.nnx as svn
      >>> alpha = svn.Entmax(shape=(4, 1, 1))  # one a head
      >>> layer = svn.MultiHeadAttention(4, 8, normalizer=alpha, is_causal=True, rngs=nnx.Rngs(0))
      >>> print(layer(jnp.ones((2, 5, 8))).shape)
      (2, 5, 8)
    """

    def __init__(
        self,
        num_heads: int,
        in_features: int,
        *,
        normalizer: str | Callable[..., Any] = "softmax",
        sinks: float | None = None,
        position_scale: shared.PositionScale | None = None,
        flash: bool = False,
        is_causal: bool = False,
        decode: bool = False,
        rngs: nnx.Rngs,
        **keywords: Any,
    ) -> None:
        attention = DotProductAttention(
            num_heads,
            normalizer=normalizer,
            sinks=sinks,
            position_scale=position_scale,
            flash=flash,
            rngs=rngs,
        )
        super().__init__(
            num_heads, in_features, attention_fn=attention, decode=decode, rngs=rngs, **keywords
        )
        self.is_causal = is_causal

    def __call__(
        self,
        inputs_q: Array,
        inputs_k: Array | None = None,
        inputs_v: Array | None = None,
        *,
        is_causal: bool | None = None,
        decode: bool | None = None,
        **keywords: Any,
    ) -> Array:
        """The output [..., length, out_features] for the inputs of queries, keys and values.

        The arguments are those of `flax.nnx.MultiHeadAttention`; `is_causal` overrides the layer's.
        """
        decode = self.decode if decode is None else decode
        causal = self.is_causal if is_causal is None else is_causal
        # One query against a cache: the cache says which keys there are, and the query, whose
        # position is counted from 0, would see the first of them only.
        return super().__call__(
            inputs_q,
            inputs_k,
            inputs_v,
            is_causal=causal and not decode,
            decode=decode,
            **keywords,
        )
