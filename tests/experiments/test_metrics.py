"""Metrics against computations of their own, example by example."""

import math

import numpy as np
import pytest

from experiments import metrics


@pytest.fixture
def outputs(rng: np.random.Generator) -> np.ndarray:
    """Rows with exact zeros, ties, and sums below and above 1."""
    rows = np.maximum(rng.normal(size=(200, 10)), 0.0)
    rows[:, 0] += 0.01
    rows /= rows.sum(axis=1, keepdims=True)
    rows[0], rows[1] = 0.1, 0.0
    rows[2:20] *= 0.5
    rows[20:40] *= 3.0
    return rows


@pytest.fixture
def labels(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(10, size=200)


def test_rows_above_one_are_divided_and_rows_below_one_are_kept(outputs: np.ndarray) -> None:
    rows = metrics.at_most_one(outputs)
    np.testing.assert_array_equal(rows[1:20], outputs[1:20])
    np.testing.assert_allclose(rows[20:40], outputs[20:40] / 3.0, rtol=1e-12)


def test_metrics_match_a_loop_over_examples(outputs: np.ndarray, labels: np.ndarray) -> None:
    rows = metrics.at_most_one(outputs)
    hits, logs, squares, kept, lost = [], [], [], [], []
    for row, label in zip(rows.tolist(), labels.tolist(), strict=True):
        best = max(row)
        ties = [i for i, p in enumerate(row) if p == best]
        hits.append(1.0 / len(ties) if label in ties else 0.0)
        logs.append(-math.log(0.98 * row[label] + 0.02 / 10))
        squares.append(sum((p - (i == label)) ** 2 for i, p in enumerate(row)))
        kept.append(sum(p > 0 for p in row))
        lost.append(row[label] == 0)
    assert metrics.accuracy(rows, labels) == pytest.approx(np.mean(hits), rel=1e-12)
    assert metrics.nll(rows, labels, 0.02) == pytest.approx(np.mean(logs), rel=1e-12)
    assert metrics.brier(rows, labels) == pytest.approx(np.mean(squares), rel=1e-12)
    assert metrics.support(rows) == pytest.approx(np.mean(kept), rel=1e-12)
    assert metrics.missed(rows, labels) == pytest.approx(np.mean(lost), rel=1e-12)
    assert 0 < np.mean(lost) < 1


def test_classes_that_tie_share_the_hit() -> None:
    rows = np.asarray([[0.4, 0.4, 0.2], [0.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    assert metrics.hits(rows, np.asarray([0, 1, 2])).tolist() == [0.5, pytest.approx(1 / 3), 0.0]


def test_ece_matches_a_loop_over_bins(outputs: np.ndarray, labels: np.ndarray) -> None:
    rows = metrics.at_most_one(outputs)
    confidence, hits = rows.max(axis=1), metrics.hits(rows, labels)
    expected = 0.0
    for k in range(15):
        last = confidence <= 1.0 if k == 14 else confidence < (k + 1) / 15
        inside = (confidence >= k / 15) & last
        if inside.any():
            gap = abs(hits[inside].mean() - confidence[inside].mean())
            expected += gap * inside.sum() / confidence.size
    assert metrics.ece(metrics.reliability(rows, labels)) == pytest.approx(expected, rel=1e-9)
    assert expected > 0.05


def test_ece_is_zero_for_a_calibrated_forecast_and_large_for_a_boast() -> None:
    rows = np.tile([0.75, 0.25], (4, 1))
    labels = np.asarray([0, 0, 0, 1])
    assert metrics.ece(metrics.reliability(rows, labels)) == pytest.approx(0.0, abs=1e-12)
    sure = np.tile([1.0, 0.0], (4, 1))
    assert metrics.ece(metrics.reliability(sure, labels)) == pytest.approx(0.25)


def test_leading_axes_are_batches(outputs: np.ndarray, labels: np.ndarray) -> None:
    rows = metrics.at_most_one(outputs)
    stacked, both = np.stack([rows, rows[::-1]]), np.stack([labels, labels])
    for metric in (metrics.accuracy, metrics.brier, metrics.missed):
        result = metric(stacked, both)
        assert result.shape == (2,)
        assert result[1] == pytest.approx(metric(rows[::-1], labels))


def test_nan_in_an_output_is_never_a_finite_metric(outputs: np.ndarray, labels: np.ndarray) -> None:
    rows = metrics.at_most_one(outputs)
    rows[7, 3] = np.nan
    assert np.isnan(metrics.accuracy(rows, labels))
    assert np.isnan(metrics.missed(rows, labels))
    assert np.isnan(metrics.support(rows))
    assert np.isnan(metrics.brier(rows, labels))
