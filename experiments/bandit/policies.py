"""Policies on one problem: how an action is chosen, and what is learned from its reward."""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

import softmax_variants as sv

Family = Literal["epsilon", "softmax", "sparsemax", "entmax15", "ucb", "gradient", "oracle"]


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
    """Returns the action of one step, drawn from the policy's chances.

    Args:
      family: The kind of policy, static.
      key: Randomness of this step.
      memory: What is known so far.
      values: The true values, for the oracle alone.
      step: The number of the step, from 0.
      parameter: The parameter of the family.
    """
    return draw(key, chances(family, memory, values, step, parameter))


def chances(
    family: Family,
    memory: Memory,
    values: Float[Array, " arms"],
    step: Int[Array, ""],
    parameter: Float[Array, ""],
) -> Float[Array, " arms"]:
    """Returns the probability of each action; those that tie for the maximum are equally likely."""
    match family:
        case "epsilon":
            greedy = (1.0 - parameter) * _largest(memory.estimates)
            return greedy + parameter / values.shape[0]
        case "softmax":
            return sv.softmax(memory.estimates / parameter)
        case "sparsemax":
            return sv.sparsemax(memory.estimates / parameter)
        case "entmax15":
            return sv.entmax15(memory.estimates / parameter)
        case "ucb":
            # An action that was never taken comes first.
            log = jnp.log(step.astype(jnp.float32) + 1.0)
            bonus = parameter * jnp.sqrt(log / jnp.maximum(memory.counts, 1.0))
            return _largest(jnp.where(memory.counts > 0, memory.estimates + bonus, jnp.inf))
        case "gradient":
            return sv.softmax(memory.preferences)
        case "oracle":
            return _largest(values)


def draw(key: PRNGKeyArray, chances: Float[Array, " arms"]) -> Int[Array, ""]:
    """Returns an action by its probability; one of probability 0 is never drawn.

    It takes one random number, by which all policies are paired, and not one for each action.
    """
    # A sum in another order could leave a gap where there is no probability.
    reached = jnp.where(chances > 0, jnp.cumsum(chances), 0.0)
    place = jax.random.uniform(key) * jnp.max(reached)
    return jax.lax.argmax(reached > place, 0, jnp.int32)


def _largest(scores: Float[Array, " arms"]) -> Float[Array, " arms"]:
    """Returns equal probabilities of the actions of the largest score."""
    largest = (scores == jnp.max(scores)).astype(jnp.float32)
    return largest / jnp.sum(largest)


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
        expected = sv.softmax(preferences)
        preferences = preferences + parameter * (reward - before) * (taken - expected)
    return Memory(estimates, counts, preferences, before + weight * (reward - before))
