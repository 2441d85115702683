"""The testbed: one problem played from beginning to end, and all of them at once."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from experiments.bandit.config import BanditConfig
from experiments.bandit.contenders import Contender, Family
from experiments.bandit.policies import Memory, blank, choose, learn
from experiments.environment import compiler_options


class Played(NamedTuple):
    """What happened, as means over the steps of each point of the curve; jax or NumPy arrays.

    Attributes:
      reward: The rewards.
      optimal: The share of steps in which the best action was taken.
      regret: The best action's true value less that of the action taken.
    """

    reward: Any
    optimal: Any
    regret: Any


def play(
    family: Family, config: BanditConfig, parameter: Float[Array, ""], key: PRNGKeyArray
) -> Played:
    """Plays one problem; every field has the shape [points].

    The problem and the rewards come from the key alone: at a step, an action gives all policies
    the same reward, so that they differ by what they choose and by nothing else.
    """
    values_key, walk_key, reward_key, action_key = jax.random.split(key, 4)

    def one_step(
        carry: tuple[Memory, Array], step: Int[Array, ""]
    ) -> tuple[tuple[Memory, Array], Played]:
        memory, values = carry
        action = choose(
            family, jax.random.fold_in(action_key, step), memory, values, step, parameter
        )
        noise = jax.random.normal(jax.random.fold_in(reward_key, step), (config.arms,))
        reward = values[action] + noise[action]
        regret = jnp.max(values) - values[action]
        optimal = (regret == 0.0).astype(jnp.float32)
        memory = learn(family, memory, action, reward, step, parameter, config.step_size)
        if config.drift > 0:
            walk = jax.random.normal(jax.random.fold_in(walk_key, step), (config.arms,))
            values = values + config.drift * walk
        return (memory, values), Played(reward, optimal, regret)

    def one_point(
        carry: tuple[Memory, Array], steps: Int[Array, " chunk"]
    ) -> tuple[tuple[Memory, Array], Played]:
        carry, played = jax.lax.scan(one_step, carry, steps)
        return carry, jax.tree.map(jnp.mean, played)

    values = jax.random.normal(values_key, (config.arms,))
    steps = jnp.arange(config.steps, dtype=jnp.int32).reshape(config.points, config.chunk)
    _, played = jax.lax.scan(one_point, (blank(config.arms), values), steps)
    return played


Program = Callable[[Array], Played]


def compile_program(config: BanditConfig, family: Family) -> Program:
    """Compiles all problems of a family, which differ in their keys; the parameter is traced."""
    every = jax.vmap(functools.partial(play, family, config), in_axes=(None, 0))
    keys = problem_keys(config)
    lowered = jax.jit(every).lower(jnp.float32(0.0), keys)
    compiled = lowered.compile(compiler_options=compiler_options())
    return lambda parameter: compiled(parameter, keys)


def problem_keys(config: BanditConfig) -> PRNGKeyArray:
    """Returns the key of each problem: it depends on the seed and the problem's number."""
    numbers = jnp.arange(config.problems, dtype=jnp.uint32)
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(jax.random.key(config.seed), numbers)


def play_all(program: Program, contender: Contender) -> Played:
    """Returns what happened in each problem: [problems, points] in float64."""
    played = program(jnp.float32(contender.parameter))
    return Played(*(np.asarray(array, np.float64) for array in played))
