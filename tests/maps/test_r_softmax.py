"""R-softmax against a sorted quantile, its gradients, and the limit at r = 1."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import softmax_variants as sv
from tests.maps import checks


def reference(row: checks.Float64, r: float = 0.5) -> checks.Float64:
    weight = np.maximum(row - np.quantile(row, float(r)), 0)
    if not weight.any():
        top = row == row.max()
        return np.asarray(top / top.sum())
    weight = weight * np.exp(row - row.max())
    return np.asarray(weight / weight.sum())


def exact(r: float) -> float:
    """The float32 number that the map sees."""
    return float(np.float32(r))


@pytest.mark.parametrize("offset", [0.0, 1e4, -1e4])
def test_values(rng: np.random.Generator, offset: float) -> None:
    x, where = checks.rows(rng, offset), checks.mask(rng)
    for r in (0.0, 0.125, 0.4, 0.5, 0.77, 1.0):
        assert checks.error(sv.r_softmax, reference, x, where, r=exact(r)) < 1e-6


def test_gradients(rng: np.random.Generator) -> None:
    """At a fraction that makes no row's rank a whole number, where the quantile has a kink."""
    x, r = checks.rows(rng) / 2, 0.37
    checks.check_gradients(sv.r_softmax, reference, x, checks.mask(rng), {"r": r}, atol=1e-6)


def test_one_r_a_row_zeroes_that_fraction(rng: np.random.Generator) -> None:
    x = rng.normal(size=(5, 21)).astype(np.float32)
    r = np.linspace(0, 1, 5, dtype=np.float32)[:, None]
    p = np.asarray(sv.r_softmax(x, r=r))
    assert (p == 0).sum(axis=-1).tolist() == [1, 6, 11, 16, 20]
    for row in range(5):
        np.testing.assert_allclose(p[row], reference(x[row].astype(float), r[row, 0]), atol=1e-6)


def test_where_nothing_exceeds_the_quantile_the_largest_share() -> None:
    x = np.array([[2.0, 2.0, 2.0, 2.0], [3.0, 1.0, 3.0, 3.0], [5.0, 0, 0, 0], [3e38, -3e38, 0, 0]])
    r = jnp.array([[0.3], [0.9], [1.0], [1.0]])
    p, gradient = checks.value_and_gradient(sv.r_softmax, x, np.eye(4), r=r)
    expected = [[0.25] * 4, [1 / 3, 0, 1 / 3, 1 / 3], [1, 0, 0, 0], [1, 0, 0, 0]]
    np.testing.assert_allclose(p, np.array(expected), rtol=1e-6)
    assert not gradient.any()


def test_the_whole_range_of_the_dtype() -> None:
    x = np.array([[3e38, 2.9e38, -3e38, -3e38], [3e38, 3e38, 3e38, -3e38], [1e-30, 2e-30, 0, 0]])
    p, gradient = checks.value_and_gradient(sv.r_softmax, x, np.eye(3, 4), r=0.4)
    np.testing.assert_allclose(
        p, np.array([[1, 0, 0, 0], [1 / 3, 1 / 3, 1 / 3, 0], [4 / 13, 9 / 13, 0, 0]]), rtol=1e-5
    )
    assert np.isfinite(gradient).all()


def test_an_r_out_of_range() -> None:
    with pytest.raises(ValueError, match="r must lie in"):
        sv.r_softmax(jnp.zeros(3), r=1.5)
    assert np.isnan(jax.jit(lambda r: sv.r_softmax(jnp.arange(3.0), r=r))(1.5)).all()
