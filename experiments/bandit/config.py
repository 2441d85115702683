"""The configuration of the comparison of action selection on a testbed of bandits."""

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from experiments.engine.config import Blocks, EngineConfig

if TYPE_CHECKING:
    from experiments.engine.extras import Part
    from experiments.engine.task import Task, Variant


@dataclasses.dataclass(frozen=True)
class BanditConfig(EngineConfig):
    """What one comparison on the testbed does; equal configs give equal results.

    The defaults are the testbed of Sutton and Barto, Reinforcement Learning, 2nd edition, 2.3: a
    seed is a group of problems, an optimiser step an action in each of them, and nothing has a
    learning rate.

    Attributes:
      variants: The policies to compare, by the names that `list` prints; empty means every one.
        epsilon_0.1 always takes part, because all differences are taken to it.
      batch_size: Problems of a seed: tuning chooses by one half of them, and the other is tested.
      temperatures: Temperatures by which softmax, sparsemax and 1.5-entmax divide the estimates.
      epsilons: Probabilities of an action at random, otherwise greedy; 0.1 always takes part.
      ucb: Degrees of exploration c of the upper confidence bound.
      gradient: Step sizes of the gradient bandit.
      arms: Actions of a problem; the true value of each is drawn from N(0, 1).
      step_size: Step size of the estimates; 0 means sample averages.
      drift: Standard deviation of the step by which each true value moves; 0 means stationary.
      points: Points of a curve, each the mean of the steps since the one before.
    """

    experiment: ClassVar[str] = "bandit"

    seeds: int = 40
    batch_size: int = 100
    steps: int = 1000
    evaluations: int = 20
    optimizer: Literal["adam", "adamw", "adagrad", "sgd"] = "sgd"
    schedule: Literal["constant", "cosine"] = "constant"
    trials: int = 8
    tuning_seeds: int = 5
    learning_rate_low: float = 1.0
    learning_rate_high: float = 1.0
    speed_rounds: int = 0
    temperatures: tuple[float, ...] = (0.1, 0.2, 0.5, 1.0, 2.0)
    epsilons: tuple[float, ...] = (0.0, 0.01, 0.1)
    ucb: tuple[float, ...] = (2.0,)
    gradient: tuple[float, ...] = (0.1, 0.4)
    arms: int = 10
    step_size: float = 0.0
    drift: float = 0.0
    points: int = 100

    @property
    def point(self) -> int:
        """Steps that one point of a curve stands for."""
        return self.steps // self.points

    @property
    def is_the_books(self) -> bool:
        """Whether this is the testbed of the book's figures."""
        settings = (self.arms, self.steps, self.points, self.step_size, self.drift)
        return settings == (10, 1000, 100, 0.0, 0.0)

    def make_task(self) -> "Task":
        """Returns the testbed."""
        from experiments.bandit.task import Bandits

        return Bandits(self)

    def make_variants(self) -> "Sequence[Variant]":
        """Returns every policy, epsilon_0.1 first."""
        from experiments.bandit.variants import variants

        return variants(self)

    def parts(self, results: dict[str, Any], blocks: Blocks) -> "Sequence[Part]":
        """Returns the book's statements and curves, and the regret over the parameters."""
        from experiments.bandit.parts import parts

        return parts(self, results, blocks)

    def described_steps(self) -> str:
        """Says what a policy plays."""
        moving = "drifting" if self.drift else "stationary"
        half = self.batch_size // 2
        return (
            f"{self.steps:,} actions in each of {half} validation and {half} test problems, "
            f"{moving}, of {self.arms} arms"
        )

    def check_values(self) -> None:
        """Raises a UserError where a value is out of range."""
        super().check_values()
        whole = self.tuning_steps in (0, self.steps)
        expected = f"0 or steps ({self.steps}), which divide the curves"
        self.expect("tuning_steps", whole, expected)
        self.expect("batch_size", self.batch_size % 2 == 0, "an even number")
        self.expect("arms", self.arms >= 2, "at least 2")
        self.expect("points", self.points >= 10 and self.points % 10 == 0, "a multiple of 10")
        self.expect("steps", self.steps % self.points == 0, f"a multiple of points ({self.points})")
        self.expect("step_size", 0 <= self.step_size <= 1, "between 0 and 1")
        self.expect("drift", 0 <= self.drift < math.inf, "a finite number of 0 or more")
        for name in ("temperatures", "epsilons", "ucb", "gradient"):
            values = getattr(self, name)
            if name == "epsilons":
                good, kind = all(0 <= v <= 1 for v in values), "probabilities"
            elif name == "ucb":
                good, kind = all(0 <= v < math.inf for v in values), "numbers of 0 or more"
            else:
                good, kind = all(0 < v < math.inf for v in values), "positive numbers"
            self.expect(name, good and len(set(values)) == len(values), f"different {kind}")
