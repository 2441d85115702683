"""Heads whose loss reads the rows of the labels and of a sample of the classes, and no others."""

import abc
import dataclasses
import math
from typing import Any, TypeVar

import jax.numpy as jnp

from softmax_variants._pytrees import register_pytree
from softmax_variants._sharding import examples_of, over_devices
from softmax_variants._typing import Array, ArrayLike
from softmax_variants._validation import as_key
from softmax_variants.heads._arguments import as_floating
from softmax_variants.heads._gathered import Objective, as_class_ids, take
from softmax_variants.heads._head import Params, Plan
from softmax_variants.heads._importance import ImportanceObjective
from softmax_variants.heads._in_batch import InBatchObjective
from softmax_variants.heads._linear_heads import LinearHead
from softmax_variants.heads._noise import NoiseObjective
from softmax_variants.heads._sampled import (
    Correction,
    SampledSoftmaxObjective,
    warn_if_inconsistent,
)
from softmax_variants.heads._sampled_layer import as_sampler, drawn, row_losses
from softmax_variants.heads._samplers import Sampler

_H = TypeVar("_H", bound=type[Any])


@dataclasses.dataclass(frozen=True, eq=False)
class SampledHead(LinearHead, abc.ABC):
    """A linear head with a sampled loss."""

    sampler: Sampler = dataclasses.field(kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._objective()  # its checks
        if isinstance(self.sampler, Sampler):  # a pytree may hold anything while it is rebuilt
            as_sampler(self.sampler, self.classes)

    @abc.abstractmethod
    def _objective(self) -> Objective:
        """The loss."""

    @property
    def stochastic(self) -> bool:
        """Whether the loss takes a key."""
        return not isinstance(self._objective(), InBatchObjective)

    def plan(self, labels: ArrayLike, *, key: Array | None = None) -> Plan:
        """The rows of the labels and of the samples, which are drawn here."""
        objective = self._objective()
        if isinstance(objective, SampledSoftmaxObjective | InBatchObjective):
            warn_if_inconsistent(objective, stacklevel=3)
        sampler = as_sampler(self.sampler, self.classes)
        if self.stochastic:
            key = as_key(key)  # type: ignore[arg-type] # it says itself what it is given
        ids = as_class_ids(labels, self.classes).reshape(-1)
        rows, state = drawn(objective, sampler, key, ids)
        names = ("weight", "bias") if self.use_bias else ("weight",)
        return Plan(dict.fromkeys(names, rows), state)

    def loss_of_rows(
        self,
        rows: Params,
        plan: Plan,
        hidden: ArrayLike,
        labels: ArrayLike,
        *,
        where: ArrayLike | None = None,
    ) -> Array:
        """One loss an example, [...], from the rows that `plan` names."""
        count = plan.ids["weight"].shape[0]
        weight = as_floating(rows["weight"], "rows['weight']", (count, self.features))
        bias = as_floating(rows["bias"], "rows['bias']", (count,)) if self.use_bias else None
        hidden = jnp.asarray(hidden)
        if hidden.ndim == 0 or hidden.shape[-1] != self.features:
            raise ValueError(f"hidden must have shape (..., {self.features}), got {hidden.shape}")
        as_floating(hidden, "hidden", hidden.shape)
        labels = jnp.asarray(labels)
        where = None if where is None else jnp.asarray(where)
        return row_losses(
            self._objective(), weight, bias, plan.state, hidden, labels, None, where, self.classes
        )

    def loss(
        self,
        params: Params,
        hidden: ArrayLike,
        labels: ArrayLike,
        *,
        key: Array | None = None,
        where: ArrayLike | None = None,
    ) -> Array:
        """The training objective of each example, [...]; it is random, so that it takes a key."""
        self._layer(params)
        hidden, labels = jnp.asarray(hidden), jnp.asarray(labels)
        where = None if where is None else jnp.asarray(where)

        def run(
            head: SampledHead,
            params: Params,
            hidden: Array,
            labels: Array,
            key: Array | None,
            where: Array | None,
        ) -> Array:
            plan = head.plan(labels, key=key)
            rows = {name: take(params[name], ids) for name, ids in plan.ids.items()}
            return head.loss_of_rows(rows, plan, hidden, labels, where=where)

        split = None if hidden.ndim == 0 else examples_of(hidden)
        loss: Array = over_devices(run, self, params, hidden, labels, key, where, split=split)
        return loss


def _registered(cls: _H) -> _H:
    """The sampler is the head's data, all else is static."""
    static = [f.name for f in dataclasses.fields(cls) if f.name != "sampler"]
    register_pytree(cls, data=["sampler"], static=static)
    return cls


@_registered
@dataclasses.dataclass(frozen=True, eq=False)
class SampledSoftmax(SampledHead):
    r"""Softmax over all classes, trained with `sampled_softmax_loss`.

    .. math:: L = \log\Big(e^{x_y} + \sum_{s \in S \setminus y} e^{x_s - \log Q_s}\Big) - x_y

    Args:
      classes: how many classes there are.
      features: the size of the hidden states.
      use_bias: whether there is a bias.
      sampler: what the samples of a batch are drawn from.
      num_sampled: how many are drawn.
      correction: what log Q is; see `sampled_softmax_loss`.
      correct_target: whether log Q is subtracted from the label's score as well.
      remove_accidental_hits: whether samples that are a label are left out.

    Example:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> import softmax_variants as sv
      >>> head = sv.SampledSoftmax(10, 4, sampler=sv.LogUniformSampler(10), num_sampled=5)
      >>> params, hidden = head.init(jax.random.key(0)), jnp.zeros((2, 4))
      >>> loss = head.loss(params, hidden, jnp.array([3, 7]), key=jax.random.key(1))
      >>> print(loss.shape, head.log_prob(params, hidden, jnp.array([3, 7])))
      (2,) [-2.3025851 -2.3025851]

    References:
      Jean et al., `On Using Very Large Target Vocabulary for Neural Machine Translation
      <https://arxiv.org/abs/1412.2007>`_, 2015.
    """

    num_sampled: int = dataclasses.field(kw_only=True)
    correction: Correction = dataclasses.field(default="inclusion", kw_only=True)
    correct_target: bool = dataclasses.field(default=False, kw_only=True)
    remove_accidental_hits: bool = dataclasses.field(default=True, kw_only=True)

    def _objective(self) -> SampledSoftmaxObjective:
        return SampledSoftmaxObjective(
            self.num_sampled, self.correction, self.correct_target, self.remove_accidental_hits
        )


@_registered
@dataclasses.dataclass(frozen=True, eq=False)
class NCE(SampledHead):
    r"""Log-probabilities learned by noise-contrastive estimation, `nce_loss`.

    .. math:: L = -\log \sigma(x_y - \log k q_y) - \sum_i \log \sigma(-(x_i - \log k q_i))

    The trained scores are nearly normalized, but evaluation normalizes them all the same: it is the
    softmax of the scores. The bias starts at `-log(classes)`, so that they are from the beginning.

    Args:
      classes: how many classes there are.
      features: the size of the hidden states.
      use_bias: whether there is a bias.
      sampler: the noise of a batch.
      num_sampled: how many classes of noise are drawn, k.
      remove_accidental_hits: whether noise that is a label is left out.

    Example:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> import softmax_variants as sv
      >>> head = sv.NCE(10, 4, sampler=sv.UniformSampler(10), num_sampled=10)
      >>> params, hidden = head.init(jax.random.key(0)), jnp.zeros((1, 4))
      >>> print(head.loss(params, hidden, jnp.array([3]), key=jax.random.key(1)).shape)
      (1,)
      >>> print(head.log_prob(params, hidden, jnp.array([3])))
      [-2.3025851]

    References:
      Mnih and Teh, `A Fast and Simple Algorithm for Training Neural Probabilistic Language Models
      <https://arxiv.org/abs/1206.6426>`_, 2012.
    """

    num_sampled: int = dataclasses.field(kw_only=True)
    remove_accidental_hits: bool = dataclasses.field(default=False, kw_only=True)

    def _objective(self) -> NoiseObjective:
        return NoiseObjective(self.num_sampled, True, self.remove_accidental_hits)

    def _first_bias(self) -> float:
        return -math.log(self.classes)


@_registered
@dataclasses.dataclass(frozen=True, eq=False)
class NegativeSampling(SampledHead):
    r"""word2vec's negative sampling, `negative_sampling_loss`, evaluated as a distribution.

    .. math:: L = -\log \sigma(x_y) - \sum_i \log \sigma(-x_i),
              \qquad p = \mathrm{softmax}(x + \log q)

    The scores learn :math:`\log (p / q) - \log k`, so that the sampler's log-probabilities are
    added to them for evaluation; a class that is never drawn has probability 0.

    Args:
      classes: how many classes there are.
      features: the size of the hidden states.
      use_bias: whether there is a bias.
      sampler: what the negatives of a batch are drawn from, q.
      num_sampled: how many are drawn, k.

    Example:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> import softmax_variants as sv
      >>> head = sv.NegativeSampling(2, 4, sampler=sv.UnigramSampler([3, 1], 1.0), num_sampled=5)
      >>> params = head.init(jax.random.key(0))
      >>> print(jnp.exp(head.log_probs(params, jnp.zeros((1, 4)))))
      [[0.75 0.25]]

    References:
      Mikolov et al., `Distributed Representations of Words and Phrases and their Compositionality
      <https://arxiv.org/abs/1310.4546>`_, 2013; Levy and Goldberg, `Neural Word Embedding as
      Implicit Matrix Factorization <https://papers.nips.cc/paper/5477>`_, 2014.
    """

    num_sampled: int = dataclasses.field(kw_only=True)

    def _objective(self) -> NoiseObjective:
        return NoiseObjective(self.num_sampled, False, False)

    def _first_bias(self) -> float:
        # The scores' optimum is log(p / q) - log k: from the beginning they are of that size.
        return -math.log(self.num_sampled)

    def _scorer(self, params: Params) -> tuple[Array, Array | None]:
        weight, bias = self._layer(params)
        log_q = self.sampler.log_prob(jnp.arange(self.classes, dtype=jnp.int32))
        return weight, log_q if bias is None else bias.astype(
            jnp.promote_types(bias.dtype, log_q.dtype)
        ) + log_q


@_registered
@dataclasses.dataclass(frozen=True, eq=False)
class ImportanceSampled(SampledHead):
    r"""Softmax over all classes, trained with `importance_sampled_loss`.

    .. math:: L = \log\Big(\frac{1}{S} \sum_s \frac{e^{x_s}}{q_s}\Big) - x_y

    Args:
      classes: how many classes there are.
      features: the size of the hidden states.
      use_bias: whether there is a bias.
      sampler: the proposal, q.
      num_sampled: how many classes are drawn for a batch, S.

    Example:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> import softmax_variants as sv
      >>> head = sv.ImportanceSampled(10, 4, sampler=sv.UniformSampler(10), num_sampled=5)
      >>> params, hidden = head.init(jax.random.key(0)), jnp.zeros((1, 4))
      >>> print(head.loss(params, hidden, jnp.array([3]), key=jax.random.key(1)))
      [2.3025851]

    References:
      Bengio and Senécal, `Adaptive Importance Sampling to Accelerate Training of a Neural
      Probabilistic Language Model <https://doi.org/10.1109/TNN.2007.912312>`_, 2008.
    """

    num_sampled: int = dataclasses.field(kw_only=True)

    def _objective(self) -> ImportanceObjective:
        return ImportanceObjective(self.num_sampled)


@_registered
@dataclasses.dataclass(frozen=True, eq=False)
class InBatchSoftmax(SampledHead):
    r"""Softmax over all classes, trained with `in_batch_softmax_loss`: it reads the labels' rows.

    .. math:: L_i = \log\Big(e^{x_{ii}} + \sum_{j \in B_i} e^{x_{ij} - \log Q_j}\Big) - x_{ii}

    Nothing is drawn and no key is needed. One label an example.

    Args:
      classes: how many classes there are.
      features: the size of the hidden states.
      use_bias: whether there is a bias.
      sampler: says how probable each class is as a label, such as `UnigramSampler(counts, 1.0)`.
      correction: what log Q is; see `in_batch_softmax_loss`.
      correct_target: whether log Q is subtracted from the label's score as well.

    Example:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> import softmax_variants as sv
      >>> head = sv.InBatchSoftmax(3, 4, sampler=sv.UnigramSampler([2, 1, 1], 1.0))
      >>> params, hidden = head.init(jax.random.key(0)), jnp.zeros((3, 4))
      >>> print(head.loss(params, hidden, jnp.array([0, 1, 2])))
      [1.7176515 1.5301886 1.5301886]

    References:
      Yi et al., `Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations
      <https://doi.org/10.1145/3298689.3346996>`_, 2019.
    """

    correction: Correction = dataclasses.field(default="inclusion", kw_only=True)
    correct_target: bool = dataclasses.field(default=False, kw_only=True)

    def _objective(self) -> InBatchObjective:
        return InBatchObjective(self.correction, self.correct_target)
