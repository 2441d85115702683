"""Entmax and its loss where alpha is an end of its interval, and where it is exactly 1."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import softmax_variants as sv
from tests.conformance.cases import double

ALPHAS = (0.5, 1.0, 1.5, 2.0, 3.0, np.inf)


def test_nan_does_not_hide_in_the_gradient_at_any_alpha() -> None:
    """One alpha a row: with a NaN the whole row is NaN, output and gradient; its twin is not."""
    alpha = np.array(ALPHAS, np.float32)[:, None]
    clean = np.broadcast_to(np.array([0.25, 1.0, 0.5, 7.0], np.float32), (len(ALPHAS), 4))
    dirty = np.where(np.arange(4) == 0, np.float32(np.nan), clean)
    where = np.arange(4) < 3

    @jax.jit
    def pulled(x: jax.Array, alpha: jax.Array) -> tuple[jax.Array, ...]:
        p, pull = jax.vjp(lambda x, alpha: sv.entmax(x, -1, where, alpha=alpha), x, alpha)
        return p, *pull(jnp.broadcast_to(jnp.arange(4.0), x.shape))

    for found in pulled(dirty, alpha)[:2]:
        assert np.isnan(found[:, :3]).all()
        assert (np.asarray(found[:, 3]) == 0).all()
    assert np.isnan(pulled(dirty, alpha)[2]).all()
    assert all(np.isfinite(found).all() for found in pulled(clean, alpha))


@pytest.mark.parametrize("scale", [1.0, 10.0])
def test_at_1_it_is_softmax_in_float64_too(scale: float) -> None:
    x = scale * np.random.default_rng(0).normal(size=(4, 50))
    with double():
        p, expected = sv.entmax(x, alpha=1.0), sv.softmax(x)
        np.testing.assert_allclose(p, expected, rtol=2e-14)
        labels = np.arange(4)
        loss, cost = sv.entmax_loss(x, labels, alpha=1.0), sv.cross_entropy_loss(x, labels)
        np.testing.assert_allclose(loss, cost, rtol=1e-14)
        next_to_1 = np.float64(1 + 2.0**-52)
        np.testing.assert_allclose(sv.entmax(x, alpha=next_to_1), expected, rtol=2e-12)
