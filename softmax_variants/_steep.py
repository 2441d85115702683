"""Entmax for alpha > 2, where the sum of the outputs is not convex in the threshold.

The support is exact: a score is in it if and only if the scores above it, measured from it, do not
fill the simplex, a sum of differences of scores that no threshold's rounding enters. With the
support known, the sum is convex and increasing in its smallest output. All that this needs of a row
are reductions, so that who holds a row in blocks can have it too.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax

from softmax_variants._numerics import row_max, row_sum, staged_sum
from softmax_variants._threshold import Power, Solution
from softmax_variants._typing import Array

_MAX_PASSES = 50


class Reductions(NamedTuple):
    """What is asked of rows of scores; each takes and gives one number a row.

    Attributes:
      at_most: the largest score that is at most a number; `-inf` if there is none.
      below: the largest score below a number; likewise.
      sums: of a score and a number b, the sums over the scores above it of
        `u^(1/eps)` and of `u^(1/eps - 1)` with `u = eps * (x - score) + b`.
      counts: how many scores are a number or above, and how many are that number.
    """

    at_most: Callable[[Array], Array]
    below: Callable[[Array], Array]
    sums: Callable[[Array, Array], tuple[Array, Array]]
    counts: Callable[[Array], tuple[Array, Array]]


def powers_above(x: Array, eps: Array, score: Array, floor: Array) -> tuple[Array, Array]:
    """The terms of `Reductions.sums`."""
    above = x > score
    u = jnp.where(above, eps * (x - score) + floor, 1)
    p = jnp.where(above, jnp.exp(jnp.log(u) / eps), 0)
    return p, p / u


def solve_steep(power: Power, y: Array, pending: Array, other: Solution) -> Solution:
    """For alpha > 2: the solution of the pending rows; the others keep theirs."""

    def largest(kept: Array) -> Array:
        return row_max(jnp.where(kept, y, -jnp.inf))

    def sums(score: Array, floor: Array) -> tuple[Array, Array]:
        p, slope = powers_above(y, power.eps, score, floor)
        return row_sum(p), row_sum(slope)

    def counts(score: Array) -> tuple[Array, Array]:
        return row_sum((y >= score).astype(y.dtype)), row_sum((y == score).astype(y.dtype))

    reductions = Reductions(lambda x: largest(y <= x), lambda x: largest(y < x), sums, counts)
    low = jnp.where(pending, jnp.broadcast_to(-1 / power.eps, pending.shape), -1)
    lowest = lowest_of_support(reductions, low, jnp.zeros_like(low), pending)
    least = smallest_output(reductions, power.eps, lowest, pending)
    offset = jnp.where(pending, jnp.exp(power.eps * jnp.log(least)), other.unknown)
    kept = jnp.where(y < lowest, -jnp.inf, y - lowest)
    p = jnp.where(y == lowest, least, power.output(kept, offset))
    p = jnp.where(pending, p, other.output)
    return Solution(offset, p, staged_sum(p))


def smallest_output(rows: Reductions, eps: Array, lowest: Array, pending: Array) -> Array:
    """The smallest output `v`: `sum (g_i + v^eps)^(1/eps) = 1` with `g_i = eps * (y_i - lowest)`.

    Newton's method from `v = 1 / count`, to the right of the root, is monotone.
    """
    count, ties = rows.counts(lowest)
    tiny = float(jnp.finfo(lowest.dtype).tiny)

    def unfinished(state: tuple[Array, Array, Array]) -> Array:
        _, pending, passes = state
        return jnp.any(pending) & (passes < _MAX_PASSES)

    def advance(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        least, pending, passes = state
        floor = jnp.exp(eps * jnp.log(least))
        above, slope = rows.sums(lowest, floor)
        total, slope = above + ties * least, slope * (floor / least) + ties
        lower = jnp.maximum(least - (total - 1) / slope, tiny)
        # Monotone from the right until rounding: a step that does not descend ends the row.
        moved = pending & (lower < least)
        return jnp.where(moved, lower, least), moved, passes + 1

    start = jnp.where(pending & (count > 0), 1 / jnp.where(count > 0, count, 1), 1)
    return lax.while_loop(unfinished, advance, (start, pending, jnp.int32(0)))[0]


def lowest_of_support(rows: Reductions, low: Array, high: Array, pending: Array) -> Array:
    """Bisection over the scores themselves for the smallest one in the support.

    `high` is a score in it; whatever is `low` or below is not.
    """

    def unfinished(state: tuple[Array, Array, Array, Array]) -> Array:
        _, _, pending, passes = state
        return jnp.any(pending) & (passes < 4 * _MAX_PASSES)

    def advance(
        state: tuple[Array, Array, Array, Array],
    ) -> tuple[Array, Array, Array, Array]:
        low, high, pending, passes = state
        middle = low + (high - low) / 2
        score = rows.at_most(middle)
        mass, _ = rows.sums(score, jnp.zeros_like(score))
        inside = (score > low) & (mass < 1)
        splits = (middle > low) & (middle < high)
        low, high = (
            jnp.where(pending & ~inside, middle, low),
            jnp.where(pending & inside, score, high),
        )
        pending = pending & splits & (rows.below(high) > low)
        return low, high, pending, passes + 1

    pending = pending & (rows.below(high) > low)
    return lax.while_loop(unfinished, advance, (low, high, pending, jnp.int32(0)))[1]
