"""Cutoffs of adaptive softmax against every possible choice."""

import itertools
from typing import Any

import numpy as np
import pytest

from softmax_variants.heads._cutoffs import _cost, choose_cutoffs, tail_widths

Floats = np.ndarray[Any, Any]


def total_cost(counts: Floats, cutoffs: tuple[int, ...], features: int, batch: int) -> float:
    """The model's cost, one term after another."""
    mass, bounds = counts / counts.sum(), (*cutoffs, len(counts))
    cost = float(_cost(batch, cutoffs[0] + len(cutoffs), features))
    widths = tail_widths(features, len(cutoffs), 2.0)
    for i, (low, high) in enumerate(itertools.pairwise(bounds)):
        rows = batch * mass[low:high].sum()
        cost += float(_cost(rows, widths[i], features) + _cost(rows, high - low, widths[i]))
    return cost


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_chosen_cutoffs_are_the_cheapest(seed: int) -> None:
    rng = np.random.default_rng(seed)
    counts = np.sort(rng.pareto(0.3 + 0.5 * seed, size=16))[::-1]
    options = {"features": 2048, "batch_size": 64 * 4**seed}
    found = choose_cutoffs(counts, tails=3, div_value=2.0, **options)
    every = [c for n in (1, 2, 3) for c in itertools.combinations(range(1, 16), n)]
    costs = [total_cost(counts, c, 2048, options["batch_size"]) for c in every]
    assert total_cost(counts, found, 2048, options["batch_size"]) <= min(costs) * (1 + 1e-12)


def test_cutoffs_of_a_million_classes() -> None:
    found = choose_cutoffs(1e9 / np.arange(1, 1_000_001), features=256)
    assert 1 <= found[0] < found[-1] < 1_000_000


@pytest.mark.parametrize(
    ("counts", "error", "message"),
    [
        ([3, 1, 2], ValueError, "counts must fall .* 1 and then 2 at class 2"),
        ([1, -1], ValueError, "counts must be finite and at least 0"),
        ([0, 0], ValueError, "counts must not all be 0"),
        ([1], ValueError, r"counts must have shape \(classes,\)"),
        ([True, False], TypeError, "counts must be real numbers"),
    ],
)
def test_wrong_counts_are_refused(counts: list[Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        choose_cutoffs(np.asarray(counts), features=8)
