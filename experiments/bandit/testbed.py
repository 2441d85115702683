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


class Game(NamedTuple):
    """One problem in the middle of its steps.

    Attributes:
      memory: What the policy knows.
      values: The true values of the actions.
    """

    memory: Memory
    values: Float[Array, " arms"]


class Keys(NamedTuple):
    """The randomness of all steps of a problem: rewards, drift and actions apart."""

    walk: PRNGKeyArray
    reward: PRNGKeyArray
    action: PRNGKeyArray


def begin(config: BanditConfig, key: PRNGKeyArray) -> tuple[Game, Keys]:
    """Returns a problem before its first step."""
    values_key, *keys = jax.random.split(key, 4)
    return Game(blank(config.arms), jax.random.normal(values_key, (config.arms,))), Keys(*keys)


def one_step(
    family: Family,
    config: BanditConfig,
    game: Game,
    parameter: Float[Array, ""],
    keys: Keys,
    step: Int[Array, ""],
) -> tuple[Game, Played]:
    """Takes one action; returns the problem after it, and what happened."""
    memory, values = game
    action = choose(family, jax.random.fold_in(keys.action, step), memory, values, step, parameter)
    noise = jax.random.normal(jax.random.fold_in(keys.reward, step), (config.arms,))
    reward = values[action] + noise[action]
    regret = jnp.max(values) - values[action]
    optimal = (regret == 0.0).astype(jnp.float32)
    memory = learn(family, memory, action, reward, step, parameter, config.step_size)
    if config.drift > 0:
        walk = jax.random.normal(jax.random.fold_in(keys.walk, step), (config.arms,))
        values = values + config.drift * walk
    return Game(memory, values), Played(reward, optimal, regret)


def play(
    family: Family, config: BanditConfig, parameter: Float[Array, ""], key: PRNGKeyArray
) -> Played:
    """Plays one problem; every field has the shape [points].

    The problem and the rewards come from the key alone: at a step, an action gives all policies
    the same reward, so that they differ by what they choose and by nothing else.
    """
    game, keys = begin(config, key)

    def step(game: Game, number: Int[Array, ""]) -> tuple[Game, Played]:
        return one_step(family, config, game, parameter, keys, number)

    def one_point(game: Game, numbers: Int[Array, " chunk"]) -> tuple[Game, Played]:
        game, played = jax.lax.scan(step, game, numbers)
        return game, jax.tree.map(jnp.mean, played)

    steps = jnp.arange(config.steps, dtype=jnp.int32).reshape(config.points, config.chunk)
    _, played = jax.lax.scan(one_point, game, steps)
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
