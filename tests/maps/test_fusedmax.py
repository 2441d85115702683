"""Fusedmax against the dual of its proximal step, solved as bounded least squares in float64."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import optimize

import softmax_variants as sv
from tests.oracles import simplex_projection

INF, NAN = np.inf, np.nan
SHAPE = (16, 8)


@jax.jit
def pulled(x: Any, strength: Any, cotangent: Any) -> Any:
    p, pull = jax.vjp(lambda x, strength: sv.fusedmax(x, strength=strength), x, strength)
    return p, *pull(cotangent)


def proximal(row: Any, strength: float) -> NDArray[np.float64]:
    """`x - D^T u` with the `u` in [-strength, strength] for which it is smallest."""
    x = np.asarray(row, np.float64)
    if x.size == 1 or strength == 0:
        return x
    differences = np.diff(np.eye(x.size), axis=0)
    bounds = (-strength, strength)
    dual = optimize.lsq_linear(differences.T, x, bounds, method="bvls", tol=1e-15, max_iter=1000)
    return np.asarray(x - differences.T @ dual.x)


def reference(row: Any, strength: float) -> NDArray[np.float64]:
    return simplex_projection(proximal(row, strength))


def batch(rng: np.random.Generator) -> NDArray[np.float32]:
    x = np.resize([0.2, 1.0, 5.0, 1.0], (SHAPE[0], 1)) * rng.normal(size=SHAPE)
    x[3::4] = np.round(2 * x[3::4]) / 2  # ties
    x[1::4] += 1024
    return x.astype(np.float32)


def test_values_are_those_of_the_dual(rng: np.random.Generator) -> None:
    x = batch(rng)
    for strength in np.array([0, 0.03, 0.3, 1, 10], np.float32):
        p = np.asarray(pulled(x, strength, x)[0], np.float64)
        expected = np.stack([reference(row, float(strength)) for row in x])
        np.testing.assert_allclose(p, expected, atol=4e-7)
        np.testing.assert_allclose(p.sum(-1), 1, atol=4e-7)
    assert (np.diff(pulled(x, np.float32(0.3), x)[0]) == 0).any()


def test_long_rows(rng: np.random.Generator) -> None:
    """The row moves slowly, so that groups are long and the knots of the solver many."""
    x = (0.02 * np.cumsum(rng.normal(size=(2, 150)), axis=-1)).astype(np.float32)
    for strength in (0.01, 0.1):
        p = np.asarray(sv.fusedmax(x, strength=strength), np.float64)
        expected = np.stack([reference(row, float(np.float32(strength))) for row in x])
        np.testing.assert_allclose(p, expected, atol=4e-7)


def test_the_ends_of_the_strength(rng: np.random.Generator) -> None:
    x = batch(rng)
    p, _, _ = pulled(x, np.float32(0), x)
    np.testing.assert_allclose(p, sv.sparsemax(x), atol=1.2e-7)
    for strength in (1e6, 1e30, INF):
        p, to_x, to_strength = pulled(x, np.float32(strength), x)
        np.testing.assert_allclose(p, np.full(SHAPE, 1 / 8), rtol=1e-6)
        assert np.isfinite(to_x).all()
        assert to_strength == 0
    assert np.isnan(pulled(x, np.float32(-1), x)[0]).all()
    with pytest.raises(ValueError, match=r"strength must lie in \[0, inf\], got -1"):
        sv.fusedmax(x, strength=-1.0)


def test_across_a_masked_gap_classes_are_neighbours(rng: np.random.Generator) -> None:
    x = batch(rng)
    where = rng.random(SHAPE) < 0.6
    where[:, 2] = True
    p = np.asarray(jax.jit(lambda x, m: sv.fusedmax(x, where=m, strength=0.3))(x, where))
    assert (p[~where] == 0).all()
    for row, mask, got in zip(x, where, p, strict=True):
        expected = reference(row[mask], float(np.float32(0.3)))
        np.testing.assert_allclose(got[mask], expected, atol=4e-7)


def test_gradients_are_those_of_finite_differences(rng: np.random.Generator) -> None:
    x, v, dx = rng.normal(size=(3, *SHAPE))
    step = 1e-7
    with jax.enable_x64(True):
        for strength in (0.05, 0.4):
            _, to_x, to_strength = pulled(x, strength, v)
            ends = [pulled(x + s * dx, strength, v)[0] for s in (step, -step)]
            by_x = ((ends[0] - ends[1]) * v).sum() / (2 * step)
            ends = [pulled(x, strength + s, v)[0] for s in (step, -step)]
            by_strength = ((ends[0] - ends[1]) * v).sum() / (2 * step)
            assert float((to_x * dx).sum()) == pytest.approx(float(by_x), rel=1e-6)
            assert float(to_strength) == pytest.approx(float(by_strength), rel=1e-6)


def test_spoiled_rows(rng: np.random.Generator) -> None:
    x = batch(rng)
    clean, clean_to_x, _ = pulled(x, np.float32(0.3), x)
    dirty = x.copy()
    dirty[:4] = -INF
    dirty[0, :3] = NAN, 1, 2
    dirty[2, :3] = INF, INF, 0
    dirty[3, :3] = 3e38, -3e38, 1e9
    p, to_x, _ = map(np.asarray, pulled(dirty, np.float32(0.3), jnp.asarray(x)))
    for array in (p, to_x):
        assert np.isnan(array[0, :3]).all()
        assert (array[0, 3:] == 0).all()
        assert (array[1] == 0).all()
        assert np.isfinite(array[1:]).all()
    np.testing.assert_array_equal(p[2, :3], [0.5, 0.5, 0])
    np.testing.assert_array_equal(p[3, :3], [1, 0, 0])
    np.testing.assert_array_equal(p[4:], clean[4:])
    np.testing.assert_array_equal(to_x[4:], clean_to_x[4:])


def test_ties_far_above_the_rest_share_wherever_they_stand(rng: np.random.Generator) -> None:
    """Sums with scores of that size would lose what is decided here."""
    x = batch(rng)
    expected = np.zeros(x.shape[-1])
    expected[3:5] = 0.5
    for high in (1e4, 1e30, INF):
        x[:, 3:5] = high
        p = np.asarray(pulled(x, np.float32(0.3), x)[0])
        np.testing.assert_allclose(p, np.broadcast_to(expected, p.shape), atol=1e-7)
