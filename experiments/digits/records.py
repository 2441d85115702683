"""From what training yields to the lines of `metrics.jsonl`."""

from collections.abc import Sequence

import numpy as np

from experiments import metrics
from experiments.digits import data
from experiments.digits.config import DigitsConfig
from experiments.digits.train import Compiled, Progress
from experiments.run_directory import Record
from experiments.statistics import finite


def contender_records(
    config: DigitsConfig,
    parts: data.Data,
    history: Sequence[Progress],
    compiled: Compiled,
    seconds: float,
) -> list[Record]:
    """Returns the block of a contender: tuning, evaluations, tests, and how it ended.

    Each seed chooses its learning rate by the Brier score of its own validation part: a proper
    score that stays finite where a probability is zero, and no test image has a part in it.
    """
    size = parts.validation_labels.shape[1]
    labels = parts.validation_labels
    scores = [_validation(config, h.probabilities[:, :, :size], labels) for h in history]
    final = scores[-1]["brier"]
    chosen = np.argmin(np.where(np.isfinite(final), final, np.inf), axis=0)
    records: list[Record] = []
    for number, seed in enumerate(data.seeds(config)):
        index = (int(chosen[number]), number)
        common = {"seed": seed}
        rate = config.learning_rates[index[0]]
        records += _tuning(config, common, scores[-1], number)
        records += [
            {"kind": "evaluation", **common, "learning_rate": rate, "step": h.step}
            | {"train_loss": finite(h.train_loss[index])}
            | {f"validation_{name}": finite(values[index]) for name, values in s.items()}
            for h, s in zip(history, scores, strict=True)
        ]
        outputs = history[-1].probabilities[index][size:]
        learned = {name: finite(v[index]) for name, v in history[-1].learned.items()}
        test = _test(config, outputs, parts.test_labels[number])
        records.append(
            {"kind": "test", **common, "learning_rate": rate, **test, **learned_of(learned)}
        )
    status, why = _ending(config, history, final)
    ending = {"kind": "outcome", "status": status, "why": why}
    times = {"compile_seconds": round(compiled.seconds, 3), "train_seconds": round(seconds, 3)}
    return [*records, ending | times]


def learned_of(values: dict[str, float | None]) -> Record:
    """Returns the entry for learned parameters, and nothing where there are none."""
    return {"learned": values} if values else {}


def _validation(
    config: DigitsConfig, outputs: np.ndarray, labels: np.ndarray
) -> dict[str, np.ndarray]:
    probabilities = metrics.at_most_one(outputs)
    labels = np.broadcast_to(labels, probabilities.shape[:-1])
    return {
        "accuracy": metrics.accuracy(probabilities, labels),
        "brier": metrics.brier(probabilities, labels),
        "nll": metrics.nll(probabilities, labels, config.smoothing),
    }


def _tuning(
    config: DigitsConfig, common: Record, scores: dict[str, np.ndarray], number: int
) -> list[Record]:
    return [
        {"kind": "tuning", **common, "learning_rate": rate}
        | {f"validation_{name}": finite(values[i, number]) for name, values in scores.items()}
        for i, rate in enumerate(config.learning_rates)
    ]


def _test(config: DigitsConfig, outputs: np.ndarray, labels: np.ndarray) -> Record:
    probabilities = metrics.at_most_one(outputs)
    if not np.isfinite(probabilities).all():
        names = ("accuracy", "nll", "brier", "ece", "support", "mass", "missed")
        return dict.fromkeys(names) | {"bins": None}
    bins = metrics.reliability(probabilities, labels)
    return {
        "accuracy": float(metrics.accuracy(probabilities, labels)),
        "nll": float(metrics.nll(probabilities, labels, config.smoothing)),
        "brier": float(metrics.brier(probabilities, labels)),
        "ece": metrics.ece(bins),
        "support": float(metrics.support(probabilities)),
        "mass": float(metrics.mass(outputs)),
        "missed": float(metrics.missed(probabilities, labels)),
        "bins": {name: values.tolist() for name, values in bins._asdict().items()},
    }


def _ending(
    config: DigitsConfig, history: Sequence[Progress], final: np.ndarray
) -> tuple[str, str]:
    """Says whether every seed has a finite model, and whether training moved the weights."""
    if not any(progress.moved for progress in history):
        return "unmoved", "its gradient is zero: the weights stayed as they were initialised"
    lost = ~np.isfinite(final).any(axis=0)
    if lost.any():
        bad = [h.step for h in history if not np.isfinite(h.probabilities[:, lost]).all()]
        where = f" (first seen after step {bad[0]})" if bad else ""
        return "diverged", f"not finite for {lost.sum()} of {config.seeds} seeds{where}"
    return "trained", ""
