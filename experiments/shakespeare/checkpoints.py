"""The newest state of a model on the disk: a kill while it is written leaves the one before."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import orbax.checkpoint as ocp

CHECKPOINTS = "checkpoints"


class Saved(NamedTuple):
    """What a checkpoint holds: the state, and the training loss of the steps before it."""

    state: Any
    train_loss: Any


class Checkpoints:
    """The checkpoints of a run, by their steps; only the newest is kept."""

    def __init__(self, manager: ocp.CheckpointManager) -> None:
        self._manager = manager

    def latest(self) -> int | None:
        """Returns the step of the newest one; None if there is none."""
        step: int | None = self._manager.latest_step()
        return step

    def save(self, step: int, state: Saved) -> None:
        """Writes the state of a step beside the others, then names it in one move."""
        self._manager.save(step, args=ocp.args.StandardSave(state))

    def restore(self, step: int, like: Saved) -> Saved:
        """Returns the state of a step; `like` gives structure, shapes and dtypes."""
        shapes = jax.eval_shape(lambda: like)
        restored: Saved = self._manager.restore(step, args=ocp.args.StandardRestore(shapes))
        return restored


@contextmanager
def checkpoints(run: Path) -> Iterator[Checkpoints]:
    """Opens the checkpoints of a run directory."""
    options = ocp.CheckpointManagerOptions(max_to_keep=1, enable_async_checkpointing=False)
    with ocp.CheckpointManager((run / CHECKPOINTS).absolute(), options=options) as manager:
        yield Checkpoints(manager)
