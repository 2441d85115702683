"""The table of variants: one row each, for experiments, reports and the conformance tests."""

import dataclasses
import types
from collections.abc import Callable, Mapping
from typing import Any, Literal

from softmax_variants.losses._classification import (
    cross_entropy_loss,
    entmax15_loss,
    entmax_loss,
    sparsemax_loss,
)
from softmax_variants.maps._entmax import entmax, entmax15
from softmax_variants.maps._gumbel import gumbel_softmax
from softmax_variants.maps._softmax import softmax
from softmax_variants.maps._sparsemax import sparsemax


# Compared and hashed by identity, so that a row can be jitted as it stands.
@dataclasses.dataclass(frozen=True, eq=False)
class Variant:
    """One map from scores to probabilities, and what is true of it.

    Attributes:
      name: the public name.
      map: `map(logits, axis, where, **parameters)`; a stochastic one takes a key first.
      group: dense, sparse or random.
      formula: the definition in one line of plain text.
      when: when to choose it, in one line.
      reference: the paper.
      loss: `loss(logits, labels, axis, where, **parameters)` whose gradient is `map - target`, or
        `None`: such a map is trained through the negative log-likelihood of its output.
      parameters: real-valued keyword parameters with the values the tests and experiments use.
      static: keyword parameters fixed at trace time (counts, orders).
      normalized: rows sum to 1.
      total: the row sum where it is another constant; `None` where it depends on the row.
      sparse: classes can get exactly 0.
      shift_invariant: adding a constant to a row changes nothing.
      monotone: a larger logit never gets a smaller output.
      permutation_equivariant: permuting the classes permutes the output.
      nonnegative_input: defined for scores >= 0 only.
      stochastic: takes a key.
    """

    name: str
    map: Callable[..., Any]
    group: Literal["dense", "sparse", "random"]
    formula: str
    when: str
    reference: str
    loss: Callable[..., Any] | None = None
    parameters: Mapping[str, Any] = dataclasses.field(
        default_factory=lambda: types.MappingProxyType({})
    )
    static: Mapping[str, Any] = dataclasses.field(
        default_factory=lambda: types.MappingProxyType({})
    )
    normalized: bool = True
    total: float | None = 1.0
    sparse: bool = False
    shift_invariant: bool = True
    monotone: bool = True
    permutation_equivariant: bool = True
    nonnegative_input: bool = False
    stochastic: bool = False

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        """The map with this row's parameters, unless others are given."""
        return self.map(*arguments, **{**self.parameters, **self.static, **keywords})


_ROWS = (
    Variant(
        "softmax",
        softmax,
        "dense",
        "exp(x_i) / sum_j exp(x_j)",
        "the default: every class stays possible",
        "Bridle 1990",
        loss=cross_entropy_loss,
    ),
    Variant(
        "sparsemax",
        sparsemax,
        "sparse",
        "max(x_i - tau, 0)",
        "few classes, exact zeros, probabilities linear in the scores",
        "Martins & Astudillo 2016, arXiv:1602.02068",
        loss=sparsemax_loss,
        sparse=True,
    ),
    Variant(
        "entmax15",
        entmax15,
        "sparse",
        "max(x_i / 2 - tau, 0)^2",
        "zeros in the tail with smooth gradients: the first sparse map to try",
        "Peters et al. 2019, arXiv:1905.05702",
        loss=entmax15_loss,
        sparse=True,
    ),
    Variant(
        "entmax",
        entmax,
        "sparse",
        "max((alpha - 1) x_i - tau, 0)^(1 / (alpha - 1))",
        "sparsity to be tuned or learned",
        "Peters et al. 2019, arXiv:1905.05702; Correia et al. 2019, arXiv:1909.00015",
        loss=entmax_loss,
        parameters=types.MappingProxyType({"alpha": 1.5}),
        sparse=True,
    ),
    Variant(
        "gumbel_softmax",
        gumbel_softmax,
        "random",
        "softmax((x + Gumbel noise) / T)",
        "a discrete choice inside a network that is trained by gradients",
        "Jang et al. 2016, arXiv:1611.01144; Maddison et al. 2016, arXiv:1611.00712",
        parameters=types.MappingProxyType({"temperature": 0.5}),
        monotone=False,
        permutation_equivariant=False,
        stochastic=True,
    ),
)

VARIANTS: Mapping[str, Variant] = types.MappingProxyType({row.name: row for row in _ROWS})
