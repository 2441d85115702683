"""Run directories of the engine written by hand: what a report reads, without training."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Record = dict[str, Any]
METRICS = {
    "brier": "lower",
    "accuracy": "higher",
    "nll": "lower",
    "ece": "lower",
    "support": "neither",
    "missed": "lower",
}
CONFIG: Record = {
    "experiment": "made_up",
    "engine": True,
    "seeds": 4,
    "first_seed": 3,
    "steps": 200,
    "evaluations": 10,
    "batch_size": 32,
    "optimizer": "adam",
    "schedule": "cosine",
    "trials": 4,
    "tuning_seeds": 2,
    "tuning_steps": 0,
    "learning_rate_low": 0.001,
    "learning_rate_high": 0.01,
    "confidence": 0.95,
    "speed_rounds": 6,
    "metrics": METRICS,
}
ENVIRONMENT = {
    "processor": "a processor",
    "cores": 2,
    "revision": "0123456789abcdef",
    "dirty": False,
    "device": "cpu",
    "versions": {"jax": "0.10.2"},
}
SEEDS = range(3, 7)
# A map of the table for each contender, and how much better than the others it is.
ABOUT = {
    "softmax": {"group": "dense", "about": "cross-entropy", "map": "softmax", "fixed": {}},
    "sparsemax": {"group": "sparse", "about": "its own loss", "map": "sparsemax", "fixed": {}},
    "entmax": {"group": "sparse", "about": "alpha tuned", "map": "entmax", "fixed": {}},
    "stablemax": {"group": "dense", "about": "NLL", "map": "stablemax", "fixed": {}},
}


def write_run(
    path: Path,
    contenders: Mapping[str, Sequence[Record]],
    config: Mapping[str, Any] | None = None,
    more: Mapping[str, Sequence[Record]] | None = None,
) -> Path:
    """Writes a run directory; `more` are blocks besides those of the contenders."""
    path.mkdir(parents=True)
    made = {**CONFIG, "variants": list(contenders), "about": ABOUT, **(config or {})}
    (path / "config.json").write_text(json.dumps(made))
    (path / "env.json").write_text(json.dumps(ENVIRONMENT))
    lines = []
    for name, records in {**(more or {}), **contenders}.items():
        end = {"kind": "end", "block": name, "records": len(records)}
        lines += [json.dumps(record) for record in (*records, end)]
    (path / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    return path


def outcome(status: str = "trained", why: str = "", **more: Any) -> Record:
    figures = {
        "learning_rate": 0.003,
        "tuned": {},
        "parameters": 1000,
        "flops_per_step": 1e6,
        "temporary_bytes": 2000,
        "compile_seconds": 1.5,
        "train_seconds": 2.5,
    }
    return {"kind": "outcome", "status": status, "why": why, **figures, **more}


def contender(
    name: str,
    shift: float,
    seeds: Sequence[int] = SEEDS,
    lost: Sequence[int] = (),
    cost: float = 1.0,
    learned: bool = False,
    steps: Sequence[int] = range(20, 201, 20),
) -> list[Record]:
    """A block of evaluations, tests and an outcome that look like those of a training run."""
    records: list[Record] = []
    for seed in seeds:
        noise = np.random.default_rng(seed)
        own = np.random.default_rng([seed, len(name)])
        level = 0.1 + shift + 0.01 * noise.normal() + 0.004 * own.normal()
        for step in steps:
            gone = seed in lost and step > 100
            value = level + 0.6 * math.exp(-step / 50) + 0.004 * own.normal()
            found = {"brier": value, "accuracy": 1 - value, "nll": 2 * value}
            records.append(
                {
                    "kind": "evaluation",
                    "contender": name,
                    "seed": seed,
                    "step": step,
                    "examples": 32 * step,
                    "flops": 1e6 * cost * step,
                    "seconds": 0.01 * cost * step,
                    "train_loss": None if gone else value * 1.1,
                    "validation": dict.fromkeys(found) if gone else found,
                }
            )
        values = _metrics(level, shift)
        bins = {"count": [0, 40, 60], "confidence": [0, 20.0, 57.0], "hits": [0, 22.0, 55.0]}
        more = {"learned": {"alpha": 1.4 + 0.02 * noise.normal()}} if learned else {}
        gone = seed in lost
        records.append(
            {"kind": "test", "contender": name, "seed": seed}
            | {"metrics": dict.fromkeys(values) if gone else values}
            | {"bins": None if gone else bins}
            | more
        )
    status = "diverged" if lost else "trained"
    why = f"not finite from step 101 on (seeds {', '.join(map(str, lost))})" if lost else ""
    ending = outcome(status, why, flops_per_step=1e6 * cost, temporary_bytes=int(2000 * cost))
    ending |= {"lost": [100 if seed in lost else -1 for seed in seeds], "train_seconds": 2 * cost}
    return [*records, {**ending, "contender": name}]


def _metrics(level: float, shift: float) -> dict[str, float]:
    return {
        "brier": level,
        "accuracy": 1 - level,
        "nll": 2 * level,
        "ece": 0.02 + abs(shift),
        "support": 10.0 if shift == 0 else 2.0 + 10 * abs(shift),
        "missed": max(shift, 0.0) / 10,
    }


def tuning(name: str, chosen: int = 1, lost: Sequence[int] = ()) -> list[Record]:
    """A block of 4 trials with 2 seeds each; the chosen one is the best."""
    rates = [0.001, 0.00215, 0.00464, 0.01]
    records = []
    for number, rate in enumerate(rates):
        for seed in (3, 4):
            score = None if number in lost else 0.1 + 0.01 * abs(number - chosen) + 0.001 * seed
            records.append(
                {"kind": "trial", "contender": name, "trial": number, "seed": seed}
                | {"learning_rate": rate, "tuned": {}, "validation": {"brier": score}}
            )
    return [*records, {"kind": "outcome", "status": "tuned", "why": "", "chosen": chosen}]


def speed(rates: Mapping[str, float], rounds: int = 6) -> list[Record]:
    """Rounds that get faster for everyone, so that only ratios within a round are level."""
    return [
        {"kind": "speed", "contender": name, "round": number}
        | {"steps_per_second": rate * (1 + number)}
        for number in range(rounds)
        for name, rate in rates.items()
    ]


def whole_run(path: Path) -> Path:
    """A run with all that a report shows: a failure, lost seeds, tuning, learned parameters."""
    contenders = {
        "softmax": contender("softmax", 0.0),
        "sparsemax": contender("sparsemax", 0.05, cost=1.3),
        "entmax": contender("entmax", -0.04, cost=2.0, learned=True),
        "stablemax": contender("stablemax", -0.05, lost=(5,)),
        "broken": [
            {"kind": "outcome", "status": "failed", "why": "ValueError: <no> such & map"}
            | {"contender": "broken"}
        ],
    }
    names = ("softmax", "sparsemax", "entmax", "stablemax")
    tuned = {
        f"tune/{name}": tuning(name, i, lost=(3,) if i == 2 else ()) for i, name in enumerate(names)
    }
    rates = speed(dict(zip(names, (100.0, 80.0, 50.0, 110.0), strict=True)))
    return write_run(path, contenders, more={**tuned, "speed": rates})
