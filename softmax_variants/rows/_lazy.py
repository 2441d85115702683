"""Any elementwise transform of optax, applied to the rows that a step read and to no others."""

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp

from softmax_variants._typing import Array
from softmax_variants._validation import as_count
from softmax_variants.rows._catch_up import Held, caught_up, check_decays
from softmax_variants.rows._ids import (
    Slots,
    as_ids,
    gather,
    scatter,
    slots_of,
    sum_by_slot,
)
from softmax_variants.rows._steps import (
    Gradient,
    LazyState,
    TableState,
    as_tables,
    first_state,
    over_tables,
)
from softmax_variants.rows._transform import (
    Split,
    State,
    Transform,
    check_rows_are_independent,
    flattened,
    split_of,
    updated,
    updated_by_row,
)

Mode = Literal["lazy", "catch_up"]


def lazy(transform: Transform, mode: Mode = "lazy", *, max_replay: int | None = None) -> "Lazy":
    r"""Makes an optax transform update only the rows that a step read, at a cost without classes.

    .. math:: g_j = \sum_{i: \mathrm{ids}_i = j} \mathrm{values}_i, \qquad
              (W_j, s_j) \leftarrow \mathrm{step}(W_j, s_j, g_j)
              \quad \text{for } j \in \mathrm{ids}

    `opt.init(table)` and `opt.update(table, state, ids, row_grads)` return a state, and the pair of
    the new table and state. Donate both to `jax.jit`, or carry both through `lax.scan`: they are
    then updated in place. `table` may be a tree of tables; `opt.update(tables, state, gradients)`
    takes a tree of `RowGradient` or of pairs `(ids, row_grads)`. Each table is handed to the
    transform alone.

    What equals the dense step `transform` with the gradient scattered into zeros, up to rounding:

    ======================================  ===========================  ====================
    transform                               "lazy"                       "catch_up"
    ======================================  ===========================  ====================
    SGD (also scheduled), Adagrad           table and state              table and state
    RMSProp                                 no: moments of rows that     table and state of
                                            are not read do not decay    caught-up rows
    momentum, Adam, weight decay            no: rows that are not read   table and state of
                                            neither move nor decay       caught-up rows
    ``MultiSteps``, ``apply_every``         no: rows that the applying   table and state of
                                            step does not read keep      caught-up rows
                                            what they have gathered
    ======================================  ===========================  ====================

    In the mode "lazy" scalars such as Adam's count are those of all steps, as in TensorFlow's
    LazyAdam and PyTorch's SparseAdam. Weight decay in the transform applies to the rows of a step.

    In the mode "catch_up" a row is first taken through the steps it missed, with gradients of zero.
    That is the dense step itself, so its parameters and its moments are the dense ones, schedules
    and weight decay included. It costs as many small steps as the row that was away the longest
    missed. With `max_replay` the steps past that many are skipped in closed form: moments decay by
    `factor ** missed`, and the parameters stay. The state is still the dense one; a parameter lacks
    what it would have moved in the skipped steps, which after k steps of Adam has shrunk to
    :math:`(\beta_1 / \sqrt{\beta_2})^k`, 1e-9 at 200, but all of it for weight decay. The gradient
    is dense training's only if the rows were caught up before they were read:
    `table, state = opt.catch_up(table, state, ids)`; without ids all rows are, as is needed before
    an evaluation.

    A table of lower precision than float32 is updated in float32 and rounded once a step; the
    state's leaves are in float32.

    Args:
      transform: an elementwise `optax.GradientTransformation`. One that works on each row alone,
        such as `clip_rows`, counts. `init` tries it on two rows and refuses one that reads others,
        and one that draws random numbers.
      mode: "lazy" or "catch_up".
      max_replay: in the mode "catch_up", how many missed steps are taken one by one.

    Returns:
      A `Lazy`, with `init`, `update` and `catch_up`. Traced ids that are out of range, which
      negative ones are, are ignored and counted in `state.dropped`; `take` makes NaN of them.

    Raises:
      TypeError: ids that are no integers, tables or gradients that are not floating.
      ValueError: a mode that is not one; a transform that is not elementwise, or draws; shapes that
        do not fit; an id that is out of range and known while tracing.

    Example:
      >>> import jax.numpy as jnp
      >>> import optax
      >>> from softmax_variants import rows
      >>> table, opt = jnp.ones((4, 2)), rows.lazy(optax.sgd(0.5))
      >>> ids = jnp.array([2, 0, 2, 4])  # the third row twice, and no row
      >>> table, state = opt.update(table, opt.init(table), ids, jnp.ones((4, 2)))
      >>> print(table[:, 0])
      [0.5 1.  0.  1. ]

    References:
      Duchi et al., `Adaptive Subgradient Methods
      <https://jmlr.org/papers/v12/duchi11a.html>`_, 2011, whose square is of the summed gradient;
      Kingma and Ba, `Adam <https://arxiv.org/abs/1412.6980>`_, 2015.
    """
    if mode not in ("lazy", "catch_up"):
        raise ValueError(f'mode must be "lazy" or "catch_up", got {mode!r}')
    if max_replay is not None:
        if mode != "catch_up":
            raise ValueError('max_replay is for the mode "catch_up" only')
        max_replay = as_count(max_replay, "max_replay")
    for method in ("init", "update"):
        if not callable(getattr(transform, method, None)):
            raise TypeError(
                f"transform must be a gradient transformation of optax, got "
                f"{type(transform).__name__}"
            )
    return Lazy(transform, mode, max_replay)


@dataclasses.dataclass(frozen=True)
class Lazy:
    """An optimizer of the rows that a step read; see `lazy`."""

    transform: Transform
    mode: Mode = "lazy"
    max_replay: int | None = None

    def init(self, table: Any) -> LazyState:
        """The state before the first step. Only here is the whole table looked at."""
        return first_state(table, self._first)

    def update(
        self, table: Any, state: LazyState, ids: Any, row_grads: Any = None
    ) -> tuple[Any, LazyState]:
        """The table, or the tree of tables, and the state after a step.

        Without `row_grads` the ids are a tree of pairs: `RowGradient` or `(ids, row_grads)`.
        """

        def step(table: Array, own: TableState, gradient: Gradient) -> tuple[Array, TableState]:
            return self._step(table, own, gradient, state.step)

        return over_tables(step, table, state, ids, row_grads)

    def catch_up(self, table: Any, state: LazyState, ids: Any = None) -> tuple[Any, LazyState]:
        """The table and the state with the missed steps of the ids' rows made up; of all without.

        `ids` is an array, or in the tables' structure an array for each.
        """
        if self.mode != "catch_up":
            raise ValueError('catch_up needs lazy(..., mode="catch_up")')
        tables, tree = as_tables(table)
        every = [None] * len(tables) if ids is None else tree.flatten_up_to(ids)
        done = []
        for leaf, own, which in zip(tables, tree.flatten_up_to(state.tables), every, strict=True):
            split = split_of(self.transform, leaf)
            if which is None:
                whole = Held(leaf, own.inner, own.steps)
                held = caught_up(split, whole, state.step, self.max_replay)
                done.append((held.rows, TableState(held.state, held.steps)))
                continue
            slots = slots_of(as_ids(which, leaf.shape[0])[0], leaf.shape[0])
            held = caught_up(
                split, _read(leaf, own, slots, state.step), state.step, self.max_replay
            )
            done.append(_written(leaf, own, slots, held))
        new = tree.unflatten([own for _, own in done])
        return tree.unflatten([leaf for leaf, _ in done]), state._replace(tables=new)

    def _first(self, table: Array) -> TableState:
        split = split_of(self.transform, table)
        check_rows_are_independent(split, table)
        inner = jax.tree.map(jnp.asarray, split.init(table))
        if self.mode == "lazy":
            return TableState(inner, None)
        if self.max_replay is not None:
            check_decays(split, table)
        leaves, tree = flattened(inner)
        rows = table.shape[:1]
        leaves = [
            x if own else jnp.broadcast_to(x, rows)
            for x, own in zip(leaves, split.by_row, strict=True)
        ]
        return TableState(tree.unflatten(leaves), jnp.zeros(rows, jnp.int32))

    def _step(
        self, table: Array, own: TableState, gradient: Gradient, step: Array
    ) -> tuple[Array, TableState]:
        split = split_of(self.transform, table)
        total = sum_by_slot(gradient.values, gradient.slots)
        if own.steps is None:
            row = gather(table, gradient.slots.ids)
            inner = _of_rows(split, own.inner, gradient.slots)
            row, inner = updated(split, total, inner, row)
        else:
            held = _read(table, own, gradient.slots, step)
            held = caught_up(split, held, step, self.max_replay)
            row, inner = updated_by_row(split, total, held.state, held.rows)
            return _written(table, own, gradient.slots, Held(row, inner, held.steps + 1))
        leaves = zip(jax.tree.leaves(own.inner), jax.tree.leaves(inner), split.by_row, strict=True)
        kept = [scatter(old, gradient.slots, new) if by else new for old, new, by in leaves]
        new = flattened(own.inner)[1].unflatten(kept)
        return scatter(table, gradient.slots, row), TableState(new, None)


def _of_rows(split: Split, state: State, slots: Slots) -> State:
    leaves, tree = flattened(state)
    pairs = zip(leaves, split.by_row, strict=True)
    return tree.unflatten([gather(x, slots.ids) if own else x for x, own in pairs])


def _read(table: Array, own: TableState, slots: Slots, now: Array) -> Held:
    """The rows of a step; padding has missed nothing."""
    assert own.steps is not None
    inner = jax.tree.map(lambda leaf: gather(leaf, slots.ids), own.inner)
    steps = jnp.where(slots.ids < table.shape[0], gather(own.steps, slots.ids), now)
    return Held(gather(table, slots.ids), inner, steps)


def _written(table: Array, own: TableState, slots: Slots, held: Held) -> tuple[Array, TableState]:
    """The table and its state with the rows put back."""
    assert own.steps is not None
    kept = jax.tree.map(lambda old, new: scatter(old, slots, new), own.inner, held.state)
    return scatter(table, slots, held.rows), TableState(kept, scatter(own.steps, slots, held.steps))
