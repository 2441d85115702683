"""Spherical softmax: squares in the place of exponentials."""

import jax
import jax.numpy as jnp
from jax import lax

from softmax_variants._numerics import (
    masked,
    on_rows,
    row_max,
    row_sum,
    safe_divide,
    unit_of,
    zero_masked,
)
from softmax_variants._typing import Array, ArrayLike, Axis


def spherical_softmax(logits: ArrayLike, axis: Axis = -1, where: ArrayLike | None = None) -> Array:
    r"""Spherical softmax: each squared logit's share of the squared length.

    .. math:: p_i = x_i^2 / \sum_j x_j^2

    The sign of a logit does not count, so the map is not monotone; the scale of a row does not
    count either, and a constant added to it does. A row of zeros, where the formula has no
    value, is uniform over what is kept, with a zero gradient.

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
      >>> print(sv.spherical_softmax(jnp.array([1.0, -1.0, 0.0])))
      [0.5 0.5 0. ]

    References:
      de Brebisson and Vincent, `An Exploration of Softmax Alternatives Belonging to the Spherical
      Loss Family <https://arxiv.org/abs/1511.05042>`_, 2016.
    """
    return on_rows(spherical_softmax_rows, logits, axis, where)


@jax.custom_jvp
def spherical_softmax_rows(x: Array) -> Array:
    """Spherical softmax over the last axis."""
    z, largest = relative(x)
    square = jnp.square(z)
    # A row of zeros shares equally.
    weight = zero_masked(x, jnp.where(largest == 0, 1, square))
    return zero_masked(x, safe_divide(weight, row_sum(weight)))


@spherical_softmax_rows.defjvp
def _spherical_softmax_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    x = primals[0]
    p = spherical_softmax_rows(x)
    z, largest = relative(x)
    length = jnp.sqrt(jnp.where(largest == 0, 1, row_sum(jnp.square(z))))
    r = z / length
    flat = (largest == 0) | jnp.isinf(largest)
    most = jnp.finfo(x.dtype).max
    inverse = jnp.minimum(1 / (length * jnp.where(flat, 1, largest)), most)
    # Onto the tangent space of the sphere, twice: the second pass keeps what the first cancels.
    v = jnp.where(masked(x), 0, tangents[0])
    v = v - r * row_sum(r * v)
    v = v - r * row_sum(r * v)
    return p, zero_masked(x, jnp.where(flat, 0, 2 * r * v * inverse))


def relative(x: Array) -> tuple[Array, Array]:
    """The row divided by its largest size, masked entries 0, and that size.

    All that is made of the two is independent of the size taken, which therefore has no derivative.
    """
    value = jnp.where(masked(x), 0, x)
    largest = lax.stop_gradient(row_max(jnp.abs(value)))
    largest = jnp.maximum(largest, 0)
    infinite = jnp.isinf(largest)
    unit = unit_of(largest)
    divisor = jnp.where(infinite | (largest == 0), 1, unit * largest)
    finite = unit * jnp.where(infinite, 0, value) / divisor
    return jnp.where(infinite & (x == jnp.inf), 1, finite), largest
