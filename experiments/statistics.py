"""Intervals: Student's t over seeds, paired differences, and medians of timings."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from scipy import stats

Verdict = Literal["better", "worse", "more", "less", "no difference shown"]


@dataclasses.dataclass(frozen=True)
class Interval:
    """An estimate between two limits.

    Attributes:
      estimate: The mean, or the median.
      lower: The lower limit.
      upper: The upper limit.
      count: How many values it comes from.
    """

    estimate: float
    lower: float
    upper: float
    count: int

    def to_json(self) -> dict[str, Any]:
        """Returns the interval as it stands in results.json, where a limit may be missing."""
        limits = {name: finite(getattr(self, name)) for name in ("estimate", "lower", "upper")}
        return {**limits, "count": self.count}


def finite(value: Any) -> float | None:
    """Returns a number for JSON, which has no NaN and no infinity."""
    number = float(value)
    return number if math.isfinite(number) else None


def mean_interval(values: Sequence[float], confidence: float) -> Interval:
    """Returns the mean of independent values and its interval by Student's t."""
    array = np.asarray(values, np.float64)
    mean = float(array.mean())
    if array.size < 2:
        return Interval(mean, -math.inf, math.inf, array.size)
    quantile = stats.t.ppf(0.5 + confidence / 2.0, array.size - 1)
    half = float(quantile * array.std(ddof=1) / math.sqrt(array.size))
    return Interval(mean, mean - half, mean + half, array.size)


def mean_with_error(values: Sequence[float], confidence: float) -> dict[str, Any]:
    """Returns the mean, its interval and its standard error, ready for JSON."""
    array = np.asarray(values, np.float64)
    error = array.std(ddof=1) / math.sqrt(array.size) if array.size > 1 else math.nan
    interval = mean_interval(values, confidence)
    return {**interval.to_json(), "standard_error": finite(error)}


def paired_difference(
    values: Sequence[float], reference: Sequence[float], confidence: float, comparisons: int
) -> Interval:
    """Returns the interval of the mean of `values - reference`, pair by pair.

    With several comparisons the level is Bonferroni's, 1 - (1 - confidence) / comparisons, so that
    all of their intervals cover at once with probability `confidence` or more.
    """
    differences = np.asarray(values, np.float64) - np.asarray(reference, np.float64)
    level = 1.0 - (1.0 - confidence) / max(comparisons, 1)
    return mean_interval(differences.tolist(), level)


def paired_ratio(
    values: Sequence[float], reference: Sequence[float], confidence: float, comparisons: int
) -> Interval:
    """Returns the geometric mean of `values / reference`, pair by pair, and its interval.

    It is that of the paired difference of their logarithms, simultaneous as there.
    """
    ours, theirs = (np.log(np.asarray(side)).tolist() for side in (values, reference))
    found = paired_difference(ours, theirs, confidence, comparisons)
    middle, lower, upper = (math.exp(v) for v in (found.estimate, found.lower, found.upper))
    return Interval(middle, lower, upper, found.count)


def median_interval(values: Sequence[float], confidence: float) -> Interval:
    """Returns the median and an interval of two order statistics, whatever the distribution.

    The k-th smallest and largest of n values miss the median with probability 2 P(B < k), B
    binomial(n, 1/2). Where even the extremes miss it too often, the limits are infinite.
    """
    ordered = np.sort(np.asarray(values, np.float64))
    count = ordered.size
    k = 0
    while k < (count + 1) // 2 and 2.0 * stats.binom.cdf(k, count, 0.5) <= 1.0 - confidence:
        k += 1
    median = float(np.median(ordered))
    if k == 0:
        return Interval(median, -math.inf, math.inf, count)
    return Interval(median, float(ordered[k - 1]), float(ordered[count - k]), count)


def verdict(difference: Interval, better: Literal["higher", "lower", "neither"]) -> Verdict:
    """Returns what a difference shows; an interval that covers zero shows nothing."""
    if difference.lower <= 0.0 <= difference.upper or math.isnan(difference.estimate):
        return "no difference shown"
    positive = difference.estimate > 0.0
    if better == "neither":
        return "more" if positive else "less"
    return "better" if positive == (better == "higher") else "worse"
