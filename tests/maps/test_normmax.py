"""Normmax against bisection in long double and against direct optimisation."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

import softmax_variants as sv
from tests import oracles

INF, NAN = np.inf, np.nan
ALPHAS = (1.001, 1.05, 1.25, 1.5, 2.0, 3.0, 10.0, INF)


@jax.jit
def pulled(x: Any, alpha: Any, cotangent: Any) -> Any:
    p, pull = jax.vjp(lambda x, alpha: sv.normmax(x, alpha=alpha), x, alpha)
    return p, *pull(cotangent)


@pytest.mark.parametrize("n", [8, 300])
def test_values_are_those_of_long_double(n: int, rng: np.random.Generator) -> None:
    scales = np.resize([1e-3, 0.1, 1.0, 10.0], (8, 1))
    x = (scales * rng.normal(size=(8, n)) + np.array([[0], [1e4]] * 4)).astype(np.float32)
    for alpha in np.array(ALPHAS, np.float32):
        p = np.asarray(sv.normmax(x, alpha=alpha), np.float64)
        expected = np.stack([oracles.normmax(row, float(alpha)) for row in x])
        np.testing.assert_allclose(p, expected, atol=6e-7 if alpha > 1.01 else 3e-6)
        np.testing.assert_allclose(p.sum(-1), 1, atol=4e-7)
        if alpha > 1.01:
            assert ((p > 0) == (expected > 0)).mean() > 0.99


def test_long_dense_rows(rng: np.random.Generator) -> None:
    x = (1e-3 * rng.normal(size=(1, 20_000))).astype(np.float32)
    for alpha in (1.05, 2.0):
        p = np.asarray(sv.normmax(x, alpha=np.float32(alpha)), np.float64)[0]
        expected = oracles.normmax(x[0], float(np.float32(alpha)))
        assert np.abs(p - expected).max() < 2e-5 * expected.max()


def test_it_maximises_what_it_says(rng: np.random.Generator) -> None:
    for alpha in (1.3, 2.0, 4.0):
        x = rng.normal(size=5)

        def negative(p: Any, x: Any = x, alpha: float = alpha) -> float:
            return float((np.maximum(p, 0) ** alpha).sum() ** (1 / alpha) - x @ p)

        found = optimize.minimize(
            negative,
            np.full(5, 0.2),
            method="SLSQP",
            bounds=[(0, 1)] * 5,
            constraints={"type": "eq", "fun": lambda p: p.sum() - 1},
            options={"ftol": 1e-15, "maxiter": 500},
        )
        p = np.asarray(sv.normmax(x.astype(np.float32), alpha=alpha), np.float64)
        np.testing.assert_allclose(p, found.x, atol=2e-4)
        assert negative(p / p.sum()) <= found.fun + 1e-6


def test_gradients_are_those_of_finite_differences(rng: np.random.Generator) -> None:
    x, v, dx = rng.normal(size=(3, 4, 6))
    step = 1e-6
    with jax.enable_x64(True):
        run = jax.jit(lambda x, alpha: sv.normmax(x, alpha=alpha))
        for alpha in (1.05, 1.4, 2.0, 5.0):
            _, to_x, to_alpha = pulled(x, alpha, v)
            by_x = ((run(x + step * dx, alpha) - run(x - step * dx, alpha)) * v).sum() / (2 * step)
            by_alpha = ((run(x, alpha + step) - run(x, alpha - step)) * v).sum() / (2 * step)
            assert float((to_x * dx).sum()) == pytest.approx(float(by_x), rel=2e-6, abs=1e-7)
            assert float(to_alpha) == pytest.approx(float(by_alpha), rel=2e-6, abs=1e-7)


def test_the_gradient_in_float32_is_that_of_float64(rng: np.random.Generator) -> None:
    x, v = rng.normal(size=(2, 4, 6)).astype(np.float32)
    for alpha in (1.05, 2.0, 4.0):
        narrow = pulled(x, np.float32(alpha), v)
        with jax.enable_x64(True):
            wide = pulled(x.astype(np.float64), float(np.float32(alpha)), v.astype(np.float64))
        for a, b in zip(narrow, wide, strict=True):
            scale = 1 + np.abs(b).max()
            np.testing.assert_allclose(np.asarray(a) / scale, np.asarray(b) / scale, atol=3e-6)


def test_second_derivatives_are_those_of_finite_differences(rng: np.random.Generator) -> None:
    x, v, dx = rng.normal(size=(3, 4))
    with jax.enable_x64(True):
        slope = jax.jit(jax.grad(lambda x, a: (sv.normmax(x, alpha=a) * v).sum()))
        bend = jax.jit(lambda x, a: jax.jvp(lambda x: slope(x, a), (x,), (dx,))[1])
        for alpha in (1.5, 2.0):
            difference = (slope(x + 1e-6 * dx, alpha) - slope(x - 1e-6 * dx, alpha)) / 2e-6
            np.testing.assert_allclose(bend(x, alpha), difference, rtol=1e-5, atol=1e-6)


def test_the_ends_of_alpha() -> None:
    x = np.array([[2, 2, 1.5, 0], [1, 0.9, 0.8, -3]], np.float32)
    hard, to_x, to_alpha = pulled(x, np.float32(1), jnp.ones((2, 4)).at[:, 0].set(3))
    np.testing.assert_array_equal(hard, [[0.5, 0.5, 0, 0], [1, 0, 0, 0]])
    assert (to_x == 0).all()
    assert to_alpha == 0
    uniform, to_x, to_alpha = pulled(x, np.float32(INF), jnp.ones((2, 4)).at[:, 0].set(3))
    support = np.asarray(sv.sparsemax(x)) > 0
    np.testing.assert_allclose(uniform, support / support.sum(-1, keepdims=True), rtol=1e-6)
    assert (to_x == 0).all()
    assert to_alpha == 0
    traced = pulled(x, np.float32(0.5), jnp.ones((2, 4)))[0]
    assert np.isnan(traced).all()
    with pytest.raises(ValueError, match=r"alpha must lie in \[1, inf\], got 0.5"):
        sv.normmax(x, alpha=0.5)


def test_spoiled_rows() -> None:
    x = np.array([[0, 1, 2], [NAN, 1, -INF], [-INF, -INF, -INF], [INF, 0, INF]], np.float32)
    for alpha in (1.1, 2.0, INF):
        p, to_x, _ = pulled(x, np.float32(alpha), jnp.broadcast_to(jnp.arange(3.0), (4, 3)))
        assert np.isnan(p[1, :2]).all()
        assert np.isnan(to_x[1, :2]).all()
        np.testing.assert_array_equal(p[1:, 2], [0, 0, 0.5])
        assert (p[2] == 0).all()
        assert (to_x[2] == 0).all()
        assert np.isfinite(np.asarray(to_x)[[0, 2, 3]]).all()
