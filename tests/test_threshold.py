"""The threshold solver's path for large batches: few rows left are collected and solved apart."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from softmax_variants import _threshold
from softmax_variants._threshold import Closed, Family, Power, Rows
from softmax_variants.maps._normmax import NormPower
from tests import oracles

ROWS, CLASSES = 48, 600
ALPHAS = np.resize(np.array([1.1, 1.3, 1.5, 1.75, 2.0], np.float32), ROWS)[:, None]
FEW = ROWS // 8


def batch(hard: int) -> np.ndarray:
    """Rows that the block maxima solve at once, but for the last `hard` ones.

    Those have their largest entries in one block, of which the first level sees one alone.
    """
    rng = np.random.default_rng(0)
    x = np.full((ROWS, CLASSES), -40, np.float32)
    x[:, :20] = rng.normal(size=(ROWS, 20))
    within = np.arange(8) * (CLASSES // 8)
    x[ROWS - hard :, within] = 3 + 0.1 * rng.normal(size=(hard, 8))
    return x


@jax.jit
def solved(x: jax.Array, family: Family, start: jax.Array) -> tuple[jax.Array, jax.Array]:
    rows = Rows.of(x)
    live = rows.live()
    start = jnp.where(live, start, 0)
    both = [_threshold._solve(family, rows, start, live, few=few) for few in (0, FEW)]
    collected, whole = (solution.normalized() for solution in both)
    return collected, whole


def compare(family: Family, start: np.ndarray, expected: np.ndarray, x: np.ndarray) -> None:
    for p in solved(x, family, jnp.asarray(start, jnp.float32)):
        np.testing.assert_allclose(np.asarray(p), expected, atol=3e-7)


@pytest.mark.parametrize("exponent", [1, 2, 4])
def test_collected_rows_of_a_closed_power(exponent: int) -> None:
    start = np.full((ROWS, 1), -1)
    for hard in (0, 1, FEW, FEW + 1, ROWS):
        x = batch(hard)
        expected = np.stack([oracles.entmax(row, 1 + 1 / exponent) for row in x])
        compare(Closed(exponent), start, expected, x)


def test_collected_rows_keep_their_own_alpha() -> None:
    family = Power.of(jnp.asarray(ALPHAS))
    for hard in (0, 1, FEW, FEW + 1, ROWS):
        x = batch(hard)
        # float32 alphas, as the family has them.
        expected = np.stack(
            [oracles.entmax(row, float(a)) for row, a in zip(x, ALPHAS[:, 0], strict=True)]
        )
        compare(family, np.asarray(family.start()), expected, x)


def test_collected_rows_beside_rows_without_a_solution() -> None:
    x = batch(FEW)
    expected = np.stack([oracles.entmax(row, 1.5) for row in x])
    x[3] = -np.inf
    x[4, 5] = np.nan
    expected[3] = 0
    expected[4] = np.nan
    compare(Closed(2), np.full((ROWS, 1), -1), expected, x)


def test_collected_rows_of_a_norm() -> None:
    rho = jnp.full((ROWS, 1), 1.0)
    family = NormPower(rho, jnp.zeros_like(rho))
    for hard in (1, ROWS):
        rows = batch(hard)
        start = jnp.ones((ROWS, 1))
        collected, whole = solved(rows, family, start)
        np.testing.assert_allclose(np.asarray(collected), np.asarray(whole), atol=1e-7)


def test_a_batch_of_any_rank_is_collected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_threshold, "_LARGE", 1)
    x = batch(FEW)
    alpha = jnp.asarray(ALPHAS).reshape(2, 3, 8, 1)
    family = Power.of(alpha)

    def f(x: jax.Array) -> jax.Array:
        rows = Rows.of(x)
        return _threshold.solve(family, rows, family.start(), rows.live()).normalized()

    p = jax.jit(f)(x.reshape(2, 3, 8, CLASSES))
    expected = [oracles.entmax(row, float(a)) for row, a in zip(x, ALPHAS[:, 0], strict=True)]
    np.testing.assert_allclose(np.asarray(p).reshape(x.shape), np.stack(expected), atol=3e-7)
    assert "gather" in jax.jit(f).lower(x.reshape(2, 3, 8, CLASSES)).as_text()
