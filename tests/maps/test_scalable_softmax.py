"""Scalable softmax counts what is kept of each row."""

import jax.numpy as jnp
import numpy as np
import pytest

import softmax_variants as sv
from tests.maps import checks


def reference(row: checks.Float64, scale: float = 1.0) -> checks.Float64:
    weight = np.exp(scale * np.log(row.size) * (row - row.max()))
    return np.asarray(weight / weight.sum())


@pytest.mark.parametrize("offset", [0.0, 1e4, -1e4])
def test_values(rng: np.random.Generator, offset: float) -> None:
    x, where = checks.rows(rng, offset), checks.mask(rng)
    for scale in (0.0, 0.43, 1.0):
        assert checks.error(sv.scalable_softmax, reference, x, where, scale=scale) < 3e-7


def test_gradients(rng: np.random.Generator) -> None:
    x = checks.rows(rng)[:8] / 4
    where = checks.mask(rng)[:8]
    checks.check_gradients(sv.scalable_softmax, reference, x, where, {"scale": 0.43})


def test_n_is_what_each_row_keeps() -> None:
    """Under a causal mask, the visible keys."""
    where = jnp.tril(jnp.ones((4, 4), jnp.bool_))
    p = np.asarray(
        sv.scalable_softmax(jnp.broadcast_to(jnp.array([0.0, 1, 2, 3]), (4, 4)), -1, where)
    )
    assert p[0].tolist() == [1, 0, 0, 0]
    np.testing.assert_allclose(p[1], [1 / 3, 2 / 3, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(p[3], 4.0 ** np.arange(4) / 85, rtol=1e-6)
