"""Large arrays: XLA gives their reductions to a library with habits of its own (NaN, order)."""

import numpy as np
import pytest

from softmax_variants.variants import Variant
from tests.conformance.cases import INF, NAN, close, every, probabilities, scores

ROWS, CLASSES = SHAPE = (64, 512)
NOT_A_NUMBER, EMPTY, INFINITE, HALF = 3, 7, 9, 11


@pytest.mark.slow
@every
def test_a_row_of_a_large_array_is_what_it_is_alone(variant: Variant) -> None:
    x = scores(variant, SHAPE)
    x[NOT_A_NUMBER, 17] = NAN
    x[EMPTY] = -INF
    x[INFINITE, 4:6] = INF
    x[HALF, ::2] = -INF
    x[HALF, 1] = NAN
    p = probabilities(variant, x)
    assert (p[EMPTY] == 0).all()
    assert (p[HALF, ::2] == 0).all()
    for row in (NOT_A_NUMBER, HALF):
        assert np.isnan(p[row]).any()
        if variant.normalized:
            assert np.isnan(p[row][x[row] != -INF]).all()
    if variant.total == 1:
        close(p[INFINITE, 4:6], [0.5, 0.5], atol=6e-8)
        assert p[INFINITE].sum() == p[INFINITE, 4:6].sum()
    for row in (0, 1, 2, 5):
        assert np.isfinite(p[row]).all()
        # A small array: the reductions are XLA's own.
        close(p[row], probabilities(variant, x[row : row + 1])[0], atol=3e-7)
