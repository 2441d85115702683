"""A step of Adagrad on the rows that it reads, and densely elsewhere.

Adagrad neither moves nor changes the state of a row whose gradient is zero, so that updating the
rows of a step alone gives what updating the whole table would.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PRNGKeyArray

from experiments.engine.rule import Rule, Stepped
from experiments.engine.task import Batch, Values
from experiments.words.model import Weights, hidden_of
from softmax_variants import rows


class Sums(NamedTuple):
    """Adagrad's sums of squares, of each part of the weights."""

    table: Any
    dense: Any
    head: Any


@dataclasses.dataclass(frozen=True)
class RowsAdagrad(Rule):
    """How a step changes the words' embeddings, the layer and the head.

    Attributes:
      head: The output layer.
      by_rows: Whether it reads and updates few rows of its tables.
    """

    head: Any
    by_rows: bool

    def begin(self, params: Weights) -> Sums:
        """Returns the sums before the first step."""
        dense = optax.adagrad(1.0)
        lazy = rows.lazy(dense)
        of_head = (lazy if self.by_rows else dense).init(params.head)
        return Sums(lazy.init(params.table), dense.init(params.dense), of_head)

    def step(
        self,
        params: Weights,
        memory: Sums,
        batch: Batch,
        key: PRNGKeyArray,
        rate: Array,
        values: Values,
    ) -> Stepped:
        """Returns the model after a step; gradients are of the sum over the batch.

        Only what the step worked out is looked at for numbers that are not finite: whole tables
        would take longer than it does. Adagrad moves no weight further than finite gradients let
        it.
        """
        del values
        inputs, labels = batch
        dense = optax.adagrad(rate)
        lazy = rows.lazy(dense)
        hidden, to_body = jax.vjp(hidden_of, params.dense, rows.take(params.table, inputs))
        if self.by_rows:
            losses, to_hidden, to_head = rows.value_and_grad(
                self.head, params.head, hidden, labels, key=key, cotangent=1.0
            )
            head, of_head = lazy.update(params.head, memory.head, to_head)
        else:

            def losses_of(params: Any, hidden: Array) -> Array:
                return self.head.loss(params, hidden, labels, key=key)

            losses, pullback = jax.vjp(losses_of, params.head, hidden)
            to_head, to_hidden = pullback(jnp.ones_like(losses))
            head, of_head = _dense_step(dense, params.head, memory.head, to_head)
        to_dense, to_read = to_body(to_hidden)
        table, of_table = lazy.update(params.table, memory.table, inputs, to_read)
        layer, of_layer = _dense_step(dense, params.dense, memory.dense, to_dense)
        worked_out = jax.tree.leaves((losses, to_hidden, to_head, to_dense, to_read))
        floats = [leaf for leaf in worked_out if jnp.issubdtype(leaf.dtype, jnp.floating)]
        finite = jnp.stack([jnp.isfinite(leaf).all() for leaf in floats]).all()
        after = Weights(table, layer, head), Sums(of_table, of_layer, of_head)
        return Stepped(*after, jnp.mean(losses), finite)


def _dense_step(transform: Any, params: Any, memory: Any, gradient: Any) -> tuple[Any, Any]:
    # optax promotes dtypes, which strict promotion does not let it.
    with jax.numpy_dtype_promotion("standard"):
        updates, memory = transform.update(gradient, memory, params)
    return jax.tree.map(jnp.add, params, updates), memory
