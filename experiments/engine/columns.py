"""How the figures of a run are shown: headings, units and decimals."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

Figures = dict[str, Any]


class Column(NamedTuple):
    """How one figure is shown.

    Attributes:
      name: The figure in the results.
      heading: What stands over its column.
      factor: What it is multiplied with.
      digits: Its decimals.
    """

    name: str
    heading: str
    factor: float
    digits: int


# What is known of metrics by name: a heading, and what turns the metric into its unit.
_KNOWN = {
    "accuracy": ("Accuracy %", 100.0),
    "error": ("Error %", 100.0),
    "nll": ("NLL", 1.0),
    "brier": ("Brier", 1.0),
    "ece": ("ECE %", 100.0),
    "support": ("Support", 1.0),
    "missed": ("Missed %", 100.0),
    "mass": ("Mass", 1.0),
    "perplexity": ("Perplexity", 1.0),
    "optimal": ("Optimal %", 100.0),
    "late_optimal": ("Late optimal %", 100.0),
    "elbo": ("ELBO", 1.0),
    "log_likelihood": ("log p(x)", 1.0),
}
_SENTENCES = {
    "nll": "NLL",
    "brier": "the Brier score",
    "ece": "calibration (ECE)",
    "support": "support",
    "missed": "missed true classes",
    "elbo": "the ELBO",
    "log_likelihood": "log p(x)",
}
_MOST_DIGITS = 9


def metric_columns(results: Figures) -> list[Column]:
    """Returns how each metric of a run is shown: half an interval has two digits."""
    return [
        metric_column(name, [c["metrics"][name] for c in results["contenders"]])
        for name in results["metrics"]
    ]


def metric_column(name: str, intervals: Sequence[Figures | None]) -> Column:
    """Returns how a metric with these intervals is shown."""
    heading, factor = _KNOWN.get(name, (name.replace("_", " "), 1.0))
    return Column(name, heading, factor, digits_of(intervals, factor))


def digits_of(intervals: Sequence[Figures | None], factor: float = 1.0) -> int:
    """Returns decimals for intervals: two digits of the median half width, five of the estimates.

    Without widths, four of the estimates.
    """
    there = [i for i in intervals if i is not None and i["estimate"] is not None]
    halves = [
        factor * (i["upper"] - i["lower"]) / 2.0
        for i in there
        if i["lower"] is not None and i["upper"] is not None and i["upper"] > i["lower"]
    ]
    sizes = [abs(factor * i["estimate"]) for i in there if i["estimate"]]
    most = _decimals(_middle(sizes), 5) if sizes else 2
    if halves:
        return min(_decimals(_middle(halves), 2), most)
    return max(most - 1, 0)


def _middle(numbers: Sequence[float]) -> float:
    return sorted(numbers)[len(numbers) // 2]


def has_rates(results: Figures) -> bool:
    """Says whether there was a learning rate to choose."""
    config = results["config"]
    return bool(config["learning_rate_low"] < config["learning_rate_high"])


def has_tuned(results: Figures) -> bool:
    """Says whether a contender has numbers of its own that tuning chooses."""
    return any(c["tuned"] for c in results["contenders"])


def is_timed(results: Figures) -> bool:
    """Says whether the steps per second of a contender were measured."""
    return any(c["steps_per_second"] for c in results["contenders"])


def settings(values: Mapping[str, float]) -> str:
    """Returns named numbers in words."""
    return ", ".join(f"{name} {value:.3g}" for name, value in values.items()) or "–"


def in_words(name: str) -> str:
    """Returns a metric as it stands in a sentence."""
    return _SENTENCES.get(name, name.replace("_", " "))


def _decimals(number: float, figures: int) -> int:
    """Returns how many decimals show so many figures of a positive number."""
    return min(max(0, figures - 1 - math.floor(math.log10(number))), _MOST_DIGITS)
