"""Entmax: from softmax (alpha = 1) through sparsemax (alpha = 2) to hardmax (alpha = infinity)."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

from softmax_variants._numerics import (
    centered_product,
    on_rows,
    staged_sum,
    zero_masked,
)
from softmax_variants._sharding import is_split
from softmax_variants._steep import solve_steep
from softmax_variants._threshold import Power, Rows, Solution, solve, solve_closed
from softmax_variants._typing import Array, ArrayLike, Axis
from softmax_variants._validation import as_parameter

# The exponents 1 / (alpha - 1) of the alphas 2, 1.5 and 1.25, which powers by products serve.
_EXPONENTS = (1, 2, 4)
_WORTHWHILE = 1 << 14


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
    return zero_masked(x, solve_closed(Rows.of(x), 2).normalized())


@entmax15_rows.defjvp
def _entmax15_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    p = entmax15_rows(primals[0])
    off = p == 0
    slope = jnp.where(off, 0, jnp.sqrt(jnp.where(off, 1, p)))
    return p, centered_product(slope, tangents[0])


@jax.custom_jvp
def entmax_rows(x: Array, alpha: Array) -> Array:
    """Entmax over the last axis, any alpha in (0, infinity]."""
    return _by_exponent(alpha, _closed_entmax, _power_entmax, Rows.of(x), alpha)


def _by_exponent(
    alpha: Array, closed: Callable[..., Array], general: Callable[..., Array], *operands: Any
) -> Array:
    """`closed(*operands, exponent=1 / (alpha - 1))` if every row's exponent is the same known one.

    Else `general(*operands)`: powers by products and roots are several times as fast, which on few
    numbers does not pay for compiling them all.
    """
    if max(leaf.size for leaf in jax.tree.leaves(operands)) < _WORTHWHILE:
        return general(*operands)
    known = [jnp.all(alpha == 1 + 1 / exponent) for exponent in _EXPONENTS]
    first = jnp.argmax(jnp.stack([*known, jnp.ones((), bool)]))
    branches = [functools.partial(closed, exponent=exponent) for exponent in _EXPONENTS]
    return lax.switch(first, [*branches, general], *operands)


def _closed_entmax(rows: Rows, alpha: Array, *, exponent: int) -> Array:
    del alpha
    return zero_masked(rows.levels[0], solve_closed(rows, exponent).normalized())


def _power_entmax(rows: Rows, alpha: Array) -> Array:
    hard = jnp.isinf(alpha)
    power = Power.of(jnp.where(hard, 2, alpha))
    live, steep = rows.live(), power.eps > 1
    start = jnp.where(live, power.start(), 0)
    solution = solve(power, rows, start, live & ~(steep | hard))

    def beyond_two(carry: tuple[Solution, Array]) -> tuple[Solution, Array]:
        """Above 2 the sum is not convex in the threshold: solved for the smallest output."""
        gap = rows.gap(start)
        solution = solve_steep(power, gap, live & steep, carry[0])
        ties = jnp.where(jnp.isnan(gap), gap, (gap == 0).astype(gap.dtype))
        output = jnp.where(hard, ties, solution.output)
        return Solution(solution.unknown, output, staged_sum(output)), jnp.bool_(False)

    # A loop of one turn at most: a `cond` would copy the outputs.
    solution, _ = lax.while_loop(
        lambda carry: carry[1], beyond_two, (solution, jnp.any(steep | hard))
    )
    total = jnp.where(alpha > 0, solution.total, jnp.nan)
    return zero_masked(rows.levels[0], solution._replace(total=total).normalized())


def _entmax_jvp(primals: tuple[Array, Array], tangents: tuple[Any, Any]) -> tuple[Array, Array]:
    (x, alpha), (dx, dalpha) = primals, tangents
    p = entmax_rows(x, alpha)
    direction = 0 if isinstance(dx, SymbolicZero) else dx
    if not isinstance(dalpha, SymbolicZero):
        off = (p == 0) | jnp.isinf(alpha)
        log_p = jnp.log(jnp.where(off, 1, p))
        direction = direction + jnp.where(off, 0, alpha_direction(log_p, alpha)) * dalpha
    if isinstance(direction, int):
        return p, jnp.zeros_like(p)
    # p^(2 - alpha), relative to its largest value: above alpha = 2 that is the smallest output's,
    # and its own size may leave the range of the dtype.
    if is_split(p, -1):
        largest = _log_smallest(p, alpha)
    else:
        largest = lax.cond(jnp.any(alpha > 2), _log_smallest, lambda p, _: 0 * p[..., :1], p, alpha)
    order = jnp.where(jnp.isinf(alpha), 0, 2 - alpha)
    scale = jnp.minimum(jnp.exp(order * largest), jnp.finfo(p.dtype).max)
    return p, scale * centered_product(_weights(p, alpha, largest), direction)


entmax_rows.defjvp(_entmax_jvp, symbolic_zeros=True)


def _log_smallest(p: Array, alpha: Array) -> Array:
    """The logarithm of the smallest output above 0, in the rows with alpha above 2; else 0."""
    log_p = jnp.log(jnp.where(p == 0, 1, p))
    smallest = jnp.min(log_p, axis=-1, keepdims=True, initial=0)
    return jnp.where((alpha > 2) & (alpha < jnp.inf), smallest, 0)


@jax.custom_jvp
def _weights(p: Array, alpha: Array, largest: Array) -> Array:
    """`(p / exp(largest))^(2 - alpha)`, 0 where p is 0 or alpha infinite."""
    return _by_exponent(alpha, _weights_by_roots, _weights_by_power, p, alpha, largest)


def _weights_by_roots(p: Array, alpha: Array, largest: Array, *, exponent: int) -> Array:
    """`p^(1 - 1 / exponent)`."""
    del alpha, largest
    root, weight = p, jnp.where(p > 0, 1, p)
    for _ in range(exponent.bit_length() - 1):
        root = jnp.sqrt(root)
        weight = weight * root
    return weight


def _weights_by_power(p: Array, alpha: Array, largest: Array) -> Array:
    off = (p == 0) | jnp.isinf(alpha)
    exponent = (2 - alpha) * (jnp.log(jnp.where(off, 1, p)) - largest)
    # A product, so that a NaN also comes out again where alpha is infinite.
    return jnp.where(off, 0 * p, jnp.exp(jnp.where(off, 0, exponent)))


@_weights.defjvp
def _weights_jvp(
    primals: tuple[Array, Array, Array], tangents: tuple[Array, Array, Array]
) -> tuple[Array, Array]:
    (p, alpha, largest), (dp, dalpha, dlargest) = primals, tangents
    weight = _weights(p, alpha, largest)
    off = (p == 0) | jnp.isinf(alpha)
    kept = jnp.where(off, 1, p)
    order = jnp.where(jnp.isinf(alpha), 0, 2 - alpha)
    change = order * (dp / kept - dlargest) - (jnp.log(kept) - largest) * dalpha
    return weight, weight * jnp.where(off, 0, change)


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
