"""Division by the sum, and what it does where the formula has no value."""

import numpy as np
import pytest

import softmax_variants as sv
from tests.maps import checks


def reference(row: checks.Float64) -> checks.Float64:
    return np.asarray(row / row.sum())


def test_values(rng: np.random.Generator) -> None:
    x, where = np.abs(checks.rows(rng)), checks.mask(rng)
    for offset in (0.0, 1e4):
        assert checks.error(sv.sum_normalize, reference, x + np.float32(offset), where) < 1.2e-7


def test_gradients(rng: np.random.Generator) -> None:
    x = np.abs(checks.rows(rng)) + 0.1
    checks.check_gradients(sv.sum_normalize, reference, x, checks.mask(rng))


@pytest.mark.parametrize("scale", [1e-36, 1e-20, 1e20, 1e38])
def test_no_sum_leaves_the_range(scale: float) -> None:
    x = np.array([[2.0, 3.0, 0.0, 3.0]]) * scale
    p, gradient = checks.value_and_gradient(sv.sum_normalize, x, [[1, 0, 0, 0]])
    np.testing.assert_allclose(p, [[0.25, 0.375, 0, 0.375]], rtol=1e-6)
    assert np.isfinite(gradient).all()
    if scale < 1e30:
        expected = np.array([[0.75, -0.25, -0.25, -0.25]]) / 8
        np.testing.assert_allclose(gradient * scale, expected, rtol=1e-5)


def test_zeros_share_negative_scores_go_through_and_a_vanishing_sum_is_nan() -> None:
    x = np.array([[0.0, 0.0, 0.0], [3.0, -1.0, 2.0], [1.0, -1.0, 0.0]])
    p, gradient = checks.value_and_gradient(sv.sum_normalize, x, np.eye(3))
    np.testing.assert_allclose(p[0], 1 / 3, rtol=1e-6)
    assert not gradient[0].any()
    np.testing.assert_allclose(p[1], [0.75, -0.25, 0.5], rtol=1e-6)
    np.testing.assert_allclose(gradient[1], [0.0625, 0.3125, 0.0625], rtol=1e-5)
    assert np.isnan(p[2]).all()
