"""One training step of each variant of an experiment of the engine, for the seeds of one step."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from experiments.engine.candidates import candidates
from experiments.engine.config import EngineConfig
from experiments.engine.programs import State, factors_of, first_state, stack, step_function
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
    """

    name: str
    function: Callable[..., tuple[Any, ...]]
    arguments: tuple[Any, ...]
    make_arguments: Callable[[], tuple[Any, ...]]
    donate: tuple[int, ...]
    examples: int
    batch: tuple[int, ...]


def training_steps(config: EngineConfig) -> list[TrainingStep]:
    """Returns the step of each program; variants that share one have its step once."""
    task = config.make_task()
    variants: dict[Any, Variant] = {}
    for variant in config.chosen_variants():
        variants.setdefault(variant.program, variant)
    return [_step(task, config, variant) for variant in variants.values()]


def _step(task: Task, config: EngineConfig, variant: Variant) -> TrainingStep:
    step = step_function(task, config, variant.settings)
    rule = rule_of(task, config, variant.settings)
    at_once = min(config.models_at_once or config.seeds, config.seeds)
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

    return TrainingStep(
        name=variant.name,
        function=function,
        arguments=_shapes(make()),
        make_arguments=make,
        donate=(0,),
        examples=config.batch_size * at_once,
        batch=(1,),
    )


def _shapes(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree)
