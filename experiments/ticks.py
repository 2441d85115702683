"""Ticks of the axes of a drawing, and labels beside it that do not overlap."""

import math
from collections.abc import Callable, Sequence

from experiments.svg import Scale


def powers(scale: Scale, label: Callable[[float], str]) -> list[tuple[float, str]]:
    """Returns ticks of a logarithmic scale: powers of ten, or 1, 3, 10 where these are few."""
    for factors in ((1.0,), (1.0, 3.0), (1.0, 2.0, 5.0)):
        exponents = range(math.floor(math.log10(scale.low)), math.ceil(math.log10(scale.high)) + 1)
        ticks = [f * 10.0**e for e in exponents for f in factors]
        inside = [t for t in ticks if scale.low <= t <= scale.high]
        if len(inside) >= 2:
            break
    kept = inside[:: max(1, math.ceil(len(inside) / 5))]
    return [(tick, label(tick)) for tick in kept]


def levels(scale: Scale) -> list[tuple[float, str]]:
    """Returns three to seven round ticks of a linear scale."""
    width = scale.high - scale.low
    step = 10.0 ** math.floor(math.log10(width))
    step = next(step * f for f in (1.0, 0.5, 0.2, 0.1) if width / (step * f) >= 3.0)
    first = math.ceil(scale.low / step)
    ticks = [i * step for i in range(first, math.floor(scale.high / step) + 1)]
    return [(tick, f"{tick:.{max(0, -math.floor(math.log10(step)))}f}") for tick in ticks]


def short(number: float) -> str:
    """Returns 10k for 10,000."""
    for size, mark in ((1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:g}{mark}"
    return f"{number:g}"


def apart(heights: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Returns rising heights at least `gap` apart, near the given ones and inside the limits."""
    placed: list[float] = []
    for height in heights:
        placed.append(max(height, placed[-1] + gap if placed else low))
    for i in range(len(placed) - 1, -1, -1):
        limit = high if i == len(placed) - 1 else placed[i + 1] - gap
        placed[i] = min(placed[i], limit)
    return placed
