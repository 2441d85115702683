"""Newton's method for a threshold of which only sums over the outputs are known.

Who holds a row in blocks adds up each block's part of the sums and never has the row at once.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax

from softmax_variants._threshold import Family
from softmax_variants._typing import Array

_MAX_PASSES = 80  # Newton takes a few; this bounds the bisection that alpha > 2 may need


class Bracket(NamedTuple):
    """For rows whose sum is not convex: what bounds their unknown.

    Attributes:
      steep: which rows these are.
      low: a bound of the unknown; the sum of the outputs is below 1 there.
      high: the same, above 1.
    """

    steep: Array
    low: Array
    high: Array


class _Carry(NamedTuple):
    unknown: Array
    total: Array
    slope: Array
    pending: Array
    bracket: Bracket | None
    passes: Array


def solve_by_sums(
    family: Family,
    sums: Callable[[Array], tuple[Array, Array]],
    start: Array,
    live: Array,
    bracket: Bracket | None,
) -> tuple[Array, Array]:
    """The unknown of each live row, and the sum of its outputs there.

    `sums(unknown)` is the sum of the outputs and the sum of `Family.slope`. Where the sum is convex
    the steps from a start to the left of the root are monotone. In a bracket, a step that leaves it
    is replaced by its middle.
    """
    unit = float(jnp.finfo(start.dtype).eps)

    def off(total: Array) -> Array:
        return jnp.abs(total - 1) > 3 * unit

    def advance(carry: _Carry) -> _Carry:
        unknown, total, slope, pending, bracket, passes = carry
        new = unknown + family.step(total, slope)
        # The step from within the tolerance is the last one: rounding moves it from then on.
        settled = jnp.abs(total - 1) <= family.tolerance(start.dtype)
        if bracket is not None:
            new, settled, bracket = _bracketed(bracket, unknown, new, total, settled)
        unknown = jnp.where(pending, new, unknown)
        total, slope = sums(unknown)
        return _Carry(unknown, total, slope, pending & ~settled & off(total), bracket, passes + 1)

    def unfinished(carry: _Carry) -> Array:
        return jnp.any(carry.pending) & (carry.passes < _MAX_PASSES)

    total, slope = sums(start)
    carry = _Carry(start, total, slope, live & off(total), bracket, jnp.int32(0))
    carry = lax.while_loop(unfinished, advance, carry)
    return carry.unknown, carry.total


def _bracketed(
    bracket: Bracket, unknown: Array, new: Array, total: Array, settled: Array
) -> tuple[Array, Array, Bracket]:
    """The step kept in the bracket, which rows end with it, and the narrower bracket."""
    steep, low, high = bracket
    # The outputs grow with the unknown: too large a sum bounds it from above.
    high = jnp.where(total > 1, unknown, high)
    low = jnp.where(total > 1, low, unknown)
    middle = low + (high - low) / 2
    new = jnp.where(steep & ~((new > low) & (new < high)), middle, new)
    stuck = steep & ((middle <= low) | (middle >= high))
    return new, (settled & ~steep) | stuck, Bracket(steep, low, high)
