"""Drawings of a comparison on the testbed."""

from typing import Any

from experiments.bandit.contenders import GROUPS
from experiments.charts import Points, Series, curve_points, line_chart, line_panels
from experiments.page import Plots
from experiments.svg import Drawing

Figures = dict[str, Any]
# The policies of the book's figure 2.2, each with a colour of its own here.
_BOOK = {"greedy": "sweep", "epsilon_0.01": "sparse", "epsilon_0.1": "dense"}
_CURVES = {"reward": ("mean reward", 1.0), "optimal": ("optimal action, %", 100.0)}


def all_plots(results: Figures) -> Plots:
    """Returns the heading, the columns and the panels of each file of plots."""
    reference = results["reference"]
    return {
        "book": ("The curves of Sutton and Barto's figure 2.2", 1, book_charts(results)),
        "parameters": ("Regret over the parameter of each family", 1, [parameter_chart(results)]),
        "reward": (f"Mean reward over the steps; grey: {reference}", 5, panels(results, "reward")),
        "optimal": (
            f"Share of optimal actions over the steps, %; grey: {reference}",
            5,
            panels(results, "optimal"),
        ),
        "regret": (
            f"Cumulative regret over the steps; grey: {reference}",
            5,
            panels(results, "regret"),
        ),
    }


def book_charts(results: Figures) -> list[Drawing]:
    """Returns the two charts of the book's figure: mean reward, and share of optimal actions."""
    found = [c for c in results["contenders"] if c["name"] in _BOOK and c["curves"]]
    charts = []
    for name, (label, factor) in _CURVES.items():
        series = [Series(c["name"], _BOOK[c["name"]], _points(c, name, factor)) for c in found]
        digits = 3 if factor == 1.0 else 1
        charts.append(line_chart(label, series, ("steps", label), digits=digits))
    return charts


def parameter_chart(results: Figures) -> Drawing:
    """Returns the regret over the parameter, a line for each family, on a logarithmic scale."""
    families: dict[str, list[Figures]] = {}
    for contender in results["contenders"]:
        if contender["curves"] and contender["parameter"] > 0:
            families.setdefault(contender["family"], []).append(contender)
    # 1.5-entmax needs a colour of its own beside sparsemax here.
    styles: dict[str, str] = {"entmax15": "sweep", "gradient": "quiet", "ucb": "quiet"}
    series = []
    for family, members in families.items():
        ordered = sorted(members, key=lambda c: float(c["parameter"]))
        style = str(styles.get(family, ordered[0]["group"]))
        series.append(Series(family, style, [_regret_at(c) for c in ordered]))
    labels = ("ε, temperature, c, or step size", "cumulative regret, ↓ is better")
    return line_chart("Regret over the parameter", series, labels, log_x=True, dots=True, digits=0)


def panels(results: Figures, curve: str) -> list[Drawing]:
    """Returns a small panel for each policy."""
    factor = 100.0 if curve == "optimal" else 1.0
    series = [
        Series(c["name"], c["group"], _points(c, curve, factor))
        for c in results["contenders"]
        if c["curves"] and c["group"] in GROUPS
    ]
    return line_panels(series, results["reference"])


def _points(contender: Figures, curve: str, factor: float) -> Points:
    return curve_points(contender["curves"]["step"], contender["curves"][curve], factor)


def _regret_at(contender: Figures) -> tuple[float, float, float, float]:
    regret = contender["metrics"]["regret"]
    return contender["parameter"], regret["estimate"], regret["lower"], regret["upper"]
