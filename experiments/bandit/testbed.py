"""The testbed: one action in one problem, whose reward depends on nothing but the problem's key."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from experiments.bandit.config import BanditConfig
from experiments.bandit.policies import Family, Memory, choose, learn

# What the numbers of a problem's step are drawn for; that of an action's reward follows them.
_CHOICE, _WALK, _REWARD = range(3)


class Played(NamedTuple):
    """What happened in a step.

    Attributes:
      reward: The reward.
      optimal: 1 where the best action was taken, otherwise 0.
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
    values: Any


def take_action(
    family: Family,
    config: BanditConfig,
    game: Game,
    key: PRNGKeyArray,
    step: Int[Array, ""],
    parameter: Float[Array, ""],
) -> tuple[Game, Played]:
    """Returns the problem after one action, and what happened.

    Args:
      family: The kind of policy, static.
      config: The testbed.
      game: The problem before.
      key: The randomness of this step of this problem, the same for every policy: an action gives
        all of them the same reward.
      step: The number of the step, from 0.
      parameter: The parameter of the family.
    """
    memory, values = game
    action = choose(family, jax.random.fold_in(key, _CHOICE), memory, values, step, parameter)
    reward = values[action] + jax.random.normal(jax.random.fold_in(key, _REWARD + action))
    regret = jnp.max(values) - values[action]
    played = Played(reward, (regret == 0.0).astype(jnp.float32), regret)
    memory = learn(family, memory, action, reward, step, parameter, config.step_size)
    if config.drift > 0:
        walk = jax.random.normal(jax.random.fold_in(key, _WALK), values.shape)
        values = values + config.drift * walk
    return Game(memory, values), played
