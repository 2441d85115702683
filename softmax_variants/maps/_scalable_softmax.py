"""Scalable softmax: sharper the more classes there are, so that long rows do not fade."""

import jax.numpy as jnp

from softmax_variants._numerics import masked, on_rows
from softmax_variants._typing import Array, ArrayLike, Axis
from softmax_variants._validation import as_parameter
from softmax_variants.maps._softmax import softmax_rows


def scalable_softmax(
    logits: ArrayLike,
    axis: Axis = -1,
    where: ArrayLike | None = None,
    *,
    scale: ArrayLike = 1.0,
) -> Array:
    r"""Scalable softmax (SSMax): the logits times the logarithm of the number of classes.

    .. math:: p_i = n^{s x_i} / \sum_j n^{s x_j}, \qquad n = \text{the number of entries kept}

    The largest probability depends on how far it stands out, and not on the length of the row.
    n counts what the mask and `-inf` leave of each row: under a causal mask, the visible keys.

    Args:
      logits: scores of any shape; any real dtype, computed in at least float32.
      axis: class axis or axes.
      where: boolean mask that broadcasts to `logits`; False entries get probability 0.
      scale: `s`, a scalar or an array with size 1 on `axis`; in a transformer, learned per head.

    Returns:
      Probabilities of the shape and floating dtype of `logits`; a row with nothing kept is 0.

    Raises:
      TypeError: complex logits, a mask that is not boolean.
      ValueError: an axis out of bounds, shapes that do not broadcast.

    Example:
      >>> import jax.numpy as jnp
      >>> import softmax_variants as sv
      >>> print((1000 * sv.scalable_softmax(jnp.array([0.0, 1.0, 2.0, -jnp.inf]))).round())
      [ 77. 231. 692.   0.]

    References:
      Nakanishi, `Scalable-Softmax Is Superior for Attention <https://arxiv.org/abs/2501.19399>`_,
      2025.
    """
    return on_rows(
        scalable_softmax_rows, logits, axis, where, {"scale": as_parameter(scale, "scale")}
    )


def scalable_softmax_rows(x: Array, scale: Array) -> Array:
    """Softmax of the last axis times `scale * log(kept)`."""
    kept = jnp.sum(~masked(x), axis=-1, keepdims=True, dtype=jnp.int32)
    return softmax_rows(x, scale * jnp.log(jnp.maximum(kept, 1).astype(x.dtype)))
