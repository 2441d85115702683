"""All drawings of a report, and which of them go into files of their own."""

import dataclasses
from typing import Any

from experiments.engine import plots
from experiments.engine.columns import metric_column
from experiments.engine.curves import AXES
from experiments.engine.pictures import EXAMPLE, TRIANGLE_SCALE, draw_maps, pictured
from experiments.page import Plots
from experiments.svg import Drawing

Figures = dict[str, Any]
# A name over the alternatives of a chart, and a name for each of them.
Charts = dict[str, dict[str, Drawing]]
_COLUMNS = 6


@dataclasses.dataclass(frozen=True)
class Drawings:
    """The drawings of a run; an empty one has nothing to show.

    Attributes:
      curves: By metric, then by axis: one wide chart, or a panel for each contender.
      pareto: Quality against cost, by metric, then by cost.
      against: Quality against metrics without a direction, by the latter, then by metric.
      tuning: The trials, a panel for each contender.
      calibration: Reliability diagrams.
      bars: An example of scores beside outputs.
      triangles: The maps over the simplex.
    """

    curves: dict[str, dict[str, list[Drawing]]]
    pareto: Charts
    against: Charts
    tuning: list[Drawing]
    calibration: list[Drawing]
    bars: list[Drawing]
    triangles: list[Drawing]

    @property
    def bars_text(self) -> str:
        """What stands over the bars."""
        scores = ", ".join(f"{score:g}" for score in EXAMPLE)
        return (
            f"The same five scores ({scores}), grey, and the output of each map with the "
            "parameters of the comparison (fixed, tuned, or learned: the mean over seeds). A "
            "printed 0 is exactly zero. Maps with the same parameters are shown once."
        )

    @property
    def triangles_text(self) -> str:
        """What stands over the triangles."""
        return (
            f"A point of the triangle stands for three scores: {TRIANGLE_SCALE:g} times its "
            "barycentric coordinates less a third. Its colour mixes those of the three classes in "
            "proportion to the output; where mass is missing, the page shows through. Light lines: "
            "the largest probability passes 0.4, 0.5, … 0.9. Dark lines: the set of classes above "
            "zero changes."
        )

    def sheets(self, results: Figures) -> Plots:
        """Returns the heading, the columns and the panels of each file of plots."""
        found: Plots = {}
        for metric, axes in self.curves.items():
            for axis, panels in axes.items():
                name, heading = f"curves_{_file(metric)}", metric
                if len(panels) > 1:
                    name, heading = f"{name}_{_file(axis)}", f"{heading}, over {axis}"
                there = found[name][2] if name in found else []
                columns = _COLUMNS if len(panels) > 1 else 2
                found[name] = (heading, columns, [*there, *panels])
        for kind, charts in (("pareto", self.pareto), ("against", self.against)):
            drawn = [chart for choices in charts.values() for chart in choices.values()]
            if drawn:
                found[kind] = ("Quality against cost" if kind == "pareto" else "Quality", 1, drawn)
        selected = results["selected_by"]
        found["tuning"] = (f"Validation {selected} by learning rate", _COLUMNS, self.tuning)
        found["calibration"] = ("Share right against confidence", _COLUMNS, self.calibration)
        found["bars"] = ("Scores beside what each map makes of them", _COLUMNS, self.bars)
        found["triangles"] = ("Each map over the 3-class simplex", _COLUMNS, self.triangles)
        return found


def draw(results: Figures) -> Drawings:
    """Returns the drawings of a run."""
    bars, triangles = draw_maps(pictured(results))
    return Drawings(
        curves=_curves(results),
        pareto=_pareto(results),
        against=_against(results),
        tuning=plots.tuning(results),
        calibration=plots.calibration(results),
        bars=bars,
        triangles=triangles,
    )


def _curves(results: Figures) -> dict[str, dict[str, list[Drawing]]]:
    metrics, axes = plots.curve_metrics(results), plots.curve_axes(results)
    if len(results["contenders"]) > plots.FEW:
        # Small panels for all metrics would make the page megabytes long: what tuning goes by,
        # and the training loss; the others are in curves.csv.
        metrics = list(dict.fromkeys([*metrics[:1], *metrics[-1:]]))
    found = {}
    for metric in metrics:
        drawn = {AXES[axis]: plots.curve_drawings(results, metric, axis) for axis in axes}
        found[_heading(results, metric)] = {axis: d for axis, d in drawn.items() if d}
    return {metric: drawn for metric, drawn in found.items() if drawn}


def _pareto(results: Figures) -> Charts:
    found: Charts = {}
    costs = plots.costs(results)
    for metric, better in results["metrics"].items():
        if better == "neither":
            continue
        drawn = {
            plots.COSTS[cost]: plots.pareto(results, metric, cost, values)
            for cost, values in costs.items()
        }
        found[_heading(results, metric)] = {n: d for n, d in drawn.items() if d is not None}
    return {metric: drawn for metric, drawn in found.items() if drawn}


def _against(results: Figures) -> Charts:
    found: Charts = {}
    directed = [m for m, better in results["metrics"].items() if better != "neither"]
    for other, better in results["metrics"].items():
        if better != "neither":
            continue
        drawn = {_heading(results, m): plots.against(results, m, other) for m in directed}
        found[_heading(results, other)] = {n: d for n, d in drawn.items() if d is not None}
    return {metric: drawn for metric, drawn in found.items() if drawn}


def _heading(results: Figures, metric: str) -> str:
    return metric_column(metric, [c["metrics"].get(metric) for c in results["contenders"]]).heading


def _file(name: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in name.lower()).strip("_")
