"""Checks that all forms of attention share, and the one rule of which query sees which key."""

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from softmax_variants._numerics import compute_dtype
from softmax_variants._pytrees import register_pytree
from softmax_variants._typing import Array, ArrayLike, DTypeLike
from softmax_variants._validation import (
    as_count,
    as_flag,
    as_logits,
    as_parameter,
    check_broadcastable,
)

Window = int | tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Visibility:
    """Which query sees which key: all that is given has to allow the pair.

    Attributes:
      mask: boolean, of full rank, broadcasts to [..., N, T, S]; True allows.
      query_lengths: int32 [..., 1, 1, 1]; a query at or beyond its length sees nothing.
      key_lengths: int32 [..., 1, 1, 1]; a key at or beyond its length is not seen.
      causal: query t sees the keys s <= t.
      window: (left, right): query t sees the keys t - left <= s <= t + right.
      rank: the number of dimensions of [..., N, T, S].
    """

    mask: Array | None
    query_lengths: Array | None
    key_lengths: Array | None
    causal: bool
    window: tuple[int, int] | None
    rank: int

    def by_position(self, queries: Array, keys: Array) -> Array | None:
        """The rule without the mask at positions [T] and [S]: [..., 1, T, S]; None allows all."""
        lead = (1,) * (self.rank - 2)
        rows, columns = queries.reshape(*lead, -1, 1), keys.reshape(*lead, 1, -1)
        rules = []
        if self.causal:
            rules.append(columns <= rows)
        if self.window is not None:
            left, right = self.window
            rules += [columns >= rows - left, columns <= rows + right]
        if self.query_lengths is not None:
            rules.append(rows < self.query_lengths)
        if self.key_lengths is not None:
            rules.append(columns < self.key_lengths)
        return _all(rules)

    def pairs(self, queries: int, keys: int) -> Array | None:
        """The whole rule for all positions, broadcasts to [..., N, T, S]; None allows all."""
        positions = self.by_position(
            jnp.arange(queries, dtype=jnp.int32), jnp.arange(keys, dtype=jnp.int32)
        )
        return _all([rule for rule in (self.mask, positions) if rule is not None])

    def keys_in_reach(self, queries: int, keys: int) -> Array:
        """How many keys each query sees by the rule without the mask: int32 [..., 1, T, 1]."""
        rows = jnp.arange(queries, dtype=jnp.int32).reshape(*(1,) * (self.rank - 2), -1, 1)
        low, high = jnp.zeros_like(rows), jnp.full_like(rows, keys)
        if self.causal:
            high = jnp.minimum(high, rows + 1)
        if self.window is not None:
            left, right = self.window
            low, high = jnp.maximum(low, rows - left), jnp.minimum(high, rows + right + 1)
        if self.key_lengths is not None:
            high = jnp.minimum(high, self.key_lengths)
        count = jnp.maximum(high - low, 0)
        if self.query_lengths is not None:
            count = jnp.where(rows < self.query_lengths, count, 0)
        return count


register_pytree(
    Visibility,
    data=["mask", "query_lengths", "key_lengths"],
    static=["causal", "window", "rank"],
)


class Arguments(NamedTuple):
    """The checked arguments of attention, in one floating dtype and of full rank.

    Attributes:
      query: [..., T, N, H].
      key: [..., S, K, H], N a multiple of K.
      value: [..., S, K, D].
      bias: broadcasts to [..., N, T, S]; None adds nothing.
      scale: what the products of queries and keys are multiplied with, in the compute dtype,
        broadcasts to [..., N, T, 1].
      visibility: which query sees which key.
    """

    query: Array
    key: Array
    value: Array
    bias: Array | None
    scale: Array
    visibility: Visibility


def as_arguments(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    bias: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    *,
    scale: ArrayLike | None = None,
    is_causal: bool = False,
    query_seq_lengths: ArrayLike | None = None,
    key_value_seq_lengths: ArrayLike | None = None,
    local_window_size: Window | None = None,
    dtype: DTypeLike | None = None,
) -> Arguments:
    """Checks and converts what every form of attention takes."""
    query, key, value = _as_one_dtype(query, key, value, dtype)
    batch, queries, heads, size, keys = _checked_shapes(query, key, value)
    shape = (*batch, heads, queries, keys)
    visible, wrong = as_attention_mask(mask, shape)
    if bias is not None:
        bias = _full_rank(as_logits(bias, "bias"), shape, "bias")
    if wrong is not None:
        # Neither 0 nor 1: known at run time only, and then the row is NaN.
        spoiled = jnp.where(wrong, jnp.nan, jnp.zeros((), compute_dtype(query.dtype)))
        bias = spoiled if bias is None else bias.astype(spoiled.dtype) + spoiled
    return Arguments(
        query,
        key,
        value,
        bias,
        as_row_parameter(1 / math.sqrt(size) if scale is None else scale, "scale", shape, query),
        as_visibility(
            visible,
            shape,
            is_causal=is_causal,
            query_seq_lengths=query_seq_lengths,
            key_value_seq_lengths=key_value_seq_lengths,
            local_window_size=local_window_size,
        ),
    )


def as_visibility(
    mask: Array | None,
    shape: tuple[int, ...],
    *,
    is_causal: bool = False,
    query_seq_lengths: ArrayLike | None = None,
    key_value_seq_lengths: ArrayLike | None = None,
    local_window_size: Window | None = None,
) -> Visibility:
    """The rule for scores of `shape`, [..., N, T, S], from a checked mask and what else limits."""
    is_causal = as_flag(is_causal, "is_causal")
    return Visibility(
        mask,
        _as_lengths(query_seq_lengths, "query_seq_lengths", shape[:-3]),
        _as_lengths(key_value_seq_lengths, "key_value_seq_lengths", shape[:-3]),
        bool(is_causal),
        _as_window(local_window_size),
        len(shape),
    )


def as_attention_mask(
    mask: ArrayLike | None, shape: tuple[int, ...]
) -> tuple[Array | None, Array | None]:
    """A boolean mask of full rank that broadcasts to `shape`, and where a number is no truth value.

    Flax builds its masks of the numbers 0 and 1. Any other number is refused if it is known at
    trace time: an additive mask belongs in the bias.
    """
    if mask is None:
        return None, None
    array = _full_rank(jnp.asarray(mask), shape, "mask")
    if array.dtype == jnp.bool_:
        return array, None
    if jnp.issubdtype(array.dtype, jnp.complexfloating):
        raise TypeError(f"mask must be boolean (True keeps), got dtype {array.dtype}")
    wrong = (array != 0) & (array != 1)
    if not isinstance(wrong, jax.core.Tracer):
        if np.asarray(wrong).any():
            raise TypeError(
                f"mask must be boolean (True keeps) or made of the numbers 0 and 1, got dtype "
                f"{array.dtype} with other values: pass what is added to the scores as bias"
            )
        return array != 0, None
    return array != 0, wrong


def as_row_parameter(value: ArrayLike, name: str, shape: tuple[int, ...], like: Array) -> Array:
    """A real number for each query of each head, [..., N, T, 1] up to broadcasting."""
    array = as_parameter(value, name).astype(compute_dtype(like.dtype))
    return _full_rank(array, (*shape[:-1], 1), name)


def _full_rank(array: Array, shape: tuple[int, ...], name: str) -> Array:
    check_broadcastable(array.shape, shape, name)
    return array.reshape((1,) * (len(shape) - array.ndim) + array.shape)


def _as_one_dtype(
    query: ArrayLike, key: ArrayLike, value: ArrayLike, dtype: DTypeLike | None
) -> tuple[Array, Array, Array]:
    arrays = as_logits(query, "query"), as_logits(key, "key"), as_logits(value, "value")
    common = jnp.result_type(*arrays) if dtype is None else jnp.dtype(dtype)
    if not jnp.issubdtype(common, jnp.floating):
        raise TypeError(f"dtype must be a floating dtype, got {common}")
    query, key, value = (array.astype(common) for array in arrays)
    return query, key, value


def _checked_shapes(
    query: Array, key: Array, value: Array
) -> tuple[tuple[int, ...], int, int, int, int]:
    """The batch dimensions, T, N, H and S."""
    for name, array in (("query", query), ("key", key), ("value", value)):
        if array.ndim < 3:
            raise ValueError(
                f"{name} must have shape (..., length, heads, features), got {array.shape}"
            )
    *batch, queries, heads, size = query.shape
    *_, keys, key_heads, _ = key.shape
    if key.shape != (*batch, keys, key_heads, size):
        raise ValueError(
            f"key must have query's leading and last dimensions, {_names(batch)}S, K, {size}), got "
            f"{key.shape} beside query of shape {query.shape}"
        )
    if value.shape[:-1] != key.shape[:-1]:
        raise ValueError(
            f"value must have key's dimensions but the last, {_names(batch)}{keys}, {key_heads}, "
            f"D), got {value.shape}"
        )
    if key_heads == 0 or heads % key_heads:
        raise ValueError(
            f"query must have a multiple of key's heads, {key_heads}, got {heads} heads"
        )
    return tuple(batch), queries, heads, size, keys


def _names(batch: Sequence[int]) -> str:
    return "(" + "".join(f"{size}, " for size in batch)


def _as_lengths(lengths: ArrayLike | None, name: str, batch: tuple[int, ...]) -> Array | None:
    if lengths is None:
        return None
    array = jnp.asarray(lengths)
    if not jnp.issubdtype(array.dtype, jnp.integer):
        raise TypeError(f"{name} must have an integer dtype, got dtype {array.dtype}")
    return _full_rank(array.astype(jnp.int32), batch, name)[..., None, None, None]


def _as_window(size: Window | None) -> tuple[int, int] | None:
    if size is None:
        return None
    pair = size if isinstance(size, tuple | list) else (size, size)
    if len(pair) != 2:
        raise ValueError(f"local_window_size must be a count or a pair (left, right), got {size!r}")
    left, right = (as_count(side, "local_window_size", low=0) for side in pair)
    return left, right


def _all(rules: Sequence[Array]) -> Array | None:
    """The conjunction of the rules; None if there are none."""
    if not rules:
        return None
    visible = rules[0]
    for rule in rules[1:]:
        visible = visible & rule
    return visible
