"""Sparsemax: the Euclidean projection onto the simplex."""

import jax
import jax.numpy as jnp

from softmax_variants._numerics import centered_product, on_rows, zero_masked
from softmax_variants._threshold import Rows, solve_closed
from softmax_variants._typing import Array, ArrayLike, Axis


def sparsemax(logits: ArrayLike, axis: Axis = -1, where: ArrayLike | None = None) -> Array:
    r"""Sparsemax: the point of the simplex nearest to the logits.

    .. math:: p = \arg\min_{p \in \Delta} \|p - x\|^2, \qquad p_i = \max(x_i - \tau, 0)

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
      >>> print(sv.sparsemax(jnp.array([0.5, 0.25, -1.0])))
      [0.625 0.375 0.   ]

    References:
      Martins and Astudillo, `From Softmax to Sparsemax <https://arxiv.org/abs/1602.02068>`_, 2016.
    """
    return on_rows(sparsemax_rows, logits, axis, where)


@jax.custom_jvp
def sparsemax_rows(x: Array) -> Array:
    """Sparsemax over the last axis."""
    return zero_masked(x, solve_closed(Rows.of(x), 1).normalized())


@sparsemax_rows.defjvp
def _sparsemax_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    p = sparsemax_rows(primals[0])
    # On the support the Jacobian is a centring; NaN rows stay NaN.
    support = jnp.where(p > 0, 1, p)
    return p, centered_product(support, tangents[0])
