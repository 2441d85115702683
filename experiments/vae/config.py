"""The configuration of the comparison of gradient estimators."""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from experiments.engine.config import Blocks, EngineConfig
from experiments.errors import UserError

if TYPE_CHECKING:
    from experiments.engine.extras import Extra, Part
    from experiments.engine.task import Task, Variant

# The exact gradient and likelihood decode every code once in each step and evaluation.
MOST_CODES = 4096
# The draws of a gradient are divided into so many groups, from which the Monte Carlo errors come.
GROUPS = 16


@dataclasses.dataclass(frozen=True)
class VaeConfig(EngineConfig):
    """What one comparison of gradient estimators does; equal configs give equal results.

    Attributes:
      variants: The estimators to train with, by the names that `list` prints; empty means every
        one. exact always takes part, because all differences are taken to it.
      temperatures: Temperatures at which each relaxation is trained.
      anneal: First and last temperature of the annealed runs, which change it by the same factor at
        each of `steps` steps; empty for none.
      tuned_temperatures: Least and largest temperature that tuning tries, for the runs of each
        relaxation that tune it; empty for none.
      latents: Categorical latent variables of an image.
      classes: Classes of each; there are classes ** latents codes.
      samples: Samples of an image's code in a step, for every estimator that draws any.
      hidden: Size of the hidden layer of the encoder, and of that of the decoder.
      threshold: Pixels from 0 to 1 are on where they are at least this.
      test_fraction: Part of the images that is only used for the final figures.
      validation_fraction: Part of the images that tuning chooses on.
      probes: Parts of the first seed's exact run after which gradients are measured; empty for no
        measurement.
      measured: Temperatures at which the gradient of each relaxation is measured.
      probe_images: Training images in a measured gradient.
      draws: Random gradients from which bias and variance are estimated, a multiple of 16.
    """

    experiment: ClassVar[str] = "vae"

    steps: int = 1000
    learning_rate_low: float = 0.003
    learning_rate_high: float = 0.03
    temperatures: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0)
    anneal: tuple[float, ...] = (1.0, 0.1)
    tuned_temperatures: tuple[float, ...] = (0.1, 3.0)
    latents: int = 4
    classes: int = 4
    samples: int = 2
    hidden: int = 32
    threshold: float = 0.5
    test_fraction: float = 0.2
    validation_fraction: float = 0.2
    probes: tuple[float, ...] = (0.0, 0.2, 1.0)
    measured: tuple[float, ...] = (0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 3.0)
    probe_images: int = 64
    draws: int = 2048

    @property
    def probe_steps(self) -> tuple[int, ...]:
        """The steps of the exact run after which gradients are measured, at its evaluations."""
        chunks = dict.fromkeys(round(part * self.evaluations) for part in self.probes)
        return tuple(number * self.chunk for number in chunks)

    def make_task(self) -> "Task":
        """Returns the autoencoder of the digits."""
        from experiments.vae.task import Autoencoder

        return Autoencoder(self)

    def make_variants(self) -> "Sequence[Variant]":
        """Returns every estimator, the exact gradient first."""
        from experiments.vae.contenders import all_contenders

        return [contender.variant(self) for contender in all_contenders(self)]

    def extras(self) -> "Sequence[Extra]":
        """Returns the measurement of the gradient of each method that takes part."""
        from experiments.vae.gradients import measurements

        return measurements(self)

    def parts(self, results: dict[str, Any], blocks: Blocks) -> "Sequence[Part]":
        """Returns the figures by temperature, and bias and variance of the gradients."""
        from experiments.vae.parts import all_parts

        return all_parts(self, results, blocks)

    def check_values(self) -> None:
        """Raises a UserError where a value is out of range."""
        super().check_values()
        whole = self.tuning_steps in (0, self.steps)
        expected = f"0 or steps ({self.steps}), which an annealed temperature follows"
        self.expect("tuning_steps", whole, expected)
        for name in ("latents", "hidden", "probe_images"):
            self.expect(name, getattr(self, name) >= 1, "1 or more")
        self.expect("classes", self.classes >= 2, "at least 2")
        if self.latents * math.log(self.classes) > math.log(MOST_CODES) + 1e-9:
            raise UserError(
                f"classes: expected at most {MOST_CODES:,} codes (classes ** latents), which the "
                f"exact gradient enumerates, got {self.classes} ** {self.latents}"
            )
        self.expect("samples", self.samples >= 2, "at least 2 (a baseline needs another sample)")
        self.expect("threshold", 0 < self.threshold <= 1, "more than 0, at most 1")
        for name in ("temperatures", "measured"):
            values = getattr(self, name)
            good = all(0 < v < math.inf for v in values) and len(set(values)) == len(values)
            self.expect(name, good, "different positive numbers")
        pair = len(self.anneal) in (0, 2) and all(0 < v < math.inf for v in self.anneal)
        self.expect("anneal", pair, "a first and a last positive temperature, or nothing")
        ends = (0.0, *self.tuned_temperatures, math.inf)
        rising = all(low < high for low, high in itertools.pairwise(ends))
        expected = "a least and a larger positive temperature, or nothing"
        self.expect("tuned_temperatures", len(ends) in (2, 4) and rising, expected)
        for name in ("test_fraction", "validation_fraction"):
            self.expect(name, 0 < getattr(self, name) < 1, "between 0 and 1")
        limit = 0.95 - self.test_fraction
        self.expect("validation_fraction", self.validation_fraction < limit, f"below {limit:.2f}")
        rising = all(a < b for a, b in itertools.pairwise(self.probes))
        inside = all(0 <= part <= 1 for part in self.probes)
        self.expect("probes", rising and inside, "rising numbers from 0 to 1")
        several = self.draws >= 2 * GROUPS and self.draws % GROUPS == 0
        self.expect("draws", several, f"a multiple of {GROUPS} of at least {2 * GROUPS}")
