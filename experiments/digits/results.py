"""From the records of a run to its figures: the only place where they are computed."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from experiments.base_config import to_json
from experiments.digits.config import DigitsConfig
from experiments.digits.contenders import REFERENCE, Contender, chosen_contenders
from experiments.run_directory import Record
from experiments.statistics import (
    finite,
    mean_interval,
    median_interval,
    paired_difference,
    verdict,
)

Blocks = Mapping[str, Sequence[Record]]
# Each metric of the test part, and which direction is better.
METRICS: dict[str, Literal["higher", "lower", "neither"]] = {
    "accuracy": "higher",
    "nll": "lower",
    "brier": "lower",
    "ece": "lower",
    "support": "neither",
}
# Figures that say how an output is to be read, without an interval of their difference.
_PLAIN = ("mass", "missed")


def summarise(config: DigitsConfig, blocks: Blocks) -> dict[str, Any]:
    """Returns all figures of a run, ready for JSON; they depend on its records alone."""
    contenders = [c for c in chosen_contenders(config) if c.name in blocks]
    compared = [
        c.name
        for c in contenders
        if c.name != REFERENCE and _status(blocks, c.name) in ("trained", "unmoved")
    ]
    return {
        "config": to_json(config),
        "reference": REFERENCE,
        "confidence": config.confidence,
        "comparisons": len(compared),
        "contenders": [_figures(config, blocks, c, len(compared)) for c in contenders],
    }


def _status(blocks: Blocks, name: str) -> str:
    return str(blocks[name][-1]["status"]) if name in blocks else "missing"


def _figures(
    config: DigitsConfig, blocks: Blocks, contender: Contender, comparisons: int
) -> Record:
    block = blocks[contender.name]
    outcome = block[-1]
    tests = [r for r in block if r["kind"] == "test" and r["accuracy"] is not None]
    names = (*METRICS, *_PLAIN)
    figures: Record = {
        "name": contender.name,
        "group": contender.group,
        "training": contender.training,
        "parameters": {n: np.asarray(v).tolist() for n, v in contender.parameters.items()},
        "formula": contender.formula,
        "reference": contender.reference,
        "status": outcome["status"],
        "why": outcome["why"],
        "learning_rates": dict(Counter(f"{r['learning_rate']:g}" for r in tests)),
        "metrics": {n: _interval(config, [r[n] for r in tests]) for n in names},
        "differences": _differences(config, blocks, contender.name, comparisons),
        "learned": _learned(config, tests),
        "curve": _curve(config, block),
        "bins": _pooled_bins(tests),
    }
    return figures | _speed(config, blocks, contender.name)


def _interval(config: DigitsConfig, values: Sequence[float]) -> Record | None:
    return mean_interval(values, config.confidence).to_json() if values else None


def _differences(config: DigitsConfig, blocks: Blocks, name: str, comparisons: int) -> Record:
    """Compares with the reference, seed by seed, unless one of the two has no figures."""
    good = ("trained", "unmoved")
    if name == REFERENCE or not all(_status(blocks, n) in good for n in (name, REFERENCE)):
        return {}
    found: Record = {}
    ours, theirs = (_by_seed(blocks[n]) for n in (name, REFERENCE))
    for metric, better in METRICS.items():
        values, reference = (
            [side[seed][metric] for seed in sorted(theirs)] for side in (ours, theirs)
        )
        difference = paired_difference(values, reference, config.confidence, comparisons)
        shown = {"verdict": verdict(difference, better)}
        found[metric] = difference.to_json() | shown
    return found


def _by_seed(block: Sequence[Record]) -> dict[int, Record]:
    return {r["seed"]: r for r in block if r["kind"] == "test"}


def _learned(config: DigitsConfig, tests: Sequence[Record]) -> Record:
    names = tests[0].get("learned", {}) if tests else {}
    return {n: _interval(config, [r["learned"][n] for r in tests]) for n in names}


def _curve(config: DigitsConfig, block: Sequence[Record]) -> Record:
    """Returns the validation Brier score over the steps: its mean over seeds, and an interval."""
    steps: dict[int, list[float]] = {}
    for record in block:
        if record["kind"] == "evaluation" and record["validation_brier"] is not None:
            steps.setdefault(record["step"], []).append(record["validation_brier"])
    intervals = [mean_interval(values, config.confidence) for values in steps.values()]
    return {
        "step": list(steps),
        "estimate": [finite(i.estimate) for i in intervals],
        "lower": [finite(i.lower) for i in intervals],
        "upper": [finite(i.upper) for i in intervals],
    }


def _pooled_bins(tests: Sequence[Record]) -> Record | None:
    if not tests:
        return None
    names = tests[0]["bins"]
    return {n: np.sum([r["bins"][n] for r in tests], axis=0).tolist() for n in names}


def _speed(config: DigitsConfig, blocks: Blocks, name: str) -> Record:
    """Returns timings: medians over the rounds, and the ratio to the reference in a round."""
    rounds: dict[str, list[float]] = {}
    for record in blocks.get("speed", []):
        rounds.setdefault(record["contender"], []).append(record["steps_per_second"])
    outcome = blocks[name][-1]
    times = {key: outcome.get(key) for key in ("compile_seconds", "train_seconds")}
    if name not in rounds:
        return {"steps_per_second": None, "speed_ratio": None, **times}
    own = median_interval(rounds[name], config.confidence)
    ratio = None
    if REFERENCE in rounds:
        ratios = [a / b for a, b in zip(rounds[name], rounds[REFERENCE], strict=True)]
        ratio = median_interval(ratios, config.confidence).to_json()
    return {"steps_per_second": own.to_json(), "speed_ratio": ratio, **times}
