"""Who takes part: families of policies, each at several values of its parameter, and tuned."""

from collections.abc import Sequence
from typing import NamedTuple

from experiments.bandit.config import BanditConfig
from experiments.bandit.policies import Family
from experiments.engine.task import Range, Variant

REFERENCE_EPSILON = 0.1


class Kind(NamedTuple):
    """What is known of a family of policies.

    Attributes:
      group: What the report sorts it by.
      formula: How it selects an action, in one line.
      range: Where its parameter is tuned; None where it has none.
    """

    group: str
    formula: str
    range: Range | None


KINDS: dict[Family, Kind] = {
    "epsilon": Kind("random", "greedy; with probability ε any action", Range(0.005, 0.5)),
    "softmax": Kind("dense", "P(a) = softmax(Q / T)", Range(0.03, 1.0)),
    "sparsemax": Kind("sparse", "P(a) = sparsemax(Q / T)", Range(0.1, 10.0)),
    "entmax15": Kind("sparse", "P(a) = 1.5-entmax(Q / T)", Range(0.06, 5.0)),
    "ucb": Kind("sweep", "argmax of Q + c sqrt(ln t / N)", Range(0.06, 4.0)),
    "gradient": Kind("sweep", "P(a) = softmax(H), H by gradient ascent", Range(0.03, 4.0)),
    "oracle": Kind("sweep", "always the best action: the ceiling", None),
}


def variants(config: BanditConfig) -> list[Variant]:
    """Returns every policy, the reference first, those with a tuned parameter before the oracle."""
    others = [e for e in config.epsilons if e != REFERENCE_EPSILON]
    values: dict[Family, Sequence[float]] = {
        "epsilon": (REFERENCE_EPSILON, *others),
        "softmax": config.temperatures,
        "sparsemax": config.temperatures,
        "entmax15": config.temperatures,
        "ucb": config.ucb,
        "gradient": config.gradient,
    }
    fixed = [_fixed(family, value) for family, chosen in values.items() for value in chosen]
    tuned = [_tuned(family, kind.range) for family, kind in KINDS.items() if kind.range]
    return [*fixed, *tuned, _variant("oracle", "oracle")]


def _fixed(family: Family, value: float) -> Variant:
    greedy = (family, value) == ("epsilon", 0.0)
    name = "greedy" if greedy else f"{family}_{value:g}"
    return _variant(name, family, fixed={"parameter": value})


def _tuned(family: Family, where: Range) -> Variant:
    return _variant(f"{family}_tuned", family, tuned={"parameter": where})


def _variant(
    name: str,
    family: Family,
    fixed: dict[str, float] | None = None,
    tuned: dict[str, Range] | None = None,
) -> Variant:
    kind = KINDS[family]
    return Variant(
        name,
        {"family": family},
        fixed=fixed or {},
        tuned=tuned or {},
        group=kind.group,
        about=kind.formula,
    )
