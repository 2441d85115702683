"""How each policy chooses and learns, against what its definition says of small cases."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.bandit.policies import Family, Memory, blank, choose, learn

DRAWS = 4000


def memory_of(estimates: list[float], counts: list[float] | None = None) -> Memory:
    arms = len(estimates)
    return blank(arms)._replace(
        estimates=jnp.asarray(estimates),
        counts=jnp.asarray([1.0] * arms if counts is None else counts),
        preferences=jnp.asarray(estimates),
    )


@functools.cache
def drawer(family: Family) -> Callable[..., jax.Array]:
    @jax.jit
    def frequencies(key: Any, memory: Any, values: Any, step: Any, parameter: Any) -> jax.Array:
        one = functools.partial(choose, family)
        keys = jax.random.split(key, DRAWS)
        drawn = jax.vmap(one, in_axes=(0, None, None, None, None))(
            keys, memory, values, step, parameter
        )
        return jnp.mean(jax.nn.one_hot(drawn, values.shape[0]), axis=0)

    return frequencies


def frequencies(
    family: Family, key: jax.Array, memory: Memory, parameter: float, step: int = 5
) -> np.ndarray:
    values = jnp.asarray([0.5, 2.0, -1.0, 0.0])
    drawn = drawer(family)(key, memory, values, jnp.int32(step), jnp.float32(parameter))
    return np.asarray(drawn, np.float64)


def sparsemax(z: np.ndarray) -> np.ndarray:
    """The projection onto the simplex, by bisection on its threshold."""
    low, high = z.max() - 1.0, z.max()
    for _ in range(60):
        middle = (low + high) / 2.0
        low, high = (middle, high) if np.maximum(z - middle, 0).sum() > 1 else (low, middle)
    return np.maximum(z - low, 0.0)


def entmax15(z: np.ndarray) -> np.ndarray:
    half = z / 2.0
    low, high = half.max() - 1.0, half.max()
    for _ in range(60):
        middle = (low + high) / 2.0
        total = (np.maximum(half - middle, 0) ** 2).sum()
        low, high = (middle, high) if total > 1 else (low, middle)
    return np.maximum(half - low, 0.0) ** 2


def softmax(z: np.ndarray) -> np.ndarray:
    weights = np.exp(z - z.max())
    return weights / weights.sum()


@pytest.mark.parametrize(
    ("family", "oracle"),
    [("softmax", softmax), ("sparsemax", sparsemax), ("entmax15", entmax15)],
)
def test_maps_are_sampled_at_their_probabilities(
    family: Family, oracle: object, key: jax.Array
) -> None:
    assert callable(oracle)
    estimates = np.asarray([0.2, 0.5, -0.4, 0.45])
    expected = oracle(estimates / 0.5)
    found = frequencies(family, key, memory_of(estimates.tolist()), 0.5)
    error = np.sqrt(expected * (1 - expected) / DRAWS)
    assert np.all(np.abs(found - expected) <= 4.5 * error)
    # What a sparse map gives probability 0 is never drawn, and softmax gives it to none.
    assert np.array_equal(found == 0, expected == 0)
    assert (found[2] == 0) == (family != "softmax")


def test_greedy_breaks_ties_at_random(key: jax.Array) -> None:
    found = frequencies("epsilon", key, memory_of([1.0, 0.0, 1.0, 1.0]), 0.0)
    assert found[1] == 0
    assert np.abs(found[[0, 2, 3]] - 1 / 3).max() < 4.5 * np.sqrt(2 / 9 / DRAWS)


def test_epsilon_shares_its_probability_among_all_actions(key: jax.Array) -> None:
    found = frequencies("epsilon", key, memory_of([0.0, 0.0, 0.0, 1.0]), 0.2)
    expected = np.asarray([0.05, 0.05, 0.05, 0.85])
    assert np.all(np.abs(found - expected) < 4.5 * np.sqrt(expected * (1 - expected) / DRAWS))


def test_ucb_takes_what_was_never_taken_then_the_largest_bound(key: jax.Array) -> None:
    untried = memory_of([5.0, 0.0, 0.0, 0.0], counts=[3.0, 0.0, 2.0, 0.0])
    found = frequencies("ucb", key, untried, 2.0)
    assert found[0] == found[2] == 0
    assert abs(found[1] - 0.5) < 4.5 * np.sqrt(0.25 / DRAWS)
    # 0.3 + 2 sqrt(ln 10 / 6) < 0.5 + 2 sqrt(ln 10 / 5) < 0.2 + 2 sqrt(ln 10 / 3) at step 10.
    tried = memory_of([0.3, 0.5, 0.2, -9.0], counts=[6.0, 5.0, 3.0, 4.0])
    assert frequencies("ucb", key, tried, 2.0, step=9).tolist() == [0.0, 0.0, 1.0, 0.0]
    assert frequencies("ucb", key, tried, 0.0, step=9).tolist() == [0.0, 1.0, 0.0, 0.0]


def test_the_oracle_takes_the_action_of_the_largest_value(key: jax.Array) -> None:
    found = frequencies("oracle", key, memory_of([9.0, 0.0, 0.0, 0.0]), 0.0)
    assert found.tolist() == [0.0, 1.0, 0.0, 0.0]


def followed(family: Family, parameter: float, step_size: float) -> Memory:
    memory = blank(3)
    for step, (action, reward) in enumerate([(0, 1.0), (0, 4.0), (2, -2.0), (0, 1.0)]):
        memory = learn(
            family,
            memory,
            jnp.int32(action),
            jnp.float32(reward),
            jnp.int32(step),
            jnp.float32(parameter),
            step_size,
        )
    return memory


def test_sample_averages_are_the_means_of_the_rewards() -> None:
    memory = followed("epsilon", 0.0, 0.0)
    np.testing.assert_allclose(memory.estimates, [2.0, 0.0, -2.0], rtol=1e-6)
    assert memory.counts.tolist() == [3.0, 0.0, 1.0]
    np.testing.assert_allclose(memory.baseline, 1.0, rtol=1e-6)


def test_a_constant_step_size_forgets_geometrically() -> None:
    # ((0 + 0.5) + 0.5 (4 - 0.5)) = 2.25, then halfway to 1.
    np.testing.assert_allclose(followed("epsilon", 0.0, 0.5).estimates, [1.625, 0, -1.0])


def test_the_gradient_bandit_follows_its_rule() -> None:
    preferences, baseline = np.zeros(3), 1.0
    rewards = [1.0]
    for action, reward in [(0, 1.0), (0, 4.0), (2, -2.0), (0, 1.0)]:
        chances = np.exp(preferences) / np.exp(preferences).sum()
        preferences = preferences + 0.4 * (reward - baseline) * (np.eye(3)[action] - chances)
        rewards = [*rewards, reward]
        baseline = float(np.mean(rewards[1:]))
    memory = followed("gradient", 0.4, 0.0)
    np.testing.assert_allclose(memory.preferences, preferences, rtol=1e-5)
