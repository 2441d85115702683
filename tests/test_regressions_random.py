"""One test for each class of defect that has been confirmed in published random maps."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import softmax_variants as sv
from tests.conformance.cases import close

narrow = pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])


def test_bfloat16_scores_are_drawn_as_often_as_they_should_be() -> None:
    """Elsewhere bf16 noise has 128 values: a class of 9.1e-4 is drawn with 4e-5."""
    draws, gap = 400_000, 7.0
    logits = jnp.zeros((draws, 2), jnp.bfloat16).at[:, 1].set(-gap)
    ids = np.asarray(sv.categorical(jax.random.key(0), logits))
    rare = np.exp(-gap) / (1 + np.exp(-gap))
    mean, deviation = draws * rare, np.sqrt(draws * rare)
    assert abs(ids.sum() - mean) < 5 * deviation
    found = np.asarray(sv.gumbel_max(jax.random.key(1), logits)).sum()
    assert abs(found - mean) < 5 * deviation


def test_many_classes_far_below_the_maximum_are_drawn() -> None:
    """Elsewhere 65,536 classes 17 below the maximum are drawn 0 times in 168 million."""
    classes, gap, draws = 65_536, 17.0, 1_280
    logits = jnp.full((classes + 1,), -gap).at[0].set(0.0)

    @jax.jit
    def count(key: jax.Array) -> jax.Array:
        def more(total: jax.Array, key: jax.Array) -> tuple[jax.Array, None]:
            ids = sv.gumbel_max(key, jnp.broadcast_to(logits, (16, classes + 1)))
            return total + jnp.sum(ids > 0), None

        return jax.lax.scan(more, jnp.int32(0), jax.random.split(key, draws // 16))[0]

    mass = classes * np.exp(-gap)
    mean = draws * mass / (1 + mass)
    assert mean > 3
    assert 0 < int(count(jax.random.key(3, impl="rbg"))) < mean + 4 * np.sqrt(mean)


@narrow
def test_a_hard_sample_is_exactly_one_hot_under_jit(dtype: Any) -> None:
    """Elsewhere `hard - stop_gradient(soft) + soft` leaves -1e-3 where bf16 should have 0."""
    logits = jnp.asarray(np.random.default_rng(0).normal(size=(500, 10)), dtype)
    draw = jax.jit(lambda key, x: sv.gumbel_softmax(key, x, temperature=0.7, hard=True))
    sample = np.asarray(draw(jax.random.key(0), logits), np.float32)
    assert ((sample == 0) | (sample == 1)).all()
    assert (sample.sum(axis=-1) == 1).all()

    def score(x: jax.Array) -> jax.Array:
        sample = sv.gumbel_softmax(jax.random.key(0), x, temperature=0.7, hard=True)
        return jnp.sum(sample.astype(jnp.float32) @ jnp.arange(10, dtype=jnp.float32))

    gradient = jax.jit(jax.grad(score))(logits)
    assert np.abs(np.asarray(gradient, np.float32)).max() > 0.01


@narrow
def test_temperatures_down_to_zero(dtype: Any) -> None:
    """Elsewhere a temperature of 0, or a subnormal one, gives NaN."""
    logits = jnp.asarray(np.random.default_rng(1).normal(size=(500, 6)), dtype)
    draw = jax.jit(lambda t: sv.gumbel_softmax(jax.random.key(0), logits, temperature=t))
    for temperature in (0.0, 1e-40, 1e-4, 0.05):
        p = np.asarray(draw(jnp.float32(temperature)), np.float32)
        assert np.isfinite(p).all()
        close(p.sum(axis=-1), np.ones(500), atol=1e-6 if dtype == jnp.float32 else 2e-2)
        if temperature < 1e-3:
            assert (p.max(axis=-1) > 0.99).mean() > 0.99


def test_a_relaxed_sample_has_a_density() -> None:
    """Elsewhere 11% of the samples at temperature 0.05 have no finite log-density."""
    temperature, n = 0.05, 8
    logits = jnp.asarray(np.random.default_rng(2).normal(size=(4000, n)), jnp.float32)
    noise = jnp.asarray(np.random.default_rng(3).gumbel(size=logits.shape), jnp.float32)
    log_sample = sv.log_softmax(logits + noise, temperature=temperature)
    density = sv.concrete_log_prob(log_sample, logits, temperature=temperature)
    assert density.shape == (4000,)
    assert np.isfinite(density).all()
    x, y = np.asarray(logits, np.float64), np.asarray(log_sample, np.float64)
    log_weight = x - temperature * y
    top = log_weight.max(axis=-1, keepdims=True)
    total = top[:, 0] + np.log(np.exp(log_weight - top).sum(axis=-1))
    expected = (
        np.log(np.arange(1.0, n)).sum()
        + (n - 1) * np.log(temperature)
        + log_weight.sum(axis=-1)
        - n * total
    )
    close(density, expected, atol=0, rtol=2e-6)


def test_a_large_array_of_samples_is_finite() -> None:
    """Elsewhere one uniform of exactly 0 or 1 in a large array makes its row NaN."""
    p = sv.gumbel_softmax(jax.random.key(5), jnp.zeros((1_000, 1_000)), temperature=0.1)
    assert bool(jnp.isfinite(p).all())


def test_the_noise_does_not_depend_on_the_dtype_of_the_scores() -> None:
    """Drawn in float32 whatever the scores are: the same key gives the same choices."""
    logits = jnp.asarray(np.round(np.random.default_rng(6).normal(size=(4000, 5))), jnp.bfloat16)
    narrow_ids = sv.gumbel_max(jax.random.key(7), logits)
    wide_ids = sv.gumbel_max(jax.random.key(7), logits.astype(jnp.float32))
    assert (np.asarray(narrow_ids) == np.asarray(wide_ids)).all()
