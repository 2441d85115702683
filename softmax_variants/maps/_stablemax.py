"""Stablemax: a piecewise rational function in the place of the exponential."""

import jax
import jax.numpy as jnp

from softmax_variants._numerics import (
    centered_product,
    masked,
    on_rows,
    row_max,
    row_sum,
    safe_divide,
    unit_of,
    zero_masked,
)
from softmax_variants._typing import Array, ArrayLike, Axis


def stablemax(logits: ArrayLike, axis: Axis = -1, where: ArrayLike | None = None) -> Array:
    r"""Stablemax: linear in large logits, so that probabilities do not collapse.

    .. math::
      p_i = s(x_i) / \sum_j s(x_j), \qquad
      s(x) = \begin{cases} x + 1 & x \ge 0 \\ 1 / (1 - x) & x < 0 \end{cases}

    A constant added to the logits changes the result, as s is not an exponential.

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
      >>> print(sv.stablemax(jnp.array([4.0, 1.0, 0.0, -jnp.inf])))
      [0.625 0.25  0.125 0.   ]

    References:
      Prieto, Barsbey, Mediano and Birdal, `Grokking at the Edge of Numerical Stability
      <https://arxiv.org/abs/2501.04697>`_, 2025.
    """
    return on_rows(stablemax_rows, logits, axis, where)


@jax.custom_jvp
def stablemax_rows(x: Array) -> Array:
    """Stablemax over the last axis."""
    top = row_max(x)
    # s relative to its largest value, as a quotient of numbers that are at least 1: taken by
    # itself, s of a score near the end of the range would be too small a number to keep.
    unit = unit_of(1 + jnp.abs(top))
    size, largest = unit * (1 + jnp.abs(x)), unit * (1 + jnp.abs(top))
    below = jnp.where(top < 0, largest / size, jnp.square(unit) / largest / size)
    weight = jnp.where(x == top, 1, jnp.where(x >= 0, size / largest, below))
    weight = zero_masked(x, weight)
    return zero_masked(x, safe_divide(weight, row_sum(weight)))


@stablemax_rows.defjvp
def _stablemax_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    x = primals[0]
    p = stablemax_rows(x)
    # The derivative of log s.
    slope = 1 / (1 + jnp.abs(jnp.where(masked(x), 0, x)))
    return p, centered_product(p, slope * tangents[0])
