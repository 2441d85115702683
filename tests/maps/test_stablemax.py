"""Stablemax in float32 is as accurate as the float64 computation it replaces."""

import numpy as np
import pytest

import softmax_variants as sv
from tests.maps import checks


def reference(row: checks.Float64) -> checks.Float64:
    weight = np.where(row >= 0, row + 1, 1 / (1 - np.minimum(row, 0)))
    return np.asarray(weight / weight.sum())


@pytest.mark.parametrize("offset", [0.0, 1e4, -1e4])
def test_values(rng: np.random.Generator, offset: float) -> None:
    x, where = checks.rows(rng, offset), checks.mask(rng)
    assert checks.error(sv.stablemax, reference, x, where) < 1.2e-7


def test_gradients(rng: np.random.Generator) -> None:
    checks.check_gradients(sv.stablemax, reference, checks.rows(rng), checks.mask(rng))


def test_the_ends_of_the_range() -> None:
    x = np.array(
        [[3e38, 2.9e38, -1.0], [-3e38, -2.9e38, -3e38], [3e38, -3e38, 1e38], [0, -3e38, -1e38]],
        np.float32,
    )
    p, gradient = checks.value_and_gradient(sv.stablemax, x, np.eye(4, 3))
    np.testing.assert_allclose(p, np.stack([reference(r) for r in x.astype(np.float64)]), atol=1e-7)
    assert np.isfinite(gradient).all()
