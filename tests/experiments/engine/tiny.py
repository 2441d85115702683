"""A task small enough to be trained by hand: a linear map from two numbers to three classes."""

import dataclasses
from typing import Any, ClassVar

import numpy as np

import softmax_variants as sv
from experiments.engine.classification import Classification
from experiments.engine.config import EngineConfig
from experiments.engine.task import Task, Variant


class Linear(Classification):
    """Points around three corners; `bad_step` has an infinite coordinate."""

    def __init__(self, batch_size: int = 8, bad_step: int = -1) -> None:
        self.batch_size, self.bad_step = batch_size, bad_step

    def batch(self, seed: int, step: int) -> Any:
        inputs, labels = self._points(seed, step + 10, self.batch_size)
        if step == self.bad_step:
            inputs[0, 0] = np.inf
        return inputs, labels

    def examples(self, seed: int, split: str) -> Any:
        return self._points(seed, 0 if split == "validation" else 1, 24)

    def initial(self, seed: int, settings: Any) -> Any:
        rng = np.random.default_rng((seed, 2))
        return {"weight": rng.normal(size=(2, 3)).astype(np.float32)}

    def scores(self, params: Any, inputs: Any) -> Any:
        return inputs @ params["weight"]

    def _points(self, seed: int, place: int, count: int) -> tuple[Any, Any]:
        rng = np.random.default_rng((seed, 3, place))
        labels = rng.integers(3, size=count, dtype=np.int32)
        corners = np.asarray([(1.0, 0.0), (-0.5, 0.9), (-0.5, -0.9)])
        return np.float32(corners[labels] + 0.5 * rng.normal(size=(count, 2))), labels


SOFTMAX = Variant("softmax", {"map": sv.softmax, "loss": sv.cross_entropy_loss})


@dataclasses.dataclass(frozen=True)
class TinyConfig(EngineConfig):
    experiment: ClassVar[str] = "tiny"

    bad_step: int = -1
    names: tuple[str, ...] = ("softmax", "again")

    def make_task(self) -> Task:
        return Linear(self.batch_size, self.bad_step)

    def make_variants(self) -> list[Variant]:
        return [dataclasses.replace(SOFTMAX, name=name) for name in self.names]


CONFIG = TinyConfig(
    steps=4, evaluations=2, batch_size=8, seeds=2, trials=2, tuning_seeds=1, speed_rounds=1
)
