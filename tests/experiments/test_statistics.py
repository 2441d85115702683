"""Intervals against scipy, and against what they promise in simulation."""

import math

import numpy as np
import pytest
from scipy import stats

from experiments.statistics import (
    Interval,
    mean_interval,
    median_interval,
    paired_difference,
    verdict,
)


def test_mean_interval_is_scipys_t_interval(rng: np.random.Generator) -> None:
    values = rng.normal(size=7)
    expected = stats.t.interval(0.9, 6, loc=values.mean(), scale=stats.sem(values))
    interval = mean_interval(values.tolist(), 0.9)
    assert (interval.lower, interval.upper) == pytest.approx(expected)
    assert interval.estimate == pytest.approx(values.mean())


def test_paired_difference_leaves_out_zero_exactly_when_bonferronis_test_rejects(
    rng: np.random.Generator,
) -> None:
    shown = set()
    for shift in (0.0, 0.4, 0.8, 1.6):
        reference = rng.normal(size=10)
        values = reference + shift + 0.5 * rng.normal(size=10)
        p_value = stats.ttest_rel(values, reference).pvalue
        interval = paired_difference(values.tolist(), reference.tolist(), 0.95, comparisons=20)
        rejects = min(1.0, 20 * p_value) < 0.05
        assert (interval.lower > 0 or interval.upper < 0) == rejects
        shown.add(rejects)
    assert shown == {True, False}


def test_more_comparisons_widen_the_interval() -> None:
    values, reference = [1.0, 2.0, 3.5, 4.0], [0.5, 1.0, 3.0, 2.0]
    found = [paired_difference(values, reference, 0.95, count) for count in (0, 1, 5, 40)]
    widths = [interval.upper - interval.lower for interval in found]
    assert widths[0] == widths[1] < widths[2] < widths[3]


def test_median_interval_covers_as_often_as_it_says(rng: np.random.Generator) -> None:
    draws = rng.exponential(size=(4000, 11))
    intervals = [median_interval(row.tolist(), 0.95) for row in draws]
    covered = np.mean([i.lower <= math.log(2) <= i.upper for i in intervals])
    # The binomial only offers 93.5% and 98.8% here, and the interval has to keep its word.
    assert 0.98 < covered < 0.996


def test_few_timings_cannot_carry_an_interval() -> None:
    interval = median_interval([3.0, 1.0, 2.0], 0.95)
    assert interval == Interval(2.0, -math.inf, math.inf, 3)
    assert median_interval([1.0, 2.0, 3.0, 4.0, 5.0, 9.0], 0.95).upper == 9.0


@pytest.mark.parametrize(
    ("limits", "better", "expected"),
    [
        ((0.1, 0.3), "higher", "better"),
        ((0.1, 0.3), "lower", "worse"),
        ((-0.3, -0.1), "higher", "worse"),
        ((-0.3, -0.1), "lower", "better"),
        ((-0.3, -0.1), "neither", "less"),
        ((-0.1, 0.3), "higher", "no difference shown"),
        ((0.0, 0.3), "higher", "no difference shown"),
        ((math.nan, math.nan), "lower", "no difference shown"),
    ],
)
def test_verdict_claims_nothing_over_an_interval_that_covers_zero(
    limits: tuple[float, float], better: str, expected: str
) -> None:
    interval = Interval(sum(limits) / 2, *limits, count=5)
    assert verdict(interval, better) == expected  # type: ignore[arg-type]  # a parameter's str
