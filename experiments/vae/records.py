"""From what training yields to the lines of `metrics.jsonl`."""

from collections.abc import Sequence

import numpy as np

from experiments.digits import data
from experiments.run_directory import Record
from experiments.statistics import finite
from experiments.vae.config import VaeConfig
from experiments.vae.train import Progress


def block_records(
    config: VaeConfig, history: Sequence[Progress], compile_seconds: float, seconds: float
) -> list[Record]:
    """Returns the block of an estimator: tuning, evaluations, tests, and how it ended.

    Each seed takes the learning rate and the evaluation with the highest exact ELBO on its own
    validation part: without stopping there, an estimator would gain by fitting the training images
    less well. No test image has a part in the choice.
    """
    elbos = np.stack([progress.validation.elbo for progress in history])
    known = np.where(np.isfinite(elbos), elbos, -np.inf)
    records: list[Record] = []
    for number, seed in enumerate(data.seeds(config)):
        place = np.unravel_index(int(np.argmax(known[:, :, number])), known.shape[:2])
        best, index = (int(i) for i in place)
        rate = config.learning_rates[index]
        records += [
            {"kind": "tuning", "seed": seed, "learning_rate": r}
            | {"validation_elbo": finite(known[:, i, number].max())}
            for i, r in enumerate(config.learning_rates)
        ]
        records += [
            {"kind": "evaluation", "seed": seed, "learning_rate": rate, "step": progress.step}
            | {"elbo": finite(progress.validation.elbo[index, number])}
            for progress in history
        ]
        chosen = history[best]
        records.append(
            {"kind": "test", "seed": seed, "learning_rate": rate, "step": chosen.step}
            | {n: finite(v[index, number]) for n, v in chosen.test._asdict().items()}
            | {"train_elbo": finite(chosen.train.elbo[index, number])}
        )
    status, why = _ending(config, elbos)
    ending = {"kind": "outcome", "status": status, "why": why}
    times = {"compile_seconds": round(compile_seconds, 3), "train_seconds": round(seconds, 3)}
    return [*records, ending | times]


def _ending(config: VaeConfig, elbos: np.ndarray) -> tuple[str, str]:
    """Says whether every seed has a learning rate at which the ELBO stays finite."""
    stays = np.isfinite(elbos).all(axis=0).any(axis=0)
    if stays.all():
        return "trained", ""
    lost = [seed for seed, good in zip(data.seeds(config), stays, strict=True) if not good]
    return "diverged", f"not finite at any learning rate for seeds {', '.join(map(str, lost))}"
