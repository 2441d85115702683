"""Softmax over the most probable classes only: the k first, a mass of p, or a share of the top."""

import jax.numpy as jnp

from softmax_variants._numerics import masked, on_rows, row_max, row_sum, shift, zero_masked
from softmax_variants._selection import kth_largest, largest_threshold
from softmax_variants._typing import Array, ArrayLike, Axis
from softmax_variants._validation import as_count, as_parameter
from softmax_variants.maps._softmax import plain_softmax_rows


def top_k_softmax(
    logits: ArrayLike,
    axis: Axis = -1,
    where: ArrayLike | None = None,
    *,
    k: int,
) -> Array:
    r"""Softmax over the k largest logits; the others get exactly 0.

    .. math:: p_i \propto \exp(x_i) \, [x_i \ge x_{(k)}]

    Ties at the k-th place are all kept: no class is preferred for its position. Which classes are
    kept is not differentiated.

    Args:
      logits: scores of any shape; any real dtype, computed in at least float32.
      axis: class axis or axes.
      where: boolean mask that broadcasts to `logits`; False entries get probability 0.
      k: number of classes to keep, static; with fewer in a row all are kept.

    Returns:
      Probabilities of the shape and floating dtype of `logits`; a row with nothing kept is 0.

    Raises:
      TypeError: complex logits, a mask that is not boolean, a k that is not an integer.
      ValueError: k below 1, an axis out of bounds, shapes that do not broadcast.

    Example:
      >>> import jax.numpy as jnp
      >>> import softmax_variants as sv
      >>> print(sv.top_k_softmax(jnp.array([1.0, 1.0, 0.0, -1.0]), k=2))
      [0.5 0.5 0.  0. ]

    References:
      Fan, Lewis and Dauphin, `Hierarchical Neural Story Generation
      <https://arxiv.org/abs/1805.04833>`_, 2018.
    """
    return on_rows(top_k_softmax_rows, logits, axis, where, k=as_count(k, "k"))


def top_p_softmax(
    logits: ArrayLike,
    axis: Axis = -1,
    where: ArrayLike | None = None,
    *,
    p: ArrayLike = 0.9,
) -> Array:
    r"""Softmax over the nucleus: the fewest most probable classes whose mass reaches p.

    .. math:: q_i \propto \exp(x_i) \, [x_i \ge c], \qquad
        c = \max \{ c : \textstyle\sum_{x_i \ge c} \mathrm{softmax}(x)_i \ge p \}

    Classes that tie are kept or dropped together. Which classes are kept is not differentiated.

    Args:
      logits: scores of any shape; any real dtype, computed in at least float32.
      axis: class axis or axes.
      where: boolean mask that broadcasts to `logits`; False entries get probability 0.
      p: the mass, in [0, 1], a scalar or an array with size 1 on `axis`. 0 keeps the maximum, 1
        keeps all. Traced values outside the interval give NaN. Its derivative is 0.

    Returns:
      Probabilities of the shape and floating dtype of `logits`; a row with nothing kept is 0.

    Raises:
      TypeError: complex logits, a mask that is not boolean.
      ValueError: p outside [0, 1], an axis out of bounds, shapes that do not broadcast.

    Example:
      >>> import jax.numpy as jnp
      >>> import softmax_variants as sv
      >>> print(sv.top_p_softmax(jnp.log(jnp.array([0.5, 0.3, 0.15, 0.05])), p=0.75))
      [0.62500006 0.375      0.         0.        ]

    References:
      Holtzman, Buys, Du, Forbes and Choi, `The Curious Case of Neural Text Degeneration
      <https://arxiv.org/abs/1904.09751>`_, 2019.
    """
    mass = as_parameter(p, "p", low=0, high=1)
    return on_rows(top_p_softmax_rows, logits, axis, where, {"p": mass})


def min_p_softmax(
    logits: ArrayLike,
    axis: Axis = -1,
    where: ArrayLike | None = None,
    *,
    min_p: ArrayLike = 0.1,
) -> Array:
    r"""Softmax over the classes at least `min_p` times as probable as the most probable one.

    .. math:: q_i \propto \exp(x_i) \, [x_i - \max_j x_j \ge \log p_{\min}]

    Which classes are kept is not differentiated.

    Args:
      logits: scores of any shape; any real dtype, computed in at least float32.
      axis: class axis or axes.
      where: boolean mask that broadcasts to `logits`; False entries get probability 0.
      min_p: the share, in [0, 1], a scalar or an array with size 1 on `axis`. 0 keeps all, 1 keeps
        the maximum. Traced values outside the interval give NaN. Its derivative is 0.

    Returns:
      Probabilities of the shape and floating dtype of `logits`; a row with nothing kept is 0.

    Raises:
      TypeError: complex logits, a mask that is not boolean.
      ValueError: min_p outside [0, 1], an axis out of bounds, shapes that do not broadcast.

    Example:
      >>> import jax.numpy as jnp
      >>> import softmax_variants as sv
      >>> print(sv.min_p_softmax(jnp.log(jnp.array([0.5, 0.5, 0.04])), min_p=0.1))
      [0.5 0.5 0. ]

    References:
      Nguyen et al., `Turning Up the Heat: Min-p Sampling for Creative and Coherent LLM Outputs
      <https://arxiv.org/abs/2407.01082>`_, 2024.
    """
    share = as_parameter(min_p, "min_p", low=0, high=1)
    return on_rows(min_p_softmax_rows, logits, axis, where, {"min_p": share})


def top_k_softmax_rows(x: Array, k: int) -> Array:
    """Softmax over the k largest entries of the last axis."""
    if k >= x.shape[-1]:
        return softmax_over(x, ~masked(x))
    return softmax_over(x, x >= kth_largest(x, jnp.full((1,) * x.ndim, k, jnp.int32)))


def top_p_softmax_rows(x: Array, p: Array) -> Array:
    """Softmax over the nucleus of mass p of the last axis."""
    probability = plain_softmax_rows(x)
    y = shift(x)

    def reached(score: Array) -> Array:
        return row_sum(jnp.where(y >= score, probability, 0)) >= p

    # The threshold is an entry of the row, or above it at p = 0; a mass of 1 is what all have.
    lowest = jnp.minimum(largest_threshold(reached, y), 0)
    kept = (y >= lowest) | (p == 1)
    return softmax_over(x, kept, (p >= 0) & (p <= 1))


def min_p_softmax_rows(x: Array, min_p: Array) -> Array:
    """Softmax over the entries of the last axis within `log(min_p)` of the maximum."""
    valid = (min_p >= 0) & (min_p <= 1)
    kept = shift(x) >= jnp.log(jnp.where(valid, min_p, 1))
    return softmax_over(x, kept, valid)


def softmax_over(x: Array, kept: Array, valid: Array | None = None) -> Array:
    """Softmax of the kept entries; rows with a NaN, or with a parameter not valid, are NaN.

    Comparisons have no derivative, and so the choice of what is kept has none.
    """
    top = row_max(x)
    # A row with a NaN keeps it, and so is NaN throughout, value and derivative.
    scores = jnp.where(kept | jnp.isnan(top), x, -jnp.inf)
    p = plain_softmax_rows(scores)
    return p if valid is None else zero_masked(x, jnp.where(valid, p, jnp.nan))
