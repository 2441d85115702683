"""Noise-contrastive estimation and negative sampling: labels against noise, one class at a time."""

import dataclasses

import jax
import jax.numpy as jnp

from softmax_variants._typing import Array, ArrayLike
from softmax_variants._validation import as_count
from softmax_variants.heads._arguments import as_hidden
from softmax_variants.heads._gathered import Draw, Labels, Scores, as_class_ids, expected_true
from softmax_variants.heads._sampled_layer import as_candidates, as_sampler, sampled_losses
from softmax_variants.heads._samplers import Sampler


def nce_loss(
    key: Array | None,
    hidden: ArrayLike,
    labels: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    sampler: Sampler,
    num_sampled: int | None = None,
    remove_accidental_hits: bool = False,
    candidates: tuple[ArrayLike, ArrayLike] | None = None,
    label_weights: ArrayLike | None = None,
    where: ArrayLike | None = None,
) -> Array:
    r"""Noise-contrastive estimation: tells the label from k classes that are drawn as noise.

    .. math:: L = -\log \sigma(x_y - \log k q_y) - \sum_{i=1}^k \log \sigma(-(x_i - \log k q_i)),
              \qquad x = W h + b

    Its optimum are scores that are log-probabilities, normalized without a normalizer, whatever
    the noise q is; the more noise, the nearer the gradient is to that of the cross-entropy. With
    several labels it is the target's expectation of the loss of each.

    Args:
      key: one random key; None with `candidates`.
      hidden: [..., features], any floating dtype.
      labels: class ids, integer [...], or several an example, [..., labels], which are the target
        in equal parts.
      weight: [classes, features], any floating dtype; a row a class, as embeddings have it.
      bias: [classes].
      sampler: the noise q; it has to be able to draw every class that is a label.
      num_sampled: k, drawn with replacement for the whole batch.
      remove_accidental_hits: leaves noise out that is a label of the example. The noise is then
        another distribution for each example, and the optimum no longer the log-probability.
      candidates: `(ids, log_kq)` in place of what the sampler draws: ids [k] for the whole batch
        or [..., k] an example, those that are no class not counted; the sampler still says `k q`
        of the labels.
      label_weights: a target distribution over several labels, of labels' shape, summing to 1. A
        label of weight 0 is left out, whatever its id: padding.
      where: boolean, broadcasts to the examples [...]; False gives loss 0 and gradient 0.

    Returns:
      One loss an example, [...], at least float32 and at least 0; NaN where a label is no class,
      or one that the sampler never draws.

    Raises:
      TypeError: a dtype that does not fit, no key, no sampler; the message names the argument.
      ValueError: a shape that does not fit, such as a transposed weight.

    Example:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> import softmax_variants as sv
      >>> hidden, weight = jnp.ones((2, 3)), jnp.zeros((4, 3))
      >>> sampler = sv.UniformSampler(4)
      >>> labels = jnp.array([1, 3])
      >>> loss = sv.nce_loss(
      ...     jax.random.key(0), hidden, labels, weight, sampler=sampler, num_sampled=4
      ... )
      >>> print(loss)  # k q is 1: five times log 2
      [3.465736 3.465736]

    References:
      Gutmann and Hyvärinen, `Noise-Contrastive Estimation of Unnormalized Statistical Models
      <https://www.jmlr.org/papers/v13/gutmann12a.html>`_, 2012; Mnih and Teh, `A Fast and Simple
      Algorithm for Training Neural Probabilistic Language Models
      <https://arxiv.org/abs/1206.6426>`_, 2012.
    """
    draw = None
    if candidates is not None:
        draw = as_candidates(candidates, hidden, weight)
        classes, num_sampled = as_hidden(hidden, weight)[1].shape[0], draw.ids.shape[-1]
        true = as_class_ids(labels, classes).reshape(-1)
        log_kq = as_sampler(sampler, classes).log_expected_count(true, num_sampled)
        draw = draw._replace(log_q_true=log_kq)
    objective = NoiseObjective(
        num_sampled,  # type: ignore[arg-type] # checked by the objective itself
        True,
        remove_accidental_hits,
    )
    return sampled_losses(
        objective, key, sampler, draw, hidden, labels, weight, bias, label_weights, where
    )


def negative_sampling_loss(
    key: Array | None,
    hidden: ArrayLike,
    labels: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    sampler: Sampler | None = None,
    num_sampled: int | None = None,
    remove_accidental_hits: bool = False,
    candidates: ArrayLike | None = None,
    label_weights: ArrayLike | None = None,
    where: ArrayLike | None = None,
) -> Array:
    r"""Negative sampling, word2vec's loss: the label's score up, k drawn classes' scores down.

    .. math:: L = -\log \sigma(x_y) - \sum_{i=1}^k \log \sigma(-x_i), \qquad x = W h + b

    Its optimum is no log-probability but :math:`x = \log (p / q) - \log k`, the pointwise mutual
    information shifted: the distribution is the softmax of `x + log q`, as `NegativeSampling`
    evaluates it. With several labels it is the target's expectation of the loss of each.

    Args:
      key: one random key; None with `candidates`.
      hidden: [..., features], any floating dtype.
      labels: class ids, integer [...], or several an example, [..., labels], which are the target
        in equal parts.
      weight: [classes, features], any floating dtype; a row a class, as embeddings have it.
      bias: [classes].
      sampler: what the negatives are drawn from, q.
      num_sampled: k, drawn with replacement for the whole batch.
      remove_accidental_hits: leaves negatives out that are a label of the example, as word2vec
        does. The optimum is then :math:`\log (p / (q (1 - p))) - \log k`.
      candidates: the negatives' ids in place of sampler and key, [k] for the whole batch or
        [..., k] an example; those that are no class do not count.
      label_weights: a target distribution over several labels, of labels' shape, summing to 1. A
        label of weight 0 is left out, whatever its id: padding.
      where: boolean, broadcasts to the examples [...]; False gives loss 0 and gradient 0.

    Returns:
      One loss an example, [...], at least float32 and at least 0; NaN where a label is no class.

    Raises:
      TypeError: a dtype that does not fit, no key, no sampler; the message names the argument.
      ValueError: a shape that does not fit, such as a transposed weight.

    Example:
      >>> import jax.numpy as jnp
      >>> import softmax_variants as sv
      >>> hidden, weight = jnp.ones((2, 3)), jnp.zeros((4, 3))
      >>> negatives, labels = jnp.array([[0, 2], [1, -1]]), jnp.array([1, 3])
      >>> print(sv.negative_sampling_loss(None, hidden, labels, weight, candidates=negatives))
      [2.0794415 1.3862944]

    References:
      Mikolov et al., `Distributed Representations of Words and Phrases and their Compositionality
      <https://arxiv.org/abs/1310.4546>`_, 2013; Levy and Goldberg, `Neural Word Embedding as
      Implicit Matrix Factorization <https://papers.nips.cc/paper/5477>`_, 2014.
    """
    draw = None
    if candidates is not None:
        draw = as_candidates((candidates, jnp.float32(0)), hidden, weight)
        num_sampled = draw.ids.shape[-1]
    objective = NoiseObjective(
        num_sampled,  # type: ignore[arg-type] # checked by the objective itself
        False,
        remove_accidental_hits,
    )
    return sampled_losses(
        objective, key, sampler, draw, hidden, labels, weight, bias, label_weights, where
    )


@dataclasses.dataclass(frozen=True)
class NoiseObjective:
    """Both losses apart from their arrays; negative sampling does not subtract `log kq`."""

    num_sampled: int
    subtract: bool
    remove_accidental_hits: bool = False

    def __post_init__(self) -> None:
        as_count(self.num_sampled, "num_sampled")

    def draw(self, sampler: Sampler, key: Array, labels: Array) -> Draw:
        """Draws the noise."""
        num = self.num_sampled
        ids = sampler.draw(key, num)
        kept = jnp.ones(ids.shape, bool)
        if not self.subtract:
            return Draw(ids, jnp.zeros(ids.shape, jnp.float32), None, kept)
        log_kq = sampler.log_expected_count(ids, num)
        return Draw(ids, log_kq, sampler.log_expected_count(labels, num), kept)

    def candidates(self, state: Draw, labels: Labels, shown: Array) -> Draw:
        """What was drawn."""
        del labels, shown
        return state

    def loss(self, scores: Scores) -> Array:
        """One loss an example."""
        true = scores.true if scores.log_q_true is None else scores.true - scores.log_q_true
        kept = scores.kept & ~scores.hit if self.remove_accidental_hits else scores.kept
        noise = scores.sampled - jnp.where(scores.kept, scores.log_q, 0)
        right = expected_true(scores.labels, jax.nn.softplus(-true))
        return right + jnp.sum(jnp.where(kept, jax.nn.softplus(noise), 0), axis=-1)
