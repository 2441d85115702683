"""From the records of a run to its figures: the only place where they are computed."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.base_config import to_json
from experiments.run_directory import Record
from experiments.statistics import (
    as_json,
    mean_interval,
    median_interval,
    paired_difference,
    verdict,
)
from experiments.words.config import TaskName, WordsConfig
from experiments.words.heads import REFERENCE, Contender, chosen_contenders

Blocks = Mapping[str, Sequence[Record]]


def summarise(config: WordsConfig, blocks: Blocks) -> dict[str, Any]:
    """Returns all figures of a run, ready for JSON; they depend on its records alone."""
    contenders = chosen_contenders(config)
    return {
        "config": to_json(config),
        "reference": REFERENCE,
        "confidence": config.confidence,
        "corpus": blocks["corpus"][0] if "corpus" in blocks else None,
        "tasks": [_task(config, blocks, task, contenders) for task in config.tasks],
        "scaling": _scaling(config, blocks, contenders),
    }


def _task(
    config: WordsConfig, blocks: Blocks, task: TaskName, contenders: Sequence[Contender]
) -> Record:
    present = [c for c in contenders if f"{task}/{c.name}" in blocks]
    compared = [c for c in present if c.name != REFERENCE and _trained(blocks, task, c.name)]
    figures = [_figures(config, blocks, task, c, len(compared)) for c in present]
    quality = _quality(config, figures)
    for found in figures:
        _compare_buckets(found, next((f for f in figures if f["name"] == REFERENCE), None))
        found["seconds_to_quality"] = _reached(config, found, quality)
    return {
        "name": task,
        "comparisons": len(compared),
        "quality": quality,
        "contenders": figures,
    }


def _trained(blocks: Blocks, task: TaskName, name: str) -> bool:
    block = blocks.get(f"{task}/{name}", ())
    return len(block) > 0 and block[-1]["status"] == "trained"


def _figures(
    config: WordsConfig, blocks: Blocks, task: TaskName, contender: Contender, comparisons: int
) -> Record:
    block = blocks[f"{task}/{contender.name}"]
    outcome = block[-1]
    tests = [r for r in block if r["kind"] == "test" and r["nll"] is not None]
    nlls = [r["nll"] for r in tests]
    figures: Record = {
        "name": contender.name,
        "group": contender.group,
        "formula": contender.formula,
        "reference": contender.reference,
        "by_rows": contender.by_rows,
        "status": outcome["status"],
        "why": outcome["why"],
        "learning_rate": tests[0]["learning_rate"] if tests else None,
        "nll": as_json(mean_interval(nlls, config.confidence)) if nlls else None,
        "perplexity": math.exp(float(np.mean(nlls))) if nlls else None,
        "difference": _difference(config, blocks, task, contender.name, comparisons),
        "buckets": _buckets(config, tests),
        "curve": _curve(block),
    }
    costs = ("temporary_bytes", "head_bytes", "compile_seconds", "train_seconds")
    return figures | {k: outcome.get(k) for k in costs} | _speed(config, blocks, task, contender)


def _difference(
    config: WordsConfig, blocks: Blocks, task: TaskName, name: str, comparisons: int
) -> Record | None:
    """Compares the test NLL with the reference's, seed by seed, unless one has no figures."""
    if name == REFERENCE or not all(_trained(blocks, task, n) for n in (name, REFERENCE)):
        return None
    ours, theirs = (
        {r["seed"]: r["nll"] for r in blocks[f"{task}/{n}"] if r["kind"] == "test"}
        for n in (name, REFERENCE)
    )
    pairs = [(ours[seed], theirs[seed]) for seed in sorted(theirs)]
    values, reference = zip(*pairs, strict=True)
    difference = paired_difference(values, reference, config.confidence, comparisons)
    return {**(as_json(difference) or {}), "verdict": verdict(difference, "lower")}


def _buckets(config: WordsConfig, tests: Sequence[Record]) -> list[Record]:
    found = []
    for name in tests[0]["buckets"] if tests else ():
        parts = [r["buckets"][name] for r in tests]
        values = [part["nll"] for part in parts if part["nll"] is not None]
        interval = as_json(mean_interval(values, config.confidence)) if values else None
        found.append({"name": name, "words": parts[0]["words"], "nll": interval})
    return found


def _compare_buckets(figures: Record, reference: Record | None) -> None:
    """Adds to each bucket the mean NLL less the reference's, none where one of them has none."""
    theirs: dict[str, Any] = (
        {b["name"]: b["nll"] for b in reference["buckets"]} if reference else {}
    )
    for bucket in figures["buckets"]:
        pair = (bucket["nll"], theirs.get(bucket["name"]))
        values = [side["estimate"] for side in pair if side is not None]
        bucket["minus_reference"] = values[0] - values[1] if len(values) == 2 else None


def _curve(block: Sequence[Record]) -> Record:
    """Returns the validation NLL over the steps: its mean, smallest and largest over seeds."""
    steps: dict[int, list[float]] = {}
    for record in block:
        if record["kind"] == "evaluation" and record["nll"] is not None:
            steps.setdefault(record["step"], []).append(record["nll"])
    return {
        "step": list(steps),
        "estimate": [float(np.mean(values)) for values in steps.values()],
        "lower": [min(values) for values in steps.values()],
        "upper": [max(values) for values in steps.values()],
    }


def _speed(config: WordsConfig, blocks: Blocks, task: TaskName, contender: Contender) -> Record:
    """Returns timings: medians over the rounds, and the ratio to the reference in a round."""
    rounds = _rounds(blocks.get(f"{task}/speed", ()))
    if contender.name not in rounds:
        return {"steps_per_second": None, "words_per_second": None, "speed_ratio": None}
    own = rounds[contender.name]
    words = [config.batch_size * rate for rate in own]
    ratio = None
    if REFERENCE in rounds:
        ratios = [a / b for a, b in zip(own, rounds[REFERENCE], strict=True)]
        ratio = as_json(median_interval(ratios, config.confidence))
    return {
        "steps_per_second": as_json(median_interval(own, config.confidence)),
        "words_per_second": as_json(median_interval(words, config.confidence)),
        "speed_ratio": ratio,
    }


def _rounds(block: Sequence[Record]) -> dict[str, list[float]]:
    rounds: dict[str, list[float]] = {}
    for record in block:
        if record["kind"] == "speed":
            rounds.setdefault(record["contender"], []).append(record["steps_per_second"])
    return rounds


def _quality(config: WordsConfig, figures: Sequence[Record]) -> float | None:
    """Returns the validation NLL of the reference after its part of the steps."""
    reference = next((f for f in figures if f["name"] == REFERENCE), None)
    if reference is None or not reference["curve"]["step"]:
        return None
    curve = reference["curve"]
    return float(np.interp(config.quality * config.steps, curve["step"], curve["estimate"]))


def _reached(config: WordsConfig, figures: Record, quality: float | None) -> float | None:
    """Returns the training seconds until the mean validation NLL is first at most `quality`.

    Steps are interpolated between evaluations, and take the median time of a step.
    """
    rate, curve = figures["steps_per_second"], figures["curve"]
    if quality is None or rate is None:
        return None
    for i, (step, nll) in enumerate(zip(curve["step"], curve["estimate"], strict=True)):
        if nll <= quality:
            if i == 0:
                return 0.0
            before, above = curve["step"][i - 1], curve["estimate"][i - 1]
            steps = before + (step - before) * (above - quality) / (above - nll)
            return float(steps / rate["estimate"])
    return None


def _scaling(config: WordsConfig, blocks: Blocks, contenders: Sequence[Contender]) -> list[Record]:
    """Returns for each head the sizes at which it was measured, with time and memory."""
    found = []
    for contender in (c for c in contenders if c.scales):
        sizes: list[Record] = []
        for classes in config.scaling:
            block = blocks.get(f"scaling/{classes}", ())
            rates = _rounds(block).get(contender.name)
            if rates:
                times = [1.0 / rate for rate in rates]
                memory = next(
                    r for r in block if r["kind"] == "memory" and r["contender"] == contender.name
                )
                sizes.append(
                    {
                        "classes": classes,
                        "seconds": as_json(median_interval(times, config.confidence)),
                        "temporary_bytes": memory["temporary_bytes"],
                        "head_bytes": memory["head_bytes"],
                    }
                )
        found.append({"name": contender.name, "group": contender.group, "sizes": sizes})
    return found
