"""Threshold solvers shared by the maps and by the conjugates of their losses.

Every sparse map is `p_i = power(y_i - tau)` for one number tau a row. All solvers here find it by
reductions along the row (never by a sort), so the class axis may be sharded.

For alpha <= 2 the sum of the outputs, on the scale of the Tsallis logarithm, is a convex and
decreasing function of tau (a norm of a convex map), so Newton's method from the left is monotone
and cannot overshoot. Any subset of a row has its root to the left of the row's own, so the few
largest entries of each block of the row give a start that is nearly always the answer: passes over
the whole row are needed only where a block holds more of the support than was taken from it.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax

from softmax_variants._numerics import is_split, row_max, row_sum, safe_divide, staged_sum
from softmax_variants._powers import power
from softmax_variants._typing import Array

_TAKEN = 2  # entries taken from each block: more cost a pass each and are seldom needed
_SHORTEST_SPLIT = 64  # below this a pass over the row costs less than preparing the start
_MAX_PASSES = 50  # Newton takes at most 13; this bounds a row that rounding keeps from settling


class Family(NamedTuple):
    """A family of outputs `p(y, u)`, convex and decreasing in its sum's scale as `u` moves.

    Attributes:
      output: `(y, u) -> p`.
      slope: `(y, u, p) ->` what `step` needs of the derivative of the sum.
      step: `(sum p, slope) -> change of u`, one Newton step.
      tolerance: the distance of the sum from 1 below which one more step is exact to rounding.
    """

    output: Callable[[Array, Array], Array]
    slope: Callable[[Array, Array, Array], Array]
    step: Callable[[Array, Array], Array]
    tolerance: Array | float


class Solution(NamedTuple):
    """The unknown of each row, its outputs and their sum, which is 1 up to rounding."""

    unknown: Array
    output: Array
    total: Array

    def normalized(self) -> Array:
        return safe_divide(self.output, self.total)


def solve(family: Family, y: Array, start: Array, live: Array) -> Solution:
    """Newton's method on each live row from `start`, which lies to the left of its root."""
    top = block_top(y)
    if top is not None:
        start = solve(family, top, start, live).unknown

    def evaluate(unknown: Array) -> Solution:
        output = family.output(y, unknown)
        return Solution(unknown, output, staged_sum(output))

    def unfinished(state: tuple[Solution, Array, Array]) -> Array:
        _, pending, passes = state
        return jnp.any(pending) & (passes < _MAX_PASSES)

    def advance(state: tuple[Solution, Array, Array]) -> tuple[Solution, Array, Array]:
        (unknown, output, total), pending, passes = state
        step = family.step(total, family.slope(y, unknown, output))
        # The step from within the tolerance is the last one: rounding moves it from then on.
        last = jnp.abs(total - 1) <= family.tolerance
        solution = evaluate(unknown + jnp.where(pending, step, 0))
        return solution, pending & ~last & _off(solution.total), passes + 1

    solution = evaluate(start)
    state = (solution, live & _off(solution.total), jnp.int32(0))
    return lax.while_loop(unfinished, advance, state)[0]


def _off(total: Array) -> Array:
    """Whether a sum differs from 1 by more than rounding; a NaN row never does."""
    return jnp.abs(total - 1) > 3 * jnp.finfo(total.dtype).eps


def block_size(n: int) -> int:
    """Entries a block: longer rows afford longer blocks for the same chance of a full one."""
    return 1 << max(3, round((n.bit_length() - 1) / 2 - 2))


def block_top(y: Array) -> Array | None:
    """The few largest entries of each block, or `None` where the row is not worth splitting.

    A block is every k-th entry: if the row is split over devices, each block is split over all of
    them, and its maximum is an all-reduce.
    """
    n = y.shape[-1]
    if n < _SHORTEST_SPLIT or is_split(y, -1):
        return None
    size = block_size(n)
    whole = n - n % size
    blocks = y[..., :whole].reshape(*y.shape[:-1], size, whole // size)
    best = jnp.max(blocks, axis=-2)
    entries = [y[..., whole:], best]
    for _ in range(_TAKEN - 1):
        # Ties of the best are passed over: the start is then a little further left, never wrong.
        below = jnp.where(blocks < best[..., None, :], blocks, -jnp.inf)
        best = jnp.max(below, axis=-2)
        entries.append(best)
    return jnp.concatenate(entries, axis=-1)


def solve_sparsemax(y: Array) -> Solution:
    """`max(y - tau, 0)` with sum 1, for rows with maximum 0; Michelot's iteration."""

    def output(y: Array, tau: Array) -> Array:
        return jnp.maximum(y - tau, 0)

    def slope(y: Array, tau: Array, p: Array) -> Array:
        return row_sum((p > 0).astype(p.dtype))

    def step(total: Array, slope: Array) -> Array:
        return safe_divide(total - 1, slope)

    # Every step changes the support until one does not, which is exact.
    family = Family(output, slope, step, float(3 * jnp.finfo(y.dtype).eps))
    top = row_max(y)
    return solve(family, y, jnp.full_like(top, -1), top == 0)


def solve_entmax15(z: Array) -> Solution:
    """`max(z - tau, 0)^2` with sum 1, for rows `z = y / 2` with maximum 0."""

    def output(z: Array, tau: Array) -> Array:
        return jnp.square(jnp.maximum(z - tau, 0))

    def slope(z: Array, tau: Array, p: Array) -> Array:
        return row_sum(jnp.maximum(z - tau, 0))

    def step(total: Array, slope: Array) -> Array:
        norm = jnp.sqrt(total)
        return safe_divide((norm - 1) * norm, slope)

    family = Family(output, slope, step, jnp.sqrt(jnp.finfo(z.dtype).eps) / 3)
    top = row_max(z)
    return solve(family, z, jnp.full_like(top, -1), top == 0)


class Power(NamedTuple):
    """The outputs of entmax: `p = (base + (alpha-1) * y + offset)^(1/(alpha-1))`, 0 below 0.

    The offset is the unknown. Near alpha = 1 it is kept relative to 1 (`base` 1), where only
    `log1p` keeps the exponent exact; elsewhere it is the small number that is left when tau is
    subtracted from 0 (`base` 0), which keeps dense rows exact. One formula serves both.
    """

    eps: Array
    base: Array

    @classmethod
    def of(cls, alpha: Array) -> "Power":
        eps = alpha - 1
        # At alpha = 1 a power of two small enough to be exactly softmax to rounding.
        eps = jnp.where(jnp.abs(eps) < 2.0**-40, 2.0**-40, eps)
        return cls(eps, (eps < 0.2).astype(eps.dtype))

    def start(self) -> Array:
        return 1 - self.base

    def _inside(self, y: Array, v: Array) -> Array:
        return (self.base + v > 0) & (y != -jnp.inf)

    def output(self, y: Array, offset: Array) -> Array:
        v = self.eps * y + offset
        return jnp.where(self._inside(y, v), power(v, self.base, 1 / self.eps), 0)

    def slope(self, y: Array, offset: Array, p: Array) -> Array:
        u = self.base + (self.eps * y + offset)
        return row_sum(p / jnp.where(u > 0, u, 1))

    def step(self, total: Array, slope: Array) -> Array:
        total = jnp.where(total == 0, 1, total)
        return safe_divide(total * jnp.expm1(-self.eps * jnp.log(total)), slope)

    def tolerance(self) -> Array:
        # Near 1 Newton is of second order; at 2 only an unchanged support makes a step exact.
        unit = jnp.finfo(self.eps.dtype).eps
        return jnp.clip(unit**self.eps, 4 * unit, jnp.sqrt(unit) / 3)

    def family(self) -> Family:
        return Family(self.output, self.slope, self.step, self.tolerance())


def solve_steep(power: Power, y: Array, pending: Array, other: Solution) -> Solution:
    """For alpha > 2: the solution of the pending rows; the others keep theirs.

    The support is exact: a class is in it if and only if the classes above it, measured from it,
    do not fill the simplex, a sum of differences of scores that no threshold's rounding enters.
    With the support known, the sum is convex and increasing in its smallest output.
    """
    lowest = _lowest_of_support(y, power.eps, pending)
    least = _smallest_output(y, power.eps, lowest, pending)
    offset = jnp.where(pending, jnp.exp(power.eps * jnp.log(least)), other.unknown)
    kept = jnp.where(y < lowest, -jnp.inf, y - lowest)
    p = jnp.where(y == lowest, least, power.output(kept, offset))
    p = jnp.where(pending, p, other.output)
    return Solution(offset, p, staged_sum(p))


def _smallest_output(y: Array, eps: Array, lowest: Array, pending: Array) -> Array:
    """The smallest output `v`: `sum (g_i + v^eps)^(1/eps) = 1` with `g_i = eps * (y_i - lowest)`.

    Newton's method from `v = 1 / count`, to the right of the root, is monotone.
    """
    gap = eps * (y - lowest)
    above, at = y > lowest, y == lowest
    count = row_sum((y >= lowest).astype(y.dtype))
    ties = row_sum(at.astype(y.dtype))

    def unfinished(state: tuple[Array, Array, Array]) -> Array:
        _, pending, passes = state
        return jnp.any(pending) & (passes < _MAX_PASSES)

    def advance(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        least, pending, passes = state
        floor = jnp.exp(eps * jnp.log(least))
        u = jnp.where(above, gap + floor, 1)
        p = jnp.where(above, jnp.exp(jnp.log(u) / eps), 0)
        total = row_sum(p) + ties * least
        slope = row_sum(p / u) * (floor / least) + ties
        lower = jnp.maximum(least - (total - 1) / slope, jnp.finfo(y.dtype).tiny)
        # Monotone from the right until rounding: a step that does not descend ends the row.
        moved = pending & (lower < least)
        return jnp.where(moved, lower, least), moved, passes + 1

    start = jnp.where(pending, 1 / jnp.maximum(count, 1), 1)
    return lax.while_loop(unfinished, advance, (start, pending, jnp.int32(0)))[0]


def _lowest_of_support(y: Array, eps: Array, pending: Array) -> Array:
    """Bisection over the scores themselves for the smallest one in the support."""

    def mass_above(score: Array) -> Array:
        above = y > score
        u = jnp.where(above, eps * (y - score), 1)
        return row_sum(jnp.where(above, jnp.exp(jnp.log(u) / eps), 0))

    def largest(allowed: Array) -> Array:
        return row_max(jnp.where(allowed, y, -jnp.inf))

    def unfinished(state: tuple[Array, Array, Array, Array]) -> Array:
        _, _, pending, passes = state
        return jnp.any(pending) & (passes < 4 * _MAX_PASSES)

    def advance(
        state: tuple[Array, Array, Array, Array],
    ) -> tuple[Array, Array, Array, Array]:
        low, high, pending, passes = state
        middle = low + (high - low) / 2
        score = largest((y <= middle) & (y > low))
        inside = (score > low) & (mass_above(score) < 1)
        splits = (middle > low) & (middle < high)
        low, high = (
            jnp.where(pending & ~inside, middle, low),
            jnp.where(pending & inside, score, high),
        )
        pending = pending & splits & (largest(y < high) > low)
        return low, high, pending, passes + 1

    low = jnp.where(pending, jnp.broadcast_to(-1 / eps, pending.shape), -1)
    high = jnp.zeros_like(low)
    pending = pending & (largest(y < high) > low)
    return lax.while_loop(unfinished, advance, (low, high, pending, jnp.int32(0)))[1]
