"""From the records of a run to the figures that the engine does not compute."""

import math
from collections.abc import Sequence
from typing import Any

from scipy import stats

from experiments.engine.config import Blocks
from experiments.engine.differences import differences
from experiments.run_directory import Record
from experiments.statistics import finite, mean_with_error
from experiments.vae.config import GROUPS, VaeConfig
from experiments.vae.contenders import METHODS, REFERENCE, Method, measured_methods
from experiments.vae.gradients import PARTS

Figures = dict[str, Any]
TRAINING = "training_elbo"


def training_elbos(results: Figures, blocks: Blocks) -> Figures:
    """Returns the exact ELBO of the training images of each contender, and less the reference's."""
    tests = {c["name"]: _of_training(c, blocks[c["name"]]) for c in results["contenders"]}
    against = tests.get(REFERENCE, {})
    level, count = results["confidence"], results["comparisons"]
    found: Figures = {}
    for name, of_seed in tests.items():
        values = [test["metrics"][TRAINING] for test in of_seed.values()]
        other = name != REFERENCE and of_seed
        compared = differences(of_seed, against, {TRAINING: "higher"}, level, count)
        found[name] = {
            "elbo": mean_with_error(values, level) if values else None,
            "difference": compared.get(TRAINING) if other else None,
        }
    return found


def _of_training(contender: Figures, block: Sequence[Record]) -> dict[int, Record]:
    """Returns the records of the tests by seed, as those of the one metric; no lost seed's."""
    return {
        record["seed"]: {"metrics": {TRAINING: record[TRAINING]}}
        for record in block
        if record["kind"] == "test" and record["seed"] not in contender["lost"]
    }


def gradients(config: VaeConfig, blocks: Blocks) -> list[Figures]:
    """Returns bias, variance and cosine of each measured method."""
    measured = {method: f"more/gradients/{method}" for method in measured_methods(config)}
    return [
        _of_method(config, method, blocks[block])
        for method, block in measured.items()
        if block in blocks
    ]


def _of_method(config: VaeConfig, method: Method, block: Sequence[Record]) -> Figures:
    """Returns the figures of a method by temperature, probe and part."""
    temperatures: dict[float | None, list[Record]] = {}
    for record in block[:-1]:
        temperatures.setdefault(record["temperature"], []).append(record)
    return {
        "method": method,
        "group": METHODS[method].group,
        "status": block[-1]["status"],
        "why": block[-1]["why"],
        "temperatures": [
            {
                "temperature": temperature,
                "probes": [_probe(config, records, step) for step in config.probe_steps],
            }
            for temperature, records in temperatures.items()
        ],
    }


def _probe(config: VaeConfig, records: Sequence[Record], step: int) -> Figures:
    parts = {r["part"]: r for r in records if r["step"] == step}
    return {"step": step} | {part: _moments(config, parts[part]) for part in PARTS}


def _moments(config: VaeConfig, record: Record) -> Figures:
    """Turns estimates and their Monte Carlo errors into intervals.

    The bias has the roots of the limits of its square as limits, so that its interval reaches 0
    wherever the square's does.
    """
    quantile = float(stats.t.ppf(0.5 + config.confidence / 2.0, GROUPS - 1))
    found: Figures = {"norm": record["norm"], "squared_bias": record["squared_bias"]}
    for name in ("variance", "cosine"):
        found[name] = _limits(record[name], quantile, config.draws)
    squared = _limits(record["squared_bias"], quantile, config.draws)
    roots = {k: _root(squared[k]) for k in ("estimate", "lower", "upper")}
    return found | {"bias": {**roots, "count": config.draws}}


def _limits(moment: Record, quantile: float, count: int) -> Figures:
    estimate, error = moment["estimate"], moment["error"]
    if estimate is None or error is None:
        return {"estimate": None, "lower": None, "upper": None, "count": count}
    half = quantile * error
    return {
        "estimate": estimate,
        "lower": finite(estimate - half),
        "upper": finite(estimate + half),
        "count": count,
    }


def _root(square: float | None) -> float | None:
    return None if square is None else math.sqrt(max(square, 0.0))
