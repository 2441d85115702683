"""What the engine cannot train is said before a run begins."""

import json
from typing import Any

import jax
import numpy as np

from experiments.engine.config import EngineConfig
from experiments.engine.task import Task, first_metric
from experiments.errors import UserError
from experiments.run_directory import RunDirectory

DATA = "data"


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


def note_data(run: RunDirectory[Any], task: Task) -> None:
    """Writes once what the data of a run are; others are a UserError."""
    now = json.loads(json.dumps(task.data()))
    if not now:
        return
    if DATA not in run.blocks:
        run.append(DATA, [{"kind": DATA, **now}])
        return
    (there,) = run.blocks[DATA]
    changed = [name for name in now if there.get(name) != now[name]]
    if changed:
        raise UserError(
            f"the data of {run.path} have changed since the run began, in {', '.join(changed)}; "
            "choose another --out"
        )
