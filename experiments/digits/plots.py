"""Learning curves and reliability diagrams: a small panel for each contender, beside softmax."""

import math
from collections.abc import Sequence
from typing import Any

from experiments.svg import Drawing, Scale

Figures = dict[str, Any]
_WIDTH, _HEIGHT = 190.0, 130.0


def learning_curves(results: Figures) -> list[Drawing]:
    """Returns the validation Brier score of each contender over the steps, on a log scale."""
    shown = [c for c in results["contenders"] if any(c["curve"]["estimate"])]
    reference = next((c for c in shown if c["name"] == results["reference"]), None)
    values = [v for c in shown for key in ("estimate", "lower") for v in c["curve"][key] if v]
    low = max(min((v for v in values if v > 0), default=0.01), 1e-3)
    x = Scale(0, results["config"]["steps"], 32, _WIDTH - 10, log=False)
    y = Scale(low * 0.9, max([1.0, *values]) * 1.05, _HEIGHT - 16, 6, log=True)
    drawings = []
    for contender in shown:
        drawing = Drawing(_WIDTH, _HEIGHT, contender["name"])
        steps = results["config"]["steps"]
        ticks = [(t, f"{t:g}") for t in (0.01, 0.03, 0.1, 0.3, 1.0) if y.low <= t <= y.high]
        drawing.axes(x, y, [(s, f"{s:g}") for s in (0, steps / 2, steps)], ticks)
        if reference and contender is not reference:
            _curve(drawing, x, y, reference["curve"], "quiet")
        _curve(drawing, x, y, contender["curve"], contender["group"])
        drawings.append(drawing)
    return drawings


def _curve(drawing: Drawing, x: Scale, y: Scale, curve: Figures, color: str) -> None:
    points = [
        (x(step), y(middle), y(lower if lower is not None else middle), y(upper or middle))
        for step, middle, lower, upper in zip(
            curve["step"], curve["estimate"], curve["lower"], curve["upper"], strict=True
        )
        if middle is not None
    ]
    outline = [(p[0], p[2]) for p in points] + [(p[0], p[3]) for p in reversed(points)]
    drawing.area(outline, f"{color} band fill")
    drawing.line([(p[0], p[1]) for p in points], f"{color} line")


def reliability_diagrams(results: Figures) -> list[Drawing]:
    """Returns how often each contender is right against how sure it is, all seeds pooled."""
    x, y = Scale(0, 1, 32, _WIDTH - 10), Scale(0, 1, _HEIGHT - 16, 6)
    quarters = [(0.0, "0"), (0.5, "0.5"), (1.0, "1")]
    drawings = []
    for contender in results["contenders"]:
        bins = contender["bins"]
        if bins is None:
            continue
        drawing = Drawing(_WIDTH, _HEIGHT, contender["name"])
        drawing.axes(x, y, quarters, quarters)
        drawing.line([(x(0), y(0)), (x(1), y(1))], "zero")
        total = sum(bins["size"])
        filled = [
            (x(confidence / count), y(correct / count), count / total)
            for count, confidence, correct in zip(*_columns(bins), strict=True)
            if count
        ]
        # What hangs on a handful of predictions would only make the line jump.
        drawing.line([(px, py) for px, py, n in filled if n >= 0.005], f"{contender['group']} thin")
        for px, py, share in filled:
            # The area of a dot is the share of the predictions in its bin.
            drawing.dot(px, py, 1.2 + 8.0 * math.sqrt(share), f"{contender['group']} fill band")
            drawing.dot(px, py, 1.6, f"{contender['group']} fill")
        drawings.append(drawing)
    return drawings


def _columns(bins: Figures) -> tuple[Sequence[float], Sequence[float], Sequence[float]]:
    return bins["size"], bins["confidence"], bins["correct"]
