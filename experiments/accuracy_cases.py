"""The rows that accuracy is measured on, and the references for them."""

import functools
import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from experiments import references

ALPHAS = (1.0, 1.0001, 1.01, 1.05, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0)
# The derivative by alpha is what breaks elsewhere next to 1.
DERIVATIVE_ALPHAS = (1.0, 1.00001, 1.0001, 1.01, 1.05, 1.25, 1.5, 1.75, 2.0)
_ROWS = {1: 1, 2: 16, 10: 16, 1000: 4, 100_000: 1}


class Grid(NamedTuple):
    """Which cases a run measures."""

    sizes: tuple[int, ...]
    scales: tuple[float, ...]
    offsets: tuple[float, ...]
    seed: int = 0


FULL = Grid((1, 2, 10, 1000, 100_000), (1e-4, 1e-2, 1.0, 10.0, 100.0), (0.0, 1e4))
QUICK = Grid((1, 2, 10, 1000), (1e-4, 1.0, 100.0), (0.0, 1e4))


class Case(NamedTuple):
    """Rows of float32 logits: the references start from these rounded numbers."""

    n: int
    scale: float
    offset: float
    x: np.ndarray

    def where(self) -> dict[str, float]:
        """What identifies the case in a record."""
        return {"n": self.n, "scale": self.scale, "offset": self.offset}


def cases(grid: Grid) -> Iterator[Case]:
    """Every combination of the grid, with the same numbers on every run."""
    combinations = itertools.product(grid.sizes, grid.scales, grid.offsets)
    for number, (n, scale, offset) in enumerate(combinations):
        rng = np.random.default_rng((grid.seed, number))
        x = rng.normal(size=(_ROWS.get(n, 4), n)) * scale + offset
        yield Case(n, scale, offset, x.astype(np.float32))


def as_float32(alpha: float) -> float:
    """The alpha that a float32 computation is given, as the number it is."""
    return float(np.float32(alpha))


def exact_rows(x: np.ndarray, alpha: float) -> np.ndarray:
    """The entmax of every row in long double, alpha as float32 has it."""
    wide = np.asarray(x).astype(np.float64)
    return _solved(wide.tobytes(), wide.shape, as_float32(alpha))


@functools.lru_cache(maxsize=512)
def _solved(data: bytes, shape: tuple[int, ...], alpha: float) -> np.ndarray:
    """Values, derivatives and losses start from the same solutions, the slowest part of a run."""
    rows = np.frombuffer(data).reshape(shape)
    return np.stack([references.solve(row, alpha).p for row in rows])
