"""Softmax over the labels of the batch itself, corrected for how frequent each label is."""

import dataclasses
from typing import Any

import jax.numpy as jnp

from softmax_variants._sharding import examples_of, over_devices
from softmax_variants._typing import Array, ArrayLike
from softmax_variants.heads._arguments import as_floating, as_hidden
from softmax_variants.heads._gathered import Draw, Labels, Scores
from softmax_variants.heads._sampled import (
    Correction,
    SampledSoftmaxObjective,
    first_occurrences,
    softmax_over_sample,
    warn_if_inconsistent,
)
from softmax_variants.heads._sampled_layer import row_losses, sampled_losses
from softmax_variants.heads._samplers import Sampler, expected_count, inclusion


def in_batch_softmax_loss(
    hidden: ArrayLike,
    labels: ArrayLike,
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    *,
    items: ArrayLike | None = None,
    log_prob: ArrayLike | None = None,
    correction: Correction = "inclusion",
    correct_target: bool = False,
    where: ArrayLike | None = None,
) -> Array:
    r"""Cross-entropy in which the labels of the other examples are the sample of classes.

    .. math:: L_i = \log\Big(e^{x_{ii}} + \sum_{j \in B_i} e^{x_{ij} - \log Q_j}\Big) - x_{ii},
              \qquad x_{ij} = \langle h_i, v_j \rangle + b_j

    :math:`B_i` are the labels of the batch that differ from example i's. They are draws from the
    data, n - 1 of them besides i's own, and :math:`Q_j` the probability that j is among them, so
    that the loss tends to the full cross-entropy as the batch grows.

    Args:
      hidden: [..., features], any floating dtype; all examples are one batch.
      labels: class ids, integer [...]: they say which items are the same.
      weight: [classes, features], from which the labels' rows are taken; or
      items: [..., features], the embeddings of the labels, such as those of an item tower. Ids may
        then be any non-negative integers.
      bias: [classes], or with `items` [...], one number an example.
      log_prob: [...], the log-probability of each label in one draw from the data, such as
        `sampler.log_prob(labels)` or `StreamingFrequency.log_prob(state, labels)`.
      correction: "inclusion" counts each class of the batch once, `Q = 1 - (1 - P)^(n-1)`;
        "expected_count" counts repeated ones, `Q = (n - 1) P`; "none" counts them with `Q = 1`,
        which needs no `log_prob` and favours rare classes: not consistent.
      correct_target: also subtracts log Q from the label's score. Yi et al. do, with
        "expected_count"; consistent for "inclusion" alone.
      where: boolean, broadcasts to the examples [...]; False gives loss 0 and gradient 0, and the
        example's label is no candidate of the others.

    Returns:
      One loss an example, [...], at least float32 and at least 0; NaN where a label is no class,
      or with `correct_target` one of probability 0.

    Raises:
      TypeError: a dtype that does not fit; the message names the argument.
      ValueError: a shape that does not fit; both weight and items, or neither; no `log_prob`.

    Warns:
      UserWarning: a choice that is not consistent, with the reason.

    Example:
      >>> import jax.numpy as jnp
      >>> import softmax_variants as sv
      >>> hidden, labels, weight = jnp.ones((3, 2)), jnp.array([0, 1, 1]), jnp.zeros((2, 2))
      >>> log_prob = jnp.log(jnp.array([0.5, 0.5, 0.5]))
      >>> print(sv.in_batch_softmax_loss(hidden, labels, weight, log_prob=log_prob))
      [0.84729785 0.84729785 0.84729785]

    References:
      Yi et al., `Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations
      <https://doi.org/10.1145/3298689.3346996>`_, 2019.
    """
    if (weight is None) == (items is None):
        got = "neither" if weight is None else "both"
        raise ValueError(f"either weight or items must be given, got {got}")
    objective = InBatchObjective(correction, correct_target)
    warn_if_inconsistent(objective, stacklevel=3)
    array = jnp.asarray(hidden)
    batch = array.shape[:-1]
    if jnp.shape(labels) != batch:
        raise ValueError(
            f"labels must have shape {batch} (hidden's shape without features), one an example, "
            f"got {jnp.shape(labels)}"
        )
    if log_prob is None:
        if correction != "none":
            raise ValueError(f'log_prob must be given with correction="{correction}", got None')
        log_p = jnp.zeros(batch, jnp.float32)
    else:
        log_p = as_floating(log_prob, "log_prob", batch)
    state: Array = over_devices(jnp.ravel, log_p)
    if weight is not None:
        return sampled_losses(
            objective, None, None, state, hidden, labels, weight, bias, None, where
        )
    assert items is not None
    given = as_floating(items, "items", array.shape)
    rows, _ = as_hidden(given, jnp.ones((1, given.shape[-1]), given.dtype))
    biases = None if bias is None else as_floating(bias, "bias", batch)
    mask = None if where is None else jnp.asarray(where)

    def run(
        rows: Array,
        biases: Array | None,
        state: Array,
        hidden: Array,
        ids: Array,
        mask: Array | None,
    ) -> Array:
        flat = rows.reshape(state.shape[0], rows.shape[-1])
        biases = None if biases is None else biases.reshape(-1)
        limit = 2**31 - 1  # ids only say which are the same: all below it are
        return row_losses(objective, flat, biases, state, hidden, ids, None, mask, limit)

    ids, split = jnp.asarray(labels), examples_of(array)
    loss: Array = over_devices(run, rows, biases, state, array, ids, mask, split=split)
    return loss


@dataclasses.dataclass(frozen=True)
class InBatchObjective:
    """`in_batch_softmax_loss` apart from its arrays; what it draws are log-probabilities."""

    correction: Correction = "inclusion"
    correct_target: bool = False
    remove_accidental_hits: bool = True

    def __post_init__(self) -> None:
        SampledSoftmaxObjective(1, self.correction)  # its check of the name

    def draw(self, sampler: Sampler, key: Any, labels: Array) -> Array:
        """The log-probabilities of the labels; nothing is drawn."""
        del key
        return sampler.log_prob(labels)

    def candidates(self, state: Array, labels: Labels, shown: Array) -> Draw:
        """The labels of the examples that take part."""
        ids = labels.ids.reshape(-1)
        valid = shown & labels.valid
        others = jnp.maximum(jnp.sum(valid, dtype=jnp.int32) - 1, 1)
        if self.correction == "inclusion":
            # Examples that do not take part have the id of no class.
            draw = Draw(ids, inclusion(state, others), None, valid & first_occurrences(ids))
        elif self.correction == "expected_count":
            draw = Draw(ids, expected_count(state, others), None, valid)
        else:
            draw = Draw(ids, jnp.zeros_like(state), None, valid)
        return draw._replace(log_q_true=draw.log_q) if self.correct_target else draw

    def loss(self, scores: Scores) -> Array:
        """One loss an example."""
        return softmax_over_sample(scores, True)
