"""Taylor softmax: a Taylor polynomial in the place of the exponential."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

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
from softmax_variants._validation import as_count

_HIGHEST_ORDER = 20  # the roots of a higher polynomial are no longer exact to rounding


def taylor_softmax(
    logits: ArrayLike,
    axis: Axis = -1,
    where: ArrayLike | None = None,
    *,
    order: int = 2,
) -> Array:
    r"""Taylor softmax: the exponential's polynomial of an even order, which is positive.

    .. math:: p_i = T(x_i) / \sum_j T(x_j), \qquad T(x) = \sum_{k=0}^{m} x^k / k!

    The tails are heavy, a large negative logit counts like a large positive one, and a constant
    added to the logits changes the result.

    Args:
      logits: scores of any shape; any real dtype, computed in at least float32.
      axis: class axis or axes.
      where: boolean mask that broadcasts to `logits`; False entries get probability 0.
      order: `m`, static: 2, 4, ... 20.

    Returns:
      Probabilities of the shape and floating dtype of `logits`; a row with nothing kept is 0.

    Raises:
      TypeError: complex logits, a mask that is not boolean, an order that is not an integer.
      ValueError: an order that is odd or out of range, an axis out of bounds, shapes that do not
        broadcast.

    Example:
      >>> import jax.numpy as jnp
      >>> import softmax_variants as sv
      >>> print((1000 * sv.taylor_softmax(jnp.array([2.0, 0.0, -2.0]))).round())
      [714. 143. 143.]

    References:
      de Brebisson and Vincent, `An Exploration of Softmax Alternatives Belonging to the Spherical
      Loss Family <https://arxiv.org/abs/1511.05042>`_, 2016.
    """
    order = as_count(order, "order", low=2, high=_HIGHEST_ORDER)
    if order % 2:
        raise ValueError(f"order must be even (an odd polynomial has a root), got {order}")
    return on_rows(taylor_softmax_rows, logits, axis, where, order=order)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def taylor_softmax_rows(x: Array, order: int) -> Array:
    """Taylor softmax over the last axis."""
    out, top = masked(x), row_max(x)
    infinite = top == jnp.inf
    finite = jnp.where(out | infinite, 0, x)
    largest = row_max(jnp.abs(finite))
    weight = jnp.ones_like(x)
    for center, height in _roots(order):
        # Each factor relative to what the row's largest score makes of it: no power overflows.
        scale = jnp.maximum(math.hypot(center, height), largest)
        unit = unit_of(scale)
        z = unit * (finite - center) / (unit * scale)
        weight = weight * (jnp.square(z) + jnp.square(height / scale))
    weight = jnp.where(infinite, (x == top).astype(x.dtype), weight)
    weight = zero_masked(x, weight)
    return zero_masked(x, safe_divide(weight, row_sum(weight)))


@taylor_softmax_rows.defjvp
def _taylor_softmax_jvp(
    order: int, primals: tuple[Array], tangents: tuple[Array]
) -> tuple[Array, Array]:
    x = primals[0]
    p = taylor_softmax_rows(x, order)
    finite = jnp.where(jnp.isinf(x), 0, x)
    slope = jnp.zeros_like(x)
    for center, height in _roots(order):
        # The derivative of the factor's logarithm. It does not depend on the scale, so that the
        # scale has no derivative of its own.
        scale = jnp.maximum(math.hypot(center, height), lax.stop_gradient(jnp.abs(finite)))
        z = (finite - center) / scale
        slope = slope + 2 * z / (jnp.square(z) + jnp.square(height / scale)) / scale
    slope = jnp.where(jnp.isinf(x), 0, slope)
    return p, centered_product(p, slope * tangents[0])


@functools.cache
def _roots(order: int) -> tuple[tuple[float, float], ...]:
    """`(re, im)` of the polynomial's roots in the upper half plane; none is real.

    The product of `(x - re)^2 + im^2` is a sum of positive numbers at every x, so it has none of
    the cancellation that the sum of powers suffers from at negative x.
    """
    coefficients = np.array([1 / math.factorial(k) for k in range(order, -1, -1)])
    roots = np.roots(coefficients)
    for _ in range(3):  # Newton's method: T' is T without its last term
        value = np.polyval(coefficients, roots)
        roots = roots - value / np.polyval(np.polyder(coefficients), roots)
    upper = sorted(roots[roots.imag > 0], key=lambda root: float(root.imag))
    return tuple((float(root.real), float(root.imag)) for root in upper)
