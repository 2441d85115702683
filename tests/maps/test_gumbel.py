"""Gumbel noise in both tails, and the draws made of it, against what they stand for."""

from typing import Any

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

import softmax_variants as sv
from softmax_variants.maps._gumbel import gumbel
from tests.oracles import softmax

INF, NAN = np.inf, np.nan
ROW = np.array([1.0, -0.5, 2.0, 0.25, -3.0], np.float32)
DRAWS = 20_000


def words(
    monkeypatch: pytest.MonkeyPatch, high: NDArray[np.uint32], low: NDArray[np.uint32]
) -> None:
    """Lets the next noise be made of these random words."""
    both = jnp.asarray(np.stack([high, low]))
    monkeypatch.setattr(jax.random, "bits", lambda key, shape, dtype: both.reshape(shape))


def fair(ids: Any, p: NDArray[np.float64]) -> None:
    """Chi-square of the counts; classes of probability 0 must not occur."""
    counts = np.bincount(np.asarray(ids).ravel(), minlength=p.size)
    assert (counts[p == 0] == 0).all()
    assert counts[p > 0].size < 2 or (
        stats.chisquare(counts[p > 0], counts.sum() * p[p > 0]).pvalue > 1e-3
    )


def test_the_noise_is_that_of_its_words_in_both_tails(
    fast_key: jax.Array, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    shifts = np.repeat(np.arange(32, dtype=np.uint32), 8)
    high = rng.integers(0, 2**32, 256, np.uint32) >> shifts
    low = rng.integers(0, 2**32, 256, np.uint32)
    high[:4], low[:4] = (0, 1, 2**32 - 1, 2**32 - 2), (0, 0, 2**32 - 1, 2**32 - 1)
    words(monkeypatch, high, low)
    noise = np.asarray(gumbel(fast_key, jnp.zeros(256)), np.float64)

    mpmath.mp.dps = 40
    for got, h, w in zip(noise, high.tolist(), low.tolist(), strict=True):
        distance = (mpmath.mpf(h >> 1) + (w + mpmath.mpf(0.5)) / 2**32) / 2**32
        uniform = 1 - distance if h & 1 == 0 else distance
        expected = float(-mpmath.log(-mpmath.log(uniform)))
        assert got == pytest.approx(expected, rel=3e-7, abs=2e-7)
    assert noise.max() == pytest.approx(65 * np.log(2), rel=1e-6)
    assert noise.min() == pytest.approx(-np.log(65 * np.log(2)), rel=1e-6)


def test_the_noise_has_the_gumbel_distribution(fast_key: jax.Array) -> None:
    noise = np.asarray(gumbel(fast_key, jnp.zeros(DRAWS)))
    assert noise.dtype == np.float32
    assert stats.kstest(noise, "gumbel_r").pvalue > 1e-3
    # Every bit counts: 16-bit noise would repeat itself here.
    assert np.unique(noise).size > 0.99 * DRAWS


def test_the_noise_is_float64_under_float64(fast_key: jax.Array) -> None:
    narrow = np.asarray(gumbel(fast_key, jnp.zeros(64)))
    with jax.enable_x64(True):
        wide = np.asarray(gumbel(fast_key, jnp.zeros(64, jnp.float64)))
    assert wide.dtype == np.float64
    np.testing.assert_allclose(narrow, wide, rtol=3e-7, atol=2e-7)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16], ids=["f32", "bf16"])
def test_small_rows_are_drawn_as_often_as_they_should_be(fast_key: jax.Array, dtype: Any) -> None:
    logits = jnp.broadcast_to(jnp.asarray(ROW).astype(dtype), (DRAWS, ROW.size))
    ids = sv.gumbel_max(fast_key, logits)
    assert ids.dtype == jnp.int32
    assert ids.shape == (DRAWS,)
    fair(ids, softmax(ROW))


def test_a_mask_keeps_the_odds_of_the_rest(fast_key: jax.Array) -> None:
    where = np.array([True, True, False, True, True])
    ids = sv.gumbel_max(fast_key, np.broadcast_to(ROW, (DRAWS, 5)), where=where)
    p = np.zeros(5)
    p[where] = softmax(ROW[where])
    fair(ids, p)


def test_a_class_17_below_among_65536_such_is_drawn_as_often_as_it_should_be(
    fast_key: jax.Array, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only classes whose uniform lies within 2^-16 of 1 can win: those alone are drawn here.

    The others' noise is below 11.1, so that the largest class would have to fall below -5.9, of
    probability exp(-365). How many of the 65,536 are that near is binomial. This is the draw of
    whole rows, with a sample 4,000 times as large for the same work.
    """
    rows, slots = 2 * DRAWS * 5, 10
    near = rng.binomial(65_536, 2.0**-16, rows)
    high = rng.integers(0, 2**32, (rows, slots), np.uint32)
    high[:, 1:] = high[:, 1:] >> 16 << 1  # the half near 1, and the top 15 of its 31 bits zero
    words(monkeypatch, high, rng.integers(0, 2**32, (rows, slots), np.uint32))
    logits = np.full((rows, slots), -17, np.float32)
    logits[:, 0] = 0
    ids = sv.gumbel_max(fast_key, logits, where=np.arange(slots) <= near[:, None])
    assert near.max() < slots
    p = 65_536 * np.exp(-17.0) / (1 + 65_536 * np.exp(-17.0))
    assert abs(np.count_nonzero(ids) - rows * p) < 4 * np.sqrt(rows * p * (1 - p))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16], ids=["f32", "bf16"])
def test_65536_classes_12_below_are_drawn_as_often_as_they_should_be(
    fast_key: jax.Array, dtype: Any
) -> None:
    rows, n = 24, 1 << 16
    logits = np.full((rows, n + 1), -12, np.float32)
    logits[:, 0] = 0
    ids = np.asarray(sv.gumbel_max(fast_key, jnp.asarray(logits).astype(dtype)))
    p = n * np.exp(-12.0) / (1 + n * np.exp(-12.0))
    assert abs(np.count_nonzero(ids) - rows * p) < 4 * np.sqrt(rows * p * (1 - p))
    assert np.unique(ids[ids > 0]).size == np.count_nonzero(ids)


def test_the_temperatures_of_categorical(fast_key: jax.Array) -> None:
    row = np.array([2.0, -1.0, 2.0, 0.0, -1.0], np.float32)
    temperature = np.array([0.0, 0.5, 3.0, INF, -2.0, -0.0], np.float32)[:, None]
    logits = np.broadcast_to(row, (DRAWS, 6, 5))
    ids = np.asarray(sv.categorical(fast_key, logits, temperature=temperature))
    hard = np.array([0.5, 0, 0.5, 0, 0])
    expected = (hard, softmax(row, 0.5), softmax(row, 3.0), np.full(5, 0.2), softmax(row, -2), hard)
    for column, p in enumerate(expected):
        fair(ids[:, column], np.asarray(p))


def test_ids_that_cannot_be_drawn_are_minus_one(fast_key: jax.Array) -> None:
    x = np.array([[0, 1, 2], [NAN, 1, 2], [-INF, -INF, -INF], [INF, 0, INF]], np.float32)
    ids = np.asarray(sv.gumbel_max(fast_key, x))
    assert ids[1] == ids[2] == -1
    assert ids[0] >= 0
    assert ids[3] in (0, 2)
    masked = np.asarray(sv.categorical(fast_key, x, where=~np.isnan(x)))
    assert masked[1] in (1, 2)
    assert (np.asarray(sv.gumbel_max(fast_key, np.zeros((3, 0)))) == -1).all()
    assert sv.gumbel_max(fast_key, np.zeros((0, 3))).shape == (0,)


def test_large_logits_leave_the_noise_its_digits(fast_key: jax.Array) -> None:
    logits = np.broadcast_to(ROW, (256, 5))
    assert (
        sv.gumbel_max(fast_key, logits + np.float32(2**20)) == sv.gumbel_max(fast_key, logits)
    ).all()


def test_keys(key: jax.Array) -> None:
    raw = jax.random.key_data(key)
    logits = np.broadcast_to(ROW, (256, 5))
    expected = np.asarray(sv.gumbel_max(key, logits))
    assert (sv.gumbel_max(raw, logits) == expected).all()
    assert (sv.gumbel_max(np.asarray(raw), logits) == expected).all()  # type: ignore[arg-type] # a raw key of NumPy
    many = jax.vmap(lambda key: sv.gumbel_max(key, ROW))(jax.random.split(key, 256))
    assert np.unique(many).size > 1
    for wrong in (None, 3, raw.astype(jnp.float32), jax.random.split(key, 2), raw[None]):
        for draw in (sv.gumbel_max, sv.categorical, sv.gumbel_softmax):
            with pytest.raises(
                TypeError, match=r"key must be one key, such as jax.random.key\(0\)"
            ):
                draw(wrong, ROW)  # type: ignore[arg-type] # refused on purpose


def batch(rng: np.random.Generator) -> NDArray[np.float32]:
    return (2 * rng.normal(size=(4, 5))).astype(np.float32)


def test_the_relaxed_sample_is_the_softmax_of_the_perturbed_logits(
    fast_key: jax.Array, rng: np.random.Generator
) -> None:
    x = batch(rng)
    noise = np.asarray(gumbel(fast_key, jnp.asarray(x)), np.float64)
    for temperature in (0.3, 1.0, 5.0):
        y = sv.gumbel_softmax(fast_key, x, temperature=temperature)
        for row, expected in zip(np.asarray(y), x + noise, strict=True):
            np.testing.assert_allclose(row, softmax(expected, temperature), rtol=3e-6, atol=1e-7)
        turned = sv.gumbel_softmax(fast_key, x.T, axis=0, temperature=temperature)
        np.testing.assert_array_equal(turned.T, y)
    ids = np.asarray(sv.gumbel_max(fast_key, x))
    one_hot = np.eye(5, dtype=np.float32)[ids]
    np.testing.assert_array_equal(sv.gumbel_softmax(fast_key, x, temperature=0.0), one_hot)
    np.testing.assert_array_equal(sv.gumbel_softmax(fast_key, x, hard=True), one_hot)
    uniform = sv.gumbel_softmax(fast_key, x, temperature=INF)
    np.testing.assert_allclose(uniform, np.full((4, 5), 0.2), rtol=1e-6)
    hard = sv.gumbel_softmax(fast_key, x, temperature=INF, hard=True)
    np.testing.assert_array_equal(hard, one_hot)


def test_hard_is_exactly_one_hot_in_bf16_under_jit(fast_key: jax.Array) -> None:
    x = jax.random.normal(fast_key, (64, 5)).astype(jnp.bfloat16)
    draw = jax.jit(lambda x, t: sv.gumbel_softmax(fast_key, x, temperature=t, hard=True))
    ids = sv.gumbel_max(fast_key, x)
    for temperature in (0.0, 1e-3, 0.7):
        hard = np.asarray(draw(x, temperature)).astype(np.float64)
        assert ((hard == 0) | (hard == 1)).all()
        assert (hard.sum(-1) == 1).all()
        np.testing.assert_array_equal(hard.argmax(-1), ids)


def test_hard_has_the_derivative_of_the_relaxed_sample(
    fast_key: jax.Array, rng: np.random.Generator
) -> None:
    with jax.enable_x64(True):
        x, v = rng.normal(size=(4, 5)), rng.normal(size=(4, 5))

        def moved(x: Any, t: Any, hard: bool) -> jax.Array:
            return (sv.gumbel_softmax(fast_key, x, temperature=t, hard=hard) * v).sum()

        soft = jax.grad(moved, (0, 1))(x, 0.7, False)
        hard = jax.grad(moved, (0, 1))(x, 0.7, True)
        for a, b in zip(soft, hard, strict=True):
            np.testing.assert_array_equal(a, b)
        step = 1e-6
        by_t = (moved(x, 0.7 + step, False) - moved(x, 0.7 - step, False)) / (2 * step)
        assert float(by_t) == pytest.approx(float(soft[1]), rel=1e-8)
        dx = rng.normal(size=(4, 5))
        by_x = (moved(x + step * dx, 0.7, False) - moved(x - step * dx, 0.7, False)) / (2 * step)
        assert float(by_x) == pytest.approx(float((soft[0] * dx).sum()), rel=1e-7)


@pytest.mark.parametrize("hard", [False, True], ids=["relaxed", "hard"])
def test_rows_that_cannot_be_relaxed(fast_key: jax.Array, hard: bool) -> None:
    x = np.array([[0, 1, 2], [NAN, 1, -INF], [-INF, -INF, -INF], [INF, 0, INF]], np.float32)
    v = jnp.arange(3.0)[None]

    def total(x: Any, t: Any) -> tuple[jax.Array, jax.Array]:
        y = sv.gumbel_softmax(fast_key, x, temperature=t, hard=hard)
        return (y * v).sum(), y

    for temperature in (0.0, 0.5):
        gradient, y = jax.jit(jax.grad(total, has_aux=True))(x, temperature)
        assert np.isnan(y[1, :2]).all()
        assert np.isnan(gradient[1, :2]).all()
        for array in (y, gradient):
            assert array[1, 2] == 0
            assert (array[2] == 0).all()
            assert array[3, 1] == 0
            assert np.isfinite(np.asarray(array)[[0, 2, 3]]).all()
        np.testing.assert_allclose(np.asarray(y)[[0, 3]].sum(-1), 1, rtol=1e-6)
    with pytest.raises(TypeError, match="hard must be a static Python bool"):
        sv.gumbel_softmax(fast_key, x, hard=1)  # type: ignore[arg-type] # refused on purpose
