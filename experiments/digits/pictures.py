"""Pictures of the maps themselves: bars of an example, and the simplex of three classes."""

import functools
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from experiments.digits.contenders import Contender, Program
from experiments.digits.objectives import fixed_parameters, probabilities
from experiments.environment import compiler_options
from experiments.metrics import at_most_one
from experiments.svg import Drawing, Scale, png

EXAMPLE = (2.0, 1.3, 0.5, 0.0, -1.2)
TRIANGLE_SCALE = 3.0
_CONTOURS = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
_COLUMNS, _ROWS = 176, 152
_COLORS = np.asarray([(0x2F, 0x6F, 0xDE), (0xE8, 0x70, 0x2A), (0x1A, 0x9C, 0x7C)], np.float64)


def pictured(contenders: Sequence[Contender]) -> list[Contender]:
    """Returns those whose map is a fixed function: neither random, nor with a learned parameter."""
    return [c for c in contenders if not c.program.noisy and not c.program.learned]


def draw_maps(contenders: Sequence[Contender]) -> tuple[list[Drawing], list[Drawing]]:
    """Returns the bar charts and the triangles of the maps."""
    inside, corners = _triangle()
    scores = TRIANGLE_SCALE * (corners - 1.0 / 3.0)

    def draw(contender: Contender) -> tuple[Drawing, Drawing]:
        bars = _bars(contender, _outputs(contender, np.asarray([EXAMPLE]))[0])
        return bars, _triangle_drawing(contender, inside, _outputs(contender, scores))

    # Most of the time is compilation, which leaves Python's lock to the other thread.
    with ThreadPoolExecutor(max_workers=2) as pool:
        drawn = list(pool.map(draw, contenders))
    return [bars for bars, _ in drawn], [triangle for _, triangle in drawn]


def _outputs(contender: Contender, scores: np.ndarray) -> np.ndarray:
    inputs = jnp.asarray(scores, jnp.float32)
    outputs = np.asarray(_evaluate()(contender.program, inputs, fixed_parameters(contender)))
    # What is not finite is left blank.
    return np.where(np.isfinite(outputs), outputs, 0.0)


@functools.cache
def _evaluate() -> Callable[[Program, Array, Mapping[str, Array]], Array]:
    # Made on first use: the options ask for the device, which importing should not start.
    return jax.jit(probabilities, static_argnums=0, compiler_options=compiler_options(level=0))


def _bars(contender: Contender, output: np.ndarray) -> Drawing:
    drawing = Drawing(190, 118, contender.name)
    low, high = min(EXAMPLE), max(EXAMPLE)
    scores = Scale(min(low, 0.0), high, 112, 26)
    top = max(1.0, float(output.max()))
    parts = Scale(0.0, top, 112, 26)
    drawing.text(4, 9, "logits", "note")
    drawing.text(100, 9, "output", "note")
    for i, (score, part) in enumerate(zip(EXAMPLE, output.tolist(), strict=True)):
        x = 4 + 17 * i
        ends = sorted((scores(score), scores(0.0)))
        drawing.rect(x, ends[0], 13, ends[1] - ends[0], "quiet fill")
        x += 96
        drawing.rect(x, parts(part), 13, parts(0.0) - parts(part), f"{contender.group} fill")
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


def _triangle_drawing(contender: Contender, inside: np.ndarray, outputs: np.ndarray) -> Drawing:
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
    drawing = Drawing(190, 170, contender.name)
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
