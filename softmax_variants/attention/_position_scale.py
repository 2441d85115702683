"""Scales of attention scores that grow with the number of keys a query sees."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from softmax_variants._typing import Array, ArrayLike
from softmax_variants._validation import as_count, as_parameter
from softmax_variants.attention._arguments import (
    Visibility,
    Window,
    as_attention_mask,
    as_visibility,
)


def visible_counts(
    query_length: int,
    key_length: int,
    mask: ArrayLike | None = None,
    *,
    is_causal: bool = False,
    query_seq_lengths: ArrayLike | None = None,
    key_value_seq_lengths: ArrayLike | None = None,
    local_window_size: Window | None = None,
) -> Array:
    r"""How many keys each query of an attention sees.

    .. math:: n_t = |\{ s : \text{query } t \text{ sees key } s \}|

    The arguments are those of `dot_product_attention` and mean the same. Without a mask nothing of
    the size T x S is made; with one, it restarts where the mask does, as in packed documents.

    Args:
      query_length: T, the number of queries.
      key_length: S, the number of keys.
      mask: boolean [..., N, T, S], or what broadcasts to it with T and S, or 1, as its last
        dimensions; True keeps.
      is_causal: whether query t sees the keys s <= t only.
      query_seq_lengths: integers [...]; a query at or beyond its length sees nothing.
      key_value_seq_lengths: integers [...]; keys at or beyond the length are not seen.
      local_window_size: one count for both sides, or (left, right).

    Returns:
      int32 counts that broadcast to [..., N, T, 1].

    Raises:
      TypeError: a mask that is not boolean, lengths that are no integers.
      ValueError: shapes that do not broadcast.

    Example:
      >>> import softmax_variants as sv
      >>> print(sv.visible_counts(4, 4, is_causal=True, local_window_size=2)[..., 0])
      [[1 2 3 3]]

    References:
      Nakanishi, `Scalable-Softmax Is Superior for Attention <https://arxiv.org/abs/2501.19399>`_,
      2025.
    """
    queries = as_count(query_length, "query_length", low=0)
    keys = as_count(key_length, "key_length", low=0)
    shape = (*_leading(mask, query_seq_lengths, key_value_seq_lengths), queries, keys)
    visible, wrong = as_attention_mask(mask, shape)
    if wrong is not None:
        raise TypeError("mask must be boolean (True keeps), got a traced array of numbers")
    rule = as_visibility(
        visible,
        shape,
        is_causal=is_causal,
        query_seq_lengths=query_seq_lengths,
        key_value_seq_lengths=key_value_seq_lengths,
        local_window_size=local_window_size,
    )
    return _counts(rule, queries, keys)


def _leading(mask: ArrayLike | None, *lengths: ArrayLike | None) -> tuple[int, ...]:
    """The dimensions [..., N] that the scores have at least, by the mask and the lengths."""
    shapes = [(*jnp.shape(given), 1) for given in lengths if given is not None]
    if mask is not None:
        shapes.append(jnp.shape(mask)[:-2])
    try:
        return np.broadcast_shapes((1,), *shapes)
    except ValueError:
        raise ValueError(
            f"mask must have the batch dimensions of the lengths, got leading dimensions {shapes}"
        ) from None


@functools.partial(jax.jit, static_argnames=("queries", "keys"))
def _counts(rule: Visibility, queries: int, keys: int) -> Array:
    reach = rule.keys_in_reach(queries, keys)
    if rule.mask is None:
        return reach
    if rule.mask.shape[-1] == 1:  # a mask of queries alone
        return jnp.where(rule.mask, reach, 0)
    visible = rule.pairs(queries, keys)
    assert visible is not None
    visible = jnp.broadcast_to(visible, (*visible.shape[:-2], queries, keys))
    return jnp.sum(visible, axis=-1, keepdims=True, dtype=jnp.int32)


def scalable_softmax_scale(counts: ArrayLike, s: ArrayLike = 1.0, *, head_size: int) -> Array:
    r"""The scale of scalable softmax (SSMax) for attention: it grows with the logarithm of n.

    .. math:: \frac{s \log n}{\sqrt{H}}

    As `scale` of an attention it makes `scalable_softmax` of every normalizer: the weight of the
    key that stands out does not fade as the context grows.

    Args:
      counts: n, the keys that each query sees, from `visible_counts`; integers or real numbers
        that broadcast to [..., N, T, 1].
      s: real, a scalar or what broadcasts with `counts`: [N, 1, 1] for one a head. Learned;
        differentiable.
      head_size: H, the size of a head's queries; 1 for queries and keys that are normalised.

    Returns:
      The scale, float32 or wider, of the broadcast shape. It is 0 for a query that sees one key or
      none.

    Raises:
      TypeError: counts or s that are no real numbers.
      ValueError: shapes that do not broadcast, head_size below 1.

    Example:
      >>> import softmax_variants as sv
      >>> counts = sv.visible_counts(4, 4, is_causal=True)
      >>> print(sv.scalable_softmax_scale(counts, 0.5, head_size=4)[..., 0])
      [[0.         0.1732868  0.27465308 0.34657359]]

    References:
      Nakanishi, `Scalable-Softmax Is Superior for Attention <https://arxiv.org/abs/2501.19399>`_,
      2025.
    """
    log_count, s = _together(_log_counts(counts, 1), s=as_parameter(s, "s"))
    return log_count * s / math.sqrt(as_count(head_size, "head_size"))


def asentmax_scale(
    counts: ArrayLike,
    delta: ArrayLike = 1.0,
    beta: ArrayLike = 1.0,
    gamma: ArrayLike = 1.0,
    *,
    head_size: int,
) -> Array:
    r"""The scale of adaptive-scalable entmax (ASEntmax) for attention.

    .. math:: \frac{\delta + \beta (\log n)^\gamma}{\sqrt{H}}

    With entmax as normalizer the number of keys above the threshold stays bounded as the context
    grows. delta = 0 and gamma = 1 is `scalable_softmax_scale`.

    Args:
      counts: n, the keys that each query sees, from `visible_counts`; integers or real numbers
        that broadcast to [..., N, T, 1].
      delta: real, a scalar or what broadcasts with `counts`: [N, 1, 1] for one a head.
      beta: like `delta`; the paper learns a positive one from the query.
      gamma: like `delta`; the paper learns one of either sign from the query.
      head_size: H, the size of a head's queries; 1 for queries and keys that are normalised.

    Returns:
      The scale, float32 or wider, of the broadcast shape. A query that sees one key or none is
      given the scale of two: `log(1)` has no power with a negative exponent, and one key has all
      the weight at any scale.

    Raises:
      TypeError: counts or parameters that are no real numbers.
      ValueError: shapes that do not broadcast, head_size below 1.

    Example:
      >>> import softmax_variants as sv
      >>> counts = sv.visible_counts(3, 3, is_causal=True)
      >>> print(sv.asentmax_scale(counts, 0.5, 1.0, -1.0, head_size=4)[..., 0])
      [[0.97134751 0.97134751 0.70511961]]

    References:
      Vasylenko et al., `Long-Context Generalization with Sparse Attention
      <https://arxiv.org/abs/2506.16640>`_, 2025.
    """
    parameters = {"delta": delta, "beta": beta, "gamma": gamma}
    converted = {name: as_parameter(value, name) for name, value in parameters.items()}
    log_count, delta, beta, gamma = _together(_log_counts(counts, 2), **converted)
    return (delta + beta * log_count**gamma) / math.sqrt(as_count(head_size, "head_size"))


def _log_counts(counts: ArrayLike, least: int) -> Array:
    array = as_parameter(counts, "counts", low=0)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        array = array.astype(jnp.float32)
    return jnp.log(jnp.maximum(array, least))


def _together(log_count: Array, **parameters: Array) -> list[Array]:
    """The logarithm and the parameters in one dtype, of one rank."""
    for name, value in parameters.items():
        try:
            jnp.broadcast_shapes(value.shape, log_count.shape)
        except ValueError:
            raise ValueError(
                f"{name} must broadcast with counts of shape {log_count.shape}, got {value.shape}"
            ) from None
    arrays = [log_count, *parameters.values()]
    dtype = jnp.float64 if any(a.dtype == jnp.float64 for a in arrays) else jnp.float32
    rank = max(a.ndim for a in arrays)
    return [a.astype(dtype).reshape((1,) * (rank - a.ndim) + a.shape) for a in arrays]
