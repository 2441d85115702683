"""Evidential softmax keeps what reaches the mean, decided without rounding the largest away."""

import jax.numpy as jnp
import numpy as np
import pytest

import softmax_variants as sv
from tests.maps import checks


def reference(row: checks.Float64) -> checks.Float64:
    kept = row >= row.mean()
    weight = np.where(kept, np.exp(row - row.max()), 0)
    return np.asarray(weight / weight.sum())


@pytest.mark.parametrize("offset", [0.0, 1e4, -1e4])
def test_values(rng: np.random.Generator, offset: float) -> None:
    x, where = checks.rows(rng, offset), checks.mask(rng)
    assert checks.error(sv.ev_softmax, reference, x, where) < 2e-7


def test_gradients(rng: np.random.Generator) -> None:
    checks.check_gradients(sv.ev_softmax, reference, checks.rows(rng), checks.mask(rng))


@pytest.mark.parametrize("value", [0.1, -0.3, 1e4 / 3, 3e38])
def test_constant_rows_of_every_length_are_uniform(value: float) -> None:
    lengths = np.arange(1, 200)[:, None]
    where = np.arange(199) < lengths
    p = np.asarray(sv.ev_softmax(jnp.full(where.shape, value, jnp.float32), -1, where))
    np.testing.assert_allclose(p, where / lengths, rtol=1e-6)


def test_an_entry_at_the_mean_stays() -> None:
    p = np.asarray(sv.ev_softmax(jnp.array([0.0, 1.0, 2.0])))
    np.testing.assert_allclose(p, [0, 1 / (1 + np.e), np.e / (1 + np.e)], rtol=1e-6)
