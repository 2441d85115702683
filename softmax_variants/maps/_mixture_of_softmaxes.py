"""Mixture of softmaxes: several softmaxes of one row, mixed by a softmax of their own."""

import functools

import jax
import jax.numpy as jnp

from softmax_variants._numerics import from_rows, masked, to_rows
from softmax_variants._typing import Array, ArrayLike, Axis
from softmax_variants._validation import as_axes, as_logits, as_mask, check_broadcastable
from softmax_variants.maps._softmax import plain_softmax_rows


def mixture_of_softmaxes(
    logits: ArrayLike,
    axis: Axis = -1,
    where: ArrayLike | None = None,
    *,
    mixture_logits: ArrayLike,
    mixture_axis: int = -2,
) -> Array:
    r"""Mixture of softmaxes, which no single low-rank matrix of logits can express.

    .. math:: p_i = \sum_k \pi_k \, \mathrm{softmax}(x_k)_i, \qquad \pi = \mathrm{softmax}(m)

    Args:
      logits: scores of the components, which lie along `mixture_axis`; any real dtype, computed in
        at least float32, rounded once.
      axis: class axis or axes of `logits`.
      where: boolean mask that broadcasts to `logits`; False entries get probability 0 from their
        component. A component with nothing kept is left out: the weights are shared among the
        others, and the result still sums to 1.
      mixture_logits: `m`, an array that broadcasts to the shape of `logits` without `axis`; `-inf`
        leaves the component out.
      mixture_axis: the components' axis of `logits`.

    Returns:
      Probabilities of the shape of `logits` without `mixture_axis`, and of its floating dtype. A
      row without any component left is 0.

    Raises:
      TypeError: complex logits, a mask that is not boolean.
      ValueError: an axis out of bounds, a mixture axis that is a class axis, shapes that do not
        broadcast.

    Example:
      >>> import jax.numpy as jnp
      >>> import softmax_variants as sv
      >>> components = jnp.array([[200.0, 0.0, 0.0], [0.0, 200.0, 0.0]])
      >>> print(sv.mixture_of_softmaxes(components, mixture_logits=jnp.zeros(2)))
      [0.5 0.5 0. ]

    References:
      Yang, Dai, Salakhutdinov and Cohen, `Breaking the Softmax Bottleneck
      <https://arxiv.org/abs/1711.03953>`_, 2018.
    """
    logits = as_logits(logits)
    axes = as_axes(axis, logits.ndim)
    (components,) = as_axes((mixture_axis,), logits.ndim, "mixture_axis")
    if components in axes:
        raise ValueError(f"mixture_axis {mixture_axis} must not be a class axis, got axis {axis}")
    mask = as_mask(where, logits.shape)
    weights = as_logits(mixture_logits, "mixture_logits")
    batch = tuple(n for a, n in enumerate(logits.shape) if a not in axes)
    check_broadcastable(weights.shape, batch, "mixture_logits")
    return _mixture(logits, mask, weights, axes, components)


@functools.partial(jax.jit, static_argnames=("axes", "components"))
def _mixture(
    logits: Array, mask: Array | None, weights: Array, axes: tuple[int, ...], components: int
) -> Array:
    rows = to_rows(logits, mask, axes)
    weights = jnp.broadcast_to(weights.astype(rows.dtype), rows.shape[:-1])
    place = components - sum(a < components for a in axes)
    used = jnp.any(~masked(rows), axis=-1) & ~masked(weights)
    weights = jnp.where(used, weights, -jnp.inf)
    p = plain_softmax_rows(jnp.where(used[..., None], rows, -jnp.inf))
    share = jnp.moveaxis(plain_softmax_rows(jnp.moveaxis(weights, place, -1)), -1, place)
    # A component left out is 0 already; a select keeps a NaN's row from reaching its gradient.
    mixed = jnp.sum(jnp.where(used[..., None], share[..., None] * p, 0), axis=place)
    shape = tuple(n for a, n in enumerate(logits.shape) if a != components)
    return from_rows(
        mixed, jnp.zeros(shape, logits.dtype), tuple(a - (a > components) for a in axes)
    )
