"""The output layers that take part, and how each is made for a vocabulary."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

import softmax_variants as sv
from experiments.engine.task import Variant
from experiments.words.config import WordsConfig

REFERENCE = "full"
Group = Literal["exact", "sampled", "tree", "bands"]


class Setting(NamedTuple):
    """What a head is made for.

    Attributes:
      counts: How often each class occurs in training, falling.
      features: Size of the hidden state.
      num_sampled: Classes that sampled softmax and NCE draw for a step.
      negatives: Classes that negative sampling draws for a step.
      batch_size: Words in a step.
      vectors: Of each class, for the clustered tree; may take a while.
    """

    counts: Int[np.ndarray, " classes"]
    features: int
    num_sampled: int
    negatives: int
    batch_size: int
    vectors: Callable[[], Float[np.ndarray, "classes size"]]

    @classmethod
    def of(
        cls,
        counts: Int[np.ndarray, " classes"],
        config: WordsConfig,
        vectors: Callable[[], Float[np.ndarray, "classes size"]],
    ) -> "Setting":
        """For the classes with these counts."""
        sizes = config.num_sampled, config.negatives, config.batch_size
        return cls(counts, config.features, *sizes, vectors)

    @property
    def classes(self) -> int:
        """How many there are."""
        return self.counts.size


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class LogitsSoftmax(sv.FullSoftmax):
    """Full softmax as it is usually written: through the logits of all classes."""

    def loss(
        self,
        params: Any,
        hidden: Any,
        labels: Any,
        *,
        key: Array | None = None,
        where: Any = None,
    ) -> Array:
        """The cross-entropy of each example."""
        del key
        logits = jnp.asarray(hidden) @ params["weight"].T + params["bias"][None, :]
        losses = sv.cross_entropy_loss(logits, labels)
        return losses if where is None else jnp.where(where, losses, 0.0)


@dataclasses.dataclass(frozen=True)
class Contender:
    """One output layer of the comparison.

    Attributes:
      name: How the command line and the results call it.
      group: What its loss works out.
      by_rows: Whether a training step reads and updates few rows of its tables.
      logits: Whether a training step works out one logit for each class.
      scales: Whether it is timed over sizes of the vocabulary.
      formula: In one line, what a training step does.
      reference: Where it comes from.
      make: From a setting to the head.
    """

    name: str
    group: Group
    by_rows: bool
    logits: bool
    scales: bool
    formula: str
    reference: str
    make: Callable[[Setting], Any]

    @property
    def variant(self) -> Variant:
        """The head as the engine trains it."""
        return Variant(self.name, {"head": self.name}, group=self.group, about=self.formula)


def _sampled(s: Setting) -> Any:
    sampler = sv.UnigramSampler(s.counts)
    return sv.SampledSoftmax(s.classes, s.features, sampler=sampler, num_sampled=s.num_sampled)


def _nce(s: Setting) -> Any:
    return sv.NCE(
        s.classes, s.features, sampler=sv.UnigramSampler(s.counts), num_sampled=s.num_sampled
    )


def _negative(s: Setting) -> Any:
    sampler = sv.UnigramSampler(s.counts)
    return sv.NegativeSampling(s.classes, s.features, sampler=sampler, num_sampled=s.negatives)


def _adaptive(s: Setting) -> Any:
    # Every tail keeps at least 4 features.
    tails = int(np.clip(np.log2(s.features / 4.0), 1, 3))
    cutoffs = sv.choose_cutoffs(
        s.counts, features=s.features, tails=tails, div_value=2.0, batch_size=s.batch_size
    )
    return sv.AdaptiveSoftmax(s.features, s.classes, cutoffs, div_value=2.0, head_bias=True)


def _differentiated(s: Setting) -> Any:
    rare = max(s.features // 8, 1)
    middle = max(s.features // 4, 1)
    cutoffs = (max(s.classes // 20, 1), max(s.classes // 5, 2))
    widths = (s.features - middle - rare, middle, rare)
    return sv.DifferentiatedSoftmax(s.features, s.classes, cutoffs, widths)


def _hierarchical(tree: Callable[[Setting], sv.Tree]) -> Callable[[Setting], Any]:
    return lambda s: sv.HierarchicalSoftmax(tree=tree(s), features=s.features)


_CONTENDERS = (
    Contender(
        REFERENCE,
        "exact",
        by_rows=False,
        logits=True,
        scales=True,
        formula="softmax of the logits of all classes, kept for the backward pass",
        reference="Bengio et al. 2003, A Neural Probabilistic Language Model",
        make=lambda s: LogitsSoftmax(s.classes, s.features),
    ),
    Contender(
        "fused",
        "exact",
        by_rows=False,
        logits=True,
        scales=True,
        formula="the same loss and gradient, by blocks of classes: linear_cross_entropy",
        reference="Wijmans et al. 2024, arXiv:2411.09009",
        make=lambda s: sv.FullSoftmax(s.classes, s.features),
    ),
    Contender(
        "sampled",
        "sampled",
        by_rows=True,
        logits=False,
        scales=True,
        formula="softmax over the label and classes drawn for the batch, less their log Q",
        reference="Jean et al. 2015, arXiv:1412.2007",
        make=_sampled,
    ),
    Contender(
        "nce",
        "sampled",
        by_rows=True,
        logits=False,
        scales=True,
        formula="tells the label from noise drawn for the batch, by a logistic loss",
        reference="Mnih & Teh 2012, arXiv:1206.6426",
        make=_nce,
    ),
    Contender(
        "negative",
        "sampled",
        by_rows=True,
        logits=False,
        scales=True,
        formula="the same without the noise's probability; judged by softmax(x + log q)",
        reference="Mikolov et al. 2013, arXiv:1310.4546",
        make=_negative,
    ),
    Contender(
        "huffman",
        "tree",
        by_rows=True,
        logits=False,
        scales=True,
        formula="left or right at each node to the word, frequent words near the root",
        reference="Mikolov et al. 2013, arXiv:1310.4546",
        make=_hierarchical(lambda s: sv.huffman_tree(s.counts)),
    ),
    Contender(
        "balanced",
        "tree",
        by_rows=True,
        logits=False,
        scales=True,
        formula="the same in a tree of equal depth, words in the order of their frequency",
        reference="Morin & Bengio 2005, Hierarchical Probabilistic Neural Network LM",
        make=_hierarchical(lambda s: sv.balanced_tree(s.classes)),
    ),
    Contender(
        "clustered",
        "tree",
        by_rows=True,
        logits=False,
        scales=False,
        formula="the same in a tree that halves the words by the words around them",
        reference="Mnih & Hinton 2008, A Scalable Hierarchical Distributed Language Model",
        make=_hierarchical(lambda s: sv.clustered_tree(s.vectors())),
    ),
    Contender(
        "adaptive",
        "bands",
        by_rows=False,
        logits=False,
        scales=True,
        formula="softmax over frequent words and tails, then within a tail of fewer features",
        reference="Grave et al. 2017, arXiv:1609.04309",
        make=_adaptive,
    ),
    Contender(
        "differentiated",
        "bands",
        by_rows=False,
        logits=True,
        scales=True,
        formula="one softmax, in which bands of words see different parts of the hidden state",
        reference="Chen et al. 2016, arXiv:1512.04906",
        make=_differentiated,
    ),
)


def all_contenders() -> dict[str, Contender]:
    """Returns every contender, the reference first."""
    return {contender.name: contender for contender in _CONTENDERS}
