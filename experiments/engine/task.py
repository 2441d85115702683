"""What an experiment gives the engine: data, first weights, a loss and measures, as pure functions.

The engine trains many models of a task at once, by `jax.vmap`, so that every method here is about
one model. Data are functions of (seed, step): two variants with one seed see the same, and a run
that goes on after a stop sees what it would have seen.
"""

import abc
import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import jax
import numpy as np
from jax.sharding import PartitionSpec
from jaxtyping import Array, PRNGKeyArray

from softmax_variants.variants import VARIANTS

# A rule is of a task.
if TYPE_CHECKING:
    from experiments.engine.rule import Rule

Split = Literal["validation", "test"]
Direction = Literal["higher", "lower", "neither"]
# Arrays whose first axis is the examples.
Batch = Any
Parameters = Any
Settings = Mapping[str, Any]
# Scalars that are arguments of the compiled program: they may be tuned, and do not recompile it.
Values = Mapping[str, Array]


@dataclasses.dataclass(frozen=True)
class Range:
    """Where a tuned number lies.

    Attributes:
      low: The least value.
      high: The largest value.
      scale: Whether candidates are even in the number or in its logarithm.
    """

    low: float
    high: float
    scale: Literal["log", "linear"] = "log"

    def at(self, place: float) -> float:
        """Returns the number at a place from 0 to 1."""
        if self.scale == "linear":
            return self.low + place * (self.high - self.low)
        return float(self.low * (self.high / self.low) ** place)


@dataclasses.dataclass(frozen=True)
class Variant:
    """One contender of a comparison: what is not the same in all of them.

    Attributes:
      name: What the command line and the results call it.
      settings: What the task reads to build the program: hashable values, functions among them.
      fixed: Numbers or arrays of numbers that the program takes as arguments.
      tuned: Numbers that tuning chooses, and where they lie; the learning rate is always tuned.
      group: What the report sorts variants by.
      about: One line for the report.
      map: The row of the table of variants that its map is, of which the report draws pictures; not
        needed where `settings["map"]` is that row's function.
    """

    name: str
    settings: Settings = dataclasses.field(default_factory=dict)
    fixed: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    tuned: Mapping[str, Range] = dataclasses.field(default_factory=dict)
    group: str = ""
    about: str = ""
    map: str = ""

    def described(self) -> dict[str, Any]:
        """Returns what `config.json` says of the variant, for its report."""
        function = self.settings.get("map")
        names = [row.name for row in VARIANTS.values() if function in (row, row.map)]
        return {
            "group": self.group,
            "about": self.about,
            "map": self.map or next(iter(names), ""),
            "fixed": {name: np.asarray(value).tolist() for name, value in self.fixed.items()},
            "tuned": {name: dataclasses.asdict(one) for name, one in self.tuned.items()},
        }

    @property
    def program(self) -> tuple[Any, ...]:
        """What decides the compiled code: variants with equal programs share it."""
        shapes = {name: np.shape(value) for name, value in self.fixed.items()}
        shapes |= dict.fromkeys(self.tuned, ())
        by_name = sorted(self.settings.items(), key=lambda item: item[0])
        return tuple(by_name), tuple(sorted(shapes.items()))


class Judgement(NamedTuple):
    """How good a model is: a number for each metric of the task, and more for the report."""

    metrics: dict[str, float]
    details: dict[str, Any]


class Task(abc.ABC):
    """A problem that variants are trained on."""

    @property
    @abc.abstractmethod
    def metrics(self) -> Mapping[str, Direction]:
        """The metrics and which direction is better; tuning goes by the first one."""

    @abc.abstractmethod
    def initial(self, seed: int, settings: Settings) -> Parameters:
        """Returns the first weights; what variants have in common is the same for one seed."""

    @abc.abstractmethod
    def batch(self, seed: int, step: int) -> Batch:
        """Returns the examples of a step, as NumPy arrays with as many rows at every step."""

    @abc.abstractmethod
    def examples(self, seed: int, split: Split) -> Batch:
        """Returns the held-out examples of a seed, as NumPy arrays; as many for every seed."""

    @abc.abstractmethod
    def loss(
        self,
        params: Parameters,
        batch: Batch,
        key: PRNGKeyArray,
        settings: Settings,
        values: Values,
    ) -> Array:
        """Returns what training lowers: one loss an example."""

    @abc.abstractmethod
    def predict(
        self, params: Parameters, examples: Batch, settings: Settings, values: Values
    ) -> Any:
        """Returns what a model is judged by, arrays whose first axis is the examples."""

    @abc.abstractmethod
    def judge(self, outputs: Any, examples: Batch) -> Judgement:
        """Returns how good the predictions are; NumPy in, numbers out."""

    def rule(self, settings: Settings) -> "Rule | None":
        """Returns how a step changes a model of this task, None for the gradient of `loss`.

        A step that reads few rows of large tables, or that follows no gradient, has its own.
        """
        del settings
        return None

    def learned(self, params: Parameters, settings: Settings) -> dict[str, Array]:
        """Returns numbers that training learned and that a report should show."""
        del params, settings
        return {}

    def shown(self, params: Parameters, settings: Settings, values: Values) -> dict[str, Any]:
        """Returns what else a report shows of the trained model of the first seed.

        Called once for a variant, with NumPy arrays; returns what JSON can hold.
        """
        del params, settings, values
        return {}

    def data(self) -> dict[str, Any]:
        """Returns what tells data apart that the config alone does not, such as a digest.

        A run has it as the first of its records, and goes on with the same only.
        """
        return {}

    def partition(self, params: Parameters) -> Any:
        """Returns how the weights of one model lie on the axis "classes" of the mesh.

        A tree like the weights of `jax.sharding.PartitionSpec`; whole everywhere unless overridden.
        """
        return jax.tree.map(lambda _: PartitionSpec(), params)


def first_metric(task: Task) -> tuple[str, Direction]:
    """Returns the metric that tuning goes by."""
    return next(iter(task.metrics.items()))
