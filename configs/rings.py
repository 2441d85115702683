"""An experiment of one's own in one file: maps on points that lie on three noisy rings.

Command:   python -m experiments compare configs/rings.py
"""

import dataclasses
from typing import Any, ClassVar

import jax
import numpy as np

import softmax_variants as sv
from experiments.engine.classification import Classification
from experiments.engine.config import EngineConfig
from experiments.engine.task import Range, Variant


class Rings(Classification):
    """Points around the origin; the label is the ring, and the radius is noisy."""

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size

    def batch(self, seed: int, step: int) -> Any:
        return points(np.random.default_rng((seed, 0, step)), self.batch_size)

    def examples(self, seed: int, split: str) -> Any:
        return points(np.random.default_rng((seed, 1 if split == "validation" else 2)), 500)

    def initial(self, seed: int, settings: Any) -> Any:
        rng = np.random.default_rng((seed, 3))
        return [rng.normal(size=shape).astype(np.float32) for shape in ((2, 32), (32,), (32, 3))]

    def scores(self, params: Any, inputs: Any) -> Any:
        weight, bias, last = params
        return jax.nn.relu(inputs @ weight + bias[None]) @ last


def points(rng: np.random.Generator, count: int) -> tuple[Any, Any]:
    ring, angle = rng.integers(3, size=count, dtype=np.int32), rng.uniform(0, 2 * np.pi, count)
    radius = (ring + 1 + 0.3 * rng.normal(size=count))[:, None]
    return np.float32(radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)), ring


@dataclasses.dataclass(frozen=True)
class RingsConfig(EngineConfig):
    experiment: ClassVar[str] = "rings"

    def make_task(self) -> Rings:
        return Rings(self.batch_size)

    def make_variants(self) -> list[Variant]:
        softmax = {"map": sv.softmax, "loss": sv.cross_entropy_loss}
        entmax = {"map": sv.entmax, "loss": sv.entmax_loss}
        alpha = Range(1.1, 2.0, "linear")
        return [Variant("softmax", softmax), Variant("entmax", entmax, tuned={"alpha": alpha})]


get_config = RingsConfig
