"""Hardmax: the limit of softmax at temperature 0."""

import jax.numpy as jnp

from softmax_variants._numerics import on_rows
from softmax_variants._typing import Array, ArrayLike, Axis
from softmax_variants.maps._softmax import softmax_rows


def hardmax(logits: ArrayLike, axis: Axis = -1, where: ArrayLike | None = None) -> Array:
    r"""Hardmax: all the mass on the largest logit; ties share it.

    .. math:: p_i = [x_i = \max_j x_j] \, / \, |\{j : x_j = \max_k x_k\}|

    The derivative is exactly zero: between ties the map is constant. To train through it, pair it
    with the derivative of a soft map by `straight_through`.

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
      >>> print(sv.hardmax(jnp.array([1.0, 3.0, 3.0])))
      [0.  0.5 0.5]

    References:
      Bridle, `Training Stochastic Model Recognition Algorithms as Networks
      <https://proceedings.neurips.cc/paper/1989/hash/0336dcbab05b9d5ad24f4333c7658a0e-Abstract.html>`_,
      1989 (of which softmax is the differentiable form).
    """
    return on_rows(hardmax_rows, logits, axis, where)


def hardmax_rows(x: Array) -> Array:
    """Hardmax over the last axis: softmax, infinitely sharp."""
    return softmax_rows(x, jnp.full((), jnp.inf, x.dtype))
