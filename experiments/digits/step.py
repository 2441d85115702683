"""One training step of each contender: all learning rates and seeds at once."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from experiments.digits import data
from experiments.digits.config import DigitsConfig
from experiments.digits.contenders import Contender, chosen_contenders
from experiments.digits.objectives import fixed_parameters
from experiments.digits.train import State, Task, initial_state, one_step
from experiments.steps import TrainingStep


def training_steps(config: DigitsConfig) -> list[TrainingStep]:
    """Returns the step of each contender; values of a parameter alone make no other step."""
    task = Task.make(config, data.load_data(config))
    programs: dict[Any, Contender] = {}
    for contender in chosen_contenders(config):
        programs.setdefault((contender.program, frozenset(contender.parameters)), contender)
    return [_step(task, contender) for contender in programs.values()]


def _step(task: Task, contender: Contender) -> TrainingStep:
    config, program = task.config, contender.program

    def function(
        state: State, examples: Int[Array, "batch seeds"], *others: Any
    ) -> tuple[State, Array]:
        rates, images, labels, keys, fixed = others
        rows = examples.T
        return one_step(program, config, state, rates, images, labels, rows, keys, fixed)

    def make() -> tuple[Any, ...]:
        examples, keys = jnp.asarray(task.batches[0].T), jnp.asarray(task.keys[0])
        state, rates = initial_state(task, program), task.factors[0] * task.rates
        fixed = fixed_parameters(contender)
        return state, examples, rates, task.images, task.labels, keys, fixed

    return TrainingStep(
        name=contender.name,
        function=function,
        arguments=jax.eval_shape(make),
        make_arguments=make,
        donate=(0,),
        examples=config.batch_size * config.seeds * len(config.learning_rates),
        batch=(1,),
    )
