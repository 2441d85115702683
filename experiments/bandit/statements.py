"""What the book says about the curves of its figures 2.2 and 2.4, held against a run."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.bandit.config import BanditConfig
from experiments.statistics import mean_interval

Figures = dict[str, Any]
# The curve of each seed, by what it shows: [seeds, points].
Curves = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Statement:
    """A statement of the book as limits on a figure.

    Attributes:
      claim: The statement in words.
      policy: The policy it is about.
      figure: Which part of which curve: first, middle or late, and reward or optimal.
      minus: What is subtracted seed by seed: a policy and a figure, or nothing.
      low: The smallest mean that agrees with the statement.
      high: The largest one.
    """

    claim: str
    policy: str
    figure: str
    minus: tuple[str, str] | None
    low: float
    high: float = math.inf


_TENTH, _HUNDREDTH = "epsilon_0.1", "epsilon_0.01"
STATEMENTS = (
    Statement(
        "greedy is ahead of ε = 0.1 at the very beginning",
        *("greedy", "first_reward", (_TENTH, "first_reward"), 0.0),
    ),
    Statement("greedy levels off at a reward of about 1", "greedy", "late_reward", None, 0.9, 1.1),
    Statement(
        "greedy finds the best action in about a third of the problems",
        *("greedy", "late_optimal", None, 0.30, 0.40),
    ),
    Statement(
        "in the long run ε = 0.01 earns more than greedy",
        *(_HUNDREDTH, "late_reward", ("greedy", "late_reward"), 0.0),
    ),
    Statement(
        "in the long run ε = 0.1 earns more than greedy",
        *(_TENTH, "late_reward", ("greedy", "late_reward"), 0.0),
    ),
    Statement(
        "by step 1,000 ε = 0.1 takes the best action about 80% of the time",
        *(_TENTH, "late_optimal", None, 0.75, 0.85),
    ),
    Statement(
        "by then ε = 0.1 takes the best action more often than ε = 0.01",
        *(_TENTH, "late_optimal", (_HUNDREDTH, "late_optimal"), 0.0),
    ),
    Statement(
        "ε = 0.01 is still rising: steps 901–1,000 against 401–500",
        *(_HUNDREDTH, "late_optimal", (_HUNDREDTH, "middle_optimal"), 0.0),
    ),
    Statement(
        "UCB with c = 2 earns more than ε = 0.1 after the first steps (figure 2.4)",
        *("ucb_2", "late_reward", (_TENTH, "late_reward"), 0.0),
    ),
)


def statements(config: BanditConfig, curves: Mapping[str, Curves]) -> list[Figures]:
    """Returns what a run says of each statement; none where its testbed is not the book's.

    A statement holds where the interval of its figure lies within the limits, fails where it lies
    outside, and is open otherwise. The intervals are simultaneous over the statements (Bonferroni).

    Args:
      config: The testbed.
      curves: The curves of each policy on its test problems, all of the same seeds.
    """
    if not config.is_the_books:
        return []
    level = 1.0 - (1.0 - config.confidence) / len(STATEMENTS)
    return [
        _held(statement, curves, level)
        for statement in STATEMENTS
        if {statement.policy, *(statement.minus or ())[:1]} <= set(curves)
    ]


def _held(statement: Statement, curves: Mapping[str, Curves], level: float) -> Figures:
    values = _figure(curves[statement.policy], statement.figure)
    if statement.minus:
        policy, figure = statement.minus
        values = values - _figure(curves[policy], figure)
    interval = mean_interval(values.tolist(), level)
    verdict = "open"
    if statement.low < interval.lower and interval.upper < statement.high:
        verdict = "holds"
    elif interval.upper < statement.low or interval.lower > statement.high:
        verdict = "fails"
    share = "optimal" in statement.figure
    return {
        "claim": statement.claim,
        "expected": _expected(statement, 100.0 if share else 1.0, " points" if share else ""),
        "percent": share,
        "figure": interval.to_json(),
        "verdict": verdict,
    }


def _figure(curves: Curves, name: str) -> np.ndarray:
    """Returns the mean of a part of a curve for each seed."""
    part, _, curve = name.partition("_")
    values = curves[curve]
    half, tenth = values.shape[1] // 2, values.shape[1] // 10
    places = {
        "first": slice(0, 1),
        "middle": slice(half - tenth, half),
        "late": slice(-tenth, None),
    }
    means: np.ndarray = values[:, places[part]].mean(axis=1)
    return means


def _expected(statement: Statement, factor: float, unit: str) -> str:
    if math.isinf(statement.high):
        return f"more than {factor * statement.low:g}{unit}"
    mark = "%" if unit else ""
    return f"{factor * statement.low:g}{mark} to {factor * statement.high:g}{mark}"


def sentences(checks: Sequence[Figures]) -> list[str]:
    """Returns the finding: how many statements hold, and which do not."""
    if not checks:
        return []
    missed = [check for check in checks if check["verdict"] != "holds"]
    text = (
        f"Of {len(checks)} statements of the book on its curves, {len(checks) - len(missed)} hold."
    )
    return [text + "".join(f" {_verdict(check)}." for check in missed)]


def _verdict(check: Figures) -> str:
    return f"{str(check['verdict']).capitalize()}: {check['claim']}"
