"""The candidates that tuning tries: as many for every variant, whatever it has to tune."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from experiments.engine.config import EngineConfig
from experiments.engine.task import Judgement, Range, Task, Variant, first_metric

_PRIMES = (2, 3, 5, 7, 11, 13)


class Candidate(NamedTuple):
    """One setting of what is tuned."""

    learning_rate: float
    tuned: dict[str, float]


def is_tuned(config: EngineConfig, variant: Variant) -> bool:
    """Says whether tuning has anything to choose for a variant."""
    rates = config.learning_rate_low < config.learning_rate_high
    return config.trials > 1 and (rates or bool(variant.tuned))


def candidates(config: EngineConfig, variant: Variant) -> list[Candidate]:
    """Returns points that fill the ranges evenly: Hammersley's set, the learning rate first.

    The learning rates are the same for every variant, from the least to the largest. A variant that
    is not tuned has one candidate, in the middle of its ranges.
    """
    rates = Range(config.learning_rate_low, config.learning_rate_high)
    names = sorted(variant.tuned)
    if len(names) > len(_PRIMES):
        raise ValueError(f"{variant.name} tunes {len(names)} numbers, expected {len(_PRIMES)}")
    if not is_tuned(config, variant):
        middle = {name: variant.tuned[name].at(0.5) for name in names}
        return [Candidate(rates.at(0.5), middle)]
    found = []
    for number in range(config.trials):
        rate = rates.at(number / (config.trials - 1))
        places = [_radical_inverse(number + 1, prime) for prime in _PRIMES[: len(names)]]
        chosen = {n: variant.tuned[n].at(place) for n, place in zip(names, places, strict=True)}
        found.append(Candidate(rate, chosen))
    return found


def _radical_inverse(number: int, base: int) -> float:
    """Returns the digits of a number behind the point, in reverse: van der Corput's sequence."""
    value, unit = 0.0, 1.0 / base
    while number:
        number, digit = divmod(number, base)
        value, unit = value + digit * unit, unit / base
    return value


def best(task: Task, judged: Sequence[Judgement], seeds: int) -> int | None:
    """Returns the candidate with the best mean of the first metric; None if none is finite."""
    metric, direction = first_metric(task)
    values = np.asarray([one.metrics[metric] for one in judged], np.float64).reshape(-1, seeds)
    means = values.mean(axis=1) * (1.0 if direction == "lower" else -1.0)
    return (
        int(np.argmin(np.where(np.isfinite(means), means, np.inf)))
        if np.isfinite(means).any()
        else None
    )
