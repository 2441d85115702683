"""The configuration of the comparison of gradient estimators."""

import dataclasses
import itertools
import math
from typing import ClassVar

from experiments.base_config import BaseConfig
from experiments.errors import UserError

# The exact gradient and likelihood decode every code once in each step and evaluation.
MOST_CODES = 4096
# The draws of a gradient are divided into so many groups, from which the Monte Carlo errors come.
GROUPS = 16


@dataclasses.dataclass(frozen=True)
class VaeConfig(BaseConfig):
    """What one comparison of gradient estimators does; equal configs give equal results.

    Attributes:
      estimators: The estimators to train with, by name; empty means every one. exact always takes
        part, because all differences are taken to it.
      temperatures: Temperatures at which each relaxation is trained.
      anneal: First and last temperature of the annealed runs, which change it by the same factor at
        each step; empty for none.
      latents: Categorical latent variables of an image.
      classes: Classes of each; there are classes ** latents codes.
      samples: Samples of an image's code in a step, for every estimator that draws any.
      hidden: Size of the hidden layer of the encoder, and of that of the decoder.
      threshold: Pixels from 0 to 1 are on where they are at least this.
      seeds: How many independent repetitions; each has its own split, initial weights and order.
      first_seed: The seed of the first repetition; the others follow it.
      steps: Adam's steps for every model.
      batch_size: Images in a step.
      evaluations: How often a model is evaluated during training, evenly spaced.
      learning_rates: The rates that every estimator may choose from; each seed takes the rate and
        the evaluation with the highest exact ELBO on its validation part.
      test_fraction: Part of the images that is only used for the final figures.
      validation_fraction: Part of the images that chooses the learning rate and when to stop.
      probes: Parts of the first seed's exact run after which gradients are measured.
      measured: Temperatures at which the gradient of each relaxation is measured.
      probe_images: Training images in a measured gradient.
      draws: Random gradients from which bias and variance are estimated, a multiple of 16.
      confidence: Level of all intervals.
    """

    experiment: ClassVar[str] = "vae"

    estimators: tuple[str, ...] = ()
    temperatures: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0)
    anneal: tuple[float, ...] = (1.0, 0.1)
    latents: int = 4
    classes: int = 4
    samples: int = 2
    hidden: int = 32
    threshold: float = 0.5
    seeds: int = 8
    first_seed: int = 0
    steps: int = 1000
    batch_size: int = 64
    evaluations: int = 10
    learning_rates: tuple[float, ...] = (0.005, 0.015)
    test_fraction: float = 0.2
    validation_fraction: float = 0.2
    probes: tuple[float, ...] = (0.0, 0.2, 1.0)
    measured: tuple[float, ...] = (0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 3.0)
    probe_images: int = 64
    draws: int = 2048
    confidence: float = 0.95

    @property
    def chunk(self) -> int:
        """Steps between two evaluations."""
        return self.steps // self.evaluations

    @property
    def probe_steps(self) -> tuple[int, ...]:
        """The steps of the exact run after which gradients are measured, at its evaluations."""
        chunks = dict.fromkeys(round(part * self.evaluations) for part in self.probes)
        return tuple(number * self.chunk for number in chunks)

    def check_values(self) -> None:
        """Raises a UserError where a value is out of range."""
        for name in ("latents", "hidden", "batch_size", "steps", "probe_images"):
            self.expect(name, getattr(self, name) >= 1, "1 or more")
        self.expect("classes", self.classes >= 2, "at least 2")
        if self.latents * math.log(self.classes) > math.log(MOST_CODES) + 1e-9:
            raise UserError(
                f"classes: expected at most {MOST_CODES:,} codes (classes ** latents), which the "
                f"exact gradient enumerates, got {self.classes} ** {self.latents}"
            )
        self.expect("samples", self.samples >= 2, "at least 2 (a baseline needs another sample)")
        self.expect("threshold", 0 < self.threshold <= 1, "more than 0, at most 1")
        self.expect("seeds", self.seeds >= 2, "at least 2 (an interval needs two repetitions)")
        self.expect("first_seed", self.first_seed >= 0, "0 or more")
        at_most = f"1 to steps ({self.steps})"
        self.expect("evaluations", 1 <= self.evaluations <= self.steps, at_most)
        if self.steps % self.evaluations:
            raise UserError(
                f"evaluations: expected a divisor of steps ({self.steps}), got {self.evaluations}"
            )
        for name in ("temperatures", "measured", "learning_rates"):
            values = getattr(self, name)
            good = all(0 < v < math.inf for v in values) and len(set(values)) == len(values)
            self.expect(name, good, "different positive numbers")
        self.expect("learning_rates", len(self.learning_rates) > 0, "different positive numbers")
        pair = len(self.anneal) in (0, 2) and all(0 < v < math.inf for v in self.anneal)
        self.expect("anneal", pair, "a first and a last positive temperature, or nothing")
        for name in ("test_fraction", "validation_fraction"):
            self.expect(name, 0 < getattr(self, name) < 1, "between 0 and 1")
        limit = 0.95 - self.test_fraction
        self.expect("validation_fraction", self.validation_fraction < limit, f"below {limit:.2f}")
        rising = all(a < b for a, b in itertools.pairwise(self.probes))
        inside = all(0 <= part <= 1 for part in self.probes)
        self.expect("probes", rising and inside, "rising numbers from 0 to 1")
        several = self.draws >= 2 * GROUPS and self.draws % GROUPS == 0
        self.expect("draws", several, f"a multiple of {GROUPS} of at least {2 * GROUPS}")
        self.expect("confidence", 0 < self.confidence < 1, "between 0 and 1")
