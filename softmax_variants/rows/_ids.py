"""Ids of rows: which are allowed, how rows are read, and how gradients of one row are summed."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from softmax_variants._numerics import compute_dtype
from softmax_variants._typing import Array, ArrayLike

# Ids are int32, and one beyond the table for each slot has to be an id too.
LARGEST_ID = 2**31 - 1


class RowGradient(NamedTuple):
    """The gradient of a table of which few rows were read.

    Attributes:
      ids: the rows, of any shape and integer dtype. A row may occur more than once: its gradient is
        the sum. An id of the table's length stands for no row.
      values: for each id a row, so of shape `(*ids.shape, *table.shape[1:])`.
    """

    ids: Array
    values: Array


class Slots(NamedTuple):
    """The distinct ids of a step, one a slot, and the slot of each gradient.

    The slots' ids increase strictly; slots that are left over have ids past the table's end, each
    its own, so that scatters may be told that the ids are sorted and unique.
    """

    ids: Array
    order: Array
    sorted_slots: Array


def as_ids(ids: ArrayLike, rows: int, name: str = "ids") -> tuple[Array, Array]:
    """Ids in int32, those out of range made padding, and where they were out of range.

    A negative id never stands for a row counted from the end.
    """
    array = jnp.asarray(ids)
    if not jnp.issubdtype(array.dtype, jnp.integer):
        raise TypeError(f"{name} must have an integer dtype, got dtype {array.dtype}")
    if rows + array.size > LARGEST_ID:
        raise ValueError(f"{name} of {array.size} in a table of {rows} rows do not fit int32")
    if not isinstance(array, jax.core.Tracer):
        values = np.asarray(array)
        bad = (values < 0) | (values > rows)
        if bad.any():
            raise ValueError(
                f"{name} must lie in [0, {rows}], the table's length standing for no row, got "
                f"{values[bad].flat[0]}"
            )
    # int8 and its like cannot hold the number of rows, unsigned dtypes no negative number.
    if jnp.iinfo(array.dtype).bits < 32:
        array = array.astype(jnp.int32)
    outside = (array < 0) | (array > jnp.asarray(rows, array.dtype))
    return jnp.where(outside, jnp.asarray(rows, array.dtype), array).astype(jnp.int32), outside


def take(table: ArrayLike, ids: ArrayLike) -> Array:
    r"""The rows of a table, in which an id of the table's length is a row of zeros.

    .. math:: r_i = W_{\mathrm{ids}_i}, \qquad
              \partial L / \partial W_j = \sum_{i: \mathrm{ids}_i = j} \partial L / \partial r_i

    To train a table by `lazy`, differentiate with respect to what `take` returns and not through
    it: the gradient of the whole table is what is to be avoided.

    Args:
      table: [rows, ...], any floating dtype.
      ids: integers of any shape, from 0 to the number of rows.

    Returns:
      `(*ids.shape, *table.shape[1:])`. A traced id that is out of range, which a negative one is,
      gives a row of NaN.

    Raises:
      TypeError: ids that are no integers, a table that is not floating.
      ValueError: an id that is out of range and known while tracing; a table without rows' axis.

    Example:
      >>> import jax.numpy as jnp
      >>> from softmax_variants import rows
      >>> print(rows.take(jnp.array([1.0, 2.0, 3.0]), jnp.array([2, 0, 3])))
      [3. 1. 0.]

    References:
      Mikolov et al., `Efficient Estimation of Word Representations in Vector Space
      <https://arxiv.org/abs/1301.3781>`_, 2013, whose models read a table on either side.
    """
    table = as_table(table, "table")
    safe, outside = as_ids(ids, table.shape[0])
    found = gather(table, safe)
    outside = outside.reshape(*outside.shape, *(1,) * (table.ndim - 1))
    return jnp.where(outside, jnp.full((), jnp.nan, table.dtype), found)


def as_table(table: ArrayLike, name: str) -> Array:
    """A floating array with an axis of rows."""
    array = jnp.asarray(table)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(f"{name} must have a floating dtype, got dtype {array.dtype}")
    if array.ndim == 0:
        raise ValueError(f"{name} must have shape (rows, ...), got a scalar")
    return array


def as_values(values: ArrayLike, ids: Array, table: Array, name: str = "row_grads") -> Array:
    """The gradients of rows in at least float32, one a flat id."""
    array = jnp.asarray(values)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(f"{name} must have a floating dtype, got dtype {array.dtype}")
    expected = (*ids.shape, *table.shape[1:])
    if array.shape != expected:
        raise ValueError(f"{name} must have shape {expected}, a row for each id, got {array.shape}")
    return array.astype(accumulated(table.dtype)).reshape(-1, *table.shape[1:])


def accumulated(dtype: jnp.dtype) -> jnp.dtype:
    """The dtype in which rows of a dtype are summed and updated."""
    return jnp.dtype(compute_dtype(dtype))


def gather(leaf: Array, ids: Array) -> Array:
    """Rows; zeros for the ids past the end. No id may be negative."""
    return leaf.at[ids].get(mode="fill", fill_value=0)


def scatter(leaf: Array, slots: Slots, new: Array) -> Array:
    """The leaf with the slots' rows replaced."""
    return leaf.at[slots.ids].set(
        new.astype(leaf.dtype), mode="drop", unique_indices=True, indices_are_sorted=True
    )


def slots_of(ids: Array, rows: int) -> Slots:
    """The distinct ids, found by one sort."""
    place = lax.iota(jnp.int32, ids.size)
    in_order, order = _sorted(ids.reshape(-1), place, rows)
    first = jnp.concatenate([jnp.zeros(1, bool), in_order[1:] != in_order[:-1]])[: ids.size]
    slots = jnp.cumsum(first, dtype=jnp.int32)
    distinct = (rows + place).at[slots].set(in_order, indices_are_sorted=True)
    return Slots(distinct, order, slots)


def _sorted(ids: Array, place: Array, rows: int) -> tuple[Array, Array]:
    """The ids in order and their places: as one number each where that fits, which sorts faster."""
    count = max(ids.size, 1)
    if (rows + 1) * count > 2**32:
        in_order, order = lax.sort((ids, place), num_keys=1)
        return in_order, order
    unit = jnp.asarray(count, jnp.uint32)
    both = lax.sort(ids.astype(jnp.uint32) * unit + place.astype(jnp.uint32))
    return (both // unit).astype(jnp.int32), (both % unit).astype(jnp.int32)


def sum_by_slot(values: Array, slots: Slots) -> Array:
    """The sum of the gradients of each slot, [ids, ...] as the gradients themselves.

    A processor adds at addresses; others do so slowly and in no fixed order where many of the
    addresses are the same, and sum neighbours in a fixed tree instead.
    """
    if not values.size:
        return values
    return lax.platform_dependent(values, slots, cpu=sum_by_address, default=sum_by_neighbours)


def sum_by_address(values: Array, slots: Slots) -> Array:
    """Adds every gradient to its slot."""
    of_each = jnp.zeros_like(slots.order).at[slots.order].set(slots.sorted_slots)
    return jnp.zeros_like(values).at[of_each].add(values)


def sum_by_neighbours(values: Array, slots: Slots) -> Array:
    """Sums runs of equal slots in log2(ids) rounds, each reaching twice as far as the last."""
    total, count = values[slots.order], slots.order.size
    reach = 1
    while reach < count:
        same = slots.sorted_slots[reach:] == slots.sorted_slots[:-reach]
        same = same.reshape(-1, *(1,) * (values.ndim - 1))
        total = total.at[reach:].add(jnp.where(same, total[:-reach], 0))
        reach *= 2
    # The last of a run has it all; a slot without one reads what nobody looks at.
    last = jnp.concatenate([slots.sorted_slots[1:] != slots.sorted_slots[:-1], jnp.ones(1, bool)])
    where = jnp.where(last, slots.sorted_slots, count)
    place = lax.iota(jnp.int32, count)
    ends = jnp.full_like(place, count).at[where].set(place, mode="drop")
    return total.at[ends].get(mode="fill", fill_value=0)
