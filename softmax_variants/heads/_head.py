"""What every output layer offers, so that an experiment changes it by changing one value."""

from typing import Any, NamedTuple, Protocol, TypeAlias

from softmax_variants._typing import Array, ArrayLike

Params: TypeAlias = dict[str, Array]


class Head(Protocol):
    """An output layer: how it is initialised, trained, evaluated and sampled.

    Implementations are frozen dataclasses, registered as pytrees: samplers and trees are their
    data, everything else is static. They may be closed over, or passed through `jit` and `scan`,
    which keeps a large tree out of the compiled program. The parameters are a dictionary of arrays.
    `hidden` is [..., features], `labels` and `where` are [...], all per-example results are [...].

    An example whose label is no class has the loss NaN. Its hidden state then has the gradient NaN,
    as have rows of the tables that it read; but where its loss counts nothing, its cotangent being
    0, it has the gradient 0 and leaves the tables' as it is.

    Example:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> import softmax_variants as sv
      >>> def perplexity(head: sv.Head, params, hidden, labels):
      ...     return jnp.exp(-head.log_prob(params, hidden, labels).mean())
      >>> hidden, labels = jnp.zeros((2, 4)), jnp.array([3, 7])
      >>> tree = sv.balanced_tree(8)
      >>> for head in sv.FullSoftmax(8, 4), sv.HierarchicalSoftmax(tree=tree, features=4):
      ...     params = head.init(jax.random.key(0))
      ...     print(round(float(perplexity(head, params, hidden, labels)), 4))
      8.0
      8.0
    """

    def init(self, key: Array) -> Params:
        """Initial parameters in float32."""

    def loss(
        self,
        params: Params,
        hidden: ArrayLike,
        labels: ArrayLike,
        *,
        key: Array | None = None,
        where: ArrayLike | None = None,
    ) -> Array:
        """The training objective of each example; 0 with gradient 0 where `where` is False.

        A head whose objective is random requires the key; the others ignore it.
        """

    def log_prob(self, params: Params, hidden: ArrayLike, labels: ArrayLike) -> Array:
        """The exact log-probability of each label, in bounded memory: for evaluation."""

    def log_probs(self, params: Params, hidden: ArrayLike) -> Array:
        """The exact log-probabilities of all classes, [..., classes]."""

    def top_k(self, params: Params, hidden: ArrayLike, k: int) -> tuple[Array, Array]:
        """The k most probable classes, best first: `(log_probs, ids)`, both [..., k]; exact."""

    def sample(self, params: Params, hidden: ArrayLike, key: Array) -> Array:
        """A class of each example, drawn from the exact distribution."""


class Plan(NamedTuple):
    """What a step of a head will read, chosen before any parameter is read.

    Attributes:
      ids: for each table of the parameters the rows that are read, int32 of any shape; a row may
        occur more than once. An id of the table's length stands for padding: no row.
      state: whatever else `loss_of_rows` needs, such as the corrections of the sampled classes.

    Example:
      >>> import jax.numpy as jnp
      >>> from softmax_variants import rows
      >>> plan = rows.Plan({"weight": jnp.array([2, 0, 2])}, state=None)
      >>> print(plan.ids["weight"])
      [2 0 2]
    """

    ids: dict[str, Array]
    state: Any


class ReadsRows(Protocol):
    """A loss that reads few rows of its tables, so that a step need not cost O(classes).

    `loss(params, ...)` is `loss_of_rows` of the rows that `plan` names.
    """

    def plan(self, labels: ArrayLike, *, key: Array | None = None) -> Plan:
        """The rows that the loss of these labels reads."""

    def loss_of_rows(
        self,
        rows: Params,
        plan: Plan,
        hidden: ArrayLike,
        labels: ArrayLike,
        *,
        where: ArrayLike | None = None,
    ) -> Array:
        """The losses from the rows, `rows[name]` being `params[name][plan.ids[name]]`."""


class RowHead(Head, ReadsRows, Protocol):
    """A head whose loss reads few rows of its tables."""
