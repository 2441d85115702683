"""The weights that `train` left in a run, for what uses a trained model."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments import mesh as meshes
from experiments.checkpoints import read_newest
from experiments.engine.config import EngineConfig
from experiments.engine.programs import state_shapes
from experiments.engine.task import Task, Variant
from experiments.engine.training import Saved, chunk_of
from experiments.errors import UserError

STATES = "states"


def trained_weights(path: Path, config: EngineConfig, task: Task) -> tuple[Variant, int, Any]:
    """Returns the variant of a run of `train`, its newest step, and the first seed's weights.

    The run may be going on. One without a checkpoint is a UserError.

    Args:
      path: The run directory.
      config: Its config.
      task: Its task.
    """
    (variant,) = config.chosen_variants()
    models, mesh = config.seeds, meshes.make_mesh()
    state, _ = state_shapes(task, config, variant.settings, models, mesh)
    chunk = chunk_of(config, config.steps)
    like = Saved(state, np.zeros((chunk, models), np.float32), np.zeros(1))
    notes: list[str] = []
    found = read_newest(path / STATES / variant.name, like, notes.append)
    if found is None:
        why = f" ({notes[-1]})" if notes else ""
        raise UserError(f"{path} has no checkpoint that can be read yet{why}")
    step, saved = found
    return variant, step, jax.tree.map(lambda leaf: np.asarray(leaf[0]), saved.state.params)
