"""Sigsoftmax: the exponential times the sigmoid, beyond softmax's bottleneck."""

import jax
import jax.numpy as jnp

from softmax_variants._numerics import (
    centered_product,
    masked,
    on_rows,
    row_sum,
    safe_divide,
    shift,
    zero_masked,
)
from softmax_variants._typing import Array, ArrayLike, Axis


def sigsoftmax(logits: ArrayLike, axis: Axis = -1, where: ArrayLike | None = None) -> Array:
    r"""Sigsoftmax: `exp(x) * sigmoid(x)`, normalised.

    .. math:: p_i = e^{x_i} \sigma(x_i) / \sum_j e^{x_j} \sigma(x_j)

    Its log-probabilities are not linear in the logits, so a narrow output layer can express more
    distributions than with softmax. A constant added to the logits changes the result.

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
      >>> print((1000 * sv.sigsoftmax(jnp.array([0.0, 1.0, 2.0]))).round())
      [ 56. 221. 724.]

    References:
      Kanai, Fujiwara, Yamanaka and Adachi, `Sigsoftmax: Reanalysis of the Softmax Bottleneck
      <https://arxiv.org/abs/1805.10829>`_, 2018.
    """
    return on_rows(sigsoftmax_rows, logits, axis, where)


@jax.custom_jvp
def sigsoftmax_rows(x: Array) -> Array:
    """Sigsoftmax over the last axis."""
    # sigmoid(x) = exp(min(x, 0)) / (1 + exp(-|x|)): both exponents are taken relative to the
    # largest score before they are added, so neither rounds at its own size.
    exponent = shift(x) + shift(jnp.minimum(x, 0))
    weight = jnp.exp(exponent) / (1 + jnp.exp(-jnp.abs(x)))
    weight = zero_masked(x, weight)
    return zero_masked(x, safe_divide(weight, row_sum(weight)))


@sigsoftmax_rows.defjvp
def _sigsoftmax_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    x = primals[0]
    p = sigsoftmax_rows(x)
    # The derivative of x + log sigmoid(x).
    slope = 1 + jax.nn.sigmoid(-jnp.where(masked(x), 0, x))
    return p, centered_product(p, slope * tangents[0])
