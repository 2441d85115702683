"""From the records of a run to its figures: the only place where they are computed."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.engine.curves import curves
from experiments.engine.differences import differences, survivors
from experiments.run_directory import Record
from experiments.statistics import mean_with_error, median_interval, paired_ratio
from softmax_variants.variants import VARIANTS

Blocks = Mapping[str, Sequence[Record]]
Config = Mapping[str, Any]
SPEED = "speed"
# Figures of the outcome that say what a contender costs.
_COSTS = ("parameters", "flops_per_step", "temporary_bytes", "compile_seconds", "train_seconds")


class Contender(NamedTuple):
    """What the records say of one variant.

    Attributes:
      name: Its name.
      tests: The records of the tests by seed; what a lost seed was tested with is no figure.
      shown: What else the task shows of the first seed's model.
      evaluations: The records of its evaluations.
      outcome: How it ended.
      tuning: The records of its tuning, without their outcome.
      tuned: How its tuning ended, None where nothing was tuned.
    """

    name: str
    tests: dict[int, Record]
    shown: Record
    evaluations: Sequence[Record]
    outcome: Record
    tuning: Sequence[Record]
    tuned: Record | None


def summarise(config: Config, blocks: Blocks) -> dict[str, Any]:
    """Returns all figures of a run, ready for JSON; they depend on its records alone.

    Args:
      config: What config.json holds.
      blocks: The finished blocks of metrics.jsonl.
    """
    variants = chosen(config)
    names = [name for name in variants if name in blocks]
    contenders = [_contender(config, blocks, name) for name in names]
    reference = contenders[0] if names[:1] == variants[:1] and names else None
    metrics = dict(config["metrics"])
    against = reference.tests if reference else {}
    compared = [
        c.name
        for c in contenders
        if c is not reference and any(survivors(c.tests, against, m) for m in metrics)
    ]
    return {
        "config": dict(config),
        "experiment": config["experiment"],
        "reference": variants[0],
        "metrics": metrics,
        "selected_by": next(iter(metrics)),
        "confidence": config["confidence"],
        "comparisons": len(compared),
        "seeds": _seeds(config),
        "unfinished": [name for name in variants if name not in blocks],
        "budget": _budget(contenders),
        "contenders": [
            _figures(config, blocks, contender, metrics)
            | {
                "differences": differences(
                    contender.tests, against, metrics, config["confidence"], len(compared)
                )
                if contender.name in compared
                else {}
            }
            for contender in contenders
        ],
    }


def chosen(config: Config) -> list[str]:
    """Returns the names of the variants of a run, the reference first."""
    return list(config["variants"] or config["about"])


def _contender(config: Config, blocks: Blocks, name: str) -> Contender:
    outcome, tuning = blocks[name][-1], blocks.get(f"tune/{name}", [])
    evaluations = [
        record
        for records in blocks.values()
        for record in records
        if record["kind"] == "evaluation" and record["contender"] == name
    ]
    # The first step that was not finite, seed by seed; -1 where all were.
    steps = zip(_seeds(config), outcome.get("lost") or [], strict=False)
    lost = {seed for seed, step in steps if step >= 0}
    tests = {
        r["seed"]: {**r, "metrics": {}, "bins": None, "learned": {}} if r["seed"] in lost else r
        for r in blocks[name]
        if r["kind"] == "test"
    }
    others = next((r for r in blocks[name] if r["kind"] == "shown"), {})
    shown = {k: v for k, v in others.items() if k not in ("kind", "contender", "seed")}
    tuned = tuning[-1] if tuning else None
    return Contender(name, tests, shown, evaluations, outcome, tuning[:-1], tuned)


def _seeds(config: Config) -> list[int]:
    first = int(config["first_seed"])
    return list(range(first, first + int(config["seeds"])))


def _figures(
    config: Config, blocks: Blocks, contender: Contender, metrics: Mapping[str, str]
) -> Record:
    tests, outcome = contender.tests, contender.outcome
    selected = next(iter(metrics))
    have = [s for s, r in tests.items() if r["metrics"].get(selected) is not None]
    return {
        "name": contender.name,
        **_about(config, contender.name),
        "status": outcome["status"],
        "why": outcome["why"],
        "learning_rate": outcome.get("learning_rate"),
        "tuned": outcome.get("tuned") or {},
        "lost": [seed for seed in _seeds(config) if seed not in have],
        "metrics": {name: _metric(config, tests, name) for name in metrics},
        "learned": _learned(config, tests),
        "shown": contender.shown,
        "tuning": _tuning(contender, selected),
        "curves": curves(contender.evaluations, _seeds(config), config["confidence"]),
        "bins": _pooled_bins(tests),
        "costs": {name: outcome.get(name) for name in _COSTS},
        **_speed(config, blocks, contender.name),
    }


def _about(config: Config, name: str) -> Record:
    """Returns what config.json says of a variant: its group, a line, its map in the table."""
    about = config.get("about", {}).get(name, {})
    row = VARIANTS.get(about.get("map") or "")
    return {
        "group": about.get("group") or (row.group if row else "plain"),
        "formula": about.get("about") or (row.formula if row else ""),
        "map": row.name if row else None,
        "fixed": about.get("fixed", {}),
    }


def _metric(config: Config, tests: Mapping[int, Record], name: str) -> Record | None:
    """Returns the mean over the seeds that have the metric, and says which have not."""
    values = {seed: r["metrics"].get(name) for seed, r in tests.items()}
    there = [v for v in values.values() if v is not None]
    if not there:
        return None
    missing = [seed for seed in _seeds(config) if values.get(seed) is None]
    return {**mean_with_error(there, config["confidence"]), "missing": missing}


def _learned(config: Config, tests: Mapping[int, Record]) -> Record:
    """Returns learned parameters over seeds; the entries of a vector are numbered from 0."""
    found: dict[str, list[float]] = {}
    for record in tests.values():
        for name, value in (record.get("learned") or {}).items():
            flat = np.ravel(np.asarray(value, object)).tolist()
            labels = [name] if np.ndim(value) == 0 else [f"{name}[{i}]" for i in range(len(flat))]
            for label, number in zip(labels, flat, strict=True):
                found.setdefault(label, [])
                if number is not None:
                    found[label].append(float(number))
    return {
        label: mean_with_error(numbers, config["confidence"]) if numbers else None
        for label, numbers in found.items()
    }


def _tuning(contender: Contender, selected: str) -> Record | None:
    """Returns the trials of a contender; one that lost a seed has no score, and is not chosen."""
    if contender.tuned is None:
        return None
    by_trial: dict[int, list[Record]] = {}
    for record in contender.tuning:
        by_trial.setdefault(record["trial"], []).append(record)
    trials = []
    for number, records in sorted(by_trial.items()):
        scores = [r["validation"].get(selected) for r in records]
        there = [score for score in scores if score is not None]
        trials.append(
            {
                "trial": number,
                "learning_rate": records[0]["learning_rate"],
                "tuned": records[0].get("tuned") or {},
                "seeds": len(records),
                "lost": len(scores) - len(there),
                "score": float(np.mean(there)) if len(there) == len(scores) else None,
            }
        )
    chosen = contender.tuned.get("chosen")
    return {
        "status": contender.tuned["status"],
        "why": contender.tuned["why"],
        "trials": trials,
        "chosen": chosen,
        "edge": _edge(trials, chosen),
    }


def _edge(trials: Sequence[Record], chosen: int | None) -> str | None:
    """Says whether the chosen learning rate is the lowest or the highest of at least three."""
    rates = sorted({t["learning_rate"] for t in trials})
    own = next((t["learning_rate"] for t in trials if t["trial"] == chosen), None)
    if own is None or len(rates) < 3:
        return None
    return {rates[0]: "lowest", rates[-1]: "highest"}.get(own)


def _budget(contenders: Sequence[Contender]) -> Record:
    """Returns how many models each tuned contender tried: trials times seeds."""
    return {
        c.name: {
            "trials": len({r["trial"] for r in c.tuning}),
            "models": len(c.tuning),
        }
        for c in contenders
        if c.tuned is not None
    }


def _pooled_bins(tests: Mapping[int, Record]) -> Record | None:
    """Returns the calibration bins of all seeds that have them together."""
    bins = [r["bins"] for r in tests.values() if r.get("bins")]
    if not bins:
        return None
    names = ("count", "confidence", "hits")
    return {n: np.sum([b[n] for b in bins], axis=0).tolist() for n in names} | {"seeds": len(bins)}


def _speed(config: Config, blocks: Blocks, name: str) -> Record:
    """Returns the median over the rounds, and the ratio to the reference in the same round.

    The intervals of the ratios hold for all timed contenders at once.
    """
    rounds: dict[str, dict[int, float]] = {}
    for record in blocks.get(SPEED, []):
        if "steps_per_second" in record:
            rounds.setdefault(record["contender"], {})[record["round"]] = record["steps_per_second"]
    own, other = rounds.get(name, {}), rounds.get(chosen(config)[0], {})
    shared = [number for number in own if number in other]
    ours, theirs = ([side[number] for number in shared] for side in (own, other))
    level = config["confidence"]
    ratio = paired_ratio(ours, theirs, level, len(rounds) - 1).to_json() if shared else None
    return {
        "steps_per_second": median_interval(list(own.values()), level).to_json() if own else None,
        "speed_ratio": ratio,
    }
