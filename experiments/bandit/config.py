"""The configuration of the comparison of action selection on a testbed of bandits."""

import dataclasses
import math
from typing import ClassVar

from experiments.base_config import BaseConfig


@dataclasses.dataclass(frozen=True)
class BanditConfig(BaseConfig):
    """What one comparison on the testbed does; equal configs give equal results.

    The defaults are the testbed of Sutton and Barto, Reinforcement Learning, 2nd edition, 2.3.

    Attributes:
      policies: The ways of selecting actions to compare, by name; empty means every one.
        epsilon_0.1 always takes part, because all differences are taken to it.
      temperatures: Temperatures by which softmax, sparsemax and 1.5-entmax divide the estimates.
      epsilons: Probabilities of an action at random, otherwise greedy; 0.1 always takes part.
      ucb: Degrees of exploration c of the upper confidence bound.
      gradient: Step sizes of the gradient bandit.
      arms: Actions of a problem; the true value of each is drawn from N(0, 1).
      problems: How many problems, the same for every policy.
      steps: Actions in a problem.
      step_size: Step size of the estimates; 0 means sample averages.
      drift: Standard deviation of the step by which each true value moves; 0 means stationary.
      points: Points of a curve, each the mean of the steps since the one before.
      seed: The seed of problems, rewards and actions.
      confidence: Level of all intervals.
    """

    experiment: ClassVar[str] = "bandit"

    policies: tuple[str, ...] = ()
    temperatures: tuple[float, ...] = (0.1, 0.2, 0.5, 1.0, 2.0)
    epsilons: tuple[float, ...] = (0.0, 0.01, 0.1)
    ucb: tuple[float, ...] = (2.0,)
    gradient: tuple[float, ...] = (0.1, 0.4)
    arms: int = 10
    problems: int = 2000
    steps: int = 1000
    step_size: float = 0.0
    drift: float = 0.0
    points: int = 100
    seed: int = 0
    confidence: float = 0.95

    @property
    def chunk(self) -> int:
        """Steps that one point of a curve stands for."""
        return self.steps // self.points

    @property
    def tenth(self) -> int:
        """Points in a tenth of the steps."""
        return self.points // 10

    @property
    def is_the_books(self) -> bool:
        """Whether this is the testbed of the book's figures, for as many steps or more problems."""
        settings = (self.arms, self.steps, self.step_size, self.drift)
        return settings == (10, 1000, 0.0, 0.0)

    def check_values(self) -> None:
        """Raises a UserError where a value is out of range."""
        self.expect("arms", self.arms >= 2, "at least 2")
        self.expect("problems", self.problems >= 2, "at least 2 (an interval needs two)")
        self.expect("points", self.points >= 10 and self.points % 10 == 0, "a multiple of 10")
        good = self.steps >= self.points and self.steps % self.points == 0
        self.expect("steps", good, f"a multiple of points ({self.points})")
        self.expect("step_size", 0 <= self.step_size <= 1, "between 0 and 1")
        self.expect("drift", 0 <= self.drift < math.inf, "a finite number of 0 or more")
        self.expect("seed", 0 <= self.seed < 2**32, "0 to 4294967295")
        self.expect("confidence", 0 < self.confidence < 1, "between 0 and 1")
        for name in ("temperatures", "epsilons", "ucb", "gradient"):
            values = getattr(self, name)
            if name == "epsilons":
                good, kind = all(0 <= v <= 1 for v in values), "probabilities"
            elif name == "ucb":
                good, kind = all(0 <= v < math.inf for v in values), "numbers of 0 or more"
            else:
                good, kind = all(0 < v < math.inf for v in values), "positive numbers"
            self.expect(name, good and len(set(values)) == len(values), f"different {kind}")
