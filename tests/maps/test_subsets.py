"""Classes drawn without replacement, against the Plackett-Luce law and float64 relaxations."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

import softmax_variants as sv
from softmax_variants.maps import _subsets
from softmax_variants.maps._gumbel import gumbel
from tests.oracles import softmax

INF, NAN = np.inf, np.nan
ROW = np.array([1.0, -0.5, 0.25, 0.0], np.float32)
SPOILED = np.array(
    [
        [0, 1, 2, -1],
        [NAN, 1, -INF, 3],
        [-INF, -INF, -INF, -INF],
        [INF, 0, INF, 2],
        [-INF, 1, -INF, 0],
    ],
    np.float32,
)


def relaxation(scores: NDArray[np.float64], k: int, temperature: float) -> NDArray[np.float64]:
    """The definition in long double; `1 - p` as the sum of the others."""
    r, total = scores.astype(np.longdouble), np.zeros(scores.size, np.longdouble)
    for _ in range(k):
        weight = np.exp((r - r.max()) / np.longdouble(temperature))
        total += weight / weight.sum()
        others = np.array([np.delete(weight, i).sum() for i in range(r.size)])
        r = r + np.log(others / weight.sum())
    return total.astype(np.float64)


def test_pairs_come_in_the_order_of_plackett_and_luce(fast_key: jax.Array) -> None:
    rows = 20_000
    ids = np.asarray(sv.gumbel_top_k(fast_key, np.broadcast_to(ROW, (rows, 4)), k=2))
    assert ids.dtype == np.int32
    p = softmax(ROW)
    pairs = list(itertools.permutations(range(4), 2))
    counts = [np.count_nonzero((ids == pair).all(-1)) for pair in pairs]
    expected = [rows * p[i] * p[j] / (1 - p[i]) for i, j in pairs]
    assert sum(counts) == rows
    assert stats.chisquare(counts, expected).pvalue > 1e-3


def test_ids_stand_on_the_axis_and_the_rest_is_minus_one(fast_key: jax.Array) -> None:
    x = SPOILED
    ids = np.asarray(sv.gumbel_top_k(fast_key, x, k=6))
    assert ids.shape == (5, 6)
    assert sorted(ids[0]) == [-1, -1, 0, 1, 2, 3]
    assert (ids[1:3] == -1).all()
    assert sorted(ids[3, :2]) == [0, 2]
    assert sorted(ids[4, :2]) == [1, 3]
    assert (ids[3:, 2:] == -1).all()
    np.testing.assert_array_equal(sv.gumbel_top_k(fast_key, x.T, axis=0, k=6), ids.T)
    first = sv.gumbel_max(fast_key, x)
    np.testing.assert_array_equal(ids[:, 0], first)
    where = np.arange(4) != 3
    masked = np.asarray(sv.gumbel_top_k(fast_key, x, where=where, k=6))
    assert not (masked == 3).any()
    cube = sv.gumbel_top_k(fast_key, np.zeros((3, 5, 4), np.float32), axis=(2, 0), k=12)
    assert cube.shape == (12, 5)
    assert (np.sort(cube, axis=0) == np.arange(12)[:, None]).all()
    assert (np.asarray(sv.gumbel_top_k(fast_key, np.zeros((2, 0)), k=3)) == -1).all()


def test_drawing_in_turn_is_the_sort(rng: np.random.Generator) -> None:
    scores = jnp.asarray(rng.normal(size=(6, 9)), jnp.float32).at[2, 3:].set(-INF).at[4, 1].set(NAN)
    ids = np.asarray(_subsets.ids_in_turn(scores, 5))
    clean = np.asarray(scores)[[0, 1, 2, 3, 5]]
    expected = np.argsort(-clean, axis=-1)[:, :5]
    expected[2, 3:] = -1
    np.testing.assert_array_equal(ids[[0, 1, 2, 3, 5]], expected)
    assert (ids[4] == -1).all()


def test_a_split_class_axis_draws_the_same_ids(key: jax.Array, rng: np.random.Generator) -> None:
    mesh = jax.make_mesh((4,), ("classes",), axis_types=(jax.sharding.AxisType.Explicit,))
    x = rng.normal(size=(3, 16)).astype(np.float32)
    expected = np.asarray(sv.gumbel_top_k(key, x, k=3))
    with jax.set_mesh(mesh):
        split = jax.device_put(x, jax.P(None, "classes"))
        np.testing.assert_array_equal(sv.gumbel_top_k(key, split, k=3), expected)


def test_the_relaxation_is_its_definition(fast_key: jax.Array, rng: np.random.Generator) -> None:
    x = rng.normal(size=(6, 5)).astype(np.float32)
    scores = x + np.asarray(gumbel(fast_key, jnp.asarray(x)), np.float64)
    for temperature in (0.02, 0.1, 0.5, 1.0, 4.0):
        y = np.asarray(sv.relaxed_top_k(fast_key, x, k=3, temperature=temperature))
        expected = np.stack([relaxation(row, 3, temperature) for row in scores])
        np.testing.assert_allclose(y, expected, atol=3e-6 * (1 + 1 / temperature))
        np.testing.assert_allclose(y.sum(-1), 3, rtol=1e-6)
    hot = np.zeros((6, 5))
    np.put_along_axis(hot, np.asarray(sv.gumbel_top_k(fast_key, x, k=3)), 1, axis=-1)
    np.testing.assert_array_equal(sv.relaxed_top_k(fast_key, x, k=3, temperature=0.0), hot)
    np.testing.assert_allclose(sv.relaxed_top_k(fast_key, x, k=3, temperature=1e-4), hot, atol=1e-6)


def test_the_gradient_is_that_of_finite_differences(
    fast_key: jax.Array, rng: np.random.Generator
) -> None:
    x, v, dx = rng.normal(size=(3, 4, 5))
    with jax.enable_x64(True):

        @jax.jit
        def moved(x: Any, t: Any) -> jax.Array:
            return (sv.relaxed_top_k(fast_key, x, k=3, temperature=t) * v).sum()

        gradient = jax.jit(jax.grad(moved, (0, 1)))
        for t in (0.1, 0.8):
            step = 1e-6
            by_x = (moved(x + step * dx, t) - moved(x - step * dx, t)) / (2 * step)
            by_t = (moved(x, t + step) - moved(x, t - step)) / (2 * step)
            to_x, to_t = gradient(x, t)
            assert float(by_x) == pytest.approx(float((to_x * dx).sum()), rel=1e-6, abs=1e-8)
            assert float(by_t) == pytest.approx(float(to_t), rel=1e-6, abs=1e-8)


def test_low_temperatures_and_spoiled_rows_are_safe(fast_key: jax.Array) -> None:
    @jax.jit
    def pulled(x: Any, t: Any) -> Any:
        y, pull = jax.vjp(lambda x, t: sv.relaxed_top_k(fast_key, x, k=3, temperature=t), x, t)
        return y, *pull(jnp.broadcast_to(jnp.arange(4.0), y.shape))

    rows = np.broadcast_to(ROW, (5, 4)).copy()
    for temperature in (0.0, 1e-20, 1e-6, 0.01, 1.0, INF):
        y, gradient, by_temperature = map(np.asarray, pulled(SPOILED, np.float32(temperature)))
        assert np.isnan(y[1, [0, 1, 3]]).all()
        assert np.isnan(gradient[1, [0, 1, 3]]).all()
        assert y[1, 2] == gradient[1, 2] == 0
        np.testing.assert_allclose(y[[0, 2, 3, 4]].sum(-1), (3, 0, 2, 2), rtol=1e-6)
        assert np.isfinite(gradient[[0, 2, 3, 4]]).all()
        assert (gradient[2] == 0).all()
        assert (y[4, [0, 2]] == 0).all()
        y, gradient, by_temperature = map(np.asarray, pulled(rows, np.float32(temperature)))
        assert np.isfinite(gradient).all()
        # Below 1e-19 the square in the derivative of 1 / T leaves the range of float32.
        assert np.isfinite(by_temperature) or temperature == 1e-20


def test_what_cannot_be_counted_is_refused(fast_key: jax.Array) -> None:
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        sv.gumbel_top_k(fast_key, ROW, k=0)
    with pytest.raises(TypeError, match="k must be a static Python integer, got float"):
        sv.relaxed_top_k(fast_key, ROW, k=2.0)  # type: ignore[arg-type] # refused on purpose
    with pytest.raises(ValueError, match=r"temperature must lie in \[0, inf\], got -1"):
        sv.relaxed_top_k(fast_key, ROW, k=2, temperature=-1.0)
    for draw in (sv.gumbel_top_k, sv.relaxed_top_k):
        with pytest.raises(TypeError, match="key must be one key"):
            draw(0, ROW, k=2)  # type: ignore[arg-type] # refused on purpose
