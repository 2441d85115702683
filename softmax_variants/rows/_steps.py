"""What the optimizers of rows share: their state, and how gradients come in."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from softmax_variants._typing import Array, ArrayLike
from softmax_variants.rows._ids import Slots, as_ids, as_table, as_values, slots_of


class TableState(NamedTuple):
    """The state of one table.

    Attributes:
      inner: the state of the transform, its leaves of rows in at least float32. In the mode
        "catch_up" its scalars have a value for each row: that of the row's own last step.
      steps: how many steps each row has been taken through, [rows]; only in the mode "catch_up".
    """

    inner: Any
    steps: Array | None


class LazyState(NamedTuple):
    """The state of an optimizer of rows.

    Attributes:
      tables: a `TableState` for each table, in the tables' structure.
      step: the number of steps so far.
      dropped: how many ids were out of range so far, and ignored. Not 0 means a fault elsewhere.
    """

    tables: Any
    step: Array
    dropped: Array


class Gradient(NamedTuple):
    """The gradient of one table, checked: flat ids in range or padding, and a row for each."""

    ids: Array
    values: Array
    slots: Slots


def as_tables(tables: Any) -> tuple[list[Array], Any]:
    """The tables and their structure."""
    leaves, tree = jax.tree.flatten(tables)
    if not leaves:
        raise ValueError("table must be an array or a tree of arrays, got no array")
    return [as_table(leaf, "table") for leaf in leaves], tree


def as_gradients(
    tables: list[Array], tree: Any, ids: Any, row_grads: Any
) -> tuple[list[Gradient], Array]:
    """The gradients of all tables, and how many ids were out of range.

    Tables whose ids are the same array share one sort.
    """
    if row_grads is None:
        pairs = tree.flatten_up_to(ids)
    else:
        pairs = zip(tree.flatten_up_to(ids), tree.flatten_up_to(row_grads), strict=True)
    known: dict[tuple[int, int], tuple[Array, Slots, Array]] = {}
    gradients, dropped = [], jnp.zeros((), jnp.int32)
    for table, pair in zip(tables, pairs, strict=True):
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise TypeError(
                f"a table's gradient must be a pair (ids, row_grads), got {type(pair).__name__}"
            )
        which, rows = pair[0], table.shape[0]
        if (id(which), rows) not in known:
            safe, outside = as_ids(which, rows)
            count = jnp.sum(outside, dtype=jnp.int32)
            known[id(which), rows] = safe, slots_of(safe, rows), count
        safe, slots, count = known[id(which), rows]
        values = as_values(pair[1], safe, table)
        gradients.append(Gradient(safe.reshape(-1), values, slots))
        dropped += count
    return gradients, dropped


def over_tables(
    step: Callable[[Array, TableState, Gradient], tuple[Array, TableState]],
    tables: Any,
    state: LazyState,
    ids: Any,
    row_grads: ArrayLike | None,
) -> tuple[Any, LazyState]:
    """Takes every table through a step."""
    leaves, tree = as_tables(tables)
    gradients, dropped = as_gradients(leaves, tree, ids, row_grads)
    states = tree.flatten_up_to(state.tables)
    done = [step(*each) for each in zip(leaves, states, gradients, strict=True)]
    new = LazyState(
        tree.unflatten([after for _, after in done]), state.step + 1, state.dropped + dropped
    )
    return tree.unflatten([table for table, _ in done]), new


def first_state(tables: Any, of_table: Callable[[Array], TableState]) -> LazyState:
    """The state before the first step."""
    leaves, tree = as_tables(tables)
    zero = jnp.zeros((), jnp.int32)
    return LazyState(
        tree.unflatten([of_table(leaf) for leaf in leaves]), zero, jnp.zeros_like(zero)
    )
