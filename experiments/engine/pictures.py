"""Pictures of the maps themselves: bars of an example, and the simplex of three classes."""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from experiments.engine.plots import styles
from experiments.environment import compiler_options
from experiments.metrics import at_most_one
from experiments.svg import Drawing, Scale, png
from softmax_variants.variants import VARIANTS

Figures = dict[str, Any]
EXAMPLE = (2.0, 1.3, 0.5, 0.0, -1.2)
TRIANGLE_SCALE = 3.0
_CONTOURS = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
_COLUMNS, _ROWS = 176, 152
_COLORS = np.asarray([(0x2F, 0x6F, 0xDE), (0xE8, 0x70, 0x2A), (0x1A, 0x9C, 0x7C)], np.float64)


class Picture(NamedTuple):
    """A map to be drawn.

    Attributes:
      name: What stands over its picture.
      style: The class of its colour.
      map: The row of the table of variants.
      parameters: Its parameters, as they were fixed, tuned or learned (the mean over seeds).
    """

    name: str
    style: str
    map: str
    parameters: Mapping[str, Any]


def pictured(results: Figures) -> list[Picture]:
    """Returns the maps of the contenders that are functions of the scores, each once."""
    colors, seen, found = styles(results), [], []
    for c in results["contenders"]:
        row = VARIANTS.get(c["map"] or "")
        if row is None or row.stochastic:
            continue
        learned = {n: v["estimate"] for n, v in c["learned"].items() if v}
        given = {**c["fixed"], **c["tuned"], **learned}
        taken = inspect.signature(row.map).parameters
        known = {n: v for n, v in given.items() if n in taken}
        if (row.name, known) not in seen:
            seen.append((row.name, known))
            found.append(Picture(c["name"], colors[c["name"]], row.name, known))
    return found


def draw_maps(pictures: Sequence[Picture]) -> tuple[list[Drawing], list[Drawing]]:
    """Returns the bar charts and the triangles of the maps."""
    inside, corners = _triangle()
    scores = TRIANGLE_SCALE * (corners - 1.0 / 3.0)

    def draw(picture: Picture) -> tuple[Drawing, Drawing]:
        bars = _bars(picture, _outputs(picture, np.asarray([EXAMPLE]))[0])
        return bars, _triangle_drawing(picture, inside, _outputs(picture, scores))

    # Most of the time is compilation, which leaves Python's lock to the other thread.
    with ThreadPoolExecutor(max_workers=2) as pool:
        drawn = list(pool.map(draw, pictures))
    return [bars for bars, _ in drawn], [triangle for _, triangle in drawn]


def _outputs(picture: Picture, scores: np.ndarray) -> np.ndarray:
    inputs = jnp.asarray(scores, jnp.float32)
    parameters = {n: jnp.asarray(v, jnp.float32) for n, v in sorted(picture.parameters.items())}
    outputs = np.asarray(_evaluate()(picture.map, inputs, parameters))
    # What is not finite is left blank.
    return np.where(np.isfinite(outputs), outputs, 0.0)


@functools.cache
def _evaluate() -> Callable[[str, Array, Mapping[str, Array]], Array]:
    # Made on first use: the options ask for the device, which importing should not start.
    return jax.jit(_output, static_argnums=0, compiler_options=compiler_options(level=0))


def _output(name: str, scores: Array, parameters: Mapping[str, Array]) -> Array:
    row = VARIANTS[name]
    # Where a map takes no negative score, a softplus stands before it.
    outputs: Array = row(jax.nn.softplus(scores) if row.nonnegative_input else scores, **parameters)
    return outputs


def _bars(picture: Picture, output: np.ndarray) -> Drawing:
    drawing = Drawing(190, 118, picture.name)
    low, high = min(EXAMPLE), max(EXAMPLE)
    scores = Scale(min(low, 0.0), high, 112, 26)
    top = max(1.0, float(output.max()))
    parts = Scale(0.0, top, 112, 26)
    drawing.text(4, 9, "scores", "note")
    drawing.text(100, 9, "output", "note")
    for i, (score, part) in enumerate(zip(EXAMPLE, output.tolist(), strict=True)):
        x = 4 + 17 * i
        ends = sorted((scores(score), scores(0.0)))
        drawing.rect(x, ends[0], 13, ends[1] - ends[0], "quiet fill")
        x += 96
        drawing.rect(x, parts(part), 13, parts(0.0) - parts(part), f"{picture.style} fill")
        label = "0" if part == 0.0 else f"{part:.2f}".removeprefix("0")
        drawing.text(x + 6.5, parts(part) - 3, label, "value", "middle")
    drawing.line([(2, scores(0.0)), (88, scores(0.0))], "axis")
    drawing.line([(98, parts(0.0)), (184, parts(0.0))], "axis")
    return drawing


def _triangle() -> tuple[np.ndarray, np.ndarray]:
    """Returns which pixels lie in the triangle, and their barycentric coordinates."""
    row, column = np.mgrid[0:_ROWS, 0:_COLUMNS]
    third = 1.0 - (row + 0.5) / _ROWS
    second = (column + 0.5) / _COLUMNS - third / 2.0
    corners = np.stack([1.0 - second - third, second, third], axis=-1)
    inside = np.all(corners >= 0.0, axis=-1)
    return inside, corners[inside]


def _triangle_drawing(picture: Picture, inside: np.ndarray, outputs: np.ndarray) -> Drawing:
    parts = at_most_one(outputs)
    total = parts.sum(axis=-1, keepdims=True)
    # Eight steps of a colour look smooth, and make a picture a few kilobytes small.
    mixed = np.round((parts / np.maximum(total, 1e-9)) @ _COLORS / 8.0) * 8.0
    pixels = np.zeros((_ROWS, _COLUMNS, 4))
    # Mass that a map withholds lets the page shine through.
    pixels[inside] = np.concatenate([mixed, 255.0 * total], axis=-1)
    level, support = np.zeros((2, _ROWS, _COLUMNS), int)
    level[inside] = 1 + np.searchsorted(_CONTOURS, parts.max(axis=-1))
    support[inside] = 1 + (outputs > 0.0) @ np.asarray([1, 2, 4])
    pixels[_borders(level), :3] += 0.35 * (255.0 - pixels[_borders(level), :3])
    pixels[_borders(support)] = (20, 24, 32, 255)
    drawing = Drawing(190, 170, picture.name)
    drawing.image(7, 12, _COLUMNS, _ROWS, png(np.clip(np.round(pixels), 0, 255)))
    drawing.text(0, 164, "1", "value one")
    drawing.text(190, 164, "2", "value two", "end")
    drawing.text(95, 9, "3", "value three", "middle")
    return drawing


def _borders(regions: np.ndarray) -> np.ndarray:
    """Marks pixels whose right or lower neighbour lies in another region; 0 is outside of all."""
    border = np.zeros(regions.shape, bool)
    for axis in (0, 1):
        ahead = np.roll(regions, -1, axis)
        border |= (regions != ahead) & (regions > 0) & (ahead > 0)
    return border
