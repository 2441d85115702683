"""Who takes part: the rows of the table of variants, and sweeps of a scale."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from experiments.digits.config import DigitsConfig
from experiments.engine.task import Variant
from softmax_variants import variants as rows
from softmax_variants.variants import VARIANTS

REFERENCE = "softmax"
Objective = Literal["loss", "nll", "log_softmax"]

# Rows that other contenders stand for: entmax appears at several alphas instead of one default.
_REPLACED = {"entmax", "log_softmax"}
# The random maps that are a training method for the softmax which evaluates them.
_WITH_NOISE = {"gumbel_softmax"}


@dataclasses.dataclass(frozen=True)
class Program:
    """What decides the compiled code of a contender; the values of its parameters do not.

    Attributes:
      variant: The row of the variants' table.
      objective: `loss`, the map's own; `nll` of its output; `log_softmax`, exact in the tail.
      learned: Parameters that are trained, each through a sigmoid onto (1, 2).
      noisy: Whether training takes a random key at each step.
      sparse: Whether the output has zeros, so that its NLL is smoothed.
    """

    variant: str
    objective: Objective
    learned: tuple[str, ...]
    noisy: bool
    sparse: bool


@dataclasses.dataclass(frozen=True)
class Contender:
    """One row of the comparison.

    Attributes:
      name: How the command line and the results call it.
      program: What is compiled for it.
      parameters: The map's real-valued parameters that are not learned.
      group: `dense`, `sparse`, `random` or `sweep`.
      formula: The map in one line.
      reference: Where the map comes from.
    """

    name: str
    program: Program
    parameters: Mapping[str, Any]
    group: str
    formula: str
    reference: str

    @property
    def training(self) -> str:
        """What the contender minimises, in words."""
        if self.program.noisy:
            return "NLL of a noisy sample"
        words = {"loss": "own loss", "log_softmax": "cross-entropy"}
        sparse = "smoothed NLL" if self.program.sparse else "NLL"
        return words.get(self.program.objective, sparse)

    @property
    def variant(self) -> Variant:
        """The contender as the engine takes it."""
        return Variant(
            name=self.name,
            settings={"program": self.program},
            fixed=self.parameters,
            group=self.group,
            about=f"{self.training}; {self.formula}",
            map=self.program.variant,
        )


def all_contenders(config: DigitsConfig) -> dict[str, Contender]:
    """Returns every contender that can take part, softmax first, the sweeps last."""
    first = [VARIANTS[REFERENCE], *(v for v in VARIANTS.values() if v.name != REFERENCE)]
    found = [_from_variant(v) for v in first if v.name not in _REPLACED and _takes_part(v)]
    if "entmax" in VARIANTS:
        found += _entmax_contenders(VARIANTS["entmax"], fixed=(1.25, 1.5, 1.75))
    softmax = VARIANTS[REFERENCE]
    for name, values in (("temperature", config.temperatures), ("base", config.bases)):
        for value in values:
            label = f"{REFERENCE}_{name}_{value:g}"
            found.append(_variation(softmax, label, "log_softmax", {name: value}, group="sweep"))
    return {contender.name: contender for contender in found}


def _takes_part(variant: rows.Variant) -> bool:
    return not variant.stochastic or variant.name in _WITH_NOISE


def _from_variant(variant: rows.Variant) -> Contender:
    objective: Objective = "nll" if variant.loss is None else "loss"
    return _variation(variant, variant.name, objective, dict(variant.parameters))


def _entmax_contenders(variant: rows.Variant, fixed: tuple[float, ...]) -> list[Contender]:
    """Entmax at fixed alphas and with alpha learned, on its own loss and on the NLL.

    Its own loss falls as alpha grows, whatever the data, so that alone cannot choose an alpha:
    the NLL of the output can, and both are shown.
    """
    with_own_row = {1.5} if "entmax15" in VARIANTS else set()
    alphas = [alpha for alpha in fixed if alpha not in with_own_row]
    made = [_variation(variant, f"entmax_{a:g}", "loss", {"alpha": a}) for a in alphas]
    learned = ("alpha",)
    made.append(_variation(variant, "entmax_learned", "loss", {}, learned=learned))
    made.append(_variation(variant, "entmax_learned_nll", "nll", {}, learned=learned))
    return made


def _variation(
    variant: rows.Variant,
    name: str,
    objective: Objective,
    parameters: Mapping[str, Any],
    learned: tuple[str, ...] = (),
    group: str | None = None,
) -> Contender:
    return Contender(
        name=name,
        program=Program(
            variant=variant.name,
            objective=objective,
            learned=learned,
            noisy=variant.stochastic,
            sparse=variant.sparse,
        ),
        parameters=parameters,
        group=group or variant.group,
        formula=variant.formula,
        reference=variant.reference,
    )
