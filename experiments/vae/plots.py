"""Drawings of the estimators: figures by temperature, a line for each method."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

from experiments.charts import Points, Series, line_chart
from experiments.svg import Drawing
from experiments.vae.config import VaeConfig
from experiments.vae.contenders import Contender, Method

Figures = dict[str, Any]
Moment = Literal["bias", "variance"]
MOMENTS: tuple[Moment, ...] = ("bias", "variance")
# One colour a map; straight-through has the colour of its map, and a broken line.
STYLES: dict[Method, str] = {
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


def elbo_chart(
    config: VaeConfig,
    contenders: Sequence[Contender],
    elbo_of: Callable[[str], Figures | None],
    title: str,
) -> Drawing:
    """Returns an exact ELBO over the fixed temperatures, a line for each method."""
    lines: dict[Method, list[tuple[float | None, Figures]]] = {}
    for contender in contenders:
        figure, place = elbo_of(contender.name), contender.temperature
        if figure is not None and place not in ("annealed", "tuned"):
            at = place if isinstance(place, float) else None
            lines.setdefault(contender.method, []).append((at, figure))
    series = [
        Series(method, STYLES[method], _over(config.temperatures, found))
        for method, found in lines.items()
    ]
    labels = ("temperature", f"{title}, ↑ is better")
    return line_chart(title, series, labels, log_x=True, dots=True)


def gradient_chart(
    config: VaeConfig,
    methods: Sequence[Figures],
    number: int,
    moment: Moment,
) -> Drawing:
    """Returns a moment of the encoder's gradient at a probe over the temperature."""
    labels: dict[Moment, str] = {
        "bias": "bias / length of the exact gradient, ↓ is better",
        "variance": "variance / squared length of the exact gradient, ↓ is better",
    }
    series = []
    for method in methods:
        found = [
            (entry["temperature"], entry["probes"][number]["encoder"][moment])
            for entry in method["temperatures"]
        ]
        points = _over(config.measured, found)
        # A logarithm has no zero: what may be unbiased is in the table, with its limit.
        positive = [p for p in points if p[2] > 0]
        series.append(Series(method["method"], STYLES[method["method"]], positive))
    title = f"{moment} after {config.probe_steps[number]:,} steps of the exact run"
    axis = ("temperature", labels[moment])
    return line_chart(title, series, axis, log_x=True, log_y=True, dots=True)


def _over(every: Sequence[float], found: Sequence[tuple[float | None, Figures]]) -> Points:
    """Returns points over the temperature; what has none is drawn across all of them."""
    points = []
    for place, figure in found:
        if figure["estimate"] is not None and every:
            limits = [
                figure["estimate"] if v is None else v for v in (figure["lower"], figure["upper"])
            ]
            across = [min(every), max(every)] if place is None else [place]
            points += [(at, figure["estimate"], limits[0], limits[1]) for at in across]
    return sorted(points)
