"""One training step of each variant of an experiment of the engine, for the models of one step."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array

from experiments import mesh as meshes
from experiments.engine.candidates import candidates, is_tuned
from experiments.engine.config import EngineConfig
from experiments.engine.programs import (
    State,
    block_size,
    factors_of,
    first_state,
    stack,
    state_shapes,
    step_function,
)
from experiments.engine.rule import rule_of
from experiments.engine.task import Batch, Task, Variant
from experiments.engine.training import models_of


@dataclasses.dataclass(frozen=True)
class TrainingStep:
    """One step of one contender.

    Attributes:
      name: What the experiment calls its contender, or what several have in common.
      function: Returns a tuple, which begins with what replaces the donated argument.
      arguments: The shapes and dtypes of its arguments.
      make_arguments: Makes the arguments of a first step; donated ones serve once.
      donate: The numbers of the arguments whose memory the step may use again.
      examples: How many examples a step takes, for all models that it trains.
      batch: The numbers of the arguments whose leaves lead with the axis of the examples.
      placed: Where the arguments lie on a mesh; None: the batch is split, all else is whole.
      models: How many models the step trains.
      kept: How many models a run keeps on the device, of which the step trains some.
      block: The batches of how many steps a run keeps on the device, for all models.
    """

    name: str
    function: Callable[..., tuple[Any, ...]]
    arguments: tuple[Any, ...]
    make_arguments: Callable[[], tuple[Any, ...]]
    donate: tuple[int, ...]
    examples: int
    batch: tuple[int, ...]
    placed: Callable[[Mesh], tuple[Any, ...]] | None = None
    models: int = 1
    kept: int = 1
    block: int = 1


def training_steps(config: EngineConfig, devices: int = 1) -> list[TrainingStep]:
    """Returns the step of each program; variants that share one have its step once.

    Args:
      config: The config.
      devices: Over how many devices the models are split; they divide the seeds.
    """
    task = config.make_task()
    variants: dict[Any, Variant] = {}
    for variant in config.chosen_variants():
        variants.setdefault(variant.program, variant)
    return [_step(task, config, variant, devices) for variant in variants.values()]


def _step(task: Task, config: EngineConfig, variant: Variant, devices: int) -> TrainingStep:
    step = step_function(task, config, variant.settings)
    rule = rule_of(task, config, variant.settings)
    of_device = config.seeds // devices
    at_once = devices * min(config.models_at_once or of_device, of_device)
    seeds = range(config.first_seed, config.first_seed + at_once)

    def function(state: State, batch: Batch, *others: Any) -> tuple[State, Array]:
        return step(state, jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), batch), *others)

    def make() -> tuple[Any, ...]:
        models = models_of(variant, candidates(config, variant)[:1], seeds)
        weights = [jax.tree.map(np.asarray, task.initial(s, variant.settings)) for s in seeds]
        batches = [task.batch(seed, 0) for seed in seeds]
        # The step's own batches lead with the models, and these with the examples.
        batch = jax.tree.map(lambda *leaves: np.stack(leaves, axis=1), *batches)
        of_step = np.int32(0), factors_of(config, config.steps)[0]
        rest = (batch, *of_step, models.seeds, models.rates, models.values)
        return first_state(rule, stack(weights)), *jax.tree.map(jnp.asarray, rest)

    def placed(mesh: Mesh) -> tuple[Any, ...]:
        _, state = state_shapes(task, config, variant.settings, at_once, mesh)
        batch = meshes.sharding(mesh, meshes.DATA, meshes.SEEDS)
        whole, of_models = meshes.replicated(mesh), meshes.sharding(mesh, meshes.SEEDS)
        return state, batch, whole, whole, of_models, of_models, of_models

    kept, block = _kept(config, variant)
    return TrainingStep(
        name=variant.name,
        function=function,
        arguments=_shapes(make()),
        make_arguments=make,
        donate=(0,),
        examples=config.batch_size * at_once,
        batch=(1,),
        placed=placed,
        models=at_once,
        kept=kept,
        block=block,
    )


def _kept(config: EngineConfig, variant: Variant) -> tuple[int, int]:
    """Returns the models and the steps' batches that `compare` keeps, of training or of tuning."""
    of_training = config.seeds, block_size(config, config.steps)
    if not is_tuned(config, variant):
        return of_training
    tuned = config.trials * config.tuning_seeds
    return max(of_training, (tuned, block_size(config, config.steps_of_tuning)))


def _shapes(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree)
