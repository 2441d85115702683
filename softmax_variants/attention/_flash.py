"""Attention in blocks: softmax's and entmax's, with memory that is linear in the sequence."""

import functools
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from softmax_variants._typing import Array, ArrayLike
from softmax_variants._validation import as_count, as_parameter
from softmax_variants.attention._arguments import (
    Arguments,
    Window,
    as_arguments,
    as_row_parameter,
)
from softmax_variants.attention._canonical import attended, canonical, from_canonical
from softmax_variants.attention._clean import spoil
from softmax_variants.attention._weights import EXPONENTS, Kind

Implementation = Literal["xla", "triton", "mosaic_gpu", "mosaic_tpu"]


def flash_attention(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    bias: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    *,
    alpha: ArrayLike = 1.0,
    scale: ArrayLike | None = None,
    is_causal: bool = False,
    query_seq_lengths: ArrayLike | None = None,
    key_value_seq_lengths: ArrayLike | None = None,
    local_window_size: Window | None = None,
    n: ArrayLike | None = None,
    block_size: int | tuple[int, int] | None = None,
    implementation: Implementation | None = None,
) -> Array:
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
    )
    _check_implementation(implementation)
    *batch, queries, heads, _ = arguments.query.shape
    keys = arguments.key.shape[-3]
    shape = (*batch, heads, queries, keys)
    order = as_row_parameter(
        as_parameter(alpha, "alpha", low=1, high_open=True), "alpha", shape, arguments.query
    )
    sinks = None
    if n is not None:
        sinks = as_row_parameter(
            as_parameter(n, "n", low=0, high_open=True), "n", shape, arguments.query
        )
    block = _as_block(block_size)
    kind = kind_of(alpha)
    return _flash(arguments, None if kind.exponent is not None else order, sinks, kind, block)


def kind_of(alpha: ArrayLike) -> Kind:
    """The formula of the weights: a Python number may have one of its own."""
    if not isinstance(alpha, int | float):
        return Kind(None)
    return Kind(0) if alpha == 1 else Kind(EXPONENTS.get(float(alpha)))


@functools.partial(jax.jit, static_argnames=("kind", "block"))
def _flash(
    arguments: Arguments,
    alpha: Array | None,
    sinks: Array | None,
    kind: Kind,
    block: tuple[int, int] | None,
) -> Array:
    *batch, queries, heads, _ = arguments.query.shape
    size = arguments.value.shape[-1]
    if arguments.query.size == 0 or arguments.value.size == 0:
        return jnp.zeros((*batch, queries, heads, size), arguments.query.dtype)
    # What is outside the range is known at run time only, and then the row is NaN.
    if alpha is not None:
        alpha = jnp.where((alpha >= 1) & (alpha < jnp.inf), alpha, jnp.nan)
    if sinks is not None:
        sinks = jnp.where((sinks >= 0) & (sinks < jnp.inf), sinks, jnp.nan)
    arrays = canonical(arguments, alpha, sinks, kind, block)
    spoiled = arrays.spoiled[:, :, :, :queries]
    output = spoil(attended(arrays).output, spoiled)
    return from_canonical(output, tuple(batch)).astype(arguments.query.dtype)


def _as_block(block_size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    if block_size is None:
        return None
    if isinstance(block_size, tuple | list):
        if len(block_size) != 2:
            raise ValueError(
                f"block_size must be a count or a pair (queries, keys), got {block_size!r}"
            )
        queries, keys = (as_count(size, "block_size") for size in block_size)
        return queries, keys
    size = as_count(block_size, "block_size")
    return size, size


def _check_implementation(implementation: str | None) -> None:
    if implementation is None or implementation == "xla":
        return
    if implementation in ("triton", "mosaic_gpu", "mosaic_tpu"):
        raise NotImplementedError(
            f"implementation {implementation!r} has no kernel here yet; 'xla' runs on every device"
        )
    raise ValueError(
        f"implementation must be None, 'xla', 'triton', 'mosaic_gpu' or 'mosaic_tpu', got "
        f"{implementation!r}"
    )
