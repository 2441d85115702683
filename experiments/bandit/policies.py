"""Policies on one problem: how an action is chosen, and what is learned from its reward."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

import softmax_variants as sv
from experiments.bandit.contenders import Family


class Memory(NamedTuple):
    """What a policy knows of a problem after some steps.

    Attributes:
      estimates: The estimated value of each action.
      counts: How often each action was taken.
      preferences: The gradient bandit's score of each action.
      baseline: The mean of all rewards, which the gradient bandit compares a reward with.
    """

    estimates: Float[Array, " arms"]
    counts: Float[Array, " arms"]
    preferences: Float[Array, " arms"]
    baseline: Float[Array, ""]


def blank(arms: int) -> Memory:
    """Returns what is known before the first step: nothing, and all estimates are 0."""
    zeros = jnp.zeros(arms)
    return Memory(zeros, zeros, zeros, jnp.zeros(()))


def choose(
    family: Family,
    key: PRNGKeyArray,
    memory: Memory,
    values: Float[Array, " arms"],
    step: Int[Array, ""],
    parameter: Float[Array, ""],
) -> Int[Array, ""]:
    """Returns the action of one step; actions that tie for the maximum are equally likely.

    Args:
      family: The kind of policy, static.
      key: Randomness of this step.
      memory: What is known so far.
      values: The true values, for the oracle alone.
      step: The number of the step, from 0.
      parameter: The parameter of the family.
    """
    match family:
        case "epsilon":
            explore_key, arm_key, greedy_key = jax.random.split(key, 3)
            anything = jax.random.randint(arm_key, (), 0, values.shape[0])
            explore = jax.random.uniform(explore_key) < parameter
            return jnp.where(explore, anything, _largest(greedy_key, memory.estimates))
        case "softmax":
            return sv.categorical(key, memory.estimates, temperature=parameter)
        case "sparsemax":
            return _draw(key, sv.sparsemax(memory.estimates / parameter))
        case "entmax15":
            return _draw(key, sv.entmax15(memory.estimates / parameter))
        case "ucb":
            # An action that was never taken comes first.
            log = jnp.log(step.astype(jnp.float32) + 1.0)
            bonus = parameter * jnp.sqrt(log / jnp.maximum(memory.counts, 1.0))
            bounds = jnp.where(memory.counts > 0, memory.estimates + bonus, jnp.inf)
            return _largest(key, bounds)
        case "gradient":
            return sv.categorical(key, memory.preferences)
        case "oracle":
            return _largest(key, values)


def learn(
    family: Family,
    memory: Memory,
    action: Int[Array, ""],
    reward: Float[Array, ""],
    step: Int[Array, ""],
    parameter: Float[Array, ""],
    step_size: float,
) -> Memory:
    """Returns what is known after one more reward.

    Args:
      family: The kind of policy, static.
      memory: What was known before.
      action: The action that was taken.
      reward: What it gave.
      step: The number of the step, from 0.
      parameter: The parameter of the family.
      step_size: Static; 0 makes every estimate the mean of its rewards.
    """
    taken = jax.nn.one_hot(action, memory.counts.shape[0])
    counts = memory.counts + taken
    rate = step_size if step_size > 0 else 1.0 / jnp.maximum(counts, 1.0)
    estimates = memory.estimates + taken * rate * (reward - memory.estimates)
    # The first reward has nothing to be compared with but itself.
    before = jnp.where(step == 0, reward, memory.baseline)
    weight = step_size if step_size > 0 else 1.0 / (step.astype(jnp.float32) + 1.0)
    preferences = memory.preferences
    if family == "gradient":
        chances = sv.softmax(preferences)
        preferences = preferences + parameter * (reward - before) * (taken - chances)
    return Memory(estimates, counts, preferences, before + weight * (reward - before))


def _largest(key: PRNGKeyArray, scores: Float[Array, " arms"]) -> Int[Array, ""]:
    """Returns the action of the largest score, one at random where several have it."""
    return sv.categorical(key, scores, temperature=0.0)


def _draw(key: PRNGKeyArray, chances: Float[Array, " arms"]) -> Int[Array, ""]:
    """Returns an action by its probability; one of probability 0 is never drawn."""
    return sv.categorical(key, jnp.log(chances))
