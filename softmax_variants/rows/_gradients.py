"""The gradient of a head with respect to the rows that it read."""

from typing import Any

import jax
import jax.numpy as jnp

from softmax_variants._typing import Array, ArrayLike
from softmax_variants._validation import as_mask
from softmax_variants.heads._head import Params, Plan, ReadsRows
from softmax_variants.rows._ids import RowGradient, take


def value_and_grad(
    head: ReadsRows,
    params: Params,
    hidden: ArrayLike,
    labels: ArrayLike,
    *,
    key: Array | None = None,
    where: ArrayLike | None = None,
    cotangent: ArrayLike | None = None,
    plan: Plan | None = None,
) -> tuple[Array, Array, dict[str, RowGradient]]:
    r"""The losses of a head, and their gradient for the hidden states and for the rows read.

    .. math:: L = \sum_n c_n\, \ell_n(h_n, W_{\mathrm{ids}}), \qquad
              (\ell, \; \partial L / \partial h, \; \partial L / \partial W_{\mathrm{ids}})

    No array of the tables' size is made: the plan says which rows the losses read, and only these
    are gathered and differentiated. Scattered into zeros and summed, the rows' gradients are the
    gradient of the tables.

    Args:
      head: a head whose losses read few rows, such as a sampled or a hierarchical one; any
        `ReadsRows`.
      params: its tables.
      hidden: [..., features], the output of the body.
      labels: [...], class ids.
      key: for the heads whose losses are random.
      where: boolean, broadcasts to [...]; examples that are False have loss and gradients 0.
      cotangent: the factors c of the losses, broadcasts to [...]; by default those of the mean over
        the examples that count.
      plan: the rows to read, if `head.plan` was called before; labels and key must be the same.

    Returns:
      `(losses, hidden_gradient, gradients)`: [...], hidden's shape and dtype, and for each table a
      `RowGradient`, as `lazy` takes it. Padding has values 0. Examples that read a row out of
      range are NaN.

    Raises:
      ValueError: a plan whose tables are not those of the parameters; shapes that do not fit.

    Example:
      >>> import jax.numpy as jnp
      >>> from softmax_variants import rows
      >>> class LabelScore:  # a head that wants the score of the label to be 1
      ...     def plan(self, labels, *, key=None):
      ...         return rows.Plan({"weight": labels}, None)
      ...
      ...     def loss_of_rows(self, rows, plan, hidden, labels, *, where=None):
      ...         return jnp.square((hidden * rows["weight"]).sum(-1) - 1)
      >>> params, hidden = {"weight": jnp.zeros((5, 2))}, jnp.ones((1, 2))
      >>> losses, to_body, gradients = rows.value_and_grad(
      ...     LabelScore(), params, hidden, jnp.array([3])
      ... )
      >>> print(losses, gradients["weight"].ids, gradients["weight"].values)
      [1.] [3] [[-2. -2.]]

    References:
      Jean et al., `On Using Very Large Target Vocabulary for Neural Machine Translation
      <https://arxiv.org/abs/1412.2007>`_, 2015.
    """
    hidden = jnp.asarray(hidden)
    if where is not None:
        where = jnp.asarray(where)
        as_mask(where, jnp.shape(labels))
        where = jnp.broadcast_to(where, jnp.shape(labels))
    if plan is None:
        plan = head.plan(labels, key=key)
    if plan.ids.keys() != params.keys():
        raise ValueError(
            f"params must have the tables that the plan reads, {sorted(plan.ids)}, got "
            f"{sorted(params)}"
        )
    read = {name: take(params[name], ids) for name, ids in plan.ids.items()}

    def losses_of(hidden: Array, read: Params) -> Array:
        return head.loss_of_rows(read, plan, hidden, labels, where=where)

    losses, pullback = jax.vjp(losses_of, hidden, read)
    to_hidden, to_rows = pullback(_cotangent(cotangent, losses, where))
    gradients = {
        name: RowGradient(ids, _without_padding(to_rows[name], ids, params[name]))
        for name, ids in plan.ids.items()
    }
    return losses, to_hidden, gradients


def _cotangent(cotangent: ArrayLike | None, losses: Array, where: Array | None) -> Array:
    if cotangent is not None:
        given: Any = jnp.asarray(cotangent)
        try:
            return jnp.broadcast_to(given.astype(losses.dtype), losses.shape)
        except ValueError:
            raise ValueError(
                f"cotangent must broadcast to the losses' shape {losses.shape}, got {given.shape}"
            ) from None
    if where is None:
        return jnp.full_like(losses, 1 / max(losses.size, 1))
    counted = where.astype(losses.dtype)
    return counted / jnp.maximum(jnp.sum(counted), 1)


def _without_padding(values: Array, ids: Array, table: Array) -> Array:
    rows = jnp.asarray(ids) < table.shape[0]
    return jnp.where(rows.reshape(*rows.shape, *(1,) * (table.ndim - 1)), values, 0)
