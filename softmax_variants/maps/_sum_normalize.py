"""Division by the sum: the contrast case, for scores that are weights already."""

import jax
import jax.numpy as jnp

from softmax_variants._numerics import masked, on_rows, row_sum, safe_divide, zero_masked
from softmax_variants._typing import Array, ArrayLike, Axis
from softmax_variants.maps._spherical_softmax import relative


def sum_normalize(logits: ArrayLike, axis: Axis = -1, where: ArrayLike | None = None) -> Array:
    r"""Divides scores that are not negative by their sum.

    .. math:: p_i = x_i / \sum_j x_j

    It is what every other map here is to be compared with: linear in each score's share, blind to
    scale. A row of zeros, where the formula has no value, is uniform over what is kept, with a
    zero gradient.

    Negative scores are not refused, as traced values cannot be: the formula is applied, so the
    result still sums to 1 and has entries below 0 and above 1, and a row whose positive and
    negative scores cancel to a sum of 0 is NaN. A score of `-inf` is masked.

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
      >>> print(sv.sum_normalize(jnp.array([1.0, 3.0, 0.0])))
      [0.25 0.75 0.  ]

    References:
      Luce, `Individual Choice Behavior <https://doi.org/10.1037/14396-000>`_, 1959.
    """
    return on_rows(sum_normalize_rows, logits, axis, where)


@jax.custom_jvp
def sum_normalize_rows(x: Array) -> Array:
    """The last axis divided by its sum."""
    z, largest = relative(x)
    weight = zero_masked(x, jnp.where(largest == 0, 1, z))
    total = row_sum(weight)
    # A sum of 0 is left to an empty row alone.
    cancelled = (total == 0) & (largest > 0)
    return zero_masked(x, jnp.where(cancelled, jnp.nan, safe_divide(weight, total)))


@sum_normalize_rows.defjvp
def _sum_normalize_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    x = primals[0]
    p = sum_normalize_rows(x)
    z, largest = relative(x)
    flat = (largest == 0) | jnp.isinf(largest)
    total = jnp.where(flat, 1, row_sum(z))
    most = jnp.finfo(x.dtype).max
    inverse = jnp.clip(1 / total / jnp.where(flat, 1, largest), -most, most)
    # Onto the tangents that sum to 0, twice: the second pass keeps what the first cancels.
    v = jnp.where(masked(x), 0, tangents[0])
    v = v - p * row_sum(v)
    v = v - p * row_sum(v)
    return p, zero_masked(x, jnp.where(flat, 0, v * inverse))
