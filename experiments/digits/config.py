"""The configuration of the comparison on digits."""

import dataclasses
import math
from typing import ClassVar, Literal

from experiments.base_config import BaseConfig
from experiments.errors import UserError


@dataclasses.dataclass(frozen=True)
class DigitsConfig(BaseConfig):
    """What one comparison does; two runs with equal configs give equal results.

    Attributes:
      variants: The contenders to train, by the names that `list` prints; empty means every one.
        softmax always takes part, because all differences are taken to it.
      temperatures: Temperatures at which softmax is trained, besides 1.
      bases: Bases at which softmax is trained, besides e.
      seeds: How many independent repetitions; each has its own split, initial weights and order.
      first_seed: The seed of the first repetition; the others follow it.
      hidden: Sizes of the hidden layers; empty means multinomial logistic regression.
      steps: Optimiser steps for every model.
      batch_size: Examples in a step.
      evaluations: How often a model is evaluated during training, evenly spaced.
      optimizer: The optimiser, with optax's defaults apart from the learning rate.
      schedule: How the learning rate changes over the steps.
      learning_rates: The rates that every contender may choose from, on its validation part.
      test_fraction: Part of the data that is only used for the final figures.
      validation_fraction: Part of the data that chooses the learning rate.
      smoothing: s in -log((1 - s) p_y + s / n), which keeps the NLL of a zero finite.
      confidence: Level of all intervals.
      speed_rounds: Interleaved rounds in which the steps per second are timed.
    """

    experiment: ClassVar[str] = "digits"

    variants: tuple[str, ...] = ()
    temperatures: tuple[float, ...] = (0.25, 0.5, 2.0, 4.0)
    bases: tuple[float, ...] = (0.5, 2.0, 10.0)
    seeds: int = 10
    first_seed: int = 0
    hidden: tuple[int, ...] = (64,)
    steps: int = 400
    batch_size: int = 64
    evaluations: int = 10
    optimizer: Literal["adam", "sgd"] = "adam"
    schedule: Literal["constant", "cosine"] = "cosine"
    learning_rates: tuple[float, ...] = (0.001, 0.003, 0.01)
    test_fraction: float = 0.2
    validation_fraction: float = 0.2
    smoothing: float = 0.01
    confidence: float = 0.95
    speed_rounds: int = 7

    @property
    def chunk(self) -> int:
        """Steps between two evaluations."""
        return self.steps // self.evaluations

    def check_values(self) -> None:
        """Raises a UserError where a value is out of range."""
        self.expect("seeds", self.seeds >= 2, "at least 2 (an interval needs two repetitions)")
        self.expect("first_seed", self.first_seed >= 0, "0 or more")
        self.expect("hidden", all(size >= 1 for size in self.hidden), "sizes of 1 or more")
        self.expect("steps", self.steps >= 1, "1 or more")
        self.expect("batch_size", self.batch_size >= 1, "1 or more")
        self.expect(
            "evaluations", 1 <= self.evaluations <= self.steps, f"1 to steps ({self.steps})"
        )
        if self.steps % self.evaluations:
            raise UserError(
                f"evaluations: expected a divisor of steps ({self.steps}), got {self.evaluations}"
            )
        rates = self.learning_rates
        good = len(rates) > 0 and all(0 < rate < math.inf for rate in rates)
        self.expect(
            "learning_rates", good and len(set(rates)) == len(rates), "different positive numbers"
        )
        self.expect("test_fraction", 0 < self.test_fraction < 1, "between 0 and 1")
        self.expect("validation_fraction", 0 < self.validation_fraction < 1, "between 0 and 1")
        held_out = self.test_fraction + self.validation_fraction
        self.expect(
            "validation_fraction", held_out < 0.95, f"less than {0.95 - self.test_fraction:.2f}"
        )
        self.expect("smoothing", 0 < self.smoothing < 1, "between 0 and 1")
        self.expect("confidence", 0 < self.confidence < 1, "between 0 and 1")
        self.expect("speed_rounds", self.speed_rounds >= 1, "1 or more")
        for name in ("temperatures", "bases"):
            values = getattr(self, name)
            good = all(0 < value < math.inf for value in values) and len(set(values)) == len(values)
            self.expect(name, good, "different positive numbers")
