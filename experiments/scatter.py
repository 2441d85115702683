"""Quality against something else: dots with intervals, names that keep clear, a Pareto front."""

import itertools
from collections.abc import Collection, Sequence
from typing import Literal, NamedTuple

from experiments.charts import cross, levels, powers, short
from experiments.svg import Anchor, Drawing, Scale

_WIDTH, _HEIGHT = 620.0, 320.0
_LETTER = 5.0
_MANY = 16
Box = tuple[float, float, float, float]


class Dot(NamedTuple):
    """One contender of a scatter plot.

    Attributes:
      name: Its name.
      style: The class of its colour.
      x: Where it is along the horizontal axis.
      y: Its estimate.
      lower: The lower limit of its interval, or the estimate.
      upper: The upper limit of its interval, or the estimate.
      cut: Whether it lost a part of what the figures are over: a cross, and never in the front.
    """

    name: str
    style: str
    x: float
    y: float
    lower: float
    upper: float
    cut: bool = False


def front(dots: Sequence[Dot], better: Literal["higher", "lower"]) -> list[Dot]:
    """Returns those that no other beats in both, from cheap to costly; less of x is cheaper."""
    sign = -1.0 if better == "higher" else 1.0
    ordered = sorted((dot for dot in dots if not dot.cut), key=lambda dot: (dot.x, sign * dot.y))
    found: list[Dot] = []
    for dot in ordered:
        if not found or sign * dot.y < sign * found[-1].y:
            found.append(dot)
    return found


def scatter(
    title: str,
    dots: Sequence[Dot],
    labels: tuple[str, str],
    joined: Sequence[Dot] = (),
    *,
    named: Collection[str] = (),
    log_x: bool = False,
    log_y: bool = False,
) -> Drawing:
    """Returns dots with intervals; those that are joined are named first, others where room is.

    Of more dots than a reader can tell apart, only the joined, the outermost and those of `named`
    have their names written.

    Args:
      title: The title of the drawing.
      dots: What to draw, at least one.
      labels: What the horizontal and the vertical axis show.
      joined: Dots that a stepped line goes through, from left to right.
      named: The names of dots that are to be named among many.
      log_x: Whether the horizontal axis is logarithmic.
      log_y: Whether the vertical axis is logarithmic.
    """
    drawing = Drawing(_WIDTH, _HEIGHT, title)
    if log_y:
        # A limit at or below zero is beyond every logarithmic scale: its line ends at the edge.
        edge = min(dot.y for dot in dots) / 2.0
        dots, joined = (
            [d._replace(lower=max(d.lower, min(edge, d.y))) for d in some]
            for some in (dots, joined)
        )
    x = _padded([dot.x for dot in dots], 52, 588, log_x)
    y = _padded([v for dot in dots for v in (dot.y, dot.lower, dot.upper)], 284, 22, log_y)
    drawing.axes(x, y, _ticks(x), _ticks(y))
    drawing.text(x.end, 314, f"{labels[0]} →", "note", "end")
    drawing.text(4, 9, labels[1], "note")
    corners = [(x(dot.x), y(dot.y)) for dot in joined]
    for (left, level), (right, lower) in itertools.pairwise(corners):
        drawing.line([(left, level), (right, level), (right, lower)], "quiet thin dashed")
    taken: list[Box] = [
        (min(a[0], b[0]), min(a[1], b[1]), max(a[0], b[0]), max(a[1], b[1]))
        for (left, level), (right, lower) in itertools.pairwise(corners)
        for a, b in (((left, level), (right, level)), ((right, level), (right, lower)))
    ]
    taken += [(x(d.x) - 4, y(d.y) - 4, x(d.x) + 4, y(d.y) + 4) for d in dots]
    for dot in dots:
        drawing.line([(x(dot.x), y(dot.lower)), (x(dot.x), y(dot.upper))], f"{dot.style} thin")
        about = f"{dot.name}: {labels[1]} {dot.y:.4g}, {labels[0]} {dot.x:.4g}"
        drawing.dot(x(dot.x), y(dot.y), 2.0 if dot.cut else 4.0, f"{dot.style} fill", about)
        if dot.cut:
            cross(drawing, x(dot.x), y(dot.y), 4.0, dot.style)
    joined_names = {dot.name for dot in joined}
    rest = [dot for dot in dots if dot.name not in joined_names]
    if len(dots) > _MANY:
        outer = {
            pick(dots, key=key).name
            for pick in (min, max)
            for key in (lambda dot: dot.x, lambda dot: dot.y)
        }
        rest = [dot for dot in rest if dot.name in outer or dot.name in named]
    for dot in [*joined, *rest]:
        _label(drawing, x(dot.x), y(dot.y), dot.name, taken)
    return drawing


def _label(drawing: Drawing, x: float, y: float, name: str, taken: list[Box]) -> None:
    """Writes a name beside its dot where no other name or dot is; leaves it out otherwise."""
    width = _LETTER * len(name)
    places: list[tuple[float, float, Anchor]] = [
        (x + 7, y + 3, "start"),
        (x - 7, y + 3, "end"),
        (x, y - 8, "middle"),
        (x, y + 14, "middle"),
        (x + 6, y - 6, "start"),
        (x + 6, y + 12, "start"),
        (x - 6, y - 6, "end"),
        (x - 6, y + 12, "end"),
    ]
    for left, base, anchor in places:
        start = {"start": left, "middle": left - width / 2, "end": left - width}[anchor]
        box = (start, base - 8, start + width, base + 2)
        inside = box[0] >= 40 and box[2] <= _WIDTH and box[1] >= 10 and box[3] <= 284
        if inside and not any(_overlap(box, other) for other in taken):
            drawing.text(left, base, name, "name", anchor)
            taken.append(box)
            return


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _padded(values: Sequence[float], start: float, end: float, log: bool) -> Scale:
    low, high = min(values), max(values)
    if log:
        ratio = max((high / low) ** 0.06, 1.1)
        return Scale(low / ratio, high * ratio, start, end, log=True)
    pad = 0.06 * (high - low) or max(abs(high), 1.0) * 0.05
    return Scale(low - pad, high + pad, start, end)


def _ticks(scale: Scale) -> list[tuple[float, str]]:
    # Round numbers of a linear scale say more where a logarithmic one has hardly a power of ten.
    narrow = scale.high / scale.low < 8.0 if scale.log else True
    return levels(scale) if narrow else powers(scale, short, fewest=3)
