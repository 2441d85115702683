"""One step of the testbed: every problem takes one action. Nothing has a gradient here."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from experiments.bandit.config import BanditConfig
from experiments.bandit.contenders import Contender, Family, chosen_contenders
from experiments.bandit.testbed import begin, one_step, problem_keys
from experiments.steps import TrainingStep


def training_steps(config: BanditConfig) -> list[TrainingStep]:
    """Returns the step of each family of policies, for all problems at once."""
    families: dict[Family, Contender] = {}
    for contender in chosen_contenders(config):
        families.setdefault(contender.family, contender)
    return [_step(config, contender) for contender in families.values()]


def _step(config: BanditConfig, contender: Contender) -> TrainingStep:
    def make() -> tuple[Any, ...]:
        games, keys = jax.vmap(functools.partial(begin, config))(problem_keys(config))
        return games, jnp.float32(contender.parameter), keys, jnp.int32(0)

    return TrainingStep(
        name=contender.family,
        function=jax.vmap(
            functools.partial(one_step, contender.family, config), in_axes=(0, None, 0, None)
        ),
        arguments=jax.eval_shape(make),
        make_arguments=make,
        donate=(0,),
        examples=config.problems,
        batch=(0, 2),
    )
