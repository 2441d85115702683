"""What a comparison tells while it is made."""

from collections.abc import Sequence

import numpy as np
from jax.sharding import Mesh

from experiments import mesh as meshes
from experiments.engine.candidates import is_tuned
from experiments.engine.config import EngineConfig
from experiments.engine.task import Variant
from experiments.run_directory import Record


def budget(config: EngineConfig, mesh: Mesh) -> str:
    """Says what every variant gets."""
    low, high = config.learning_rate_low, config.learning_rate_high
    tuned = [is_tuned(config, variant) for variant in config.chosen_variants()]
    whose = "" if all(tuned) else " with something to choose"
    rates = f"learning rates from {low:g} to {high:g}, " if low < high else ""
    tuning = (
        f"every variant{whose} gets {config.trials} candidates with {_seeds(config.tuning_seeds)} "
        f"and {config.steps_of_tuning} steps each, {rates}chosen on validation data; then "
        if any(tuned)
        else ""
    )
    shared = f"; {meshes.describe(mesh)}" if mesh.size > 1 else ""
    then = "" if all(tuned) else "every variant gets "
    return f"{tuning}{then}{_seeds(config.seeds)} with {config.described_steps()}{shared}"


def _seeds(count: int) -> str:
    return f"{count} seed{'s' * (count != 1)}"


def progress_line(records: Sequence[Record]) -> str:
    """Says in one line how far a variant is: the means over its seeds."""
    losses = [record["train_loss"] for record in records]
    parts = [f"step {records[0]['step']:>6,}", f"training {_mean(losses)}"]
    for name in records[0]["validation"]:
        parts.append(f"{name} {_mean([record['validation'][name] for record in records])}")
    return "  ".join(parts)


def _mean(numbers: Sequence[float | None]) -> str:
    known = [number for number in numbers if number is not None]
    return f"{np.mean(known):.4g}" if len(known) == len(numbers) else "not finite"


def steps_of(config: EngineConfig, variant: Variant) -> int:
    """Returns the steps that a variant takes, of all its models together as one."""
    return config.steps + (config.steps_of_tuning if is_tuned(config, variant) else 0)
