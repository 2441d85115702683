"""Evidential softmax: softmax over the scores that are not below average."""

import jax.numpy as jnp

from softmax_variants._numerics import masked, on_rows, row_sum, shift
from softmax_variants._typing import Array, ArrayLike, Axis
from softmax_variants.maps._softmax import softmax_rows


def ev_softmax(logits: ArrayLike, axis: Axis = -1, where: ArrayLike | None = None) -> Array:
    r"""Evidential softmax: softmax over the entries that reach the row's mean.

    .. math:: p_i = [x_i \ge \bar x] \, e^{x_i} / \sum_{j : x_j \ge \bar x} e^{x_j}

    The mean is over what is kept. It is compared with the differences to the largest entry, which
    therefore always stays in: a constant row is uniform, whatever its length. The map jumps where
    an entry crosses the mean; its derivative is that of the softmax over the entries that stay.

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
      >>> print((1000 * sv.ev_softmax(jnp.array([1.0, 1.0, 0.5, -1.0]))).round())
      [384. 384. 233.   0.]

    References:
      Chen, Itkina, Senanayake and Kochenderfer, `Evidential Softmax for Sparse Multimodal
      Distributions in Deep Generative Models <https://arxiv.org/abs/2110.14182>`_, 2021.
    """
    return on_rows(ev_softmax_rows, logits, axis, where)


def ev_softmax_rows(x: Array) -> Array:
    """Evidential softmax over the last axis."""
    out = masked(x)
    y = shift(x)
    kept = jnp.sum(~out, axis=-1, keepdims=True, dtype=jnp.int32)
    mean = row_sum(jnp.where(out, 0, y)) / jnp.maximum(kept, 1).astype(x.dtype)
    # Written so that a row with a NaN, which compares with nothing, keeps all it has.
    return softmax_rows(jnp.where(y < mean, -jnp.inf, x), jnp.ones((), x.dtype))
