"""Curves of a contender: mean and interval over seeds against steps, examples, FLOPs, seconds."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.run_directory import Record
from experiments.statistics import mean_interval

AXES = {"step": "steps", "examples": "examples", "flops": "FLOPs", "seconds": "seconds"}
TRAINING = "train_loss"


def curves(records: Sequence[Record], seeds: Sequence[int], confidence: float) -> dict[str, Any]:
    """Returns the evaluations of a contender.

    A mean is over all seeds of the run or it is not given: where a seed is lost on the way, a
    line that went on with the others would jump for a reason that is not training. `lost_at` is
    the first step at which the metric of the first kind lacks a seed, None where none is lost.

    Args:
      records: The evaluations of the contender.
      seeds: The seeds of the run.
      confidence: The level of the intervals.
    """
    by_step: dict[int, list[Record]] = {}
    for record in records:
        by_step.setdefault(record["step"], []).append(record)
    steps = sorted(by_step)
    names = list(dict.fromkeys(name for r in records for name in r["validation"]))
    rows = [by_step[step] for step in steps]
    of_metric = {name: [[r["validation"].get(name) for r in row] for row in rows] for name in names}
    of_metric[TRAINING] = [[r["train_loss"] for r in row] for row in rows]
    lost_at = None
    if names:
        complete = [_complete(row, seeds) for row in of_metric[names[0]]]
        lost_at = next((s for s, all_ in zip(steps, complete, strict=True) if not all_), None)
    places = {axis: [_mean([r[axis] for r in row]) for row in rows] for axis in AXES}
    return {
        **places,
        "seconds": _never_falling(places["seconds"]),
        "metrics": {n: _series(values, seeds, confidence) for n, values in of_metric.items()},
        "lost_at": lost_at,
    }


def _complete(values: Sequence[float | None], seeds: Sequence[int]) -> bool:
    return len(values) == len(seeds) and None not in values


def _mean(values: Sequence[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return float(np.mean(there)) if there else None


def _never_falling(seconds: Sequence[float | None]) -> list[float | None]:
    """Returns seconds that never fall: a process that goes on may be faster than the one before."""
    found: list[float | None] = []
    most = 0.0
    for value in seconds:
        most = max(most, value or 0.0)
        found.append(None if value is None else most)
    return found


def _series(
    rows: Sequence[Sequence[float | None]], seeds: Sequence[int], confidence: float
) -> dict[str, Any]:
    found: dict[str, list[Any]] = {"estimate": [], "lower": [], "upper": [], "count": []}
    for row in rows:
        there = [value for value in row if value is not None]
        interval = mean_interval(there, confidence).to_json() if _complete(row, seeds) else {}
        for name in ("estimate", "lower", "upper"):
            found[name].append(interval.get(name))
        found["count"].append(len(there))
    return found
