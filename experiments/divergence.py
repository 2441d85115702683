"""Training that is no longer finite: the step is named, and the run is not trained on."""

from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np

from experiments.errors import RunFailed
from experiments.run_directory import Record, RunDirectory

STOPPED = "stopped"


def check_finite(run: RunDirectory[Any], losses: np.ndarray, state: Any, step: int) -> None:
    """Raises a RunFailed, and writes why into the run, unless losses and a state are finite.

    Called before a state is saved, so that the newest checkpoint is a good one.

    Args:
      run: The open run.
      losses: What the steps up to this one lost, in their order on the first axis.
      state: What they made.
      step: How many steps there were.
    """
    bad = ~np.isfinite(losses).reshape(losses.shape[0], -1).all(axis=1)
    if bad.any():
        first = int(np.argmax(bad))
        values = losses[first].reshape(-1)
        value = float(values[~np.isfinite(values)][0])
        _stop(run, {"step": step - losses.shape[0] + first + 1, "loss": str(value)})
    if not is_finite(state):
        _stop(run, {"step": step, "loss": None})


def is_finite(state: Any) -> bool:
    """Says whether there is no NaN and no infinity in a state."""
    numbers = [x for x in jax.tree.leaves(state) if jnp.issubdtype(x.dtype, jnp.inexact)]
    return bool(_all_finite(numbers))


def refuse_stopped(run: RunDirectory[Any]) -> None:
    """Raises a RunFailed where the run stopped because it was not finite."""
    if STOPPED in run.blocks:
        raise RunFailed(_message(run, run.blocks[STOPPED][0]))


@jax.jit
def _all_finite(numbers: list[Any]) -> Any:
    return jnp.all(jnp.asarray([jnp.all(jnp.isfinite(x)) for x in numbers]))


def _stop(run: RunDirectory[Any], record: Record) -> NoReturn:
    run.append(STOPPED, [{"kind": "stopped", **record}])
    refuse_stopped(run)
    raise AssertionError("a run that was stopped is refused")


def _message(run: RunDirectory[Any], record: Record) -> str:
    found = f"the training loss is {record['loss']} at step {record['step']:,}"
    if record["loss"] is None:
        found = f"the parameters after step {record['step']:,} are not finite, though the loss is"
    return (
        f"{run.path}: {found}; the newest checkpoint is the last good one before it; try a lower "
        "learning rate or another seed, in another --out"
    )
