"""Drawings of a comparison of gradient estimators."""

from typing import Any, Literal

from experiments.charts import Points, Series, curve_points, line_chart, line_panels
from experiments.page import Plots
from experiments.svg import Drawing

Figures = dict[str, Any]
# One colour a map; straight-through has the colour of its map, and a broken line.
_STYLES = {
    "exact": "quiet",
    "score_function": "quiet dashed",
    "score_function_loo": "quiet",
    "gumbel_softmax": "dense",
    "gumbel_sparsemax": "sparse",
    "gumbel_entmax15": "sweep",
    "st_softmax": "dense dashed",
    "st_sparsemax": "sparse dashed",
    "st_entmax15": "sweep dashed",
}


def all_plots(results: Figures) -> Plots:
    """Returns the heading, the columns and the panels of each file of plots that has any."""
    reference = results["reference"]
    heading = f"Exact validation ELBO over the steps; grey: {reference}"
    by_temperature = [elbo_chart(results)]
    return {
        "temperatures": ("Exact test ELBO by temperature", 1, by_temperature),
        "curves": (heading, 5, learning_curves(results)),
        "bias": ("Bias of the encoder's gradient", 1, gradient_charts(results, "bias")),
        "variance": ("Variance of the encoder's gradient", 1, gradient_charts(results, "variance")),
    }


def elbo_chart(results: Figures) -> Drawing:
    """Returns the exact test ELBO over the temperature, a line for each method."""
    methods: dict[str, list[Figures]] = {}
    for contender in results["contenders"]:
        if contender["metrics"]["elbo"] and not contender["annealed"]:
            methods.setdefault(contender["method"], []).append(contender)
    every = results["config"]["temperatures"]
    series = []
    for method, members in methods.items():
        ordered = sorted(members, key=lambda c: float(c["temperature"] or 0.0))
        places = [c["temperature"] for c in ordered]
        figures = [c["metrics"]["elbo"] for c in ordered]
        series.append(Series(method, _STYLES[method], _over(every, places, figures)))
    labels = ("temperature", "exact test ELBO, ↑ is better")
    return line_chart("Exact test ELBO", series, labels, log_x=True, dots=True)


def learning_curves(results: Figures) -> list[Drawing]:
    """Returns the exact validation ELBO of each contender over the steps after the first ones."""
    series = []
    for contender in results["contenders"]:
        points = curve_points(contender["curve"]["step"], contender["curve"])
        # Before the first evaluation the ELBO is far below, and would flatten all the rest.
        later = [point for point in points if point[0] > 0]
        series.append(Series(contender["name"], contender["group"], later))
    return line_panels(series, results["reference"])


def gradient_charts(results: Figures, moment: Literal["bias", "variance"]) -> list[Drawing]:
    """Returns a chart for each probe: a moment over the temperature, both logarithmic."""
    every = results["config"]["measured"]
    labels = {
        "bias": "bias / length of the exact gradient, ↓ is better",
        "variance": "variance / squared length of the exact gradient, ↓ is better",
    }
    charts = []
    for number, step in enumerate(results["probe_steps"]):
        series = []
        for method in results["gradients"]:
            places = [entry["temperature"] for entry in method["temperatures"]]
            found = [e["probes"][number]["encoder"][moment] for e in method["temperatures"]]
            points = _over(every, places, found)
            # A logarithm has no zero: what may be unbiased is in the table, with its limit.
            positive = [p for p in points if p[2] > 0]
            series.append(Series(method["method"], _STYLES[method["method"]], positive))
        title = f"{moment} after {step:,} steps of the exact run"
        axis = ("temperature", labels[moment])
        charts.append(line_chart(title, series, axis, log_x=True, log_y=True, dots=True))
    return charts


def _over(every: list[float], places: list[float | None], figures: list[Figures]) -> Points:
    """Returns points over the temperature; what has none is drawn across all of them."""
    found = []
    for place, figure in zip(places, figures, strict=True):
        if figure["estimate"] is not None and every:
            limits = [
                figure["estimate"] if v is None else v for v in (figure["lower"], figure["upper"])
            ]
            across = [min(every), max(every)] if place is None else [place]
            found += [(at, figure["estimate"], limits[0], limits[1]) for at in across]
    return found
