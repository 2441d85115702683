"""Attention with a normalizer, and with the parameters that belong to the weights."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from softmax_variants import _modules as shared
from softmax_variants._typing import Array, ArrayLike, DTypeLike
from softmax_variants.linen._maps import Entmax
from softmax_variants.linen._streams import next_key


class DotProductAttention(nn.Module):
    """`dot_product_attention` with parameters: an `attention_fn` for Linen's attention.

    A random normalizer takes keys of the stream `sample`.

    Attributes:
      num_heads: of the queries.
      normalizer: a name in the table of variants, a map, or a layer such as
        `Entmax(shape=(num_heads, 1, 1))`, which learns an alpha for each head.
      sinks: the first number of attention sinks, above 0, which each head then learns; they need
        the normalizer "softmax", or `flash`. `None` for none.
      position_scale: "ssmax" or "asentmax": each head learns how its scores grow with the number
        of keys that a query sees. `None` is `1 / sqrt(H)` at every position.
      flash: whether it is `flash_attention`, in memory linear in the length: for the normalizers
        "softmax", "entmax15", "sparsemax" and `Entmax`, without dropout.
      is_causal: whether query t sees the keys s <= t only, if the call does not say.

    Example:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> from softmax_variants.linen import DotProductAttention
      >>> x = jnp.ones((2, 5, 4, 3))  # batch, positions, heads, features
      >>> attention = DotProductAttention(4, sinks=1.0, position_scale="ssmax", is_causal=True)
      >>> print(attention.init_with_output(jax.random.key(0), x, x, x)[0].shape)
      (2, 5, 4, 3)

    References:
      Miller, `Attention Is Off By One
      <https://www.evanmiller.org/attention-is-off-by-one.html>`_, 2023; Nakanishi,
      `Scalable-Softmax Is Superior for Attention <https://arxiv.org/abs/2501.19399>`_, 2025.
    """

    num_heads: int
    normalizer: str | Callable[..., Any] = "softmax"
    sinks: float | None = None
    position_scale: shared.PositionScale | None = None
    flash: bool = False
    is_causal: bool = False

    # Linen passes on only what this signature names.
    @nn.compact
    def __call__(
        self,
        query: ArrayLike,
        key: ArrayLike,
        value: ArrayLike,
        bias: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        *,
        is_causal: bool | None = None,
        dropout_rng: Array | None = None,
        dropout_rate: float = 0.0,
        broadcast_dropout: bool = True,
        deterministic: bool = False,
        dtype: DTypeLike | None = None,
        precision: Any = None,
        module: Any = None,
        force_fp32_for_softmax: bool = True,
        qk_attn_weights_einsum: Callable[..., Array] | None = None,
        attn_weights_value_einsum: Callable[..., Array] | None = None,
    ) -> Array:
        """The output of `dot_product_attention`, which explains the arguments."""
        normalizer = shared.normalizer_of(self.normalizer)
        learned = normalizer if isinstance(normalizer, Entmax) else None
        shared.check_attention(normalizer, self.sinks, self.flash, learns_alpha=learned is not None)
        first = shared.initial_attention(self.num_heads, self.sinks, self.position_scale)
        params = {
            name: self.param(name, lambda key, value=array: value) for name, array in first.items()
        }
        random = shared.is_random(normalizer)
        return shared.attend(
            params,
            query,
            key,
            value,
            bias,
            mask,
            normalizer=normalizer,
            flash=self.flash,
            alpha=learned.learned_alpha() if learned is not None and self.flash else None,
            is_causal=self.is_causal if is_causal is None else is_causal,
            rng=next_key(self, "the normalizer") if random else None,
            dropout_rng=dropout_rng,
            dropout_rate=dropout_rate,
            broadcast_dropout=broadcast_dropout,
            deterministic=deterministic,
            dtype=dtype,
            precision=precision,
            module=module,
            force_fp32_for_softmax=force_fp32_for_softmax,
            qk_attn_weights_einsum=qk_attn_weights_einsum,
            attn_weights_value_einsum=attn_weights_value_einsum,
        )


class MultiHeadAttention(nn.Module):
    """Linen's multi-head attention whose weights come from any normalizer.

    All else is Linen's: projections, dropout (stream `dropout`), and the cache of decoding.

    Attributes:
      num_heads: how many heads there are.
      normalizer: as in `DotProductAttention`.
      sinks: as in `DotProductAttention`.
      position_scale: as in `DotProductAttention`.
      flash: as in `DotProductAttention`.
      is_causal: whether position t sees the positions s <= t only; decoding does so by its cache.
      qkv_features: the size of all heads' queries together; `None` is that of the inputs.
      out_features: the size of the output; `None` is that of the inputs.
      dropout_rate: the fraction of the weights that is dropped.
      broadcast_dropout: whether batch and heads share what is dropped.
      deterministic: whether nothing is dropped, if the call does not say.
      decode: whether the keys and values of earlier calls are cached.
      use_bias: whether the projections have biases.
      normalize_qk: whether queries and keys are layer-normalised.
      dtype: what is computed in.
      param_dtype: of the parameters.
      precision: of the matrix products.

    Example:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> import softmax_variants.linen as svl
      >>> alpha = svl.Entmax(shape=(4, 1, 1))  # one a head
      >>> layer = svl.MultiHeadAttention(4, normalizer=alpha, is_causal=True)
      >>> print(layer.init_with_output(jax.random.key(0), jnp.ones((2, 5, 8)))[0].shape)
      (2, 5, 8)
    """

    num_heads: int
    normalizer: str | Callable[..., Any] = "softmax"
    sinks: float | None = None
    position_scale: shared.PositionScale | None = None
    flash: bool = False
    is_causal: bool = False
    qkv_features: int | None = None
    out_features: int | None = None
    dropout_rate: float = 0.0
    broadcast_dropout: bool = True
    deterministic: bool | None = None
    decode: bool = False
    use_bias: bool = True
    normalize_qk: bool = False
    dtype: DTypeLike | None = None
    param_dtype: DTypeLike = jnp.float32
    precision: Any = None

    @nn.compact
    def __call__(
        self,
        inputs_q: Array,
        inputs_k: Array | None = None,
        inputs_v: Array | None = None,
        *,
        mask: Array | None = None,
        deterministic: bool | None = None,
        dropout_rng: Array | None = None,
        sow_weights: bool = False,
    ) -> Array:
        """The output [..., length, out_features]; arguments as of Linen's attention."""
        attention = DotProductAttention(
            self.num_heads,
            normalizer=self.normalizer,
            sinks=self.sinks,
            position_scale=self.position_scale,
            flash=self.flash,
            # One query against a cache: the cache says which keys there are.
            is_causal=self.is_causal and not self.decode,
            name="weights",
        )
        layer = nn.MultiHeadDotProductAttention(
            num_heads=self.num_heads,
            attention_fn=attention,
            qkv_features=self.qkv_features,
            out_features=self.out_features,
            dropout_rate=self.dropout_rate,
            broadcast_dropout=self.broadcast_dropout,
            deterministic=self.deterministic,
            decode=self.decode,
            use_bias=self.use_bias,
            normalize_qk=self.normalize_qk,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            precision=self.precision,
            name="heads",
        )
        return layer(
            inputs_q,
            inputs_k,
            inputs_v,
            mask=mask,
            deterministic=deterministic,
            dropout_rng=dropout_rng,
            sow_weights=sow_weights,
        )
