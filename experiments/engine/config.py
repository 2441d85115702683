"""The fields that every experiment of the engine has."""

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from experiments.base_config import BaseConfig
from experiments.errors import UserError, did_you_mean

# What a run's records and folders call other things than a variant.
_TAKEN = ("speed", "tune", "more", "data")
Blocks = Mapping[str, Sequence[dict[str, Any]]]
# jax takes seconds to import, which `--help` should not wait for.
if TYPE_CHECKING:
    from experiments.engine.extras import Extra, Part
    from experiments.engine.task import Task, Variant


@dataclasses.dataclass(frozen=True)
class EngineConfig(BaseConfig):
    """What a comparison does; two runs with equal configs give equal results.

    Attributes:
      variants: The variants to train, by name; empty means every one. The first that the experiment
        defines always takes part in `compare`: all differences are taken to it.
      seeds: How many independent repetitions, trained at once.
      first_seed: The seed of the first repetition; the others follow it.
      steps: Optimiser steps for every model.
      evaluations: How often a model is evaluated during training, evenly spaced.
      batch_size: Examples in a step.
      optimizer: The optimiser, with optax's defaults for what is not named here.
      schedule: How the learning rate changes over the steps.
      warmup: Steps in which the learning rate rises linearly before its schedule.
      final_rate: The part of the learning rate that half a cosine ends with.
      beta1: Adam's decay of the mean gradient.
      beta2: Adam's decay of the mean squared gradient.
      weight_decay: AdamW's, on matrices only.
      clip: Gradients of a larger norm are scaled down to it; 0 leaves them.
      trials: How many candidates tuning tries for every variant; with 1 nothing is tuned, and
        each number is in the middle of its range.
      tuning_seeds: Repetitions of each candidate.
      tuning_steps: Optimiser steps of each candidate; 0 means as many as `steps`.
      learning_rate_low: The least learning rate that tuning tries.
      learning_rate_high: The largest learning rate that tuning tries.
      confidence: Level of all intervals.
      speed_rounds: Interleaved rounds in which the steps per second are timed; 0 leaves it out.
      models_at_once: Models that a device trains at once by `vmap`; 0 means all. With fewer of
        them steps take less memory for activations; large models are not slower for it.
      checkpoint_seconds: A state is saved when so much time has passed since the last one.
      mesh_seeds: Devices that share the repetitions; 0 means as many as share them evenly.
      mesh_data: Devices that share the examples of a batch; 0 means all that are left.
      mesh_classes: Devices that share the classes, where the task divides its weights.
    """

    experiment: ClassVar[str] = "engine"
    placement: ClassVar[frozenset[str]] = frozenset({"mesh_seeds", "mesh_data", "mesh_classes"})

    variants: tuple[str, ...] = ()
    seeds: int = 8
    first_seed: int = 0
    steps: int = 300
    evaluations: int = 10
    batch_size: int = 64
    optimizer: Literal["adam", "adamw", "adagrad", "sgd"] = "adam"
    schedule: Literal["constant", "cosine"] = "cosine"
    warmup: int = 0
    final_rate: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.999
    weight_decay: float = 0.0
    clip: float = 0.0
    trials: int = 4
    tuning_seeds: int = 2
    tuning_steps: int = 0
    learning_rate_low: float = 1e-3
    learning_rate_high: float = 1e-2
    confidence: float = 0.95
    speed_rounds: int = 6
    models_at_once: int = 0
    checkpoint_seconds: float = 30.0
    mesh_seeds: int = 0
    mesh_data: int = 1
    mesh_classes: int = 1

    @property
    def chunk(self) -> int:
        """Steps between two evaluations."""
        return self.steps // self.evaluations

    @property
    def steps_of_tuning(self) -> int:
        """Optimiser steps of each candidate."""
        return self.tuning_steps or self.steps

    def make_task(self) -> "Task":
        """Returns the task; an experiment overrides this."""
        raise NotImplementedError

    def make_variants(self) -> "Sequence[Variant]":
        """Returns every variant, the reference first; an experiment overrides this."""
        raise NotImplementedError

    def extras(self) -> "Sequence[Extra]":
        """Returns what `compare` measures besides; an experiment may override this."""
        return ()

    def parts(self, results: dict[str, Any], blocks: Blocks) -> "Sequence[Part]":
        """Returns what the report of a run shows besides; an experiment may override this.

        A report is made from the run alone, so that one of this package's experiments can have
        parts, and one that only its own file knows cannot.

        Args:
          results: The engine's figures of the run.
          blocks: The records of the run, by their blocks.
        """
        del results, blocks
        return ()

    def described_steps(self) -> str:
        """Says what training is, after a number of seeds that get it."""
        schedule = "" if self.schedule == "constant" else f", {self.schedule} schedule"
        low, high = self.learning_rate_low, self.learning_rate_high
        rate = f" at a learning rate of {low:g}" if low == high else ""
        steps = f"{self.steps:,} {self.optimizer} steps of {self.batch_size:,} examples"
        return f"{steps}{rate}{schedule}"

    def chosen_variants(self) -> "list[Variant]":
        """Returns the variants that the config names, in the order of the experiment."""
        known = self._known()
        for name in self.variants:
            if name not in known:
                raise UserError(
                    f"variants: unknown variant {name!r}{did_you_mean(name, known)}; there are: "
                    f"{', '.join(known)}"
                )
        wanted = self.variants or tuple(known)
        return [variant for name, variant in known.items() if name in wanted]

    def _known(self) -> "dict[str, Variant]":
        """Returns all variants by name; names that a run cannot hold are a UserError."""
        made = self.make_variants()
        for variant in made:
            if not re.fullmatch(r"\w[\w.+-]*", variant.name) or variant.name in _TAKEN:
                raise UserError(
                    "variants: expected names of letters, digits and _.+-, other than "
                    f"{', '.join(_TAKEN)}, got {variant.name!r}"
                )
        known = {variant.name: variant for variant in made}
        if len(known) < len(made):
            names = [variant.name for variant in made]
            twice = next(name for name in names if names.count(name) > 1)
            raise UserError(f"variants: expected different names, got {twice!r} twice")
        return known

    def with_reference(self) -> "EngineConfig":
        """Returns the config with all its variants by name, the reference among them."""
        chosen = {variant.name for variant in self.chosen_variants()}
        known = list(self._known())
        return dataclasses.replace(
            self, variants=tuple(name for name in known if name in chosen or name == known[0])
        )

    def of_one(self, variant: str, **changes: Any) -> "EngineConfig":
        """Returns the config of `train`: one variant, nothing tuned, nothing timed."""
        return dataclasses.replace(
            self, **{**changes, "variants": (variant,), "trials": 1, "speed_rounds": 0}
        )

    def described(self) -> dict[str, Any]:
        """Returns what a report needs to know and the fields do not say."""
        about = {variant.name: variant.described() for variant in self.chosen_variants()}
        return {
            "engine": True,
            "training": self.described_steps(),
            "metrics": dict(self.make_task().metrics),
            "about": about,
        }

    def check_values(self) -> None:
        """Raises a UserError where a value is out of range."""
        counts = ("seeds", "steps", "evaluations", "batch_size", "trials", "tuning_seeds")
        for name in counts:
            self.expect(name, getattr(self, name) >= 1, "1 or more")
        for name in (
            "first_seed",
            "warmup",
            "tuning_steps",
            "speed_rounds",
            "models_at_once",
            "mesh_seeds",
            "mesh_data",
        ):
            self.expect(name, getattr(self, name) >= 0, "0 or more")
        self.expect("mesh_classes", self.mesh_classes >= 1, "1 or more")
        if self.steps % self.evaluations:
            raise UserError(
                f"evaluations: expected a divisor of steps ({self.steps}), got {self.evaluations}"
            )
        tuned = self.steps_of_tuning
        if self.trials > 1 and tuned > self.evaluations and tuned % self.evaluations:
            expected = f"a multiple of evaluations ({self.evaluations})"
            raise UserError(f"tuning_steps: expected {expected}, got {tuned}")
        for name in ("weight_decay", "clip", "checkpoint_seconds"):
            self.expect(name, 0 <= getattr(self, name) < math.inf, "0 or more")
        self.expect("final_rate", 0 <= self.final_rate <= 1, "0 to 1")
        for name in ("beta1", "beta2"):
            self.expect(name, 0 <= getattr(self, name) < 1, "0 or more, less than 1")
        self.expect("learning_rate_low", self.learning_rate_low > 0, "a positive number")
        at_least = f"at least learning_rate_low ({self.learning_rate_low:g})"
        self.expect(
            "learning_rate_high",
            self.learning_rate_low <= self.learning_rate_high < math.inf,
            at_least,
        )
        self.expect("warmup", self.warmup < self.steps, f"less than steps ({self.steps})")
        self.expect("confidence", 0 < self.confidence < 1, "between 0 and 1")
        if self.weight_decay and self.optimizer != "adamw":
            raise UserError(
                f"weight_decay: expected 0 with the optimizer {self.optimizer!r} (adamw has it), "
                f"got {self.weight_decay}"
            )
