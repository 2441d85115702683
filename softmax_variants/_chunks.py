"""Working through a large batch of rows piece by piece where that is faster: on the CPU.

A threshold solver passes over its rows several times. Piece by piece the passes after the first
read the cache, the intermediate arrays are a piece's and not the batch's, and a piece whose rows
have settled does not wait for the slowest row of the batch. An accelerator wants the whole batch.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jax import lax

from softmax_variants._numerics import is_split
from softmax_variants._typing import Array

_PIECE = 1 << 18  # values a piece: 1 MiB of float32, the size of a core's second-level cache


def by_pieces(kernel: Callable[..., Array], x: Array, *parameters: Array) -> Array:
    """`kernel(x, *parameters)`, whose rows do not depend on each other.

    Parameters have the rank of `x` and size 1 or that of `x` on every axis.
    """
    count = _pieces(x)
    if count == 1:
        return kernel(x, *parameters)

    def whole(x: Array, *parameters: Array) -> Array:
        return kernel(x, *parameters)

    def pieces(x: Array, *parameters: Array) -> Array:
        return _loop(kernel, count, x, *parameters)

    return lax.platform_dependent(x, *parameters, cpu=pieces, default=whole)


def _pieces(x: Array) -> int:
    """Number of pieces: the largest divisor of the rows that leaves a piece of the full size."""
    if x.ndim < 2 or x.size < 2 * _PIECE or is_split(x, -1) or is_split(x, -2):
        return 1
    rows = x.shape[-2]
    # Two rows a piece at least: each core takes whole rows.
    limit = min(x.size // _PIECE, rows // 2)
    return max(count for count in range(1, limit + 1) if rows % count == 0) if limit else 1


def _loop(kernel: Callable[..., Array], count: int, x: Array, *parameters: Array) -> Array:
    """Every `count`-th row is a piece, so that a batch split over devices stays split in each."""

    def split(array: Array) -> Array:
        rows = array.shape[-2]
        shape = (rows // count, count) if rows > 1 else (1, 1)
        return array.reshape(*array.shape[:-2], *shape, array.shape[-1])

    def piece(array: Array, i: Array) -> Array:
        i = i if array.shape[-2] > 1 else jnp.zeros_like(i)
        return lax.dynamic_index_in_dim(array, i, axis=array.ndim - 2, keepdims=False)

    values = [split(array) for array in (x, *parameters)]

    def body(i: Array, result: Array) -> Array:
        update = kernel(*(piece(array, i) for array in values))
        return lax.dynamic_update_index_in_dim(result, update, i, axis=result.ndim - 2)

    return lax.fori_loop(0, count, body, jnp.zeros_like(values[0])).reshape(x.shape)
