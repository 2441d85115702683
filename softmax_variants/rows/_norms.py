"""Norms of gradients of rows: of each row for itself, and of all that was read."""

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from softmax_variants._typing import Array, ArrayLike
from softmax_variants._validation import as_parameter
from softmax_variants.rows._ids import RowGradient, Slots, accumulated, slots_of, sum_by_slot

if TYPE_CHECKING:
    import optax


def clip_rows(max_norm: ArrayLike) -> "optax.GradientTransformation":
    r"""Scales each row of a gradient down to a norm of at most `max_norm`, as an optax transform.

    .. math:: g_j \leftarrow g_j \min(1, c / \lVert g_j \rVert_2)

    Inside of `lazy` the row is the sum over its repeated ids, and rows that were not read have
    gradients of zero, so that this is what it is for the dense gradient. A row is all but the first
    axis; of a table with one axis each element is a row.

    Args:
      max_norm: the largest norm c, at least 0; a scalar.

    Returns:
      An `optax.GradientTransformation` without a state.

    Raises:
      ValueError: a norm below 0 or that is no scalar.

    Example:
      >>> import jax.numpy as jnp
      >>> from softmax_variants import rows
      >>> clip = rows.clip_rows(1.0)
      >>> gradient = jnp.array([[3.0, 4.0], [0.3, 0.4]])
      >>> print(clip.update(gradient, clip.init(gradient))[0])
      [[0.6 0.8]
       [0.3 0.4]]

    References:
      Pascanu et al., `On the difficulty of training recurrent neural networks
      <https://arxiv.org/abs/1211.5063>`_, 2013.
    """
    import optax

    largest = _as_norm(max_norm)

    def clipped(row: Array) -> Array:
        axes = tuple(range(1, row.ndim))
        square = jnp.sum(jnp.square(row.astype(accumulated(row.dtype))), axis=axes, keepdims=True)
        return (row.astype(square.dtype) * _factor(square, largest)).astype(row.dtype)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        del params
        return jax.tree.map(clipped, updates), state

    return optax.GradientTransformation(lambda _: optax.EmptyState(), update)


def global_norm(gradients: Any) -> Array:
    r"""The norm of a whole gradient, in which tables are given by the rows that were read.

    .. math:: \Big(\sum_t \sum_j \lVert \textstyle\sum_{i: \mathrm{ids}_{ti} = j}
              \mathrm{values}_{ti} \rVert^2 + \sum_k \lVert g_k \rVert^2\Big)^{1/2}

    The rows that were not read have gradients of zero, so that this is the norm of the dense
    gradient.

    Args:
      gradients: a tree of `RowGradient` and of arrays, such as the tables' gradients and the body's
        one. The values of padding ids have to be 0, as those of `value_and_grad` are.

    Returns:
      The norm, a scalar of at least float32.

    Raises:
      ValueError: a tree without a gradient.

    Example:
      >>> import jax.numpy as jnp
      >>> from softmax_variants import rows
      >>> twice = rows.RowGradient(jnp.array([7, 7]), jnp.array([1.0, 2.0]))
      >>> print(rows.global_norm({"table": twice, "body": jnp.array([4.0])}))
      5.0

    References:
      Pascanu et al., `On the difficulty of training recurrent neural networks
      <https://arxiv.org/abs/1211.5063>`_, 2013.
    """
    leaves = jax.tree.leaves(gradients, is_leaf=_is_row_gradient)
    if not leaves:
        raise ValueError("gradients must have a RowGradient or an array in it, got neither")
    known: dict[int, Slots] = {}
    squares = []
    for leaf in leaves:
        values = jnp.asarray(leaf.values if _is_row_gradient(leaf) else leaf)
        values = values.astype(accumulated(values.dtype))
        if _is_row_gradient(leaf):
            if id(leaf.ids) not in known:
                known[id(leaf.ids)] = _slots(leaf.ids)
            row = values.shape[jnp.ndim(leaf.ids) :]
            values = sum_by_slot(values.reshape(-1, *row), known[id(leaf.ids)])
        squares.append(jnp.sum(jnp.square(values)))
    widest = max((square.dtype for square in squares), key=lambda dtype: dtype.itemsize)
    return jnp.sqrt(jnp.sum(jnp.stack([square.astype(widest) for square in squares])))


def clip_by_global_norm(gradients: Any, max_norm: ArrayLike) -> Any:
    r"""Scales a whole gradient down to a norm of at most `max_norm`, at a cost without classes.

    .. math:: g \leftarrow g \min(1, c / \lVert g \rVert_2)

    Args:
      gradients: a tree of `RowGradient` and of arrays, as of `global_norm`.
      max_norm: the largest norm c, at least 0; a scalar.

    Returns:
      The same tree, its ids as they were.

    Raises:
      ValueError: a norm below 0 or that is no scalar; a tree without a gradient.

    Example:
      >>> import jax.numpy as jnp
      >>> from softmax_variants import rows
      >>> twice = rows.RowGradient(jnp.array([7, 7]), jnp.array([1.0, 2.0]))
      >>> print(rows.clip_by_global_norm(twice, 1.5).values)
      [0.5 1. ]

    References:
      Pascanu et al., `On the difficulty of training recurrent neural networks
      <https://arxiv.org/abs/1211.5063>`_, 2013.
    """
    norm = global_norm(gradients)
    factor = _factor(jnp.square(norm), _as_norm(max_norm))

    def clipped(leaf: Any) -> Any:
        if _is_row_gradient(leaf):
            return RowGradient(leaf.ids, clipped(leaf.values))
        array = jnp.asarray(leaf)
        wide = array.astype(accumulated(array.dtype))
        return (wide * factor.astype(wide.dtype)).astype(array.dtype)

    return jax.tree.map(clipped, gradients, is_leaf=_is_row_gradient)


def _is_row_gradient(leaf: Any) -> bool:
    return isinstance(leaf, RowGradient)


def _slots(ids: ArrayLike) -> Slots:
    array = jnp.asarray(ids)
    return slots_of(array.astype(jnp.int32), int(np.iinfo(np.int32).max) - array.size)


def _as_norm(max_norm: ArrayLike) -> Array:
    array = as_parameter(max_norm, "max_norm", low=0)
    if array.shape:
        raise ValueError(f"max_norm must be a scalar, got shape {array.shape}")
    return array


def _factor(square: Array, largest: Array) -> Array:
    """`min(1, largest / norm)`, 1 for a norm of 0."""
    largest = largest.astype(square.dtype)
    above = square > jnp.square(largest)
    return jnp.where(above, largest / jnp.sqrt(jnp.where(above, square, 1)), 1)
