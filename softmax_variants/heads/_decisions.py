"""Scores of nodes, and the logarithms of the probabilities of their two outcomes."""

from typing import Any

import jax
import jax.numpy as jnp

from softmax_variants._numerics import compute_dtype
from softmax_variants._typing import Array


def dot(form: str, left: Array, right: Array) -> Array:
    """A contraction over the features in at least float32; equal half dtypes are not copied."""
    common = left.dtype if left.dtype == right.dtype else _wider(left, right)
    return jnp.einsum(
        form,
        left.astype(common),
        right.astype(common),
        preferred_element_type=compute_dtype(common),
    )


def plus(scores: Array, bias: Array) -> Array:
    common = _wider(scores, bias)
    return scores.astype(common) + bias.astype(common)


def _wider(left: Array, right: Array) -> Any:
    """The dtype, at least float32, that holds both."""
    dtypes = compute_dtype(left.dtype), compute_dtype(right.dtype)
    return max(dtypes, key=lambda dtype: jnp.finfo(dtype).bits)


@jax.custom_jvp
def softplus(x: Array) -> Array:
    """`log(1 + exp(x))`, at large scores exactly x or 0."""
    return jnp.maximum(x, 0) + _tail(x)


@softplus.defjvp
def _softplus_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    return softplus(primals[0]), jax.nn.sigmoid(primals[0]) * tangents[0]


@jax.custom_jvp
def log_sigmoids(x: Array) -> tuple[Array, Array]:
    """The logarithms of sigmoid(x) and of sigmoid(-x)."""
    tail = _tail(x)
    return jnp.minimum(x, 0) - tail, jnp.minimum(-x, 0) - tail


@log_sigmoids.defjvp
def _log_sigmoids_jvp(
    primals: tuple[Array], tangents: tuple[Array]
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    x, t = primals[0], tangents[0]
    return log_sigmoids(x), (jax.nn.sigmoid(-x) * t, -jax.nn.sigmoid(x) * t)


def _tail(x: Array) -> Array:
    """`log(1 + exp(-|x|))`.

    In float32 by the series of `2 artanh(u / (2 + u))`, u at most 1: an ulp or two, and on the CPU
    several times faster than `log1p`, which its compiler does not vectorise.
    """
    u = jnp.exp(-jnp.abs(x))
    if x.dtype != jnp.float32:
        return jnp.log1p(u)
    s = u / (2 + u)
    square, series = s * s, jnp.full_like(s, 1 / 17)
    for odd in range(15, 0, -2):
        series = series * square + 1 / odd
    return 2 * s * series
