"""Dot-product attention whose weights come from any map from scores to probabilities."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from softmax_variants._numerics import compute_dtype
from softmax_variants._typing import Array, ArrayLike, DTypeLike
from softmax_variants._validation import as_key
from softmax_variants.attention._arguments import Arguments, Window, as_arguments
from softmax_variants.attention._clean import clean, spoil, spoiled_queries
from softmax_variants.attention._dropout import dropped
from softmax_variants.attention._sinks import with_sinks
from softmax_variants.maps._softmax import softmax

Normalizer = Callable[..., Any]


def dot_product_attention(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    bias: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    *,
    normalizer: Normalizer = softmax,
    normalizer_parameters: Mapping[str, Any] | None = None,
    scale: ArrayLike | None = None,
    is_causal: bool = False,
    query_seq_lengths: ArrayLike | None = None,
    key_value_seq_lengths: ArrayLike | None = None,
    local_window_size: Window | None = None,
    n: ArrayLike | None = None,
    rng: Array | None = None,
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
    r"""Dot-product attention with any map from scores to weights.

    .. math:: O = f\left( s \, Q K^T + B \right) V

    f is the normalizer, s the scale. It takes the arguments of `jax.nn.dot_product_attention`, and
    all that Flax passes to an `attention_fn`, in NNX and in Linen (which drops, without a word,
    what a signature does not name). A query that sees no key gets 0 with zero gradients. What
    stands in a masked position, NaN or infinity too, reaches neither the output nor a gradient; a
    query that sees something that is not finite gets NaN, and no other query does.

    Args:
      query: [..., T, N, H], any real dtype.
      key: [..., S, K, H]; N a multiple of K (grouped-query attention).
      value: [..., S, K, D].
      bias: real, broadcasts to [..., N, T, S]; added to the scores. `-inf` masks.
      mask: boolean, broadcasts to [..., N, T, S]; True keeps. Arrays of the numbers 0 and 1, which
        Flax makes, serve as well; another number is an error, or NaN if it is traced.
      normalizer: `f(scores, axis, where)` as all maps here; a random one, whose first argument is
        `key`, is given `rng`. Parameters through `functools.partial` or `normalizer_parameters`.
      normalizer_parameters: keywords for the normalizer; arrays broadcast as the map says against
        [..., N, T, S]: [N, 1, 1] is one value a head.
      scale: s, a number or what broadcasts to [..., N, T, 1]; `None` is `1 / sqrt(H)`.
        Differentiable. See `scalable_softmax_scale` and `asentmax_scale`.
      is_causal: whether query t sees the keys s <= t only.
      query_seq_lengths: integers [...]; a query at or beyond its length sees nothing.
      key_value_seq_lengths: integers [...]; keys at or beyond the length are not seen.
      local_window_size: one count for both sides, or (left, right): query t sees the keys
        t - left <= s <= t + right.
      n: attention sinks, that many further scores of 0 with values of 0: a query may attend to
        nothing. With `softmax` (then it is `softmax_n`) any number >= 0 or what broadcasts to
        [..., N, T, 1], learned if you like; with any other normalizer a Python integer
        (`flash_attention` takes any number with entmax too).
      rng: the key of a random normalizer; others ignore it.
      dropout_rng: the key of dropout.
      dropout_rate: the fraction of the weights that is dropped, in [0, 1).
      broadcast_dropout: whether batch and heads share what is dropped.
      deterministic: whether nothing is dropped.
      dtype: what query, key and value are converted to; `None` leaves their common dtype.
      precision: of the matrix products, as in `jax.lax.dot_general`.
      module: the Flax module that sows the weights, before dropout, as `attention_weights`.
      force_fp32_for_softmax: of Linen; True or False, weights are computed in at least float32.
      qk_attn_weights_einsum: of Linen, in place of `jnp.einsum` for the scores.
      attn_weights_value_einsum: of Linen, in place of `jnp.einsum` for the output.

    Returns:
      [..., T, N, D] of the common dtype of query, key and value. Products are summed in at least
      float32; the weights are rounded to that dtype before they meet the values.

    Raises:
      TypeError: a mask with numbers other than 0 and 1, arguments of a wrong dtype, a normalizer
        that cannot be called.
      ValueError: shapes that do not fit, heads that do not divide, a random normalizer without
        `rng`, dropout without `dropout_rng`, parameters out of range.

    Example:
      >>> import jax.numpy as jnp
      >>> import softmax_variants as sv
      >>> query = key = jnp.array([[1.0, 0.0], [0.0, 2.0], [2.0, 2.0]])[:, None]
      >>> value = jnp.eye(3)[:, None]
      >>> print(sv.dot_product_attention(query, key, value, normalizer=sv.entmax15)[:, 0])
      [[0.25      0.0214466 0.7285534]
       [0.        0.5       0.5      ]
       [0.        0.        1.       ]]

    References:
      Vaswani et al., `Attention Is All You Need <https://arxiv.org/abs/1706.03762>`_, 2017;
      Correia, Niculae and Martins, `Adaptively Sparse Transformers
      <https://arxiv.org/abs/1909.00015>`_, 2019.
    """
    del force_fp32_for_softmax  # it is never computed in less
    arguments = as_arguments(
        query,
        key,
        value,
        bias,
        mask,
        scale=scale,
        is_causal=is_causal,
        query_seq_lengths=query_seq_lengths,
        key_value_seq_lengths=key_value_seq_lengths,
        local_window_size=local_window_size,
        dtype=dtype,
    )
    _check_einsums(precision, qk_attn_weights_einsum, attn_weights_value_einsum)
    scores, visible, spoiled = _scores(arguments, precision, qk_attn_weights_einsum)
    normalize = _keyed(normalizer, normalizer_parameters, rng)
    if n is not None:
        normalize = with_sinks(
            normalize, n, is_softmax=normalizer is softmax and not normalizer_parameters
        )
    weights = normalize(scores, axis=-1, where=visible)
    if jnp.shape(weights) != scores.shape:
        raise ValueError(
            f"normalizer must keep the shape of the scores, {scores.shape}, got "
            f"{jnp.shape(weights)}"
        )
    weights = weights.astype(scores.dtype)
    if module is not None:
        shown = jnp.where(spoiled[..., None], jnp.nan, weights)
        module.sow("intermediates", "attention_weights", shown)
    weights = dropped(weights, dropout_rng, dropout_rate, broadcast_dropout, deterministic)
    return _output(weights, arguments.value, visible, spoiled, precision, attn_weights_value_einsum)


def _keyed(
    normalizer: Normalizer, parameters: Mapping[str, Any] | None, rng: Array | None
) -> Normalizer:
    """The normalizer with its parameters and, if it is random, its key."""
    if not callable(normalizer):
        raise TypeError(
            f"normalizer must be a map such as softmax_variants.entmax15, got "
            f"{type(normalizer).__name__}"
        )
    keyed = functools.partial(normalizer, **dict(parameters or {}))
    if not takes_key(normalizer):
        return keyed
    if rng is None:
        raise ValueError("rng must be a random key: the normalizer is random")
    return functools.partial(keyed, as_key(rng, "rng"))


def takes_key(normalizer: Normalizer) -> bool:
    """Whether a normalizer is random: the table says so, or its first argument is a key."""
    stochastic = getattr(normalizer, "stochastic", None)
    if stochastic is not None:
        return bool(stochastic)
    try:
        names = list(inspect.signature(normalizer).parameters)
    except (TypeError, ValueError):  # some callables have no signature: they take no key either
        return False
    return names[:1] == ["key"]


def _check_einsums(precision: Any, *einsums: Callable[..., Array] | None) -> None:
    given = [einsum is not None for einsum in einsums]
    if any(given) and not all(given):
        raise ValueError(
            "qk_attn_weights_einsum and attn_weights_value_einsum must be given together"
        )
    if any(given) and precision is not None:
        raise ValueError("precision must be None beside qk_attn_weights_einsum")


@functools.partial(jax.jit, static_argnames=("precision", "einsum"))
def _scores(
    arguments: Arguments, precision: Any, einsum: Callable[..., Array] | None
) -> tuple[Array, Array | None, Array]:
    """Scores [..., N, T, S], which of them are seen (None: all), and the queries that see NaN."""
    query, key, bias = arguments.query, arguments.key, arguments.bias
    wide = compute_dtype(query.dtype)
    *batch, queries, heads, size = query.shape
    keys, key_heads = key.shape[-3:-1]
    visible = arguments.visibility.pairs(queries, keys)
    spoiled = spoiled_queries(query, key, arguments.value, visible)
    query, key = clean(query), clean(key)
    if einsum is not None:
        key = jnp.repeat(key, heads // key_heads, axis=-2)
        scores = einsum("...qhd,...khd->...hqk", query, key).astype(wide)
    elif heads == key_heads:
        scores = jnp.einsum(
            "...qhd,...khd->...hqk",
            query,
            key,
            precision=precision,
            preferred_element_type=wide,
        )
    else:
        grouped = query.reshape(*batch, queries, key_heads, heads // key_heads, size)
        scores = jnp.einsum(
            "...qhgd,...khd->...hgqk",
            grouped,
            key,
            precision=precision,
            preferred_element_type=wide,
        ).reshape(*batch, heads, queries, keys)
    scores = scores * arguments.scale
    if bias is not None:
        scores = scores + bias.astype(wide)
    if visible is not None:
        # For normalizers that are less careful with what they leave out than those here.
        scores = jnp.where(visible, scores, 0)
    return scores, visible, spoiled


@functools.partial(jax.jit, static_argnames=("precision", "einsum"))
def _output(
    weights: Array,
    value: Array,
    visible: Array | None,
    spoiled: Array,
    precision: Any,
    einsum: Callable[..., Array] | None,
) -> Array:
    """The sums of the values, [..., T, N, D]."""
    *batch, heads, queries, keys = weights.shape
    key_heads, size = value.shape[-2:]
    if visible is not None:
        weights = jnp.where(visible, weights, 0)
    weights, cleaned = weights.astype(value.dtype), clean(value)
    if einsum is not None:
        cleaned = jnp.repeat(cleaned, heads // key_heads, axis=-2)
        output = einsum("...hqk,...khd->...qhd", weights, cleaned).astype(weights.dtype)
    elif heads == key_heads:
        output = jnp.einsum(
            "...hqk,...khd->...qhd",
            weights,
            cleaned,
            precision=precision,
            preferred_element_type=compute_dtype(value.dtype),
        )
    else:
        grouped = weights.reshape(*batch, key_heads, heads // key_heads, queries, keys)
        output = jnp.einsum(
            "...hgqk,...khd->...qhgd",
            grouped,
            cleaned,
            precision=precision,
            preferred_element_type=compute_dtype(value.dtype),
        ).reshape(*batch, queries, heads, size)
    return spoil(output, jnp.swapaxes(spoiled, -1, -2)[..., None]).astype(value.dtype)
