"""The drawings of a run: curves, quality against cost, tuning, calibration."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal, cast

from experiments.charts import Points, Series, cross, levels, line_chart, line_panels, powers, short
from experiments.engine.columns import Column, metric_column
from experiments.engine.curves import AXES, TRAINING
from experiments.engine.differences import ROUNDING
from experiments.scatter import Dot, front, scatter
from experiments.svg import Drawing, Scale

Figures = dict[str, Any]
# More contenders than this are drawn in panels of their own, in the colours of their groups.
FEW = 8
# Groups whose colours are named in plots.css.
_GROUPS = ("dense", "sparse", "random", "sweep", "plain")
_WIDTH, _HEIGHT = 190.0, 130.0
COSTS = {
    "seconds": "milliseconds a step",
    "flops_per_step": "FLOPs a step",
    "train_seconds": "seconds of training",
    "parameters": "parameters",
    "temporary_bytes": "temporary bytes",
}


def styles(results: Figures) -> dict[str, str]:
    """Returns the class of the colour of each contender: its own, or that of its group."""
    contenders = results["contenders"]
    if len(contenders) <= FEW:
        return {c["name"]: f"c{i}" for i, c in enumerate(contenders)}
    groups = group_styles(results)
    return {c["name"]: groups[c["group"]] for c in contenders}


def group_styles(results: Figures) -> dict[str, str]:
    """Returns the class of the colour of each group, in their order: its own name if it has one."""
    names = list(dict.fromkeys(c["group"] for c in results["contenders"]))
    others = [name for name in names if name not in _GROUPS]
    return {n: n if n in _GROUPS else f"c{others.index(n) % FEW}" for n in names}


def curve_metrics(results: Figures) -> list[str]:
    """Returns what there are curves of, in the order of the metrics, and training last."""
    values: dict[str, list[float]] = {}
    for c in results["contenders"]:
        for name, series in c["curves"]["metrics"].items():
            values.setdefault(name, []).extend(v for v in series["estimate"] if v is not None)
    return [name for name in (*results["metrics"], TRAINING) if _varies(values.get(name, []))]


def _varies(values: Collection[float]) -> bool:
    """Says whether numbers differ by more than float32 rounds to."""
    return bool(values) and max(values) - min(values) > ROUNDING * max(map(abs, values))


def curve_axes(results: Figures) -> list[str]:
    """Returns the axes that at least one contender has values on."""
    return [
        axis
        for axis in AXES
        if any(v for c in results["contenders"] for v in c["curves"][axis] if v is not None)
    ]


def curve_drawings(results: Figures, metric: str, axis: str) -> list[Drawing]:
    """Returns one wide chart of few contenders, or a small panel for each of many."""
    colors = styles(results)
    column = _curve_column(results, metric)
    lines = []
    for c in results["contenders"]:
        points = _points(c["curves"], metric, axis, column.factor)
        if points:
            cut = c["curves"]["lost_at"] is not None
            lines.append(Series(c["name"], colors[c["name"]], points, cut))
    if not lines:
        return []
    log_y = results["metrics"].get(metric, "lower") == "lower" and _spread(lines) > 10.0
    lines = [line._replace(points=_positive(line.points)) for line in lines] if log_y else lines
    if len(results["contenders"]) > FEW:
        return line_panels(lines, results["reference"], log_y=log_y)
    labels = (AXES[axis], column.heading)
    title = f"{column.heading} over {AXES[axis]}"
    return [line_chart(title, lines, labels, log_y=log_y, digits=column.digits)]


def _curve_column(results: Figures, metric: str) -> Column:
    if metric == TRAINING:
        return Column(TRAINING, "training loss", 1.0, 3)
    column = metric_column(metric, [c["metrics"].get(metric) for c in results["contenders"]])
    return column._replace(heading=f"validation {column.heading}")


def _points(curves: Figures, metric: str, axis: str, factor: float) -> Points:
    series = curves["metrics"].get(metric)
    if series is None:
        return []
    rows = zip(curves[axis], series["estimate"], series["lower"], series["upper"], strict=True)
    points = []
    for place, value, lower, upper in rows:
        if place is not None and value is not None:
            limits = (value if v is None else v for v in (lower, upper))
            points.append((place, factor * value, *(factor * v for v in limits)))
    return points


def _spread(lines: Sequence[Series]) -> float:
    """Returns the ratio of the largest to the smallest value, 0 unless all are positive."""
    values = [p[1] for line in lines for p in line.points]
    return max(values) / min(values) if min(values) > 0 else 0.0


def _positive(points: Points) -> Points:
    """Returns points whose bands end above zero, for a logarithmic axis."""
    lowest = min(p[1] for p in points) / 2.0
    return [(p[0], p[1], max(p[2], min(lowest, p[1])), max(p[3], p[1])) for p in points]


def costs(results: Figures) -> dict[str, dict[str, float]]:
    """Returns each cost that tells contenders apart, by contender."""
    found: dict[str, dict[str, float]] = {}
    for cost in COSTS:
        values = {c["name"]: _cost(c, cost) for c in results["contenders"]}
        there = {name: value for name, value in values.items() if value}
        if len(set(there.values())) > 1:
            found[cost] = there
    return found


def _cost(contender: Figures, cost: str) -> float | None:
    if cost != "seconds":
        value: float | None = contender["costs"][cost]
        return value
    rate = contender["steps_per_second"]
    return 1000.0 / rate["estimate"] if rate and rate["estimate"] else None


def pareto(results: Figures, metric: str, cost: str, values: Mapping[str, float]) -> Drawing | None:
    """Returns quality against cost with the front of the estimates."""
    better = results["metrics"][metric]
    dots = _dots(results, metric, values)
    if not dots:
        return None
    column = metric_column(metric, [c["metrics"][metric] for c in results["contenders"]])
    best = front(dots, cast(Literal["higher", "lower"], better))
    labels = (COSTS[cost], f"test {column.heading}")
    title, named = f"{labels[1]} against {labels[0]}", (results["reference"],)
    log_y = _is_wide(results, metric, dots)
    return scatter(title, dots, labels, best, named=named, log_x=True, log_y=log_y)


def against(results: Figures, metric: str, other: str) -> Drawing | None:
    """Returns one metric against another one that has no direction, such as the support."""
    values = {
        c["name"]: c["metrics"][other]["estimate"]
        for c in results["contenders"]
        if c["metrics"][other] is not None
    }
    dots = _dots(results, metric, values)
    if not dots or not _varies(values.values()):
        return None
    shown = {
        name: metric_column(name, [c["metrics"][name] for c in results["contenders"]])
        for name in (metric, other)
    }
    labels = (shown[other].heading.lower(), f"test {shown[metric].heading}")
    title, named = f"{labels[1]} against {labels[0]}", (results["reference"],)
    log_x, log_y = min(values.values()) > 0, _is_wide(results, metric, dots)
    return scatter(title, dots, labels, named=named, log_x=log_x, log_y=log_y)


def _is_wide(results: Figures, metric: str, dots: Sequence[Dot]) -> bool:
    """Says whether a metric that is better low needs a logarithmic scale."""
    estimates = [dot.y for dot in dots]
    lower = results["metrics"][metric] == "lower"
    return lower and min(estimates) > 0 and max(estimates) / min(estimates) > 8.0


def _dots(results: Figures, metric: str, values: Mapping[str, float]) -> list[Dot]:
    colors = styles(results)
    column = metric_column(metric, [c["metrics"][metric] for c in results["contenders"]])
    dots = []
    for c in results["contenders"]:
        interval, place = c["metrics"][metric], values.get(c["name"])
        if interval is None or interval["estimate"] is None or place is None:
            continue
        estimate = interval["estimate"]
        limits = (estimate if interval[n] is None else interval[n] for n in ("lower", "upper"))
        lower, upper = (column.factor * limit for limit in limits)
        color = colors[c["name"]]
        cut = bool(c["lost"])
        dots.append(Dot(c["name"], color, place, column.factor * estimate, lower, upper, cut))
    return dots


def tuning(results: Figures) -> list[Drawing]:
    """Returns a panel for each tuned contender: the score of its trials by learning rate."""
    shown = [c for c in results["contenders"] if c["tuning"] and c["tuning"]["trials"]]
    trials = [t for c in shown for t in c["tuning"]["trials"]]
    name = results["selected_by"]
    column = metric_column(name, [c["metrics"][name] for c in results["contenders"]])
    scores = [column.factor * t["score"] for t in trials if t["score"] is not None]
    if len({t["learning_rate"] for t in trials}) < 2 or not scores:
        return []
    rates = [t["learning_rate"] for t in trials]
    x = Scale(min(rates) / 1.3, max(rates) * 1.3, 36, _WIDTH - 8, log=True)
    pad = 0.08 * (max(scores) - min(scores)) or 0.05 * max(abs(scores[0]), 1.0)
    y = Scale(min(scores) - pad, max(scores) + pad, _HEIGHT - 16, 8)
    colors = styles(results)
    drawings = []
    for c in shown:
        drawing = Drawing(_WIDTH, _HEIGHT, c["name"])
        drawing.axes(x, y, powers(x, short)[:4], levels(y))
        # The chosen one comes last, over the others.
        for t in sorted(c["tuning"]["trials"], key=lambda t: t["trial"] == c["tuning"]["chosen"]):
            place = x(t["learning_rate"])
            if t["score"] is None:
                cross(drawing, place, _HEIGHT - 20, 3.0, "bad")
                continue
            chosen = t["trial"] == c["tuning"]["chosen"]
            style = colors[c["name"]] if chosen else "quiet"
            about = f"learning rate {t['learning_rate']:.3g}: {column.factor * t['score']:.4g}"
            radius = 4.5 if chosen else 2.6
            drawing.dot(place, y(column.factor * t["score"]), radius, f"{style} fill", about)
        drawings.append(drawing)
    return drawings


def calibration(results: Figures) -> list[Drawing]:
    """Returns how often each contender is right against how sure it is, all seeds pooled."""
    x, y = Scale(0, 1, 32, _WIDTH - 10), Scale(0, 1, _HEIGHT - 16, 6)
    halves = [(0.0, "0"), (0.5, "0.5"), (1.0, "1")]
    colors = styles(results)
    drawings = []
    for c in results["contenders"]:
        bins = c["bins"]
        if bins is None or not sum(bins["count"]):
            continue
        drawing = Drawing(_WIDTH, _HEIGHT, c["name"])
        drawing.axes(x, y, halves, halves)
        drawing.line([(x(0), y(0)), (x(1), y(1))], "zero")
        total = sum(bins["count"])
        filled = [
            (x(confidence / count), y(hits / count), count / total)
            for count, confidence, hits in zip(
                bins["count"], bins["confidence"], bins["hits"], strict=True
            )
            if count
        ]
        color = colors[c["name"]]
        # What hangs on a handful of predictions would only make the line jump.
        drawing.line([(px, py) for px, py, n in filled if n >= 0.005], f"{color} thin")
        for px, py, share in filled:
            # The area of a dot is the share of the predictions in its bin.
            drawing.dot(px, py, 1.2 + 8.0 * math.sqrt(share), f"{color} fill band")
            drawing.dot(px, py, 1.6, f"{color} fill")
        drawings.append(drawing)
    return drawings
