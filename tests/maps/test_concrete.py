"""The density of log-samples, against its formula in 40 digits and its integral."""

from typing import Any

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from scipy import integrate

import softmax_variants as sv
from softmax_variants.maps._gumbel import gumbel

INF, NAN = np.inf, np.nan


def density(y: Any, x: Any, temperature: float) -> float:
    """The formula, term by term."""
    mpmath.mp.dps = 40
    t, n = mpmath.mpf(temperature), len(x)
    scores = [mpmath.mpf(float(a)) - t * mpmath.mpf(float(b)) for a, b in zip(x, y, strict=True)]
    total = mpmath.log(mpmath.fsum(mpmath.exp(score) for score in scores))
    constant = mpmath.loggamma(n) + (n - 1) * mpmath.log(t)
    return float(constant + mpmath.fsum(scores) - n * total)


def log_samples(key: jax.Array, x: Any, temperature: float) -> jax.Array:
    noise = gumbel(key, jnp.asarray(x))
    return sv.log_softmax(x + noise, temperature=temperature)


def test_the_density_is_its_formula(fast_key: jax.Array, rng: np.random.Generator) -> None:
    x = (2 * rng.normal(size=(4, 5))).astype(np.float32)
    for temperature in (0.05, 0.5, 3.0):
        y = log_samples(fast_key, x, temperature)
        got = sv.concrete_log_prob(y, x, temperature=temperature)
        assert got.shape == (4,)
        expected = [density(*row, temperature) for row in zip(np.asarray(y), x, strict=True)]
        np.testing.assert_allclose(got, expected, rtol=2e-6, atol=2e-5)
        shifted = sv.concrete_log_prob(y, x + np.float32(8), temperature=temperature)
        np.testing.assert_allclose(shifted, got, rtol=1e-6, atol=2e-5)


def test_with_two_classes_it_integrates_to_one() -> None:
    """Over the log-odds `y_1 - y_2`, and over the simplex with the change of variables."""
    x = np.array([0.7, -0.4])
    odds = np.linspace(-60, 60, 20_001)
    y = np.stack([-np.logaddexp(0, -odds), -np.logaddexp(0, odds)], axis=-1)
    with jax.enable_x64(True):
        for temperature in (0.4, 1.0, 2.5):
            log_f = np.asarray(sv.concrete_log_prob(y, x, temperature=temperature))
            assert integrate.simpson(np.exp(log_f), x=odds) == pytest.approx(1, abs=1e-8)
            on_simplex = np.exp(log_f - y.sum(-1))
            mass = integrate.trapezoid(on_simplex, x=np.exp(y[:, 0]))
            assert mass == pytest.approx(1, abs=1e-4)


def test_its_own_samples_always_have_a_finite_density(fast_key: jax.Array) -> None:
    x = np.broadcast_to(np.array([0.0, 1.0, -2.0, 3.0, 0.5], np.float32), (20_000, 5))
    y = log_samples(fast_key, x, 0.05)
    assert np.isfinite(sv.concrete_log_prob(y, x, temperature=0.05)).all()
    # The same samples on the simplex have lost classes, and so their density.
    assert (np.exp(np.asarray(y)) == 0).any(-1).mean() > 0.3


def test_gradients_for_sample_logits_and_temperature(rng: np.random.Generator) -> None:
    with jax.enable_x64(True):
        x, dx, dy = rng.normal(size=(3, 4, 5))
        y = np.asarray(sv.log_softmax(rng.normal(size=(4, 5))))

        @jax.jit
        def total(y: Any, x: Any, t: Any) -> jax.Array:
            return sv.concrete_log_prob(y, x, temperature=t).sum()

        to_y, to_x, to_t = jax.jit(jax.grad(total, (0, 1, 2)))(y, x, 0.6)
        step = 1e-6
        moves = (
            ((y + step * dy, x, 0.6), (y - step * dy, x, 0.6), (to_y * dy).sum()),
            ((y, x + step * dx, 0.6), (y, x - step * dx, 0.6), (to_x * dx).sum()),
            ((y, x, 0.6 + step), (y, x, 0.6 - step), to_t),
        )
        for after, before, expected in moves:
            difference = (total(*after) - total(*before)) / (2 * step)
            assert float(difference) == pytest.approx(float(expected), rel=1e-7, abs=1e-8)


def test_masks_delete_and_samples_broadcast(rng: np.random.Generator) -> None:
    x = rng.normal(size=5).astype(np.float32)
    kept = np.array([True, False, True, True, False])
    y = np.asarray(sv.log_softmax(rng.normal(size=(4, 5)).astype(np.float32), where=kept))
    expected = sv.concrete_log_prob(y[:, kept], x[kept], temperature=0.5)
    dirty = np.where(kept, y, np.float32(NAN))
    np.testing.assert_allclose(
        sv.concrete_log_prob(dirty, x, where=kept, temperature=0.5), expected, rtol=1e-6
    )
    infinite = np.where(kept, x, np.float32(-INF))
    np.testing.assert_allclose(
        sv.concrete_log_prob(dirty.T, infinite[:, None], 0, temperature=0.5), expected, rtol=1e-6
    )
    to_x = jax.grad(lambda x: sv.concrete_log_prob(dirty, x, temperature=0.5).sum())(infinite)
    assert (to_x[~kept] == 0).all()
    assert np.isfinite(to_x).all()


def test_rows_of_no_class_one_class_and_nan() -> None:
    x = np.array([[-INF, -INF], [3, -INF], [NAN, 0], [1, 0]], np.float32)
    y = np.full((4, 2), np.log(0.5), np.float32)
    y[1] = (0, -INF)
    got = np.asarray(sv.concrete_log_prob(y, x, temperature=0.5))
    assert got[0] == got[1] == 0
    assert np.isnan(got[2])
    assert np.isfinite(got[3])


def test_dtypes_and_refusals() -> None:
    y = jnp.log(jnp.array([0.25, 0.75])).astype(jnp.bfloat16)
    assert sv.concrete_log_prob(y, jnp.zeros(2, jnp.bfloat16), temperature=1.0).dtype == jnp.float32
    with pytest.raises(ValueError, match=r"temperature must lie in \(0, inf\), got 0"):
        sv.concrete_log_prob(y, y, temperature=0.0)
    with pytest.raises(ValueError, match=r"log_sample must broadcast with logits"):
        sv.concrete_log_prob(jnp.zeros(3), jnp.zeros(2), temperature=1.0)
    traced = jax.jit(lambda t: sv.concrete_log_prob(y, y, temperature=t))(-1.0)
    assert np.isnan(traced)
