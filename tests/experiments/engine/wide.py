"""A small experiment whose output layer is split over the classes: a config for `compare`."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

import softmax_variants as sv
from experiments.engine.config import EngineConfig
from experiments.engine.task import Direction, Judgement, Task, Variant

FEATURES, CLASSES = 6, 32


def linear(hidden: Any, labels: Any, table: Any) -> Any:
    """The loss that never has all scores at once."""
    return sv.linear_cross_entropy(hidden, labels, table, block_size=16)


def sparse(hidden: Any, labels: Any, table: Any) -> Any:
    return sv.sparsemax_loss(hidden @ table.T, labels)


class Wide(Task):
    """A hidden layer that every device holds, and a table of classes that they share."""

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size

    @property
    def metrics(self) -> Mapping[str, Direction]:
        return {"nll": "lower", "accuracy": "higher"}

    def initial(self, seed: int, settings: Any) -> Any:
        rng = np.random.default_rng((seed, 0))
        shapes = {"body": (FEATURES, FEATURES), "table": (CLASSES, FEATURES)}
        return {n: rng.normal(size=s).astype(np.float32) for n, s in shapes.items()}

    def batch(self, seed: int, step: int) -> Any:
        return points(np.random.default_rng((seed, 1, step)), self.batch_size)

    def examples(self, seed: int, split: str) -> Any:
        return points(np.random.default_rng((seed, 2 if split == "test" else 3)), 64)

    def loss(self, params: Any, batch: Any, key: Any, settings: Any, values: Any) -> Any:
        inputs, labels = batch
        noise = jax.random.normal(key, (FEATURES,))
        hidden = jnp.tanh(inputs @ params["body"] + 0.1 * noise[None])
        return settings["loss"](hidden, labels, params["table"])

    def predict(self, params: Any, examples: Any, settings: Any, values: Any) -> Any:
        return jnp.tanh(examples[0] @ params["body"]) @ params["table"].T

    def judge(self, outputs: Any, examples: Any) -> Judgement:
        labels = examples[1]
        chosen = outputs - np.logaddexp.reduce(outputs, axis=-1, keepdims=True)
        nll = -chosen[np.arange(len(labels)), labels].mean()
        accuracy = (outputs.argmax(axis=-1) == labels).mean()
        return Judgement({"nll": float(nll), "accuracy": float(accuracy)}, {})

    def partition(self, params: Any) -> Any:
        return {"body": PartitionSpec(), "table": PartitionSpec("classes")}


def points(rng: np.random.Generator, count: int) -> tuple[Any, Any]:
    inputs = rng.normal(size=(count, FEATURES)).astype(np.float32)
    bits = (inputs[:, :5] > 0).astype(np.int32)
    return inputs, bits @ (2 ** np.arange(5, dtype=np.int32))


@dataclasses.dataclass(frozen=True)
class WideConfig(EngineConfig):
    experiment: ClassVar[str] = "wide"

    def make_task(self) -> Wide:
        return Wide(self.batch_size)

    def make_variants(self) -> list[Variant]:
        losses = {"linear": linear, "sparse": sparse}
        return [Variant(name, {"loss": loss}) for name, loss in losses.items()]


def get_config() -> WideConfig:
    return WideConfig(
        seeds=4,
        steps=12,
        evaluations=3,
        batch_size=8,
        trials=1,
        speed_rounds=0,
        checkpoint_seconds=0.0,
        learning_rate_low=0.1,
        learning_rate_high=0.1,
    )
