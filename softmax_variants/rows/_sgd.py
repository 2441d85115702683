"""Stochastic gradient descent on rows: linear in the gradient, so that repeated ids need no sum."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import lax

from softmax_variants._typing import Array, ArrayLike
from softmax_variants.rows._ids import accumulated, gather, scatter, sum_by_slot
from softmax_variants.rows._steps import Gradient, LazyState, TableState, first_state, over_tables

Schedule = Callable[[Array], ArrayLike]


def sgd(learning_rate: ArrayLike | Schedule) -> "SGD":
    r"""Gradient descent on the rows that a step read, at a cost without classes.

    .. math:: W_{\mathrm{ids}_i} \leftarrow W_{\mathrm{ids}_i} - \eta\, \mathrm{values}_i
              \quad \text{for every } i

    It is `lazy(optax.sgd(learning_rate))`, without the sort where adding row by row gives the same:
    for tables of at least float32 on a processor. Elsewhere the gradients of a row are summed
    first. It has the same `init` and `update`; it keeps no state of rows.

    Args:
      learning_rate: a number, a scalar array, traced or not, or a schedule of the step.

    Returns:
      An `SGD`, with `init` and `update`.

    Raises:
      TypeError: ids that are no integers, tables or gradients that are not floating.
      ValueError: shapes that do not fit; an id that is out of range and known while tracing.

    Example:
      >>> import jax.numpy as jnp
      >>> from softmax_variants import rows
      >>> table, opt = jnp.ones(3), rows.sgd(0.5)
      >>> ids, row_grads = jnp.array([2, 2]), jnp.array([1.0, 0.5])
      >>> table, state = opt.update(table, opt.init(table), ids, row_grads)
      >>> print(table)
      [1.   1.   0.25]

    References:
      Mikolov et al., `Efficient Estimation of Word Representations in Vector Space
      <https://arxiv.org/abs/1301.3781>`_, 2013, whose training is this.
    """
    if not callable(learning_rate) and jnp.shape(learning_rate) != ():
        raise ValueError(
            f"learning_rate must be a scalar or a schedule, got shape {jnp.shape(learning_rate)}"
        )
    return SGD(learning_rate)


@dataclasses.dataclass(frozen=True)
class SGD:
    """Gradient descent on the rows that a step read; see `sgd`."""

    learning_rate: ArrayLike | Schedule

    def init(self, table: Any) -> LazyState:
        """The state before the first step."""
        return first_state(table, lambda _: TableState((), None))

    def update(
        self, table: Any, state: LazyState, ids: Any, row_grads: Any = None
    ) -> tuple[Any, LazyState]:
        """The table, or the tree of tables, and the state after a step, as of `lazy`."""
        rate = self.learning_rate(state.step) if callable(self.learning_rate) else None
        rate = jnp.asarray(self.learning_rate if rate is None else rate)

        def step(table: Array, own: TableState, gradient: Gradient) -> tuple[Array, TableState]:
            change = -rate.astype(gradient.values.dtype) * gradient.values
            return _added(table, gradient._replace(values=change)), own

        return over_tables(step, table, state, ids, row_grads)


def _added(table: Array, gradient: Gradient) -> Array:
    if table.dtype != accumulated(table.dtype):
        return _summed_first(table, gradient)
    return lax.platform_dependent(table, gradient, cpu=_one_by_one, default=_summed_first)


def _one_by_one(table: Array, gradient: Gradient) -> Array:
    return table.at[gradient.ids].add(gradient.values, mode="drop")


def _summed_first(table: Array, gradient: Gradient) -> Array:
    total = sum_by_slot(gradient.values, gradient.slots)
    row = gather(table, gradient.slots.ids).astype(total.dtype) + total
    return scatter(table, gradient.slots, row)
