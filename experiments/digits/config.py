"""The configuration of the comparison on digits."""

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from experiments.engine.config import EngineConfig

if TYPE_CHECKING:
    from experiments.engine.task import Task, Variant


@dataclasses.dataclass(frozen=True)
class DigitsConfig(EngineConfig):
    """What one comparison does; two runs with equal configs give equal results.

    Attributes:
      variants: The contenders to train, by the names that `list` prints; empty means every one.
        softmax always takes part, because all differences are taken to it.
      temperatures: Temperatures at which softmax is trained, besides 1.
      bases: Bases at which softmax is trained, besides e.
      hidden: Sizes of the hidden layers; empty means multinomial logistic regression.
      test_fraction: Part of the data that is only used for the final figures.
      validation_fraction: Part of the data that tuning chooses on.
      smoothing: s in -log((1 - s) p_y + s / n), which keeps the NLL of a zero finite.
    """

    experiment: ClassVar[str] = "digits"

    temperatures: tuple[float, ...] = (0.25, 0.5, 2.0, 4.0)
    bases: tuple[float, ...] = (0.5, 2.0, 10.0)
    hidden: tuple[int, ...] = (64,)
    test_fraction: float = 0.2
    validation_fraction: float = 0.2
    smoothing: float = 0.01

    def make_task(self) -> "Task":
        """Returns the digits."""
        from experiments.digits.task import Digits

        return Digits(self)

    def make_variants(self) -> "Sequence[Variant]":
        """Returns every contender, softmax first, the sweeps last."""
        from experiments.digits.contenders import all_contenders

        return [contender.variant for contender in all_contenders(self).values()]

    def check_values(self) -> None:
        """Raises a UserError where a value is out of range."""
        super().check_values()
        self.expect("hidden", all(size >= 1 for size in self.hidden), "sizes of 1 or more")
        self.expect("test_fraction", 0 < self.test_fraction < 1, "between 0 and 1")
        self.expect("validation_fraction", 0 < self.validation_fraction < 1, "between 0 and 1")
        held_out = self.test_fraction + self.validation_fraction
        self.expect(
            "validation_fraction", held_out < 0.95, f"less than {0.95 - self.test_fraction:.2f}"
        )
        self.expect("smoothing", 0 < self.smoothing < 1, "between 0 and 1")
        for name in ("temperatures", "bases"):
            values = getattr(self, name)
            good = all(0 < value < math.inf for value in values) and len(set(values)) == len(values)
            self.expect(name, good, "different positive numbers")
