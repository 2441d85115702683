"""Who takes part: estimators of the gradient, the relaxations at several temperatures."""

import dataclasses
from typing import Literal, NamedTuple

from experiments.engine.task import Range, Variant
from experiments.vae.config import VaeConfig

Method = Literal[
    "exact",
    "score_function",
    "score_function_loo",
    "gumbel_softmax",
    "gumbel_sparsemax",
    "gumbel_entmax15",
    "st_softmax",
    "st_sparsemax",
    "st_entmax15",
]
SCORE_FUNCTION: tuple[Method, ...] = ("score_function", "score_function_loo")
RELAXED: tuple[Method, ...] = ("gumbel_softmax", "gumbel_sparsemax", "gumbel_entmax15")
STRAIGHT_THROUGH: tuple[Method, ...] = ("st_softmax", "st_sparsemax", "st_entmax15")
REFERENCE: Method = "exact"


class About(NamedTuple):
    """What a report says of a method: its group, the estimator in one line, where it is from."""

    group: str
    formula: str
    source: str


_JANG = "Jang, Gu and Poole, 2016; Maddison, Mnih and Teh, 2016"
_SPARSE = "the relaxation of Jang, Gu and Poole, 2016, with a sparse map"
_BENGIO = "Jang, Gu and Poole, 2016; Bengio, Leonard and Courville, 2013"
_UNBIASED, _THROUGH = "exact, score function", "straight-through"
METHODS: dict[Method, About] = {
    "exact": About(_UNBIASED, "the gradient of the ELBO over all codes", "enumeration"),
    "score_function": About(_UNBIASED, "f(z) ∇ log q(z)", "Williams, REINFORCE, 1992"),
    "score_function_loo": About(
        _UNBIASED,
        "(f(z) - mean of the other samples' f) ∇ log q(z)",
        "Kool, van Hoof and Welling, 2019",
    ),
    "gumbel_softmax": About("Gumbel-softmax", "softmax((scores + Gumbel) / T)", _JANG),
    "gumbel_sparsemax": About("Gumbel, sparse", "sparsemax((scores + Gumbel) / T)", _SPARSE),
    "gumbel_entmax15": About("Gumbel, sparse", "1.5-entmax((scores + Gumbel) / T)", _SPARSE),
    "st_softmax": About(_THROUGH, "one-hot forward, Gumbel-softmax backward", _BENGIO),
    "st_sparsemax": About(_THROUGH, "one-hot forward, Gumbel-sparsemax backward", _BENGIO),
    "st_entmax15": About(_THROUGH, "one-hot forward, Gumbel-entmax backward", _BENGIO),
}


@dataclasses.dataclass(frozen=True)
class Contender:
    """One row of the comparison.

    Attributes:
      method: What is compiled for it.
      temperature: What its temperature is, or that it has none.
    """

    method: Method
    temperature: float | Literal["none", "annealed", "tuned"] = "none"

    @property
    def name(self) -> str:
        """How the command line and the results call it."""
        return self.method if self.temperature == "none" else f"{self.method}_{self.label}"

    @property
    def label(self) -> str:
        """The temperature in one word."""
        place = self.temperature
        return f"{place:g}" if isinstance(place, float) else place

    def variant(self, config: VaeConfig) -> Variant:
        """Returns the contender as the engine takes it.

        All temperatures of a method are values of one program: a step of the annealed run is at
        `temperature * cooling ** progress`, and `cooling` is 1 for the others.
        """
        fixed: dict[str, float] = {}
        tuned: dict[str, Range] = {}
        words = ""
        match self.temperature:
            case "annealed":
                first, last = config.anneal
                fixed = {"temperature": first, "cooling": last / first}
                words = f", T from {first:g} to {last:g}"
            case "tuned":
                low, high = config.tuned_temperatures
                fixed = {"cooling": 1.0}
                tuned = {"temperature": Range(low, high)}
                words = ", T tuned"
            case float(at):
                fixed = {"temperature": at, "cooling": 1.0}
                words = f", T = {at:g}"
        about = METHODS[self.method]
        return Variant(
            name=self.name,
            settings={"method": self.method},
            fixed=fixed,
            tuned=tuned,
            group=about.group,
            about=f"{about.formula}{words} ({about.source})",
        )


def all_contenders(config: VaeConfig) -> list[Contender]:
    """Returns every estimator that can take part, the reference first."""
    found = [Contender(method) for method in (REFERENCE, *SCORE_FUNCTION)]
    for method in (*RELAXED, *STRAIGHT_THROUGH):
        found += [Contender(method, float(place)) for place in config.temperatures]
        found += [Contender(method, "annealed")] if config.anneal else []
        found += [Contender(method, "tuned")] if config.tuned_temperatures else []
    return found


def chosen_contenders(config: VaeConfig) -> list[Contender]:
    """Returns the estimators that the config names."""
    names = {variant.name for variant in config.chosen_variants()}
    return [contender for contender in all_contenders(config) if contender.name in names]


def measured_methods(config: VaeConfig) -> list[Method]:
    """Returns the methods whose gradient is measured: all that take part but the exact one."""
    methods = dict.fromkeys(c.method for c in chosen_contenders(config))
    return [m for m in methods if m != REFERENCE] if config.probes else []
