"""What all sampled losses share: which rows a step reads, and the scores that they give.

A loss first decides which classes it reads (`Draw`), then gathers their rows, and works on the rows
from there on. A head's step that updates few rows enters after the gathering.
"""

import math
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from softmax_variants._typing import Array, ArrayLike
from softmax_variants._validation import as_mask
from softmax_variants.heads._blocks import dtype_of
from softmax_variants.heads._samplers import Sampler
from softmax_variants.heads._spoiling import spoiled


class Draw(NamedTuple):
    """The sampled classes, and what is to be subtracted from the scores.

    Attributes:
      ids: int32 [samples], shared by all examples, or [examples, samples].
      log_q: what the samples' scores are less by, of the shape of `ids`.
      log_q_true: what the labels' scores are less by, [labels in all], or none.
      kept: which of the samples count, of the shape of `ids`.
    """

    ids: Array
    log_q: Array
    log_q_true: Array | None
    kept: Array


class Labels(NamedTuple):
    """The true classes of each example.

    Attributes:
      ids: int32 [examples, labels]; the number of classes where a label is none.
      weights: the target distribution over them, [examples, labels].
      counted: which have weight, [examples, labels].
      valid: which examples' counted labels are all classes, [examples].
    """

    ids: Array
    weights: Array
    counted: Array
    valid: Array


class Scores(NamedTuple):
    """The scores of all classes that a loss reads.

    Attributes:
      true: of the labels, [examples, labels].
      sampled: of the samples, [examples, samples].
      log_q_true: what the labels' are less by, [examples, labels], or none.
      log_q: what the samples' are less by, [1 or examples, samples].
      kept: which samples count, [1 or examples, samples].
      hit: which samples are a label of the example, [examples, samples].
      labels: the labels.
    """

    true: Array
    sampled: Array
    log_q_true: Array | None
    log_q: Array
    kept: Array
    hit: Array
    labels: Labels


class Objective(Protocol):
    """A sampled loss; static. Implementations are frozen dataclasses."""

    def draw(self, sampler: Sampler, key: Any, labels: Array) -> Any:
        """What the loss reads besides the labels, which are int32 [labels in all]."""

    def candidates(self, state: Any, labels: Labels, shown: Array) -> Draw:
        """The samples, from what was drawn; `shown` are the examples that take part."""

    def loss(self, scores: Scores) -> Array:
        """One loss an example."""


def as_class_ids(labels: ArrayLike, classes: int) -> Array:
    """Labels as int32, the number of classes standing for all that are none."""
    ids = jnp.asarray(labels)
    if not jnp.issubdtype(ids.dtype, jnp.integer):
        raise TypeError(f"labels must be class ids of integer dtype, got dtype {ids.dtype}")
    valid = ids >= 0
    if classes <= int(jnp.iinfo(ids.dtype).max):
        valid = valid & (ids < classes)
    return jnp.where(valid, ids.astype(jnp.int32), classes)


def as_labels(
    labels: ArrayLike,
    label_weights: ArrayLike | None,
    where: ArrayLike | None,
    batch: tuple[int, ...],
    classes: int,
    dtype: Any,
) -> tuple[Labels, Array]:
    """The labels and which examples take part, both with all examples on one axis."""
    ids = as_class_ids(labels, classes)
    several = ids.ndim == len(batch) + 1 and ids.shape[:-1] == batch
    if not several and ids.shape != batch:
        raise ValueError(
            f"labels must have shape {batch} (hidden's shape without features) or, with several "
            f"labels an example, {(*batch, 'labels')}, got {ids.shape}"
        )
    examples, count = math.prod(batch), ids.shape[-1] if several else 1
    if count == 0:
        raise ValueError(f"labels must have at least one label an example, got shape {ids.shape}")
    if label_weights is None:
        weights = jnp.full((examples, count), 1 / count, dtype)
    else:
        given = jnp.asarray(label_weights)
        if not jnp.issubdtype(given.dtype, jnp.floating):
            raise TypeError(f"label_weights must have a floating dtype, got dtype {given.dtype}")
        if given.shape != ids.shape:
            raise ValueError(
                f"label_weights must have labels' shape {ids.shape}, got {given.shape}"
            )
        weights = given.astype(dtype).reshape(examples, count)
    mask = as_mask(where, batch)
    shown = jnp.ones(batch, bool) if mask is None else jnp.broadcast_to(mask, batch)
    shown = shown.reshape(examples)
    ids = jnp.where(shown[:, None], ids.reshape(examples, count), classes)
    counted = (weights != 0) & shown[:, None]
    valid = jnp.all((ids < classes) | ~counted, axis=-1)
    return Labels(ids, weights, counted, valid), shown


def row_ids(labels: Array, draw: Any) -> Array:
    """The rows that a step reads: those of the labels, then those of the samples if any."""
    if not isinstance(draw, Draw):
        return labels.reshape(-1)
    return jnp.concatenate([labels.reshape(-1), draw.ids.reshape(-1)])


@jax.custom_jvp
def take(table: Array, ids: Array) -> Array:
    """The rows `ids` of a table in at least float32; 0 for an id of the table's length.

    Its derivative for the table is summed in that dtype and rounded once: a frequent class has
    hundreds of contributions, which in half precision would soon no longer change the sum.
    """
    return _take(table, ids).astype(dtype_of(table, table))


@take.defjvp
def _take_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Any]) -> tuple[Array, Array]:
    (table, ids), (moved, _) = primals, tangents
    return take(table, ids), _take(moved.astype(dtype_of(table, table)), ids)


def _take(table: Array, ids: Array) -> Array:
    return table.at[ids].get(mode="fill", fill_value=0)


def losses_of_rows(
    objective: Objective,
    rows: Array,
    biases: Array | None,
    state: Any,
    hidden: Array,
    labels: Labels,
    shown: Array,
    classes: int,
) -> Array:
    """One loss an example, [examples], from the rows that `row_ids` names.

    `hidden` is [examples, features]. An example that does not take part has loss 0 whatever it
    holds. NaN is the loss of an example with a label that is no class, or one that is corrected
    for how probable it was to be drawn and could not be.
    """
    dtype = dtype_of(hidden, rows)
    examples, count = labels.ids.shape
    # Selected before they are used: whatever an example or a row holds that does not count.
    hidden = jnp.where(shown[:, None], hidden, 0).astype(dtype)
    draw = objective.candidates(state, labels, shown)
    draw = draw._replace(kept=draw.kept & (draw.ids >= 0) & (draw.ids < classes))
    first, width = examples * count, hidden.shape[1]
    if not isinstance(state, Draw):  # the samples are the batch's own labels
        real = (labels.ids < classes).reshape(-1)
        true_rows = sampled_rows = jnp.where(real[:, None], rows, 0).astype(dtype)
        true_bias = sampled_bias = _bias(biases, real, dtype)
    else:
        real = jnp.concatenate([(labels.ids < classes).reshape(-1), draw.kept.reshape(-1)])
        all_rows, all_bias = jnp.where(real[:, None], rows, 0).astype(dtype), None
        true_rows, sampled_rows = all_rows[:first], all_rows[first:]
        all_bias = _bias(biases, real, dtype)
        true_bias = None if all_bias is None else all_bias[:first]
        sampled_bias = None if all_bias is None else all_bias[first:]
    true = jnp.einsum("nd,ntd->nt", hidden, true_rows.reshape(examples, count, width))
    shared = draw.ids.ndim == 1
    if shared:
        sampled = jnp.einsum("nd,sd->ns", hidden, sampled_rows)
    else:
        sampled = jnp.einsum("nd,nsd->ns", hidden, sampled_rows.reshape(*draw.ids.shape, width))
    if true_bias is not None and sampled_bias is not None:
        true = true + true_bias.reshape(examples, count)
        sampled = sampled + sampled_bias.reshape(
            (1, sampled.shape[1]) if shared else draw.ids.shape
        )
    ids, log_q, kept = (x[None] if shared else x for x in (draw.ids, draw.log_q, draw.kept))
    hit = jnp.any((ids[:, :, None] == labels.ids[:, None, :]) & labels.counted[:, None, :], axis=-1)
    log_q_true = None
    if draw.log_q_true is not None:
        log_q_true = draw.log_q_true.reshape(examples, count).astype(dtype)
        # What could not be drawn has no correction: whatever is subtracted, the loss is none.
        never = jnp.isneginf(log_q_true) & labels.counted
        log_q_true = jnp.where(never, 0, log_q_true)
        labels = labels._replace(valid=labels.valid & ~jnp.any(never, axis=-1))
    scores = Scores(true, sampled, log_q_true, log_q.astype(dtype), kept, hit, labels)
    return jnp.where(shown, spoiled(objective.loss(scores), labels.valid), 0)


def _bias(biases: Array | None, real: Array, dtype: Any) -> Array | None:
    return None if biases is None else jnp.where(real, biases, 0).astype(dtype)


def expected_true(labels: Labels, values: Array) -> Array:
    """The target's expectation of one number a label; a label without weight counts nothing."""
    return jnp.sum(labels.weights * jnp.where(labels.counted, values, 0), axis=-1)


def log_sum_exp(x: Array, kept: Array) -> Array:
    """The log-sum-exp of what is kept on the last axis; `-inf`, a constant, where nothing is."""
    some = jnp.any(kept, axis=-1)
    x = jnp.where(kept, x, -jnp.inf)
    return jnp.where(some, jax.nn.logsumexp(jnp.where(some[..., None], x, 0), axis=-1), -jnp.inf)
