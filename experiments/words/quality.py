"""How long each head takes to a quality, and how many words a second it trains on."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.engine.config import Blocks
from experiments.statistics import mean_with_error, paired_ratio

Figures = dict[str, Any]


class Reached(NamedTuple):
    """The step at which a seed comes to a quality.

    Attributes:
      step: Interpolated between two evaluations; the first one's where that is good enough.
      at_most: Whether it is the first evaluation, before which it may have been.
    """

    step: float
    at_most: bool


def quality_figures(results: Figures, blocks: Blocks) -> Figures | None:
    """Returns the quality, and what each contender takes to it; None without one to compare.

    The quality is the reference's mean validation NLL after its part of the steps. The ratio of
    the times to the reference's is that of the steps, paired by seed, times that of the times of a
    step, paired by the rounds of the timing; each of the two intervals has half of the error.
    """
    config = results["config"]
    curves = {c["name"]: _curves(blocks, c) for c in results["contenders"]}
    of_reference = curves.get(results["reference"], {})
    if not of_reference or len(curves) < 2:
        return None
    # No quality is known before the first evaluation.
    first = max(steps[0] for steps, _ in of_reference.values())
    at = max(config["quality"] * config["steps"], first)
    ends = [np.interp(at, *curve) for curve in of_reference.values()]
    level = float(np.mean(ends))
    reached = {
        name: {seed: reached_at(*curve, level) for seed, curve in of_seeds.items()}
        for name, of_seeds in curves.items()
    }
    comparisons = max(len(curves) - 1, 1)
    return {
        "nll": level,
        "step": at,
        "contenders": [
            _of_one(results, blocks, c, reached, comparisons) for c in results["contenders"]
        ],
    }


def reached_at(steps: Sequence[int], nlls: Sequence[float], level: float) -> Reached | None:
    """Returns where a curve first comes down to a level, None where it does not."""
    for i, nll in enumerate(nlls):
        if nll <= level:
            if i == 0:
                return Reached(float(steps[0]), True)
            share = (nlls[i - 1] - level) / (nlls[i - 1] - nll)
            return Reached(float(steps[i - 1] + share * (steps[i] - steps[i - 1])), False)
    return None


def _curves(blocks: Blocks, contender: Figures) -> dict[int, tuple[list[int], list[float]]]:
    """Returns steps and validation NLLs of each seed that is finite to the end."""
    found: dict[int, list[tuple[int, float | None]]] = {}
    for records in blocks.values():
        for record in records:
            if record["kind"] == "evaluation" and record["contender"] == contender["name"]:
                point = record["step"], record["validation"]["nll"]
                found.setdefault(record["seed"], []).append(point)
    curves = {}
    for seed, points in found.items():
        steps, nlls = zip(*sorted(points), strict=True)
        if seed not in contender["lost"] and None not in nlls:
            curves[seed] = list(steps), list(nlls)
    return curves


def _of_one(
    results: Figures,
    blocks: Blocks,
    contender: Figures,
    reached: Mapping[str, Mapping[int, Reached | None]],
    comparisons: int,
) -> Figures:
    name, reference, config = contender["name"], results["reference"], results["config"]
    rate = contender["steps_per_second"]
    own = {seed: at for seed, at in reached[name].items() if at is not None}
    whole = len(own) == len(results["seeds"])
    found: Figures = {
        "name": name,
        "seeds": len(own),
        "at_most": any(o.at_most for o in own.values()),
    }
    found["steps"] = found["seconds"] = found["ratio"] = found["words_per_second"] = None
    if whole:
        steps = [at.step for at in own.values()]
        found["steps"] = mean_with_error(steps, results["confidence"])
    if rate is None:
        return found
    # A step trains all seeds.
    words = config["batch_size"] * len(results["seeds"])
    names = ("estimate", "lower", "upper")
    found["words_per_second"] = {n: None if rate[n] is None else words * rate[n] for n in names}
    if whole:
        found["seconds"] = found["steps"]["estimate"] / rate["estimate"]
        other = {seed: at for seed, at in reached[reference].items() if at is not None}
        if name != reference and len(other) == len(own):
            found["ratio"] = _ratio(results, blocks, name, own, other, comparisons)
    return found


def _ratio(
    results: Figures,
    blocks: Blocks,
    name: str,
    own: Mapping[int, Reached],
    other: Mapping[int, Reached],
    comparisons: int,
) -> Figures:
    level = 1.0 - (1.0 - results["confidence"]) / 2.0
    seeds = sorted(own)
    ours, theirs = ([side[seed].step for seed in seeds] for side in (own, other))
    steps = paired_ratio(ours, theirs, level, comparisons)
    rates: dict[str, dict[int, float]] = {}
    for record in blocks["speed"]:
        rates.setdefault(record["contender"], {})[record["round"]] = record["steps_per_second"]
    rounds = sorted(rates[name].keys() & rates[results["reference"]].keys())
    before, after = ([rates[n][r] for r in rounds] for n in (results["reference"], name))
    times = paired_ratio(before, after, level, comparisons)
    limits = {n: getattr(steps, n) * getattr(times, n) for n in ("estimate", "lower", "upper")}
    # Who is there at its first evaluation may have been there long before.
    if any(at.at_most for at in own.values()):
        limits["lower"] = -np.inf
    if any(at.at_most for at in other.values()):
        limits["upper"] = np.inf
    return {n: value if np.isfinite(value) else None for n, value in limits.items()}
