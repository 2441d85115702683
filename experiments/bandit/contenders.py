"""Who takes part: families of policies, each at several values of its parameter."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

from experiments.bandit.config import BanditConfig
from experiments.errors import UserError, did_you_mean

Family = Literal["epsilon", "softmax", "sparsemax", "entmax15", "ucb", "gradient", "oracle"]
REFERENCE = "epsilon_0.1"
_REFERENCE_EPSILON = 0.1
_BOOK = "Sutton and Barto, Reinforcement Learning, 2nd edition, section"
# The families' group, which is also the class of its colour, formula and reference.
_FAMILIES: dict[Family, tuple[str, str, str]] = {
    "epsilon": ("random", "greedy; with probability ε any action", f"{_BOOK} 2.2"),
    "softmax": ("dense", "P(a) = softmax(Q / T)", f"{_BOOK} 2.8"),
    "sparsemax": ("sparse", "P(a) = sparsemax(Q / T)", "Martins and Astudillo, 2016"),
    "entmax15": ("sparse", "P(a) = 1.5-entmax(Q / T)", "Peters, Niculae and Martins, 2019"),
    "ucb": ("sweep", "argmax of Q + c sqrt(ln t / N)", f"{_BOOK} 2.7"),
    "gradient": ("sweep", "P(a) = softmax(H), H by gradient ascent", f"{_BOOK} 2.8"),
    "oracle": ("sweep", "always the best action", "the ceiling, which knows the true values"),
}
# What each group's colour stands for.
GROUPS = {
    "random": "ε-greedy",
    "dense": "Boltzmann softmax",
    "sparse": "sparsemax, 1.5-entmax",
    "sweep": "UCB, gradient, oracle",
}


@dataclasses.dataclass(frozen=True)
class Contender:
    """One row of the comparison.

    Attributes:
      name: How the command line and the results call it.
      family: What is compiled for it.
      parameter: The family's parameter: epsilon, a temperature, c, or a step size.
    """

    name: str
    family: Family
    parameter: float

    @property
    def group(self) -> str:
        """The group that decides its colour."""
        return _FAMILIES[self.family][0]

    @property
    def formula(self) -> str:
        """How it selects an action, in one line."""
        return _FAMILIES[self.family][1]

    @property
    def reference(self) -> str:
        """Where it comes from."""
        return _FAMILIES[self.family][2]


def all_contenders(config: BanditConfig) -> dict[str, Contender]:
    """Returns every policy that can take part, the reference first, the oracle last."""
    others = [e for e in config.epsilons if e != _REFERENCE_EPSILON]
    values: dict[Family, Sequence[float]] = {
        "epsilon": (_REFERENCE_EPSILON, *others),
        "softmax": config.temperatures,
        "sparsemax": config.temperatures,
        "entmax15": config.temperatures,
        "ucb": config.ucb,
        "gradient": config.gradient,
        "oracle": (0.0,),
    }
    found = [Contender(_name(f, v), f, v) for f, parameters in values.items() for v in parameters]
    return {contender.name: contender for contender in found}


def _name(family: Family, parameter: float) -> str:
    if family == "oracle":
        return "oracle"
    return "greedy" if (family, parameter) == ("epsilon", 0.0) else f"{family}_{parameter:g}"


def chosen_contenders(config: BanditConfig) -> list[Contender]:
    """Returns the policies that the config names, the reference first."""
    known = all_contenders(config)
    for name in config.policies:
        if name not in known:
            raise UserError(
                f"policies: unknown policy {name!r}{did_you_mean(name, known)}; there are: "
                f"{', '.join(known)}"
            )
    wanted = {REFERENCE, *(config.policies or known)}
    return [contender for name, contender in known.items() if name in wanted]
