"""Differences to the reference, pair by pair: which seeds are compared, and what that carries."""

from collections.abc import Mapping
from typing import Any, Literal, cast

from experiments.run_directory import Record
from experiments.statistics import Interval, paired_difference, verdict

# A difference that only seeds carry which one of the two survived: no claim is made from it.
SURVIVORS = "survivors only"
# Relative to the figures: what float32 may add up to, as in a sum of probabilities beside 1.
ROUNDING = 1e-6
Tests = Mapping[int, Record]


def survivors(tests: Tests, reference: Tests, metric: str) -> list[int]:
    """Returns the seeds for which both have a finite metric."""
    return [s for s in sorted(tests) if _has(tests, s, metric) and _has(reference, s, metric)]


def differences(
    tests: Tests,
    reference: Tests,
    metrics: Mapping[str, str],
    confidence: float,
    comparisons: int,
) -> dict[str, Any]:
    """Returns the paired difference in each metric, with the seeds that it is over.

    A seed that one side lost is left out for both. The seeds that are left flatter the side that
    lost some: a difference in its favour is no finding, and neither is one without a direction.
    Nor is a difference that float32 rounds to.

    Args:
      tests: The records of the tests of a contender, by seed.
      reference: Those of the reference.
      metrics: Each metric, and whether "higher" or "lower" is better, or "neither".
      confidence: The level of all intervals of one metric at once.
      comparisons: How many contenders are compared with the reference.
    """
    found: dict[str, Any] = {}
    for metric, direction in metrics.items():
        seeds = survivors(tests, reference, metric)
        if not seeds:
            continue
        values, others = (
            [side[seed]["metrics"][metric] for seed in seeds] for side in (tests, reference)
        )
        interval = paired_difference(values, others, confidence, comparisons)
        lost = {
            "lost": [s for s in sorted({*tests, *reference}) if not _has(tests, s, metric)],
            "reference_lost": [
                s for s in sorted({*tests, *reference}) if not _has(reference, s, metric)
            ],
        }
        rounding = ROUNDING * max(map(abs, (*values, *others)))
        small = abs(interval.estimate) <= rounding
        word = "no difference shown" if small else _carried(interval, direction, lost)
        found[metric] = {
            **interval.to_json(),
            "verdict": word,
            "seeds": seeds,
            **lost,
        }
    return found


def _carried(interval: Interval, direction: str, lost: Mapping[str, list[int]]) -> str:
    better = cast(Literal["higher", "lower", "neither"], direction)
    word = verdict(interval, better)
    flattered = {"better": lost["lost"], "worse": lost["reference_lost"]}
    either = [*lost["lost"], *lost["reference_lost"]]
    if word == "no difference shown" or not flattered.get(word, either):
        return word
    return SURVIVORS


def _has(tests: Tests, seed: int, metric: str) -> bool:
    return seed in tests and tests[seed]["metrics"].get(metric) is not None
