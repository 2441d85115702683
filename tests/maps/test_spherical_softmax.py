"""Spherical softmax over the whole range of the dtype, and at its singular row."""

import numpy as np
import pytest

import softmax_variants as sv
from tests.maps import checks


def reference(row: checks.Float64) -> checks.Float64:
    return np.asarray(row**2 / (row**2).sum())


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_values(rng: np.random.Generator, offset: float) -> None:
    x, where = checks.rows(rng, offset), checks.mask(rng)
    assert checks.error(sv.spherical_softmax, reference, x, where) < 2e-7


def test_gradients(rng: np.random.Generator) -> None:
    checks.check_gradients(sv.spherical_softmax, reference, checks.rows(rng), checks.mask(rng))


@pytest.mark.parametrize("scale", [1e-35, 1e-20, 1e20, 1e38])
def test_no_square_leaves_the_range(scale: float) -> None:
    row = np.array([1.0, -2.0, 0.0, 0.5])
    p, gradient = checks.value_and_gradient(sv.spherical_softmax, [row * scale], [[1, 0, 0, 0]])
    np.testing.assert_allclose(p, [np.array([4, 16, 0, 1]) / 21], rtol=1e-6)
    if scale < 1e30:
        # Of degree 0: the gradient falls as the scale grows.
        expected = 2 * row * (np.eye(4)[0] - 4 / 21) / 5.25
        np.testing.assert_allclose(gradient * scale, [expected], rtol=1e-5, atol=1e-7)
    assert np.isfinite(gradient).all()


def test_a_row_of_zeros_is_uniform_over_what_is_kept() -> None:
    where = np.array([[True, True, False, True]])
    x = np.array([[0.0, -0.0, np.nan, 0.0]])
    p, gradient = checks.value_and_gradient(sv.spherical_softmax, x, np.ones((1, 4)), where=where)
    np.testing.assert_allclose(p, [[1 / 3, 1 / 3, 0, 1 / 3]], rtol=1e-6)
    assert not gradient.any()
