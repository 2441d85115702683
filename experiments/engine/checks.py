"""What the engine cannot train is said before a run begins."""

import jax
import numpy as np

from experiments.engine.config import EngineConfig
from experiments.engine.task import Task, first_metric
from experiments.errors import UserError


def check_task(task: Task, config: EngineConfig) -> None:
    """Raises a UserError where the engine cannot train a task as the config wants it."""
    metric, direction = first_metric(task)
    if direction == "neither" and config.trials > 1:
        raise UserError(f"metrics: the first one chooses the candidate, and {metric} has no better")
    for leaf in jax.tree.leaves(task.batch(config.first_seed, 0)):
        rows = np.shape(leaf)[:1]
        if rows != (config.batch_size,):
            raise UserError(
                f"{type(task).__name__}.batch: expected arrays of batch_size "
                f"({config.batch_size}) rows, got one of shape {np.shape(leaf)}"
            )
