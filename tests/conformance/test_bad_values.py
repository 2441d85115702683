"""NaN, infinities and huge numbers: contained where they are, harmless where they are masked."""

import numpy as np
import pytest

from softmax_variants.variants import Variant
from tests.conformance import cases
from tests.conformance.cases import (
    INF,
    NAN,
    close,
    every,
    having,
    probabilities,
    same_bits,
    scores,
    value_and_gradient,
)

GARBAGE = (NAN, INF, -INF, 1e38, -1e38)


@every
def test_what_sits_in_a_masked_entry_does_not_matter(variant: Variant) -> None:
    x, where = scores(variant), cases.random_mask()
    p, gradient = value_and_gradient(variant, x, where)
    for garbage in GARBAGE:
        dirty = np.where(where, x, np.float32(garbage))
        p_dirty, gradient_dirty = value_and_gradient(variant, dirty, where)
        same_bits(p_dirty, p, f"value with {garbage} under the mask")
        same_bits(gradient_dirty, gradient, f"gradient with {garbage} under the mask")
    assert (p[~where] == 0).all()
    assert (gradient[~where] == 0).all()


@every
def test_a_masked_entry_is_exactly_zero_even_beside_nan(variant: Variant) -> None:
    x, where = scores(variant), cases.random_mask()
    where[:, 0] = True
    x[:, 0] = NAN
    p, gradient = value_and_gradient(variant, x, where)
    assert (p[~where] == 0).all()
    assert (gradient[~where] == 0).all()


@every
def test_minus_infinity_means_masked(variant: Variant) -> None:
    x, where = scores(variant), cases.random_mask()
    p, gradient = value_and_gradient(variant, x, where)
    p_inf, gradient_inf = value_and_gradient(variant, np.where(where, x, np.float32(-INF)))
    same_bits(p_inf, p)
    same_bits(gradient_inf, gradient)


@every
def test_a_row_with_nothing_left_is_zero_and_disturbs_no_other(variant: Variant) -> None:
    x, where = scores(variant), cases.keep_all()
    p, gradient = value_and_gradient(variant, x, where)
    empty_x, empty_where = x.copy(), where.copy()
    empty_where[3] = False
    empty_x[11] = -INF
    p_empty, gradient_empty = value_and_gradient(variant, empty_x, empty_where)
    for row in (3, 11):
        assert (p_empty[row] == 0).all()
        assert (gradient_empty[row] == 0).all()
    others = np.delete(np.arange(cases.ROWS), (3, 11))
    same_bits(p_empty[others], p[others])
    same_bits(gradient_empty[others], gradient[others])


@every
def test_nan_is_contained_in_its_row(variant: Variant) -> None:
    """NaN comes out where it went in, value and gradient: never a wrong finite number."""
    x = scores(variant)
    p, gradient = value_and_gradient(variant, x)
    dirty = x.copy()
    dirty[5, 2] = NAN
    dirty[17, 0] = NAN
    p_dirty, gradient_dirty = value_and_gradient(variant, dirty)
    for row in (5, 17):
        assert np.isnan(p_dirty[row]).all()
        assert np.isnan(gradient_dirty[row]).all()
    others = np.delete(np.arange(cases.ROWS), (5, 17))
    same_bits(p_dirty[others], p[others])
    same_bits(gradient_dirty[others], gradient[others])


@having(lambda row: row.total is not None)
def test_infinite_scores_share_the_mass(variant: Variant) -> None:
    one = np.array([INF, 0, 1, -3, 5, 2, 0, 0])
    two = np.array([0, INF, 1, INF, 5, 2, 0, 0])
    several = np.array([INF, INF, INF, INF, -INF, -INF, 3, 4])
    x = cases.batch(variant, one, two, several)
    if not variant.permutation_equivariant:
        x[1] = admissible_neighbours(x[1])
    p, gradient = value_and_gradient(variant, x)
    clean, clean_gradient = value_and_gradient(variant, scores(variant))
    total = variant.total
    assert total is not None
    for row, count in enumerate((1, 2, 4)):
        infinite = np.isposinf(x[row])
        if total <= count:
            close(p[row], np.where(infinite, total / count, 0), atol=6e-8)
        assert np.isfinite(p[row]).all()
        assert np.isfinite(gradient[row]).all()
    same_bits(p[3:], clean[3:])
    same_bits(gradient[3:], clean_gradient[3:])


def admissible_neighbours(row: cases.Floats) -> cases.Floats:
    """The same entries with the infinite ones beside one another (a chain penalises jumps)."""
    return np.sort(row)[::-1].copy()


@every
def test_huge_scores_give_finite_probabilities(variant: Variant) -> None:
    cases_ = (
        [1e9, -1e9, 0, 1, 2, 3, 4, 5],
        [1e9, 1e9, -1e9, -1e9, 1e9, 0, 1, 2],
        [-1e9, -1e9 - 64, -1e9, -1e9, -2e9, -2e9, -2e9, -1e9],
        [3e38, 3e38, -3e38, 0, 0, 1, -1, 2],
        [3e38, -3e38, -3e38, -3e38, -3e38, -3e38, -3e38, -3e38],
        [-3e38, -3e38, -3e38, -3e38, -3e38, -3e38, -3e38, -3e38],
        [1e-20, 2e-20, 0, -1e-20, 1e-45, 0, 0, 0],
    )
    count = len(cases_)
    p, gradient = value_and_gradient(variant, cases.batch(variant, *cases_))
    assert not np.isnan(p).any()
    assert not np.isnan(gradient).any()
    if variant.total is not None:
        assert np.isfinite(gradient).all()
        close(p[:count].astype(np.float64).sum(-1), np.full(count, variant.total), atol=1e-6)


@having(lambda row: row.normalized and row.shift_invariant and row.permutation_equivariant)
def test_huge_ties_share_equally(variant: Variant) -> None:
    x = cases.batch(
        variant,
        np.full(8, 1e7),
        np.full(8, 3e38),
        np.full(8, -3e38),
        [1e30, 1e30, 0, 0, 0, 0, 0, 0],
    )
    p = probabilities(variant, x)
    close(p[:3], np.full((3, 8), 0.125), atol=6e-8)
    close(p[3], [0.5, 0.5, 0, 0, 0, 0, 0, 0], atol=6e-8)


@pytest.mark.slow
@having(lambda row: row.normalized)
def test_long_constant_rows_are_uniform(variant: Variant) -> None:
    """A mean that rounds above every entry, or a threshold above every score, shows here."""
    n = 300
    x = np.broadcast_to(np.array([0.1, 3.3, 1e4, 7e-8], np.float32)[:, None], (4, n))
    p = probabilities(variant, x)
    close(p, np.full((4, n), 1 / n), atol=1.2e-7)
