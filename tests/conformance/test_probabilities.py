"""What makes the output probabilities, row by row of the table and by its property flags."""

import numpy as np
import pytest

from softmax_variants.variants import VARIANTS, Variant
from tests.conformance import cases
from tests.conformance.cases import close, every, having, probabilities, scores

# Ties at the top (so that even a hard maximum has two classes in its support) and a long tail.
TIED = (2.0, 2.0, 1.0, 0.0, -1.0, -4.0, -9.0, -20.0)


def test_the_table_is_keyed_by_public_names() -> None:
    import softmax_variants as sv

    for name, row in VARIANTS.items():
        assert row.name == name
        assert getattr(sv, name) is row.map


@every
def test_outputs_are_at_least_zero_and_finite(variant: Variant) -> None:
    p = probabilities(variant, scores(variant))
    assert p.shape == cases.SHAPE
    assert np.isfinite(p).all()
    assert (p >= 0).all()


@having(lambda row: row.total is not None)
def test_rows_sum_to_the_stated_total(variant: Variant) -> None:
    p = probabilities(variant, scores(variant)).astype(np.float64)
    assert variant.total is not None
    close(p.sum(axis=-1), np.full(cases.ROWS, variant.total), atol=5e-7 * max(1, variant.total))


@every
def test_normalized_means_a_total_of_one(variant: Variant) -> None:
    assert variant.normalized == (variant.total == 1)


@having(lambda row: row.total is None)
def test_a_row_without_a_total_is_not_normalized(variant: Variant) -> None:
    sums = probabilities(variant, scores(variant)).sum(axis=-1)
    assert np.ptp(sums) > 1e-3


@having(lambda row: row.monotone)
def test_a_larger_score_never_gets_less(variant: Variant) -> None:
    p = probabilities(variant, np.sort(scores(variant), axis=-1))
    # One rounding error of the output: neighbours may be equal before it.
    assert (np.diff(p, axis=-1) >= -1.2e-7 * p[:, 1:]).all()


@having(lambda row: row.permutation_equivariant)
def test_equal_scores_get_equal_shares(variant: Variant) -> None:
    p = probabilities(variant, cases.batch(variant, TIED, np.ones(8), np.zeros(8)))
    assert p[0, 0] == p[0, 1]
    for row in (1, 2):
        assert np.ptp(p[row]) == 0
        if variant.total is not None:
            close(p[row], np.full(8, variant.total / 8), atol=6e-8)


@having(lambda row: row.permutation_equivariant)
def test_permuting_the_classes_permutes_the_output(variant: Variant) -> None:
    x = scores(variant)
    order = np.random.default_rng(3).permutation(cases.CLASSES)
    close(probabilities(variant, x[:, order]), probabilities(variant, x)[:, order], atol=3e-7)


@having(lambda row: not row.permutation_equivariant)
def test_the_order_of_the_classes_matters_where_the_table_says_so(variant: Variant) -> None:
    x = scores(variant)
    order = np.random.default_rng(3).permutation(cases.CLASSES)
    moved = probabilities(variant, x[:, order]) - probabilities(variant, x)[:, order]
    assert np.abs(moved).max() > 1e-3


@having(lambda row: row.shift_invariant)
@pytest.mark.parametrize("offset", [1e4, -1e4])
def test_a_constant_added_to_a_row_changes_nothing(variant: Variant, offset: float) -> None:
    # The sum is exact in float32, so only a map that scales before it subtracts can differ.
    x = scores(variant)
    shifted = x + np.float32(offset)
    assert (shifted.astype(np.float64) - offset == x).all()
    close(probabilities(variant, shifted), probabilities(variant, x), atol=1.2e-7)


@having(lambda row: not row.shift_invariant)
def test_a_constant_matters_where_the_table_says_so(variant: Variant) -> None:
    x = scores(variant)
    moved = probabilities(variant, x + np.float32(1)) - probabilities(variant, x)
    assert np.abs(moved).max() > 1e-3


@having(lambda row: row.sparse)
def test_a_sparse_map_has_exact_zeros_beside_a_support_of_several_classes(
    variant: Variant,
) -> None:
    p = probabilities(variant, cases.batch(variant, TIED))[0]
    assert 1 < np.count_nonzero(p) < cases.CLASSES


@having(lambda row: not row.sparse)
def test_a_dense_map_has_no_zeros(variant: Variant) -> None:
    # A map of the score itself may vanish at exactly 0: that is a zero of the score.
    x = scores(variant)
    assert (probabilities(variant, np.where(x == 0, np.float32(1 / 64), x)) > 0).all()


@every
def test_one_class(variant: Variant) -> None:
    x = scores(variant)[:, :1]
    p = probabilities(variant, x)
    assert p.shape == (cases.ROWS, 1)
    assert np.isfinite(p).all()
    if variant.normalized:
        assert (p == 1).all()
