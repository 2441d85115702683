"""Attention sinks: further scores of 0 whose share of the weights goes to nothing."""

import operator
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from softmax_variants._typing import Array, ArrayLike
from softmax_variants.maps._softmax_n import softmax_n


def with_sinks(normalize: Callable[..., Any], n: ArrayLike, *, is_softmax: bool) -> Any:
    """The normalizer beside n scores of 0 that are dropped."""
    if is_softmax:
        return lambda scores, axis, where: softmax_n(scores, axis, where, n=n)
    try:
        count = operator.index(n)  # type: ignore[arg-type] # index() is the test for an integer
    except TypeError:
        raise TypeError(
            f"n must be a Python integer with a normalizer other than softmax, got "
            f"{type(n).__name__}; flash_attention takes any number with softmax and entmax"
        ) from None
    if count < 0:
        raise ValueError(f"n must be at least 0, got {count}")

    def normalized(scores: Array, axis: int, where: Array | None) -> Array:
        del axis
        zeros = jnp.zeros((*scores.shape[:-1], count), scores.dtype)
        if where is not None:
            # A query that sees no key keeps no sink either: its weights are 0 with or without.
            seen = jnp.any(jnp.broadcast_to(where, scores.shape), axis=-1, keepdims=True)
            sinks = jnp.broadcast_to(seen, zeros.shape)
            where = jnp.concatenate([jnp.broadcast_to(where, scores.shape), sinks], axis=-1)
        weights = normalize(jnp.concatenate([scores, zeros], axis=-1), axis=-1, where=where)
        return weights[..., : scores.shape[-1]]

    return normalized
