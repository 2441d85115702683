"""The table of variants: one row each, for experiments, reports and the conformance tests."""

import dataclasses
import types
from collections.abc import Callable, Mapping
from typing import Any, Literal

from softmax_variants.losses._classification import (
    alpha_relu_loss,
    cross_entropy_loss,
    entmax15_loss,
    entmax_loss,
    normmax_loss,
    sparsemax_loss,
)
from softmax_variants.maps._alpha_relu import alpha_relu
from softmax_variants.maps._capped_sparsemax import capped_sparsemax
from softmax_variants.maps._entmax import entmax, entmax15
from softmax_variants.maps._ev_softmax import ev_softmax
from softmax_variants.maps._fusedmax import fusedmax
from softmax_variants.maps._gumbel import gumbel_softmax
from softmax_variants.maps._hardmax import hardmax
from softmax_variants.maps._multimax import multimax
from softmax_variants.maps._normmax import normmax
from softmax_variants.maps._r_softmax import r_softmax
from softmax_variants.maps._scalable_softmax import scalable_softmax
from softmax_variants.maps._sigsoftmax import sigsoftmax
from softmax_variants.maps._softmax import softmax
from softmax_variants.maps._softmax_n import softmax_n
from softmax_variants.maps._softpick import softpick
from softmax_variants.maps._sparsemax import sparsemax
from softmax_variants.maps._spherical_softmax import spherical_softmax
from softmax_variants.maps._stablemax import stablemax
from softmax_variants.maps._subsets import relaxed_top_k
from softmax_variants.maps._sum_normalize import sum_normalize
from softmax_variants.maps._taylor_softmax import taylor_softmax
from softmax_variants.maps._truncated import min_p_softmax, top_k_softmax, top_p_softmax


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
        "softmax_n",
        softmax_n,
        "dense",
        "exp(x_i) / (n + sum_j exp(x_j))",
        "attention that may attend to nothing; a learned sink",
        "Miller 2023, Attention Is Off By One",
        parameters=types.MappingProxyType({"n": 1.0}),
        normalized=False,
        total=None,
        shift_invariant=False,
    ),
    Variant(
        "scalable_softmax",
        scalable_softmax,
        "dense",
        "n^(s x_i) / sum_j n^(s x_j), n the number of kept classes",
        "attention over rows much longer than those trained on",
        "Nakanishi 2025, arXiv:2501.19399",
        parameters=types.MappingProxyType({"scale": 0.5}),
    ),
    Variant(
        "stablemax",
        stablemax,
        "dense",
        "s(x_i) / sum_j s(x_j), s(x) = x + 1 above 0 and 1 / (1 - x) below",
        "training on past full confidence, where softmax's gradient rounds to 0",
        "Prieto et al. 2025, arXiv:2501.04697",
        shift_invariant=False,
    ),
    Variant(
        "taylor_softmax",
        taylor_softmax,
        "dense",
        "T(x_i) / sum_j T(x_j), T the polynomial of exp of even order",
        "heavy tails without an exponential",
        "de Brebisson & Vincent 2016, arXiv:1511.05042",
        static=types.MappingProxyType({"order": 2}),
        shift_invariant=False,
        monotone=False,
    ),
    Variant(
        "spherical_softmax",
        spherical_softmax,
        "dense",
        "x_i^2 / sum_j x_j^2",
        "scores whose scale carries no meaning; losses that need no sum over the classes",
        "de Brebisson & Vincent 2016, arXiv:1511.05042",
        shift_invariant=False,
        monotone=False,
    ),
    Variant(
        "sigsoftmax",
        sigsoftmax,
        "dense",
        "exp(x_i) sigmoid(x_i) / sum_j exp(x_j) sigmoid(x_j)",
        "many classes over few features, where softmax is a bottleneck",
        "Kanai et al. 2018, arXiv:1805.10829",
        shift_invariant=False,
    ),
    Variant(
        "sum_normalize",
        sum_normalize,
        "dense",
        "x_i / sum_j x_j",
        "scores that are weights already; the contrast to every other map",
        "Luce 1959, Individual Choice Behavior",
        shift_invariant=False,
        nonnegative_input=True,
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
        "hardmax",
        hardmax,
        "sparse",
        "1 at the largest x, shared among ties",
        "a decision, or the forward half of straight_through: its derivative is 0",
        "Bridle 1989; softmax at temperature 0",
        sparse=True,
    ),
    Variant(
        "alpha_relu",
        alpha_relu,
        "sparse",
        "max((alpha - 1) x_i - tau, 0)^(1 / (alpha - 1))",
        "entmax's zeros at the cost of a ReLU, trained to sum to about 1",
        "Tezekbayev et al. 2021, arXiv:2111.06832",
        loss=alpha_relu_loss,
        parameters=types.MappingProxyType({"alpha": 1.5, "tau": -0.25}),
        normalized=False,
        total=None,
        sparse=True,
        shift_invariant=False,
    ),
    Variant(
        "softpick",
        softpick,
        "sparse",
        "max(exp(x_i) - 1, 0) / sum_j |exp(x_j) - 1|",
        "attention without a sink: a row may pick nothing",
        "Zuhri et al. 2025, arXiv:2504.20966",
        normalized=False,
        total=None,
        sparse=True,
        shift_invariant=False,
    ),
    Variant(
        "ev_softmax",
        ev_softmax,
        "sparse",
        "softmax over the x_i that reach the mean of x",
        "several modes kept, the rest cut, with nothing to tune",
        "Chen et al. 2021, arXiv:2110.14182",
        sparse=True,
    ),
    Variant(
        "r_softmax",
        r_softmax,
        "sparse",
        "w_i exp(x_i) / sum_j w_j exp(x_j), w_i = max(x_i - r-quantile of x, 0)",
        "a given fraction of zeros in every row",
        "Balazy et al. 2023, arXiv:2304.05243",
        parameters=types.MappingProxyType({"r": 0.4}),
        sparse=True,
    ),
    Variant(
        "multimax",
        multimax,
        "sparse",
        "softmax of x bent by (b0-x)+, (x-b1)+, (b2-x)+^2 and (x-b3)+^2",
        "one sharpness for the smallest scores and another for the largest",
        "Zhou et al. 2024, arXiv:2406.01189",
        parameters=types.MappingProxyType(
            {"temperatures": (0.3, 0.2, 0.02, 0.01), "thresholds": (-1.0, 1.0, -0.5, 0.5)}
        ),
        shift_invariant=False,
        monotone=False,
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
    Variant(
        "relaxed_top_k",
        relaxed_top_k,
        "random",
        "the sum of k relaxed one-hots, drawn without replacement",
        "a choice of k classes inside a network that is trained by gradients",
        "Xie & Ermon 2019, arXiv:1901.10517",
        parameters=types.MappingProxyType({"temperature": 0.5}),
        static=types.MappingProxyType({"k": 2}),
        normalized=False,
        total=None,
        monotone=False,
        permutation_equivariant=False,
        stochastic=True,
    ),
    Variant(
        "normmax",
        normmax,
        "sparse",
        "max(x_i - tau, 0)^(1 / (alpha - 1)), divided by its sum",
        "a support of near-equal shares, the more equal the larger alpha",
        "Blondel et al. 2020, arXiv:1901.02324; Santos et al. 2024, arXiv:2402.13725",
        loss=normmax_loss,
        parameters=types.MappingProxyType({"alpha": 2.0}),
        sparse=True,
    ),
    Variant(
        "capped_sparsemax",
        capped_sparsemax,
        "sparse",
        "min(max(x_i - tau, 0), upper_i), summing to the budget",
        "relaxed subsets of k classes, or no class above its cap",
        "Malaviya et al. 2018, arXiv:1805.08241",
        parameters=types.MappingProxyType({"budget": 1.0, "upper": 1.0}),
        sparse=True,
    ),
    Variant(
        "top_k_softmax",
        top_k_softmax,
        "sparse",
        "exp(x_i) / sum over the k largest logits, 0 elsewhere",
        "a fixed number of classes: sampling text, routing to experts",
        "Fan et al. 2018, arXiv:1805.04833",
        static=types.MappingProxyType({"k": 3}),
        sparse=True,
    ),
    Variant(
        "top_p_softmax",
        top_p_softmax,
        "sparse",
        "softmax over the fewest classes whose mass reaches p",
        "sampling text with as many candidates as the row is uncertain",
        "Holtzman et al. 2019, arXiv:1904.09751",
        parameters=types.MappingProxyType({"p": 0.8}),
        sparse=True,
    ),
    Variant(
        "min_p_softmax",
        min_p_softmax,
        "sparse",
        "softmax over the classes with p_i >= min_p * max p",
        "sampling text at high temperature without the tail",
        "Nguyen et al. 2024, arXiv:2407.01082",
        parameters=types.MappingProxyType({"min_p": 0.2}),
        sparse=True,
    ),
    Variant(
        "fusedmax",
        fusedmax,
        "sparse",
        "sparsemax of the total-variation proximal point of x",
        "an order among the classes: attention to runs of neighbours",
        "Niculae & Blondel 2017, arXiv:1705.07704",
        parameters=types.MappingProxyType({"strength": 0.3}),
        monotone=False,
        permutation_equivariant=False,
        sparse=True,
    ),
)

VARIANTS: Mapping[str, Variant] = types.MappingProxyType({row.name: row for row in _ROWS})
