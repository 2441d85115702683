"""Intervals under each other: a line for each thing that is measured, in groups."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from experiments.charts import levels, powers, short
from experiments.svg import Drawing, Scale

_WIDTH, _ROW, _GAP, _TOP = 620.0, 11.0, 6.0, 20.0
_LETTER = 5.2


class Bar(NamedTuple):
    """One interval.

    Attributes:
      style: The class of its colour.
      estimate: Where the dot is.
      lower: The lower limit, or the estimate.
      upper: The upper limit, or the estimate.
      about: What the pointer shows.
    """

    style: str
    estimate: float
    lower: float
    upper: float
    about: str


def forest(title: str, groups: Sequence[tuple[str, Sequence[Bar]]], label: str) -> Drawing:
    """Returns the intervals of each group, the name of the group to the left.

    Args:
      title: The title of the drawing.
      groups: Names and their intervals, at least one interval in all.
      label: What the axis shows; it is logarithmic where values are positive and far apart.
    """
    rows = sum(max(len(bars), 1) for _, bars in groups)
    height = _TOP + rows * _ROW + len(groups) * _GAP + 24.0
    drawing = Drawing(_WIDTH, height, title)
    values = [v for _, bars in groups for bar in bars for v in bar[1:4]]
    left = min(16.0 + _LETTER * max(len(name) for name, _ in groups), 0.4 * _WIDTH)
    x = _scale(values, left)
    bottom = height - 20.0
    for value, text in powers(x, short, fewest=3) if x.log else levels(x):
        drawing.line([(x(value), _TOP - 4), (x(value), bottom)], "grid")
        drawing.text(x(value), bottom + 11, text, "tick", "middle")
    drawing.text(4, 9, f"{label} →", "note")
    y = _TOP + _ROW / 2
    for name, bars in groups:
        drawing.text(left - 8, y + 3, name, "name", "end")
        for bar in bars:
            drawing.line([(x(bar.lower), y), (x(bar.upper), y)], f"{bar.style} line")
            drawing.dot(x(bar.estimate), y, 3.2, f"{bar.style} fill", bar.about)
            y += _ROW
        y += _GAP + (0.0 if bars else _ROW)
    return drawing


def _scale(values: Sequence[float], left: float) -> Scale:
    low, high = min(values), max(values)
    if low > 0 and high / low > 20.0:
        return Scale(low / 1.1, high * 1.1, left, _WIDTH - 14, log=True)
    pad = 0.04 * (high - low) or 0.05 * max(math.fabs(high), 1.0)
    return Scale(low - pad, high + pad, left, _WIDTH - 14)
