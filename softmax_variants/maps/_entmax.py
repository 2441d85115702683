"""Entmax: from softmax (alpha = 1) through sparsemax (alpha = 2) to hardmax (alpha = infinity)."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

from softmax_variants._chunks import by_pieces
from softmax_variants._numerics import (
    centered_product,
    on_rows,
    row_max,
    row_sum,
    safe_divide,
    shift,
    zero_masked,
)
from softmax_variants._threshold import Power, solve, solve_entmax15, solve_steep
from softmax_variants._typing import Array, ArrayLike, Axis
from softmax_variants._validation import as_parameter
from softmax_variants.maps._sparsemax import solve_sparsemax_rows


def entmax15(logits: ArrayLike, axis: Axis = -1, where: ArrayLike | None = None) -> Array:
    r"""Entmax with alpha = 1.5, by its closed power (a square): the fastest sparse map but one.

    .. math:: p_i = \max(x_i / 2 - \tau, 0)^2

    Args:
      logits: scores of any shape; any real dtype, computed in at least float32.
      axis: class axis or axes.
      where: boolean mask that broadcasts to `logits`; False entries get probability 0.

    Returns:
      Probabilities of the shape and floating dtype of `logits`; a row with nothing kept is 0.

    Raises:
      TypeError: complex logits, a mask that is not boolean.
      ValueError: an axis out of bounds, shapes that do not broadcast.

    Example:
      >>> import jax.numpy as jnp
      >>> import softmax_variants as sv
      >>> print(sv.entmax15(jnp.array([1.0, 0.0, -4.0])))
      [0.83071893 0.16928108 0.        ]

    References:
      Peters, Niculae and Martins, `Sparse Sequence-to-Sequence Models
      <https://arxiv.org/abs/1905.05702>`_, 2019.
    """
    return on_rows(entmax15_rows, logits, axis, where)


def entmax(
    logits: ArrayLike,
    axis: Axis = -1,
    where: ArrayLike | None = None,
    *,
    alpha: ArrayLike = 1.5,
) -> Array:
    r"""Alpha-entmax: the maximiser of the expected score plus the Tsallis entropy of order alpha.

    .. math:: p_i = \max((\alpha - 1) x_i - \tau, 0)^{1 / (\alpha - 1)}

    It is softmax at alpha = 1, sparsemax at 2 and hardmax at infinity, continuous across; below 1
    every probability is positive with tails heavier than softmax's.

    Args:
      logits: scores of any shape; any real dtype, computed in at least float32.
      axis: class axis or axes.
      where: boolean mask that broadcasts to `logits`; False entries get probability 0.
      alpha: in (0, infinity], a scalar or an array with size 1 on `axis` (one alpha a row, a head,
        ...). Differentiable, also at exactly 1. A traced alpha outside the interval gives NaN.

    Returns:
      Probabilities of the shape and floating dtype of `logits`; a row with nothing kept is 0.

    Raises:
      TypeError: complex logits, a mask that is not boolean.
      ValueError: alpha not positive, an axis out of bounds, shapes that do not broadcast.

    Example:
      >>> import jax.numpy as jnp
      >>> import softmax_variants as sv
      >>> print(sv.entmax(jnp.array([1.0, 0.0, -4.0]), alpha=1.5))
      [0.83071893 0.16928108 0.        ]

    References:
      Peters, Niculae and Martins, `Sparse Sequence-to-Sequence Models
      <https://arxiv.org/abs/1905.05702>`_, 2019; Correia, Niculae and Martins, `Adaptively Sparse
      Transformers <https://arxiv.org/abs/1909.00015>`_, 2019 (the gradient for alpha).
    """
    alpha = as_parameter(alpha, "alpha", low=0, low_open=True)
    return on_rows(entmax_rows, logits, axis, where, {"alpha": alpha})


@jax.custom_jvp
def entmax15_rows(x: Array) -> Array:
    """Entmax with alpha = 1.5 over the last axis."""
    return by_pieces(solve_entmax15_rows, x)


def solve_entmax15_rows(x: Array) -> Array:
    """`entmax15_rows` without its derivative rule."""
    z = shift(x) / 2
    return zero_masked(x, solve_entmax15(z).normalized())


@entmax15_rows.defjvp
def _entmax15_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    p = entmax15_rows(primals[0])
    off = p == 0
    slope = jnp.where(off, 0, jnp.sqrt(jnp.where(off, 1, p)))
    return p, centered_product(slope, tangents[0])


@jax.custom_jvp
def entmax_rows(x: Array, alpha: Array) -> Array:
    """Entmax over the last axis, any alpha in (0, infinity]."""
    return by_pieces(_entmax, x, alpha)


def _entmax(x: Array, alpha: Array) -> Array:
    """By the closed power where every row has an alpha that has one, which is cheaper."""
    closed = jnp.where(jnp.all(alpha == 1.5), 1, jnp.where(jnp.all(alpha == 2), 2, 0))
    branches = (
        _solve_entmax_rows,
        lambda x, alpha: solve_entmax15_rows(x),
        lambda x, alpha: solve_sparsemax_rows(x),
    )
    return lax.switch(closed, branches, x, alpha)


def _solve_entmax_rows(x: Array, alpha: Array) -> Array:
    y = shift(x)
    hard = jnp.isinf(alpha)
    power = Power.of(jnp.where(hard, 2, alpha))
    steep = power.eps > 1
    top = row_max(y)
    live = top == 0
    start = jnp.where(live, power.start(), 0)
    solution = solve(power.family(), y, start, live & ~steep)
    # Above 2 the sum is not convex in the threshold: solved for the smallest output instead.
    _, p, total = lax.cond(
        jnp.any(live & steep),
        lambda solution: solve_steep(power, y, live & steep, solution),
        lambda solution: solution,
        solution,
    )
    p = jnp.where(hard, (y == 0).astype(p.dtype), p)
    total = jnp.where(hard, row_sum((y == 0).astype(p.dtype)), total)
    total = jnp.where(jnp.isnan(top) | ~(alpha > 0), jnp.nan, total)
    return zero_masked(x, safe_divide(p, total))


def _entmax_jvp(primals: tuple[Array, Array], tangents: tuple[Any, Any]) -> tuple[Array, Array]:
    (x, alpha), (dx, dalpha) = primals, tangents
    p = entmax_rows(x, alpha)
    off = (p == 0) | jnp.isinf(alpha)
    log_p = jnp.log(jnp.where(off, 1, p))
    # p^(2 - alpha), relative to its largest value: above alpha = 2 that is the smallest output's,
    # and its own size may leave the range of the dtype.
    order = jnp.where(jnp.isinf(alpha), 0, 2 - alpha)
    largest = jnp.where(alpha > 2, jnp.min(log_p, axis=-1, keepdims=True, initial=0), 0)
    slope = jnp.where(off, 0, jnp.exp(order * (log_p - largest)))
    scale = jnp.minimum(jnp.exp(order * largest), jnp.finfo(p.dtype).max)
    direction = 0 if isinstance(dx, SymbolicZero) else dx
    if not isinstance(dalpha, SymbolicZero):
        direction = direction + jnp.where(off, 0, alpha_direction(log_p, alpha)) * dalpha
    if isinstance(direction, int):
        return p, jnp.zeros_like(p)
    return p, scale * centered_product(slope, direction)


entmax_rows.defjvp(_entmax_jvp, symbolic_zeros=True)


def alpha_direction(log_p: Array, alpha: Array) -> Array:
    """`G` with `dp/dalpha = J G`: `log(p)^2 phi((alpha-1) log p)`, regular through alpha = 1."""
    eps = jnp.where(jnp.isinf(alpha), 1, alpha - 1)
    return jnp.square(log_p) * phi(eps * log_p)


def phi(u: Array) -> Array:
    """`(expm1(u) - u e^u) / u^2`, by its series near 0 where the difference cancels."""
    near = jnp.abs(u) < 0.3
    far = jnp.where(near, 1, u)
    closed = (jnp.expm1(far) - far * jnp.exp(far)) / jnp.square(far)
    small = jnp.where(near, u, 0)
    series = jnp.zeros_like(u)
    for k in reversed(range(8)):
        series = series * small - (k + 1) / math.factorial(k + 2)
    return jnp.where(near, series, closed)
