"""Who takes part: estimators of the gradient, the relaxations at several temperatures."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float

from experiments.errors import UserError, did_you_mean
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
STRAIGHT_THROUGH: tuple[Method, ...] = (
    "st_softmax",
    "st_sparsemax",
    "st_entmax15",
)
REFERENCE: Literal["exact"] = "exact"
# What each group's colour stands for.
GROUPS = {
    "random": "unbiased: exact, score function",
    "dense": "Gumbel-softmax",
    "sparse": "Gumbel-sparsemax, -entmax",
    "sweep": "straight-through",
}
_JANG = "Jang, Gu and Poole, 2016; Maddison, Mnih and Teh, 2016"
_SPARSE = "the relaxation of Jang, Gu and Poole, 2016, with a sparse map"
_BENGIO = "Jang, Gu and Poole, 2016; Bengio, Leonard and Courville, 2013"
# The group, the formula and the reference of each method.
_METHODS: dict[Method, tuple[str, str, str]] = {
    "exact": ("random", "the gradient of the ELBO over all codes", "enumeration"),
    "score_function": ("random", "f(z) ∇ log q(z)", "Williams, REINFORCE, 1992"),
    "score_function_loo": (
        "random",
        "(f(z) - mean of the other samples' f) ∇ log q(z)",
        "Kool, van Hoof and Welling, 2019",
    ),
    "gumbel_softmax": ("dense", "softmax((logits + Gumbel) / T)", _JANG),
    "gumbel_sparsemax": ("sparse", "sparsemax((logits + Gumbel) / T)", _SPARSE),
    "gumbel_entmax15": ("sparse", "1.5-entmax((logits + Gumbel) / T)", _SPARSE),
    "st_softmax": ("sweep", "one-hot forward, Gumbel-softmax backward", _BENGIO),
    "st_sparsemax": ("sweep", "one-hot forward, Gumbel-sparsemax backward", _BENGIO),
    "st_entmax15": ("sweep", "one-hot forward, Gumbel-entmax backward", _BENGIO),
}


@dataclasses.dataclass(frozen=True)
class Contender:
    """One row of the comparison.

    Attributes:
      name: How the command line and the results call it.
      method: What is compiled for it.
      temperature: Of a relaxation, None where it is annealed or there is none.
      annealed: Whether the temperature changes over the steps.
    """

    name: str
    method: Method
    temperature: float | None = None
    annealed: bool = False

    @property
    def group(self) -> str:
        """The group that decides its colour."""
        return method_group(self.method)

    @property
    def formula(self) -> str:
        """The estimator in one line."""
        return _METHODS[self.method][1]

    @property
    def reference(self) -> str:
        """Where it comes from."""
        return _METHODS[self.method][2]


def measured_methods(contenders: Sequence[Contender]) -> list[Method]:
    """Returns the methods whose gradient is measured: all that take part but the exact one."""
    return list(dict.fromkeys(c.method for c in contenders if c.method != REFERENCE))


def method_group(method: Method) -> str:
    """Returns the group that decides a method's colour."""
    return _METHODS[method][0]


def all_contenders(config: VaeConfig) -> dict[str, Contender]:
    """Returns every estimator that can take part, the reference first."""
    unbiased: tuple[Method, ...] = (REFERENCE, *SCORE_FUNCTION)
    found = [Contender(method, method) for method in unbiased]
    for method in (*RELAXED, *STRAIGHT_THROUGH):
        found += [Contender(f"{method}_{t:g}", method, t) for t in config.temperatures]
        if config.anneal:
            found.append(Contender(f"{method}_annealed", method, annealed=True))
    return {contender.name: contender for contender in found}


def chosen_contenders(config: VaeConfig) -> list[Contender]:
    """Returns the estimators that the config names, the reference first."""
    known = all_contenders(config)
    for name in config.estimators:
        if name not in known:
            raise UserError(
                f"estimators: unknown estimator {name!r}{did_you_mean(name, known)}; there are: "
                f"{', '.join(known)}"
            )
    wanted = {REFERENCE, *(config.estimators or known)}
    return [contender for name, contender in known.items() if name in wanted]


def temperatures(config: VaeConfig, contender: Contender) -> Float[np.ndarray, " steps"]:
    """Returns the temperature at each step; 1 where the estimator has none."""
    if not contender.annealed:
        value = 1.0 if contender.temperature is None else contender.temperature
        return np.full(config.steps, value, np.float32)
    first, last = config.anneal
    return np.geomspace(first, last, config.steps).astype(np.float32)
