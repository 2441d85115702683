"""Capped sparsemax against breakpoints in long double, with budgets and caps that differ."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import NDArray

import softmax_variants as sv
from tests import oracles

INF, NAN = np.inf, np.nan


@jax.jit
def pulled(x: Any, budget: Any, upper: Any, cotangent: Any) -> Any:
    def run(x: Any, budget: Any, upper: Any) -> jax.Array:
        return sv.capped_sparsemax(x, budget=budget, upper=upper)

    p, pull = jax.vjp(run, x, budget, upper)
    return p, *pull(cotangent)


def projection(x: Any, budget: float, upper: Any) -> NDArray[np.float64]:
    """Bisection in long double, for caps that differ from class to class."""
    row, caps = np.asarray(x, np.longdouble), np.asarray(upper, np.longdouble)
    if caps.sum() <= budget:
        return caps.astype(np.float64)
    low, high = row.min() - budget - 1, row.max()
    for _ in range(200):
        middle = (low + high) / 2
        over = np.clip(row - middle, 0, caps).sum() > budget
        low, high = (middle, high) if over else (low, middle)
    return np.clip(row - high, 0, caps).astype(np.float64)


@pytest.mark.parametrize("n", [9, 300])
def test_values_with_one_cap(n: int, rng: np.random.Generator) -> None:
    scales = np.resize([1e-3, 0.3, 1.0, 100.0], (8, 1))
    x = (scales * rng.normal(size=(8, n)) + np.array([[0], [1e4]] * 4)).astype(np.float32)
    for budget in np.array([0.3, 1.0, 3.0, 0.7 * n], np.float32):
        for upper in np.array([0.5, 1.0], np.float32):
            if budget >= n * upper:
                continue
            p = np.asarray(sv.capped_sparsemax(x, budget=budget, upper=upper), np.float64)
            expected = np.stack(
                [oracles.capped_simplex_projection(row, float(budget), float(upper)) for row in x]
            )
            np.testing.assert_allclose(p, expected, atol=3e-7 * max(1.0, float(budget)))
            np.testing.assert_allclose(p.sum(-1), budget, atol=3e-7 * max(1.0, float(budget)))
            assert (p <= upper).all()


def test_without_a_cap_it_is_sparsemax(rng: np.random.Generator) -> None:
    x = rng.normal(size=(8, 9)).astype(np.float32)
    for upper in (1.0, INF):
        p = sv.capped_sparsemax(x, upper=upper)
        np.testing.assert_allclose(p, sv.sparsemax(x), atol=1.2e-7)


def test_values_with_a_cap_a_class(rng: np.random.Generator) -> None:
    x = (2 * rng.normal(size=(8, 9))).astype(np.float32)
    upper = rng.uniform(0, 0.6, (8, 9)).astype(np.float32)
    upper[:, 3] = 0
    upper[:, 4] = INF
    budget = rng.uniform(0.2, 2.5, (8, 1)).astype(np.float32)
    p = np.asarray(sv.capped_sparsemax(x, budget=budget, upper=upper), np.float64)
    caps = np.where(np.isinf(upper), 100, upper)
    expected = np.stack(
        [projection(*row) for row in zip(x, budget[:, 0].astype(float), caps, strict=True)]
    )
    np.testing.assert_allclose(p, expected, atol=5e-7)
    turned = sv.capped_sparsemax(x.T, 0, budget=budget.T, upper=upper.T)
    np.testing.assert_array_equal(turned, p.astype(np.float32).T)


def test_no_digit_is_lost_beside_a_class_far_above() -> None:
    x = np.array(
        [[1e9, 0.3, 0.1, 0.05], [3e38, 1e4 + 0.5, 1e4, -3e38], [INF, 0.3, 0.1, 0.05]], np.float32
    )
    p = np.asarray(sv.capped_sparsemax(x, budget=2.0))
    np.testing.assert_allclose(p[0], [1, 0.48333333, 0.28333333, 0.23333333], atol=6e-8)
    np.testing.assert_allclose(p[1], [1, 0.75, 0.25, 0], atol=6e-8)
    np.testing.assert_allclose(p[2], p[0], atol=6e-8)
    np.testing.assert_array_equal(sv.capped_sparsemax(x)[:, 0], 1)
    np.testing.assert_array_equal(sv.capped_sparsemax(x)[:, 1:], 0)


def test_budgets_at_and_beyond_their_ends() -> None:
    x = np.array([1, 0.5, -INF, -2], np.float32)
    for budget in (3.0, 4.0, INF):
        np.testing.assert_array_equal(sv.capped_sparsemax(x, budget=budget), [1, 1, 0, 1])
    np.testing.assert_array_equal(sv.capped_sparsemax(x, budget=0.0), np.zeros(4))
    for budget, upper in ((-1.0, 1.0), (1.0, -1.0), (NAN, 1.0)):
        traced = pulled(x, np.float32(budget), np.float32(upper), jnp.ones(4))[0]
        np.testing.assert_array_equal(np.isnan(traced), [True, True, False, True])
    with pytest.raises(ValueError, match=r"budget must lie in \[0, inf\], got -1"):
        sv.capped_sparsemax(x, budget=-1.0)
    with pytest.raises(ValueError, match=r"upper must lie in \[0, inf\], got -1"):
        sv.capped_sparsemax(x, upper=-1.0)


def test_gradients_are_those_of_finite_differences(rng: np.random.Generator) -> None:
    with jax.enable_x64(True):
        x, v, dx, du = rng.normal(size=(4, 6, 9))
        upper = rng.uniform(0.1, 0.5, (6, 9))
        budget, db = rng.uniform(0.5, 1.5, (6, 1)), rng.normal(size=(6, 1))
        p, to_x, to_budget, to_upper = pulled(x, budget, upper, v)
        assert ((p > 0) & (p == upper)).any(-1).all()
        assert ((p > 0) & (p < upper)).any(-1).all()
        step = 1e-7
        after = pulled(x + step * dx, budget + step * db, upper + step * du, v)[0]
        before = pulled(x - step * dx, budget - step * db, upper - step * du, v)[0]
        expected = (to_x * dx).sum() + (to_budget * db).sum() + (to_upper * du).sum()
        difference = ((after - before) * v).sum() / (2 * step)
        assert float(difference) == pytest.approx(float(expected), rel=1e-6)
        # Each alone: the parts of the sum above could not cancel in all of these.
        for i, moved in enumerate((dx, db, du)):
            ends = [[x, budget, upper] for _ in range(2)]
            ends[0][i] = ends[0][i] + step * moved
            ends[1][i] = ends[1][i] - step * moved
            runs = [pulled(*end, v)[0] for end in ends]
            part = ((to_x, to_budget, to_upper)[i] * moved).sum()
            difference = ((runs[0] - runs[1]) * v).sum() / (2 * step)
            assert float(difference) == pytest.approx(float(part), rel=1e-6)


def test_beyond_the_caps_only_they_move_the_output() -> None:
    x, ones = np.array([1, 0.5, -2], np.float32), jnp.ones(3)
    _, to_x, to_budget, to_upper = pulled(x, np.float32(5), np.array([1, 0.5, 2], np.float32), ones)
    np.testing.assert_array_equal(to_x, np.zeros(3))
    assert to_budget == 0
    np.testing.assert_array_equal(to_upper, ones)


def test_spoiled_rows() -> None:
    x = np.array([[0, 1, 2], [NAN, 1, -INF], [-INF, -INF, -INF], [INF, INF, INF]], np.float32)
    v = jnp.broadcast_to(jnp.arange(3.0), (4, 3))
    p, to_x, to_budget, _ = pulled(x, np.float32(1.5), np.float32(1), v)
    assert np.isnan(p[1, :2]).all()
    assert np.isnan(to_x[1, :2]).all()
    assert p[1, 2] == to_x[1, 2] == 0
    assert (p[2] == 0).all()
    assert (to_x[2] == 0).all()
    np.testing.assert_allclose(p[3], np.full(3, 0.5), atol=6e-8)
    assert np.isfinite(np.asarray(to_x)[[0, 2, 3]]).all()
    assert np.isnan(to_budget)
