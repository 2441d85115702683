"""What the drawings of all experiments share: ticks, bands of curves, and labels beside lines."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from experiments.svg import Drawing, Scale

# Place, value, lower and upper limit.
Points = Sequence[tuple[float, float, float, float]]
_WIDTH, _HEIGHT = 190.0, 130.0


class Series(NamedTuple):
    """A line of a chart.

    Attributes:
      name: What stands beside its end, or over its panel.
      style: The class of its colour.
      points: Where it goes, and its band.
      cut: Whether it ends before the others because it was lost; a cross marks where.
    """

    name: str
    style: str
    points: Points
    cut: bool = False


def line_chart(
    title: str,
    series: Sequence[Series],
    labels: tuple[str, str],
    *,
    log_x: bool = False,
    log_y: bool = False,
    dots: bool = False,
    digits: int = 2,
) -> Drawing:
    """Returns one wide chart of several lines, whose names and last values stand to the right.

    Args:
      title: The title of the drawing.
      series: The lines, each with at least one point.
      labels: What the horizontal and the vertical axis show.
      log_x: Whether the horizontal axis is logarithmic.
      log_y: Whether the vertical axis is logarithmic.
      dots: Whether every point is marked.
      digits: Decimals of the values to the right; on a logarithmic axis they have two digits.
    """
    drawing = Drawing(620, 300, title)
    shown = [line for line in series if line.points]
    if not shown:
        return drawing
    x = _scale([p[0] for line in shown for p in line.points], 48, 430, 0.0, log_x)
    y = _scale([v for line in shown for p in line.points for v in p[1:]], 262, 16, 0.04, log_y)
    drawing.axes(x, y, _ticks(x), _ticks(y))
    drawing.text(x.end, 292, f"{labels[0]} →", "note", "end")
    drawing.text(4, 9, labels[1], "note")
    ordered = sorted(shown, key=lambda line: y(line.points[-1][1]))
    heights = apart([y(line.points[-1][1]) for line in ordered], 12.0, 14.0, 262.0)
    for line, height in zip(ordered, heights, strict=True):
        last = line.points[-1]
        drawing.line([(x(last[0]), y(last[1])), (452, height)], "grid")
        _draw(drawing, x, y, line)
        if dots:
            for point in line.points:
                drawing.dot(x(point[0]), y(point[1]), 2.4, f"{line.style} fill")
        drawing.dot(458, height, 3.0, f"{line.style} fill")
        value = significant(last[1]) if log_y else f"{last[1]:.{digits}f}"
        drawing.text(466, height + 3, f"{line.name}  {value}", "name")
    return drawing


def line_panels(
    series: Sequence[Series], reference: str, *, log_x: bool = False, log_y: bool = False
) -> list[Drawing]:
    """Returns a small panel for each line on common scales, beside the reference in grey."""
    shown = [line for line in series if line.points]
    if not shown:
        return []
    x = _scale([p[0] for line in shown for p in line.points], 34, _WIDTH - 12, 0.0, log_x)
    values = [v for line in shown for p in line.points for v in p[1:]]
    y = _scale(values, _HEIGHT - 16, 8, 0.04, log_y)
    behind = next((line for line in shown if line.name == reference), None)
    drawings = []
    for line in shown:
        drawing = Drawing(_WIDTH, _HEIGHT, line.name)
        drawing.axes(x, y, _few(_ticks(x)), _ticks(y))
        if behind and line is not behind:
            _draw(drawing, x, y, behind._replace(style="quiet"))
        _draw(drawing, x, y, line)
        drawings.append(drawing)
    return drawings


def _draw(drawing: Drawing, x: Scale, y: Scale, line: Series) -> None:
    band(drawing, x, y, line.points, line.style, end=not line.cut)
    if line.cut:
        cross(drawing, x(line.points[-1][0]), y(line.points[-1][1]), 4.0, "bad")


def cross(drawing: Drawing, x: float, y: float, size: float, style: str) -> None:
    """Draws a cross."""
    for slope in (size, -size):
        drawing.line([(x - size, y - slope), (x + size, y + slope)], f"{style} line")


def _scale(values: Sequence[float], start: float, end: float, pad: float, log: bool) -> Scale:
    """Returns a scale that holds the values and, where it is linear, a margin."""
    low, high = min(values), max(values)
    if log:
        return Scale(
            low / 1.1 ** (pad > 0), max(high, low * 1.5) * 1.1 ** (pad > 0), start, end, log=True
        )
    width = max(high - low, 1e-6)
    return Scale(low - pad * width, low + width + pad * width, start, end)


def _few(ticks: list[tuple[float, str]]) -> list[tuple[float, str]]:
    """Returns the ticks that have room below a small panel."""
    return ticks[:: math.ceil(len(ticks) / 4)]


def _ticks(scale: Scale) -> list[tuple[float, str]]:
    return powers(scale, short, fewest=3) if scale.log else levels(scale)


def band(
    drawing: Drawing,
    x: Scale,
    y: Scale,
    points: Sequence[tuple[float, float, float, float]],
    style: str,
    end: bool = True,
) -> None:
    """Draws a line through points (place, value, lower, upper), and a band between its limits.

    Args:
      drawing: What to draw on.
      x: The horizontal scale.
      y: The vertical scale.
      points: The points.
      style: The class of the colour.
      end: Whether the last point is marked.
    """
    outline = [(x(p[0]), y(p[2])) for p in points] + [(x(p[0]), y(p[3])) for p in reversed(points)]
    drawing.area(outline, f"{style} band fill")
    drawing.line([(x(p[0]), y(p[1])) for p in points], f"{style} line")
    if end:
        drawing.dot(x(points[-1][0]), y(points[-1][1]), 2.4, f"{style} fill")


def apart(heights: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Returns rising heights at least `gap` apart, near the given ones and inside the limits."""
    placed: list[float] = []
    for height in heights:
        placed.append(max(height, placed[-1] + gap if placed else low))
    for i in range(len(placed) - 1, -1, -1):
        limit = high if i == len(placed) - 1 else placed[i + 1] - gap
        placed[i] = min(placed[i], limit)
    return placed


def powers(scale: Scale, label: Callable[[float], str], fewest: int = 2) -> list[tuple[float, str]]:
    """Returns ticks of a logarithmic scale: powers of ten, or 1, 3, 10 where these are few."""
    for factors in ((1.0,), (1.0, 3.0), (1.0, 2.0, 5.0)):
        exponents = range(math.floor(math.log10(scale.low)), math.ceil(math.log10(scale.high)) + 1)
        ticks = [f * 10.0**e for e in exponents for f in factors]
        inside = [t for t in ticks if scale.low <= t <= scale.high]
        if len(inside) >= fewest:
            break
    kept = inside[:: max(1, math.ceil(len(inside) / 5))]
    return [(tick, label(tick)) for tick in kept]


def levels(scale: Scale) -> list[tuple[float, str]]:
    """Returns three to seven round ticks of a linear scale."""
    width = scale.high - scale.low
    step = 10.0 ** math.floor(math.log10(width))
    step = next(step * f for f in (2.0, 1.0, 0.5, 0.2) if width / (step * f) >= 3.0)
    first = math.ceil(scale.low / step)
    ticks = [i * step for i in range(first, math.floor(scale.high / step) + 1)]
    if max(map(abs, ticks), default=0.0) >= 10_000:
        return [(tick, short(tick)) for tick in ticks]
    return [(tick, f"{tick:.{max(0, -math.floor(math.log10(step)))}f}") for tick in ticks]


def significant(number: float) -> str:
    """Returns a positive number with two digits that say something: 0.0021, 0.35, 8.4, 272."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.2g}"


def short(number: float) -> str:
    """Returns 10k for 10,000."""
    for size, mark in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:g}{mark}"
    return f"{number:g}"
