"""Softpick without an epsilon: near 0, far from 0, and where nothing is picked."""

import jax.numpy as jnp
import numpy as np
import pytest

import softmax_variants as sv
from tests.maps import checks


def reference(row: checks.Float64) -> checks.Float64:
    top = max(row.max(), 0.0)
    near = np.expm1(np.minimum(row, 1)) * np.exp(-top)
    height = np.where(row < 1, near, np.exp(row - top) - np.exp(-top))
    total = np.abs(height).sum()
    return np.asarray(np.maximum(height, 0) / (total if total else 1))


@pytest.mark.parametrize("offset", [0.0, 1e4, -3.0])
def test_values(rng: np.random.Generator, offset: float) -> None:
    x, where = checks.rows(rng, offset), checks.mask(rng)
    assert checks.error(sv.softpick, reference, x, where) < 3e-7
    assert checks.error(sv.softpick, reference, x * np.float32(1e-6), where) < 2e-7


def test_gradients(rng: np.random.Generator) -> None:
    checks.check_gradients(sv.softpick, reference, checks.rows(rng), checks.mask(rng), atol=1e-7)


def test_tiny_scores_keep_their_shares() -> None:
    x = np.array([[1e-30, -2e-30, 5e-30], [3e38, 3e38, -1.0]])
    p, gradient = checks.value_and_gradient(sv.softpick, x, np.eye(2, 3))
    np.testing.assert_allclose(p, [[0.125, 0, 0.625], [0.5, 0.5, 0]], rtol=1e-6)
    np.testing.assert_allclose(gradient[0] * 1e-30, [7 / 64, 1 / 64, -1 / 64], rtol=1e-5)
    assert np.isfinite(gradient).all()


def test_a_row_without_a_positive_score_is_zero() -> None:
    x = np.array([[-1.0, 0.0, -1e38], [0.0, 0.0, 0.0]])
    p, gradient = checks.value_and_gradient(sv.softpick, x, np.ones((2, 3)))
    assert not p.any()
    assert not gradient.any()


def test_masked_entries_do_not_enter_the_denominator() -> None:
    x = jnp.array([1.0, 2.0, -jnp.inf, -jnp.inf])
    np.testing.assert_allclose(sv.softpick(x)[:2], sv.softpick(x[:2]), rtol=1e-6)
