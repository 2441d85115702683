"""Softpick: a rectified softmax that may pick nothing."""

import jax
import jax.numpy as jnp
from jax import lax

from softmax_variants._numerics import (
    masked,
    on_rows,
    row_max,
    row_sum,
    safe_divide,
    shift,
    zero_masked,
)
from softmax_variants._typing import Array, ArrayLike, Axis


def softpick(logits: ArrayLike, axis: Axis = -1, where: ArrayLike | None = None) -> Array:
    r"""Softpick: the positive part of `exp(x) - 1` over the sum of its sizes.

    .. math:: p_i = \max(e^{x_i} - 1, 0) \, / \, \sum_j |e^{x_j} - 1|

    A logit at or below 0 gets exactly 0 and still takes from the others through the denominator,
    so a row sums to at most 1; a row without a positive logit is all zeros, exactly. The derivative
    at a logit of exactly 0, where both rectifiers have a kink, leaves that logit out, and that of a
    row of zeros is zero. A constant added to the logits changes the result.

    Args:
      logits: scores of any shape; any real dtype, computed in at least float32.
      axis: class axis or axes.
      where: boolean mask that broadcasts to `logits`; False entries get probability 0.

    Returns:
      Weights of the shape and floating dtype of `logits`; a row with nothing kept is 0.

    Raises:
      TypeError: complex logits, a mask that is not boolean.
      ValueError: an axis out of bounds, shapes that do not broadcast.

    Example:
      >>> import jax.numpy as jnp
      >>> import softmax_variants as sv
      >>> print(sv.softpick(jnp.array([1.0, 1.0, 0.0, -jnp.inf])))
      [0.5 0.5 0.  0. ]

    References:
      Zuhri, Fuadi and Aji, `Softpick: No Attention Sink, No Massive Activations with Rectified
      Softmax <https://arxiv.org/abs/2504.20966>`_, 2025.
    """
    return on_rows(softpick_rows, logits, axis, where)


@jax.custom_jvp
def softpick_rows(x: Array) -> Array:
    """Softpick over the last axis."""
    _, height, total = _parts(x)
    return zero_masked(x, safe_divide(jnp.maximum(height, 0), total))


@softpick_rows.defjvp
def _softpick_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    x = primals[0]
    p = softpick_rows(x)
    power, height, total = _parts(x)
    rise = safe_divide(power, total) * jnp.where(masked(x), 0, tangents[0])
    change = row_sum(jnp.sign(height) * rise)
    rise = jnp.where(height <= 0, 0, rise)
    return p, zero_masked(x, rise - p * change)


def _parts(x: Array) -> tuple[Array, Array, Array]:
    """`exp(x)`, `exp(x) - 1` and the row's sum of sizes, each times the same `exp(-reference)`.

    Only quotients of the three are used, so the reference has no derivative.
    """
    out = masked(x)
    top = lax.stop_gradient(jnp.maximum(row_max(x), 0))
    one = jnp.exp(-top)
    power = jnp.exp(jnp.where(jnp.isinf(top), shift(x, top), jnp.where(out, 0, x) - top))
    near = jnp.abs(x) < 1
    # Near 0 the difference cancels; far from it the exponential alone would overflow.
    height = jnp.where(near, jnp.expm1(jnp.where(near, x, 0)) * one, power - one)
    power, height = jnp.where(out, 0, power), jnp.where(out, 0, height)
    return power, height, row_sum(jnp.abs(height))
