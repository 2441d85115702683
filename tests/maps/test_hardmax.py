"""Hardmax: ties share, and the derivative is zero."""

import numpy as np

import softmax_variants as sv
from tests.maps import checks


def test_ties_share_and_the_derivative_is_zero() -> None:
    x = np.array([[1.0, 3.0, 3.0, -5.0], [0.0, 0.0, 0.0, 0.0], [1e38, 3e38, -3e38, 3e38]])
    p, gradient = checks.value_and_gradient(sv.hardmax, x, np.eye(3, 4))
    assert p.tolist() == [[0, 0.5, 0.5, 0], [0.25] * 4, [0, 0.5, 0, 0.5]]
    assert (gradient == 0).all()


def test_one_unit_in_the_last_place_decides() -> None:
    x = np.array([1e4, np.nextafter(np.float32(1e4), np.float32(2e4)), 0], np.float32)
    assert np.asarray(sv.hardmax(x)).tolist() == [0, 1, 0]
