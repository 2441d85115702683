"""What the device does at best, measured: the copying of memory, and products of matrices.

Shares of these say how near to the device's limits a program is, whatever the device is.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from experiments.bench.programs import blocking, compiled
from experiments.timing import interleaved

# Sizes double until one call lasts this long; then what a call costs apart from its work is small.
ENOUGH_SECONDS = 0.02
LARGEST_COPY = 2**28  # numbers: 1 GiB of float32, and as much for the result
LARGEST_MATRIX = 2**14
ROUNDS = 7


class Roofs(NamedTuple):
    """What was measured of the device itself.

    Attributes:
      copy_bytes: read and written by the copy.
      copy_bytes_per_second: its rate.
      matrix_size: rows and columns of the square matrices.
      matrix_flops_per_second: the rate of their product.
      call_seconds: of a program that does next to nothing: what each call costs.
    """

    copy_bytes: int
    copy_bytes_per_second: float
    matrix_size: int
    matrix_flops_per_second: float
    call_seconds: float


def measured(dtype: str, copy: int = LARGEST_COPY, matrix: int = LARGEST_MATRIX) -> Roofs:
    """Measures all of it, each at its fastest: what slows a round down is not the device."""
    return _between((min(2**12, copy), copy), (min(2**5, matrix), matrix), dtype)


def anew(roofs: Roofs, dtype: str) -> Roofs:
    """Measures at the same sizes again: a machine is not the same all the time."""
    numbers = roofs.copy_bytes // (2 * jnp.dtype(dtype).itemsize)
    return _between((numbers, numbers), (roofs.matrix_size, roofs.matrix_size), dtype)


def _between(copy: tuple[int, int], matrix: tuple[int, int], dtype: str) -> Roofs:
    """Measures at the first sizes that last long enough, from the smallest to the largest."""
    numbers, copied = _fastest(lambda n: _copy(n, dtype), *copy)
    size, product = _fastest(lambda n: _product(n, dtype), *matrix)
    _, call = _fastest(lambda n: _copy(n, dtype), 1, 1)
    moved = 2 * numbers * jnp.dtype(dtype).itemsize
    return Roofs(moved, moved / copied, size, 2.0 * size**3 / product, call)


def _fastest(
    program: Callable[[int], Callable[[], None]], smallest: int, largest: int
) -> tuple[int, float]:
    """The first size whose call lasts long enough, or the largest one, and its best time."""
    size = smallest
    while True:
        timing = interleaved({"it": program(size)}, ROUNDS)["it"]
        fastest = min(timing.seconds)
        if size >= largest or fastest >= ENOUGH_SECONDS:
            return size, fastest
        size = min(2 * size, largest)


def _copy(numbers: int, dtype: str) -> Callable[[], None]:
    x = jnp.ones(numbers, dtype)
    # Adding makes it a pass over the numbers, which a compiler may not replace by an alias.
    return blocking(compiled(lambda x: x + jnp.ones((), x.dtype), x).run, x)


def _product(size: int, dtype: str) -> Callable[[], None]:
    x = jnp.ones((size, size), dtype)
    return blocking(compiled(jnp.matmul, x, x).run, x, x)
