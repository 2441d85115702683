"""One training step of each estimator: all learning rates and seeds at once."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from experiments.steps import TrainingStep
from experiments.vae.config import VaeConfig
from experiments.vae.contenders import Contender, Method, chosen_contenders, temperatures
from experiments.vae.train import State, Task, one_step


def training_steps(config: VaeConfig) -> list[TrainingStep]:
    """Returns the step of each estimator, at the first of its temperatures."""
    task = Task.make(config)
    methods: dict[Method, Contender] = {}
    for contender in chosen_contenders(config):
        methods.setdefault(contender.method, contender)
    return [_step(task, contender) for contender in methods.values()]


def _step(task: Task, contender: Contender) -> TrainingStep:
    config = task.config

    def function(state: State, examples: Int[Array, "batch seeds"], *others: Array) -> tuple[State]:
        rates, images, codes, keys, temperature = others
        rows = examples.T
        step = functools.partial(one_step, contender.method, config.samples)
        return (step(state, rates, images, codes, rows, keys, temperature),)

    def make() -> tuple[Any, ...]:
        rates = jnp.asarray(config.learning_rates, jnp.float32)
        first = jnp.asarray(temperatures(config, contender)[0])
        # The step gives its memory away, and the task keeps its own.
        state = jax.tree.map(jnp.copy, task.start)
        examples, keys = jnp.asarray(task.batches[0].T), jnp.asarray(task.keys[0])
        return state, examples, rates, task.images, task.codes, keys, first

    return TrainingStep(
        name=contender.method,
        function=function,
        arguments=jax.eval_shape(make),
        make_arguments=make,
        donate=(0,),
        examples=config.batch_size * config.seeds * len(config.learning_rates),
        batch=(1,),
    )
