"""From the records of a run to its figures: the only place where they are computed."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from scipy import stats

from experiments.base_config import to_json
from experiments.run_directory import Record
from experiments.statistics import finite, mean_interval, paired_difference, verdict
from experiments.vae.comparison import gradient_block
from experiments.vae.config import GROUPS, VaeConfig
from experiments.vae.contenders import (
    REFERENCE,
    Contender,
    Method,
    chosen_contenders,
    measured_methods,
    method_group,
)
from experiments.vae.gradients import PARTS

Blocks = Mapping[str, Sequence[Record]]
# Each figure of a seed, and which direction is better.
METRICS: dict[str, Literal["higher", "neither"]] = {
    "elbo": "higher",
    "log_likelihood": "higher",
    "train_elbo": "higher",
    "codes": "neither",
}


def summarise(config: VaeConfig, blocks: Blocks) -> dict[str, Any]:
    """Returns all figures of a run, ready for JSON; they depend on its records alone."""
    contenders = [c for c in chosen_contenders(config) if c.name in blocks]
    compared = [c for c in contenders if c.name != REFERENCE and _trained(blocks, c.name)]
    methods = [m for m in measured_methods(contenders) if gradient_block(m) in blocks]
    return {
        "config": to_json(config),
        "reference": REFERENCE,
        "confidence": config.confidence,
        "comparisons": len(compared),
        "probe_steps": list(config.probe_steps),
        "contenders": [_figures(config, blocks, c, len(compared)) for c in contenders],
        "gradients": [_gradients(config, blocks, method) for method in methods],
    }


def _trained(blocks: Blocks, name: str) -> bool:
    return name in blocks and blocks[name][-1]["status"] == "trained"


def _figures(config: VaeConfig, blocks: Blocks, contender: Contender, comparisons: int) -> Record:
    block = blocks[contender.name]
    outcome = block[-1]
    tests = [r for r in block if r["kind"] == "test"] if outcome["status"] == "trained" else []
    metrics: Record = dict.fromkeys(METRICS)
    if tests:
        metrics = {
            n: mean_interval([r[n] for r in tests], config.confidence).to_json() for n in METRICS
        }
    return {
        "name": contender.name,
        "group": contender.group,
        "method": contender.method,
        "temperature": contender.temperature,
        "annealed": contender.annealed,
        "formula": contender.formula,
        "reference": contender.reference,
        "status": outcome["status"],
        "why": outcome["why"],
        "learning_rates": dict(Counter(f"{r['learning_rate']:g}" for r in tests)),
        "steps": [r["step"] for r in tests],
        "metrics": metrics,
        "differences": _differences(config, blocks, contender.name, comparisons),
        "curve": _curve(config, block),
        **{k: outcome.get(k) for k in ("compile_seconds", "train_seconds")},
    }


def _differences(config: VaeConfig, blocks: Blocks, name: str, comparisons: int) -> Record:
    """Compares with the reference seed by seed, unless one of the two has no figures."""
    if name == REFERENCE or not all(_trained(blocks, n) for n in (name, REFERENCE)):
        return {}
    ours, theirs = (
        {r["seed"]: r for r in blocks[n] if r["kind"] == "test"} for n in (name, REFERENCE)
    )
    found: Record = {}
    for metric, better in METRICS.items():
        values, reference = ([side[s][metric] for s in sorted(theirs)] for side in (ours, theirs))
        difference = paired_difference(values, reference, config.confidence, comparisons)
        found[metric] = {**difference.to_json(), "verdict": verdict(difference, better)}
    return found


def _curve(config: VaeConfig, block: Sequence[Record]) -> Record:
    """Returns the validation ELBO over the steps: its mean over seeds, and an interval."""
    steps: dict[int, list[float]] = {}
    for record in block:
        if record["kind"] == "evaluation" and record["elbo"] is not None:
            steps.setdefault(record["step"], []).append(record["elbo"])
    intervals = [mean_interval(values, config.confidence).to_json() for values in steps.values()]
    limits = ("estimate", "lower", "upper")
    return {"step": list(steps)} | {key: [i[key] for i in intervals] for key in limits}


def _gradients(config: VaeConfig, blocks: Blocks, method: Method) -> Record:
    """Returns bias, variance and cosine of a method by temperature, probe and part."""
    block = blocks[gradient_block(method)]
    temperatures: dict[float | None, list[Record]] = {}
    for record in block[:-1]:
        temperatures.setdefault(record["temperature"], []).append(record)
    return {
        "method": method,
        "group": method_group(method),
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


def _probe(config: VaeConfig, records: Sequence[Record], step: int) -> Record:
    parts = {r["part"]: r for r in records if r["step"] == step}
    return {"step": step} | {part: _moments(config, parts[part]) for part in PARTS}


def _moments(config: VaeConfig, record: Record) -> Record:
    """Turns estimates and their Monte Carlo errors into intervals.

    The bias has the roots of the limits of its square as limits, so that its interval reaches 0
    wherever the square's does.
    """
    quantile = float(stats.t.ppf(0.5 + config.confidence / 2.0, GROUPS - 1))
    found: Record = {"norm": record["norm"], "squared_bias": record["squared_bias"]}
    for name in ("variance", "cosine"):
        found[name] = _limits(record[name], quantile, config.draws)
    squared = _limits(record["squared_bias"], quantile, config.draws)
    roots = {k: _root(squared[k]) for k in ("estimate", "lower", "upper")}
    return found | {"bias": {**roots, "count": config.draws}}


def _limits(moment: Record, quantile: float, count: int) -> Record:
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
