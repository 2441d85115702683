"""Cross-entropy whose gradient is estimated by self-normalized importance sampling."""

import dataclasses

import jax.numpy as jnp

from softmax_variants._typing import Array, ArrayLike
from softmax_variants._validation import as_count
from softmax_variants.heads._gathered import Draw, Labels, Scores, expected_true, log_sum_exp
from softmax_variants.heads._sampled_layer import as_candidates, sampled_losses
from softmax_variants.heads._samplers import Sampler


def importance_sampled_loss(
    key: Array | None,
    hidden: ArrayLike,
    labels: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    sampler: Sampler | None = None,
    num_sampled: int | None = None,
    candidates: tuple[ArrayLike, ArrayLike] | None = None,
    label_weights: ArrayLike | None = None,
    where: ArrayLike | None = None,
) -> Array:
    r"""Cross-entropy with the normalizer estimated from draws alone, the label not among them.

    .. math:: L = \log\Big(\frac{1}{S} \sum_{s=1}^S \frac{e^{x_s}}{q_s}\Big) - x_y,
              \qquad \nabla L = \sum_s r_s \nabla x_s - \nabla x_y,
              \quad r_s = \frac{e^{x_s} / q_s}{\sum_j e^{x_j} / q_j}

    The estimate of the normalizer is unbiased, that of the gradient biased by O(1/S). Where the
    label has much of the mass and is not drawn, the loss is far below 0 and its gradient large:
    `sampled_softmax_loss`, which always counts the label, has less variance.

    Args:
      key: one random key; None with `candidates`.
      hidden: [..., features], any floating dtype.
      labels: class ids, integer [...], or several an example, [..., labels], which are the target
        in equal parts.
      weight: [classes, features], any floating dtype; a row a class, as embeddings have it.
      bias: [classes].
      sampler: the proposal q; it has to be able to draw every class.
      num_sampled: S, drawn with replacement for the whole batch.
      candidates: `(ids, log_q)` in place of sampler and key, log_q being `log(S q)`: ids [samples]
        for the whole batch or [..., samples] an example, those that are no class not counted.
      label_weights: a target distribution over several labels, of labels' shape, summing to 1. A
        label of weight 0 is left out, whatever its id: padding.
      where: boolean, broadcasts to the examples [...]; False gives loss 0 and gradient 0.

    Returns:
      One loss an example, [...], at least float32; it may be negative. NaN where a label is no
      class, `-inf` with gradient 0 where no candidate counts.

    Raises:
      TypeError: a dtype that does not fit, no key, no sampler; the message names the argument.
      ValueError: a shape that does not fit, such as a transposed weight.

    Example:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> import softmax_variants as sv
      >>> hidden, weight = jnp.ones((2, 3)), jnp.zeros((4, 3))
      >>> loss = sv.importance_sampled_loss(
      ...     jax.random.key(0), hidden, jnp.array([1, 3]), weight,
      ...     sampler=sv.UniformSampler(4), num_sampled=2,
      ... )
      >>> print(loss)
      [1.3862944 1.3862944]

    References:
      Bengio and Senécal, `Adaptive Importance Sampling to Accelerate Training of a Neural
      Probabilistic Language Model <https://doi.org/10.1109/TNN.2007.912312>`_, 2008.
    """
    draw = None if candidates is None else as_candidates(candidates, hidden, weight)
    objective = ImportanceObjective(
        1 if draw is not None else num_sampled  # type: ignore[arg-type] # checked by itself
    )
    return sampled_losses(
        objective, key, sampler, draw, hidden, labels, weight, bias, label_weights, where
    )


@dataclasses.dataclass(frozen=True)
class ImportanceObjective:
    """`importance_sampled_loss` apart from its arrays."""

    num_sampled: int

    def __post_init__(self) -> None:
        as_count(self.num_sampled, "num_sampled")

    def draw(self, sampler: Sampler, key: Array, labels: Array) -> Draw:
        """Draws the samples."""
        del labels
        ids = sampler.draw(key, self.num_sampled)
        log_q = sampler.log_expected_count(ids, self.num_sampled)
        return Draw(ids, log_q, None, jnp.ones(ids.shape, bool))

    def candidates(self, state: Draw, labels: Labels, shown: Array) -> Draw:
        """What was drawn."""
        del labels, shown
        return state

    def loss(self, scores: Scores) -> Array:
        """One loss an example."""
        sampled = scores.sampled - jnp.where(scores.kept, scores.log_q, 0)
        kept = jnp.broadcast_to(scores.kept, sampled.shape)
        total = jnp.sum(scores.labels.weights, axis=-1)
        total = jnp.where(jnp.any(scores.labels.counted, axis=-1), total, 0)
        estimate = log_sum_exp(sampled, kept)
        return jnp.where(total == 0, 0, total * estimate) - expected_true(
            scores.labels, scores.true
        )
