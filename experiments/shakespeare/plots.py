"""Drawings of a comparison: quality against speed, loss over steps, and zeros by layer."""

from collections.abc import Sequence
from typing import Any

from experiments.charts import apart, levels, powers, short
from experiments.svg import Drawing, Scale

Figures = dict[str, Any]
_WIDTH, _HEIGHT = 190.0, 130.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 34.0, _WIDTH - 8, 8.0, _HEIGHT - 16


def overview(results: Figures) -> list[Drawing]:
    """Returns one chart: the smoothed loss (up) against the tokens per second (right)."""
    shown = [
        c for c in results["contenders"] if c["metrics"]["smoothed"] and c["tokens_per_second"]
    ]
    if not shown:
        return []
    height = max(300.0, 14.0 * len(shown) + 40.0)
    drawing = Drawing(640, height, "smoothed validation loss against tokens per second")
    rates = [c["tokens_per_second"]["estimate"] for c in shown]
    losses = [c["metrics"]["smoothed"]["estimate"] for c in shown]
    x = Scale(min(rates) / 1.2, max(rates) * 1.2, 44, 420, log=True)
    margin = max(0.08 * (max(losses) - min(losses)), 0.01)
    y = Scale(min(losses) - margin, max(losses) + margin, height - 38, 14)
    drawing.axes(x, y, powers(x, short), levels(y))
    drawing.text(x.end, height - 8, "tokens per second of training →", "note", "end")
    drawing.text(4, 9, "smoothed loss ↓ is better", "note")
    points = sorted(zip(losses, rates, shown, strict=True), key=lambda p: -p[0])
    heights = apart([y(loss) for loss, _, _ in points], 12.0, 14.0, height - 38)
    for (loss, rate, contender), place in zip(points, heights, strict=True):
        drawing.line([(x(rate), y(loss)), (450, place)], "grid")
        drawing.dot(x(rate), y(loss), 4.0, f"{contender['group']} fill")
        drawing.dot(458, place, 3.0, f"{contender['group']} fill")
        drawing.text(466, place + 3, f"{contender['name']}  {loss:.3f}", "name")
    return [drawing]


def learning_curves(results: Figures) -> list[Drawing]:
    """Returns the smoothed loss of each model over its steps, beside the reference in grey."""
    shown = [c for c in results["contenders"] if c["curve"]["step"]]
    values = [v for c in shown for key in ("lower", "upper") for v in c["curve"][key]]
    if not values:
        return []
    reference = next((c for c in shown if c["name"] == results["reference"]), None)
    x = Scale(0.0, max(c["curve"]["step"][-1] for c in shown), _LEFT, _RIGHT)
    pad = 0.04 * (max(values) - min(values)) + 1e-3
    y = Scale(min(values) - pad, max(values) + pad, _BOTTOM, _TOP)
    drawings = []
    for contender in shown:
        drawing = Drawing(_WIDTH, _HEIGHT, contender["name"])
        drawing.axes(x, y, [(s, f"{s:g}") for s in (0, x.high / 2, x.high)], levels(y))
        if reference and contender is not reference:
            _curve(drawing, x, y, reference["curve"], "quiet")
        _curve(drawing, x, y, contender["curve"], contender["group"])
        drawings.append(drawing)
    return drawings


def _curve(drawing: Drawing, x: Scale, y: Scale, curve: Figures, style: str) -> None:
    upper = [(x(s), y(v)) for s, v in zip(curve["step"], curve["upper"], strict=True)]
    lower = [(x(s), y(v)) for s, v in zip(curve["step"], curve["lower"], strict=True)]
    points = [(x(s), y(v)) for s, v in zip(curve["step"], curve["estimate"], strict=True)]
    drawing.area([*lower, *reversed(upper)], f"{style} band fill")
    drawing.line(points, f"{style} line")
    drawing.dot(*points[-1], 2.4, f"{style} fill")


def zeros(results: Figures) -> list[Drawing]:
    """Returns for each model with zeros in its attention how many there are, layer by layer."""
    drawings = []
    for contender in results["contenders"]:
        shares = [layer["estimate"] if layer else 0.0 for layer in contender["attention_zeros"]]
        if not shares or max(shares) < 0.001:
            continue
        drawing = Drawing(_WIDTH, _HEIGHT, contender["name"])
        x, y = Scale(0.0, len(shares), _LEFT, _RIGHT), Scale(0.0, 1.0, _BOTTOM, _TOP)
        ticks = [(i + 0.5, str(i + 1)) for i in range(len(shares))]
        drawing.axes(x, y, ticks, [(0.0, "0"), (0.5, "50%"), (1.0, "100%")])
        for i, share in enumerate(shares):
            _bar(drawing, x, y, i, share, contender["group"])
        drawings.append(drawing)
    return drawings


def _bar(drawing: Drawing, x: Scale, y: Scale, place: int, share: float, style: str) -> None:
    left, right = x(place + 0.18), x(place + 0.82)
    top = y(share)
    drawing.rect(left, top, right - left, max(y(0.0) - top, 0.8), f"{style} fill")


def sheets(results: Figures) -> dict[str, tuple[str, int, Sequence[Drawing]]]:
    """Returns the heading, the columns and the panels of each file of plots that has any."""
    found: dict[str, tuple[str, int, Sequence[Drawing]]] = {
        "overview": ("Quality and speed", 1, overview(results)),
        "curves": (
            "Smoothed validation loss over steps; grey: softmax",
            5,
            learning_curves(results),
        ),
        "zeros": ("Attention weights at zero, by layer", 5, zeros(results)),
    }
    return {name: drawn for name, drawn in found.items() if drawn[2]}
