"""From the records of a comparison to its figures: the only place where they are computed."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.base_config import to_json
from experiments.run_directory import Record
from experiments.shakespeare import attention, losses
from experiments.shakespeare.comparison import REFERENCE, SPEED, variants
from experiments.shakespeare.config import LossName, ShakespeareConfig
from experiments.shakespeare.train import Variant
from experiments.statistics import (
    mean_interval,
    median_interval,
    paired_difference,
    verdict,
)

Blocks = Mapping[str, Sequence[Record]]
# The colours of the report are those of dense and sparse maps, and of a sweep.
GROUPS: dict[LossName, str] = {"cross_entropy": "dense", "fused": "sweep", "entmax15": "sparse"}
METRICS = ("loss", "nll", "bits", "smoothed", "smoothed_bits", "accuracy", "support", "impossible")


def summarise(config: ShakespeareConfig, blocks: Blocks) -> dict[str, Any]:
    """Returns all figures of a run, ready for JSON; they depend on its records alone."""
    present = [variant for variant in variants(config) if variant.name in blocks]
    compared = [v for v in present if v != REFERENCE and _trained(blocks, v)]
    return {
        "config": to_json(config),
        "reference": REFERENCE.name,
        "confidence": config.confidence,
        "comparisons": len(compared),
        "corpus": blocks["corpus"][0] if "corpus" in blocks else None,
        "contenders": [_figures(config, blocks, v, len(compared)) for v in present],
    }


def _trained(blocks: Blocks, variant: Variant) -> bool:
    block = blocks.get(variant.name, ())
    return len(block) > 0 and block[-1]["status"] == "trained"


def _figures(
    config: ShakespeareConfig, blocks: Blocks, variant: Variant, comparisons: int
) -> Record:
    block = blocks[variant.name]
    outcome = block[-1]
    tests = [record for record in block if record["kind"] == "test"]
    figures: Record = {
        "name": variant.name,
        "attention": variant.attention,
        "loss_name": variant.loss,
        "group": GROUPS[variant.loss],
        "formula": f"{attention.FORMULAS[variant.attention]}; {losses.FORMULAS[variant.loss]}",
        "status": outcome["status"],
        "why": outcome["why"],
        "metrics": {name: _interval(config, [r[name] for r in tests]) for name in METRICS},
        "differences": {
            name: _difference(config, blocks, variant, name, comparisons)
            for name in ("smoothed", "accuracy")
        },
        "attention_zeros": _by_layer(config, [r["attention_zeros"] for r in tests]),
        "alphas": _by_layer(config, [[np.mean(a) for a in r.get("alphas", ())] for r in tests]),
        "scales": _by_layer(config, [[np.mean(s) for s in r.get("scales", ())] for r in tests]),
        "curve": _curve(block),
        "sample": next((r["text"] for r in block if r["kind"] == "sample"), None),
    }
    costs = ("temporary_bytes", "parameters", "compile_seconds", "train_seconds")
    return figures | {k: outcome.get(k) for k in costs} | _speed(config, blocks, variant)


def _interval(config: ShakespeareConfig, values: Sequence[float | None]) -> Record | None:
    """Returns the mean over seeds; None where a seed has no finite value."""
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return None
    return mean_interval(known, config.confidence).to_json()


def _by_layer(config: ShakespeareConfig, layers: Sequence[Sequence[Any]]) -> list[Record | None]:
    return [_interval(config, of_layer) for of_layer in zip(*layers, strict=True)]


def _difference(
    config: ShakespeareConfig, blocks: Blocks, variant: Variant, metric: str, comparisons: int
) -> Record | None:
    """Compares a metric with the reference's, seed by seed, unless one has no figures."""
    if variant == REFERENCE or not all(_trained(blocks, v) for v in (variant, REFERENCE)):
        return None
    ours, theirs = (
        {r["seed"]: r[metric] for r in blocks[v.name] if r["kind"] == "test"}
        for v in (variant, REFERENCE)
    )
    pairs = [(ours[seed], theirs[seed]) for seed in sorted(theirs)]
    values, reference = zip(*pairs, strict=True)
    difference = paired_difference(values, reference, config.confidence, comparisons)
    better = verdict(difference, "higher" if metric == "accuracy" else "lower")
    return {**difference.to_json(), "verdict": better}


def _curve(block: Sequence[Record]) -> Record:
    """Returns the smoothed loss over the steps: its mean, smallest and largest over seeds."""
    steps: dict[int, list[float]] = {}
    for record in block:
        if record["kind"] == "evaluation" and record["smoothed"] is not None:
            steps.setdefault(record["step"], []).append(record["smoothed"])
    return {
        "step": list(steps),
        "estimate": [float(np.mean(values)) for values in steps.values()],
        "lower": [min(values) for values in steps.values()],
        "upper": [max(values) for values in steps.values()],
    }


def _speed(config: ShakespeareConfig, blocks: Blocks, variant: Variant) -> Record:
    """Returns timings: medians over the rounds, and the ratio to the reference in a round."""
    rounds: dict[str, list[float]] = {}
    for record in blocks.get(SPEED, ()):
        rounds.setdefault(record["contender"], []).append(record["steps_per_second"])
    own, reference = rounds.get(variant.name), rounds.get(REFERENCE.name)
    if own is None:
        return {"tokens_per_second": None, "step_seconds": None, "speed_ratio": None}
    size = config.batch_size * config.context
    ratio = None
    if reference is not None:
        ratios = [a / b for a, b in zip(own, reference, strict=True)]
        ratio = median_interval(ratios, config.confidence).to_json()
    return {
        "tokens_per_second": median_interval([size * r for r in own], config.confidence).to_json(),
        "step_seconds": median_interval([1.0 / r for r in own], config.confidence).to_json(),
        "speed_ratio": ratio,
    }
