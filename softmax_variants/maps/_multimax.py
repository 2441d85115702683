"""MultiMax: softmax with a temperature for each range of the scores."""

from collections.abc import Sequence

import jax.numpy as jnp
from jax import lax

from softmax_variants._numerics import masked, on_rows, row_max
from softmax_variants._typing import Array, ArrayLike, Axis
from softmax_variants._validation import as_axes, as_logits, as_parameter
from softmax_variants.maps._softmax import plain_softmax_rows

_LARGEST_SQUARED = 2.0**62  # the square of a larger excess could leave the range of float32


def multimax(
    logits: ArrayLike,
    axis: Axis = -1,
    where: ArrayLike | None = None,
    *,
    temperatures: ArrayLike | Sequence[ArrayLike] = (0.0, 0.0, 0.0, 0.0),
    thresholds: ArrayLike | Sequence[ArrayLike] = (0.0, 0.0, 0.0, 0.0),
) -> Array:
    r"""MultiMax: softmax of scores that are bent below and above learned thresholds.

    .. math::
      p = \mathrm{softmax}(x + t_0 (b_0 - x)_+ + t_1 (x - b_1)_+
        + t_2 (b_2 - x)_+^2 + t_3 (x - b_3)_+^2)

    Positive `t_1` and `t_3` spread the largest scores apart, negative ones bring them together;
    positive `t_0` and `t_2` raise the smallest scores, negative ones push them towards zero. With
    all of them 0, the default, the map is exactly softmax.

    Args:
      logits: scores of any shape; any real dtype, computed in at least float32.
      axis: class axis or axes.
      where: boolean mask that broadcasts to `logits`; False entries get probability 0.
      temperatures: `t`, real numbers `[4]`, or `[2]` for the terms of first order alone. Leading
        dimensions, if any, broadcast against the logits' shape without `axis`. Differentiable.
      thresholds: `b`, like `temperatures` and with the same last dimension.

    Returns:
      Probabilities of the shape and floating dtype of `logits`; a row with nothing kept is 0.

    Raises:
      TypeError: complex logits, a mask that is not boolean.
      ValueError: a last dimension that is not 4 or 2, an axis out of bounds, shapes that do not
        broadcast.

    Example:
      >>> import jax.numpy as jnp
      >>> import softmax_variants as sv
      >>> x = jnp.array([0.0, 1.0, 2.0])
      >>> print((1000 * sv.multimax(x, temperatures=(-1.0, 1.0), thresholds=(1.0, 1.0))).round())
      [ 16. 117. 867.]

    References:
      Zhou et al., `MultiMax: Sparse and Multi-Modal Attention Learning
      <https://arxiv.org/abs/2406.01189>`_, 2024.
    """
    logits = as_logits(logits)
    axes = as_axes(axis, logits.ndim)
    t = as_parameter(temperatures, "temperatures")
    b = as_parameter(thresholds, "thresholds")
    for name, value in (("temperatures", t), ("thresholds", b)):
        if value.ndim == 0 or value.shape[-1] not in (2, 4):
            raise ValueError(f"{name} must have a last dimension of 2 or 4, got {value.shape}")
    if t.shape[-1] != b.shape[-1]:
        raise ValueError(
            f"thresholds must have as many entries as temperatures, {t.shape[-1]}, "
            f"got {b.shape[-1]}"
        )
    parameters = {}
    for i in range(t.shape[-1]):
        parameters[f"t{i}"] = _per_row(t[..., i], logits.ndim, axes)
        parameters[f"b{i}"] = _per_row(b[..., i], logits.ndim, axes)
    return on_rows(multimax_rows, logits, axis, where, parameters)


def multimax_rows(x: Array, **parameters: Array) -> Array:
    """MultiMax over the last axis, with parameters `t0, b0, t1, ...`."""
    out, top = masked(x), lax.stop_gradient(row_max(x))
    infinite = top == jnp.inf
    value = jnp.where(out | infinite, 0, x)
    top = jnp.where(jnp.isinf(top), 0, top)
    # Every term is taken relative to what it is at the largest score, differences first, so an
    # offset of the row costs no digits. Softmax does not see what is subtracted from a whole row,
    # so the largest score as a reference has no derivative.
    bent = jnp.maximum(value - top, -jnp.finfo(x.dtype).max)
    for i in range(len(parameters) // 2):
        t, b = parameters[f"t{i}"], parameters[f"b{i}"]
        bend = jnp.maximum if i % 2 else jnp.minimum
        difference = bend(value, b) - bend(top, b)
        if i < 2:
            bent = bent + (difference if i else -difference) * t
            continue
        limit = _LARGEST_SQUARED
        both = jnp.abs(bend(value, b) - b) + jnp.abs(bend(top, b) - b)
        square = jnp.clip(difference, -limit, limit) * jnp.minimum(both, limit)
        bent = bent + (square if i % 2 else -square) * t
    bent = jnp.where(infinite, jnp.where(x == jnp.inf, 0, -jnp.inf), bent)
    return plain_softmax_rows(jnp.where(out, -jnp.inf, bent))


def _per_row(value: Array, ndim: int, axes: tuple[int, ...]) -> Array:
    """A parameter over the rows' dimensions as one over the logits', of size 1 on the axes."""
    if value.ndim == 0:
        return value
    value = value.reshape((1,) * (ndim - len(axes) - value.ndim) + value.shape)
    return jnp.expand_dims(value, axes)
