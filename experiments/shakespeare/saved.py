"""What a checkpoint of `train` holds."""

from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.shakespeare.config import ShakespeareConfig
from experiments.shakespeare.train import Progress, Variant, initial_state


class Saved(NamedTuple):
    """What a checkpoint holds: the state, and the losses of the chunk that it is in.

    With the losses a run that stopped within a chunk goes on to the same mean of them.
    """

    state: Any
    losses: Any

    @classmethod
    def of(cls, now: Progress, config: ShakespeareConfig) -> "Saved":
        """Returns a checkpoint of a state; its shapes are the same at every step."""
        losses = np.zeros(config.chunk, np.float32)
        losses[: now.losses.size] = now.losses
        return cls(now.state, losses)

    def progress(self, step: int, config: ShakespeareConfig) -> Progress:
        """Returns where the run was at the step of the checkpoint."""
        there = config.chunk if step and step % config.chunk == 0 else step % config.chunk
        return Progress(step, np.asarray(self.losses)[:there], self.state)

    @classmethod
    def shape(cls, config: ShakespeareConfig, variant: Variant, vocabulary: int) -> "Saved":
        """Returns the shapes of a checkpoint, without making one."""
        state = jax.eval_shape(lambda: initial_state(config, variant, vocabulary, 0))
        return cls(state, np.zeros(config.chunk, np.float32))
