"""Small SVG drawings whose colours come from classes, so that they follow light and dark."""

import dataclasses
import math
import struct
import zlib
from base64 import b64encode
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Literal

import numpy as np

STYLE = (Path(__file__).parent / "assets" / "plots.css").read_text(encoding="utf-8")
Point = tuple[float, float]
Anchor = Literal["start", "middle", "end"]


@dataclasses.dataclass(frozen=True)
class Scale:
    """A map from values to a stretch of pixels, linear or logarithmic.

    Attributes:
      low: The value at `start`.
      high: The value at `end`.
      start: A pixel.
      end: A pixel.
      log: Whether equal ratios take equal lengths.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Returns the pixel of a value; what lies outside is moved to the nearer limit."""
        inside = min(max(value, self.low), self.high)
        along: Callable[[float], float] = math.log if self.log else float
        part = (along(inside) - along(self.low)) / (along(self.high) - along(self.low))
        return self.start + part * (self.end - self.start)


class Drawing:
    """A list of shapes in a box of `width` x `height` pixels."""

    def __init__(self, width: float, height: float, title: str) -> None:
        self.width, self.height, self.title = width, height, title
        self.shapes: list[str] = []

    def line(self, points: Sequence[Point], style: str) -> None:
        """Draws a line through points."""
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.shapes.append(f'<polyline class="{style}" points="{path}"/>')

    def area(self, points: Sequence[Point], style: str) -> None:
        """Fills a polygon."""
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.shapes.append(f'<polygon class="{style}" points="{path}"/>')

    def rect(self, x: float, y: float, width: float, height: float, style: str) -> None:
        """Fills a rectangle."""
        box = f'x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" height="{max(height, 0):.1f}"'
        self.shapes.append(f'<rect class="{style}" {box}/>')

    def dot(self, x: float, y: float, radius: float, style: str, title: str = "") -> None:
        """Fills a circle; a title is shown where the pointer rests on it."""
        shape = f'<circle class="{style}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}"'
        inner = f"><title>{escape(title)}</title></circle>" if title else "/>"
        self.shapes.append(shape + inner)

    def text(self, x: float, y: float, text: str, style: str, anchor: Anchor = "start") -> None:
        """Writes one line; (x, y) is on its base line."""
        place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
        self.shapes.append(f'<text class="{style}" {place}>{escape(text)}</text>')

    def image(self, x: float, y: float, width: float, height: float, png: bytes) -> None:
        """Places a picture."""
        box = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
        data = b64encode(png).decode()
        self.shapes.append(f'<image {box} href="data:image/png;base64,{data}"/>')

    def axes(
        self,
        x: Scale,
        y: Scale,
        x_ticks: Sequence[tuple[float, str]],
        y_ticks: Sequence[tuple[float, str]],
    ) -> None:
        """Draws grid lines at the ticks, and their labels below and to the left."""
        for value, label in y_ticks:
            self.line([(x.start, y(value)), (x.end, y(value))], "grid")
            self.text(x.start - 4, y(value) + 3, label, "tick", "end")
        for value, label in x_ticks:
            self.text(x(value), y.start + 11, label, "tick", "middle")
        self.line([(x.start, y.start), (x.end, y.start)], "axis")

    def inline(self) -> str:
        """Returns the drawing for a page that holds the style itself."""
        box = f'viewBox="0 0 {self.width:g} {self.height:g}"'
        name = escape(self.title, quote=True)
        return f'<svg {box} role="img" aria-label="{name}">{"".join(self.shapes)}</svg>'


def sheet(drawings: Sequence[Drawing], columns: int, heading: str) -> str:
    """Returns a file of its own: the drawings in a grid, each under its title."""
    gap, top, caption = 14, 34, 16
    width = max(d.width for d in drawings)
    height = max(d.height for d in drawings) + caption
    rows = math.ceil(len(drawings) / columns)
    total = (gap + columns * (width + gap), top + rows * (height + gap))
    parts = [f'<rect class="paper" width="{total[0]:g}" height="{total[1]:g}"/>']
    parts.append(f'<text class="heading" x="{gap}" y="22">{escape(heading)}</text>')
    for number, drawing in enumerate(drawings):
        row, column = divmod(number, columns)
        x, y = gap + column * (width + gap), top + row * (height + gap)
        title = f'<text class="title" x="0" y="11">{escape(drawing.title)}</text>'
        shapes = f'<g transform="translate(0 {caption})">{"".join(drawing.shapes)}</g>'
        parts.append(f'<g transform="translate({x:g} {y:g})">{title}{shapes}</g>')
    box = f'viewBox="0 0 {total[0]:g} {total[1]:g}" width="{total[0]:g}" height="{total[1]:g}"'
    space = 'xmlns="http://www.w3.org/2000/svg"'
    return f"<svg {space} {box}><style>{STYLE}</style>{''.join(parts)}</svg>\n"


def png(pixels: np.ndarray) -> bytes:
    """Returns a PNG of [rows, columns, 4] bytes: red, green, blue, opacity."""
    height, width, _ = pixels.shape
    rows = b"".join(b"\x00" + row.tobytes() for row in pixels.astype(np.uint8))
    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
