"""Sigsoftmax keeps its digits far from 0 on both sides."""

import numpy as np
import pytest

import softmax_variants as sv
from tests.maps import checks


def reference(row: checks.Float64) -> checks.Float64:
    exponent = row + np.where(row < 0, row - np.log1p(np.exp(row)), -np.log1p(np.exp(-row)))
    weight = np.exp(exponent - exponent.max())
    return np.asarray(weight / weight.sum())


@pytest.mark.parametrize("offset", [0.0, 5.0, -90.0])
def test_values(rng: np.random.Generator, offset: float) -> None:
    x, where = checks.rows(rng, offset), checks.mask(rng)
    with np.errstate(over="ignore"):
        assert checks.error(sv.sigsoftmax, reference, x, where) < 2e-7


def test_gradients(rng: np.random.Generator) -> None:
    checks.check_gradients(sv.sigsoftmax, reference, checks.rows(rng), checks.mask(rng))


def test_it_is_softmax_far_above_0_and_of_twice_the_scores_far_below(
    rng: np.random.Generator,
) -> None:
    x = np.round(64 * checks.rows(rng)) / 64
    np.testing.assert_allclose(sv.sigsoftmax(x + 1e4), sv.softmax(x), atol=1.2e-7)
    np.testing.assert_allclose(sv.sigsoftmax(x - 1e4), sv.softmax(2 * x), atol=1.2e-7)
