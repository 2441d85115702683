"""Exact order statistics and thresholds of a row, found by counting: no sort, any k, any sharding.

A float's bits, its sign handled, are an unsigned integer that is ordered as the floats are. A
threshold is therefore found exactly, one bit a pass from the highest, by asking of each candidate
whether it is still low enough: 32 passes over a float32 row (64 over float64), each of them a
reduction, so the class axis may be split over devices and k may differ from row to row.

Nothing here is differentiable: a threshold moves with the entries that equal it, and the maps that
let it move say so in rules of their own.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jax import lax

from softmax_variants._typing import Array


def kth_largest(rows: Array, k: Array) -> Array:
    """The k-th largest entry of each row, ties counted one by one.

    Args:
      rows: `[..., n]`, float32 or float64; masked entries are `-inf` and so come last.
      k: signed integers that broadcast to `[..., 1]`, traced or not, 1 for the largest.

    Returns:
      `[..., 1]`: bit for bit an entry of the row, except `inf` for k < 1, `-inf` for k > n, and NaN
      for a row with a NaN. No gradient passes.
    """
    rows = lax.stop_gradient(rows)
    keys = to_keys(rows)

    def reached(key: Array) -> Array:
        return jnp.sum(keys >= key, axis=-1, keepdims=True, dtype=k.dtype) >= k

    found = from_keys(_largest_key(reached, _no_bits(keys)), rows.dtype)
    return jnp.where(jnp.any(jnp.isnan(rows), axis=-1, keepdims=True), jnp.nan, found)


def largest_threshold(predicate: Callable[[Array], Array], rows: Array) -> Array:
    """The largest float `v` for which `predicate(v)` holds, one a row.

    Args:
      predicate: from thresholds `[..., 1]` in the dtype of `rows`, never NaN, to booleans of that
        shape. Decreasing: where it holds for a threshold it holds for every lower one. For the
        smallest `v` of an increasing predicate, ask for the largest of `predicate(-v)` and negate.
      rows: `[..., n]`, float32 or float64: only the shape, dtype and sharding are read from it.

    Returns:
      `[..., 1]`, from `-inf` (held nowhere else) to `inf` (held everywhere). No gradient passes.
    """
    dtype = rows.dtype
    keys = to_keys(lax.stop_gradient(rows))
    lowest, highest = (to_keys(jnp.asarray(end, dtype)) for end in (-jnp.inf, jnp.inf))

    def low_enough(key: Array) -> Array:
        # The keys beyond the infinities are those of NaN, which no predicate is asked about.
        held = predicate(from_keys(key, dtype))
        return (key <= lowest) | ((key <= highest) & held)

    return from_keys(_largest_key(low_enough, _no_bits(keys)), dtype)


def to_keys(x: Array) -> Array:
    """Unsigned integers ordered as the floats are; `-0` directly below `0`."""
    bits = lax.bitcast_convert_type(x, _key_dtype(x.dtype))
    return jnp.where(bits >> _sign_bit(bits) == 1, ~bits, bits | _bit(_sign_bit(bits), bits))


def from_keys(keys: Array, dtype: jnp.dtype) -> Array:
    """The inverse of `to_keys`; keys of NaN become the infinity that they lie beyond."""
    lowest, highest = (to_keys(jnp.asarray(end, dtype)) for end in (-jnp.inf, jnp.inf))
    keys = jnp.clip(keys, lowest, highest)
    positive = keys >> _sign_bit(keys) == 1
    bits = jnp.where(positive, keys ^ _bit(_sign_bit(keys), keys), ~keys)
    return lax.bitcast_convert_type(bits, dtype)


def _largest_key(low_enough: Callable[[Array], Array], start: Array) -> Array:
    """The largest key for which a decreasing predicate holds; 0 where it never does."""
    bits = jnp.iinfo(start.dtype).bits

    def settle(i: Array, key: Array) -> Array:
        candidate = key | _bit((bits - 1 - i).astype(start.dtype), start)
        return jnp.where(low_enough(candidate), candidate, key)

    return lax.fori_loop(0, bits, settle, start)


def _no_bits(keys: Array) -> Array:
    """Zero keys `[..., 1]`, made from the row so that they vary over devices as it does."""
    return jnp.max(keys, axis=-1, keepdims=True, initial=0) & 0


def _key_dtype(dtype: jnp.dtype) -> jnp.dtype:
    return jnp.dtype(f"uint{8 * jnp.dtype(dtype).itemsize}")


def _sign_bit(keys: Array) -> Array:
    return jnp.asarray(jnp.iinfo(keys.dtype).bits - 1, keys.dtype)


def _bit(position: Array, keys: Array) -> Array:
    return jnp.asarray(1, keys.dtype) << position
