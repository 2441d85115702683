"""Sampled softmax: cross-entropy over the label and a sample of the other classes."""

import dataclasses
import warnings
from typing import Any, Literal, TypeAlias

import jax
import jax.numpy as jnp

from softmax_variants._typing import Array, ArrayLike
from softmax_variants._validation import as_count
from softmax_variants.heads._gathered import Draw, Labels, Scores, expected_true, log_sum_exp
from softmax_variants.heads._sampled_layer import as_candidates, sampled_losses
from softmax_variants.heads._samplers import Sampler

Correction: TypeAlias = Literal["inclusion", "expected_count", "none"]
_CORRECTIONS = ("inclusion", "expected_count", "none")


def sampled_softmax_loss(
    key: Array | None,
    hidden: ArrayLike,
    labels: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    sampler: Sampler | None = None,
    num_sampled: int | None = None,
    correction: Correction = "inclusion",
    correct_target: bool = False,
    remove_accidental_hits: bool = True,
    candidates: tuple[ArrayLike, ArrayLike] | None = None,
    label_weights: ArrayLike | None = None,
    where: ArrayLike | None = None,
) -> Array:
    r"""Cross-entropy whose normalizer is estimated from a sample of the classes.

    .. math:: L = \log\Big(e^{x_y} + \sum_{s \in S \setminus y} e^{x_s - \log Q_s}\Big) - x_y,
              \qquad x = W h + b

    Q is the probability that a class is in the sample, so that the sum is an unbiased estimate of
    that over all classes but the label: the expected loss is at most the cross-entropy (Jensen),
    and loss and gradient tend to it and to its gradient as the sample grows. The cost does not
    depend on the number of classes, but evaluate with the exact loss: this one is an underestimate.

    Args:
      key: one random key; None with `candidates`.
      hidden: [..., features], any floating dtype.
      labels: class ids, integer [...], or several an example, [..., labels], which are the target
        in equal parts. Labels of one example that are equal add up.
      weight: [classes, features], any floating dtype; a row a class, as embeddings have it.
      bias: [classes].
      sampler: what the classes are drawn from; over the layer's classes.
      num_sampled: how many are drawn, with replacement, for the whole batch.
      correction: "inclusion" drops repeated draws, which makes `Q = 1 - (1 - P)^num_sampled`
        exact. "expected_count" keeps them, `Q = num_sampled P`. "none" keeps them and `Q = 1`:
        not consistent.
      correct_target: also subtracts log Q from the label's score, as TensorFlow does. Consistent
        for "inclusion" alone.
      remove_accidental_hits: leaves a sample out that is a label of the example, which otherwise
        counts twice: not consistent.
      candidates: `(ids, log_q)` in place of sampler, key and correction: ids [samples] for the
        whole batch or [..., samples] an example, of which those that are no class do not count;
        log_q broadcasts to them and is subtracted from their scores. A class that is named twice
        counts twice.
      label_weights: a target distribution over several labels, of labels' shape, summing to 1. A
        label of weight 0 is left out, whatever its id: padding.
      where: boolean, broadcasts to the examples [...]; False gives loss 0 and gradient 0.

    Returns:
      One loss an example, [...], at least float32 and at least 0; NaN where a label is no class.
      All gradients are summed in at least float32.

    Raises:
      TypeError: a dtype that does not fit, no key, no sampler; the message names the argument.
      ValueError: a shape that does not fit, such as a transposed weight; an unknown correction.

    Warns:
      UserWarning: a choice that is not consistent, with the reason.

    Example:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> import softmax_variants as sv
      >>> hidden, weight = jnp.ones((2, 3)), jnp.zeros((4, 3))
      >>> every_class = (jnp.arange(4), jnp.zeros(4))
      >>> labels = jnp.array([1, 3])
      >>> print(sv.sampled_softmax_loss(None, hidden, labels, weight, candidates=every_class))
      [1.3862944 1.3862944]
      >>> loss = sv.sampled_softmax_loss(
      ...     jax.random.key(0), hidden, labels, weight,
      ...     sampler=sv.LogUniformSampler(4), num_sampled=2,
      ... )
      >>> print(loss.shape)
      (2,)

    References:
      Jean et al., `On Using Very Large Target Vocabulary for Neural Machine Translation
      <https://arxiv.org/abs/1412.2007>`_, 2015; Blanc and Rendle, `Adaptive Sampled Softmax with
      Kernel Based Sampling <https://arxiv.org/abs/1712.00527>`_, 2018; Horvitz and Thompson, `A
      Generalization of Sampling Without Replacement From a Finite Universe
      <https://doi.org/10.1080/01621459.1952.10483446>`_, 1952.
    """
    if candidates is not None:
        if correct_target:
            raise ValueError(
                "correct_target needs a sampler: candidates do not say log Q of labels"
            )
        draw = as_candidates(candidates, hidden, weight)
        objective = SampledSoftmaxObjective(1, "inclusion", False, remove_accidental_hits)
    else:
        draw = None
        objective = SampledSoftmaxObjective(
            num_sampled,  # type: ignore[arg-type] # checked by the objective itself
            correction,
            correct_target,
            remove_accidental_hits,
        )
    warn_if_inconsistent(objective, stacklevel=3)
    return sampled_losses(
        objective, key, sampler, draw, hidden, labels, weight, bias, label_weights, where
    )


@dataclasses.dataclass(frozen=True)
class SampledSoftmaxObjective:
    """`sampled_softmax_loss` apart from its arrays."""

    num_sampled: int
    correction: Correction = "inclusion"
    correct_target: bool = False
    remove_accidental_hits: bool = True

    def __post_init__(self) -> None:
        as_count(self.num_sampled, "num_sampled")
        if self.correction not in _CORRECTIONS:
            raise ValueError(f"correction must be one of {_CORRECTIONS}, got {self.correction!r}")

    def draw(self, sampler: Sampler, key: Array, labels: Array) -> Draw:
        """Draws the samples."""
        num = self.num_sampled
        ids = sampler.draw(key, num)
        log_q, true = corrections(self.correction, sampler, ids, labels, num)
        kept = jnp.ones(ids.shape, bool)
        if self.correction == "inclusion":
            kept = first_occurrences(ids, sampler.classes - 1)
        return Draw(ids, log_q, true if self.correct_target else None, kept)

    def candidates(self, state: Draw, labels: Labels, shown: Array) -> Draw:
        """What was drawn."""
        del labels, shown
        return state

    def loss(self, scores: Scores) -> Array:
        """One loss an example."""
        return softmax_over_sample(scores, self.remove_accidental_hits)


def corrections(
    correction: Correction, sampler: Sampler, ids: Array, labels: Array, num: int
) -> tuple[Array, Array]:
    """The log Q of samples and of labels."""
    if correction == "inclusion":
        return sampler.log_inclusion(ids, num), sampler.log_inclusion(labels, num)
    if correction == "expected_count":
        return sampler.log_expected_count(ids, num), sampler.log_expected_count(labels, num)
    return jnp.zeros(ids.shape, jnp.float32), jnp.zeros(labels.shape, jnp.float32)


def first_occurrences(ids: Array, largest: int | None = None) -> Array:
    """Which ids, [n], do not occur earlier; with a `largest` they lie from 0 to it."""
    n = ids.size
    if largest is not None and (largest + 1) * n <= 2**32:
        # Sorting one number is a third of the time of sorting pairs.
        packed = jnp.sort(ids.astype(jnp.uint32) * jnp.uint32(n) + jnp.arange(n, dtype=jnp.uint32))
        ordered, order = packed // n, (packed % n).astype(jnp.int32)
    else:
        order = jnp.argsort(ids, stable=True)
        ordered = ids[order]
    new = jnp.concatenate([jnp.ones(min(n, 1), bool), ordered[1:] != ordered[:-1]])
    return jnp.zeros(ids.shape, bool).at[order].set(new, unique_indices=True)


def softmax_over_sample(scores: Scores, remove_hits: bool) -> Array:
    """The cross-entropy over the labels and the samples.

    A label's loss is softplus of what all others add up to, less the label's score: a label with
    nearly all of the mass then has its loss and its gradient to the last digits.
    """
    labels = scores.labels
    true = scores.true if scores.log_q_true is None else scores.true - scores.log_q_true
    kept = scores.kept & ~scores.hit if remove_hits else scores.kept
    # Where nothing is subtracted from, the subtrahend may be infinite.
    sampled = scores.sampled - jnp.where(scores.kept, scores.log_q, 0)
    others = log_sum_exp(sampled, jnp.broadcast_to(kept, sampled.shape))[:, None]
    count = true.shape[1]
    if count > 1:
        ids, counted = labels.ids, labels.counted
        same = ids[:, :, None] == ids[:, None, :]
        earlier = jnp.tril(jnp.ones((count, count), bool), -1)[None]
        first = counted & ~jnp.any(same & earlier & counted[:, None, :], axis=-1)
        pairs = jnp.broadcast_to(true[:, None, :], same.shape)
        others = jnp.logaddexp(others, log_sum_exp(pairs, first[:, None, :] & ~same))
    return expected_true(labels, jax.nn.softplus(others - jnp.where(labels.counted, true, 0)))


def warn_if_inconsistent(objective: Any, stacklevel: int) -> None:
    """Warns of a choice with which the loss does not tend to the full one, and says why."""
    reason = None
    if objective.correction == "none":
        reason = (
            'correction="none" leaves the samples in proportion to the sampler: the loss tends to '
            "that of logits + log P, with the label counted too little"
        )
    elif objective.correction == "expected_count" and objective.correct_target:
        reason = (
            'correct_target with correction="expected_count" divides the label by num_sampled P, '
            "which grows with the sample: the label vanishes from the normalizer"
        )
    elif not objective.remove_accidental_hits:
        reason = "remove_accidental_hits=False counts a label that is drawn twice in the normalizer"
    if reason is not None:
        warnings.warn(
            f"{reason}; it is not consistent: however large the sample, loss and gradient do not "
            f"tend to those of the full softmax",
            UserWarning,
            stacklevel=stacklevel,
        )
