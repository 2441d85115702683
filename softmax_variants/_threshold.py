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

import jax
import jax.numpy as jnp
from jax import lax

from softmax_variants._numerics import row_max, row_sum, safe_divide
from softmax_variants._typing import Array

_TAKEN = 2  # entries taken from each block: more cost a pass each and are seldom needed
_SHORTEST_SPLIT = 256  # below this a pass over the row costs less than preparing the start
_MAX_PASSES = 50  # Newton takes at most 13; this bounds a row that rounding keeps from settling


class Family(NamedTuple):
    """A family of outputs `p(y, u)`, convex and decreasing in its sum's scale as `u` moves.

    Attributes:
      moments: `(y, u) -> (sum p, slope)` where the slope is what `step` needs of the derivative.
      step: `(sum p, slope) -> change of u`, one Newton step.
      support: `(y, u) ->` number of classes with a positive output.
      tolerance: the distance of the sum from 1 below which one more step is exact to rounding.
    """

    moments: Callable[[Array, Array], tuple[Array, Array]]
    step: Callable[[Array, Array], Array]
    support: Callable[[Array, Array], Array]
    tolerance: Array | float


def solve(family: Family, y: Array, start: Array, pending: Array) -> Array:
    """The unknown `u` of each pending row, Newton from `start`, which lies to its left."""
    top = block_top(y)
    if top is not None:
        start = newton(family, top, start, pending)
        pending = pending & (family.support(top, start) != family.support(y, start))
    return newton(family, y, start, pending)


def newton(family: Family, y: Array, start: Array, pending: Array) -> Array:
    """Newton's method on each pending row until its sum is within tolerance, that step included."""

    def unfinished(state: tuple[Array, Array, Array]) -> Array:
        _, pending, passes = state
        return jnp.any(pending) & (passes < _MAX_PASSES)

    def advance(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        unknown, pending, passes = state
        total, slope = family.moments(y, unknown)
        unknown = unknown + jnp.where(pending, family.step(total, slope), 0)
        # A NaN row compares False and so leaves the loop.
        return unknown, pending & (jnp.abs(total - 1) > family.tolerance), passes + 1

    return lax.while_loop(unfinished, advance, (start, pending, jnp.int32(0)))[0]


def block_size(n: int) -> int:
    """Entries a block: longer rows afford longer blocks for the same chance of a full one."""
    return 1 << max(3, round((n.bit_length() - 1) / 2 - 2))


def class_axis_is_sharded(x: Array) -> bool:
    """Whether the last axis is split over an explicit mesh axis (where reshapes are restricted)."""
    spec = getattr(jax.typeof(x).sharding, "spec", None)
    return spec is not None and len(spec) == x.ndim and spec[-1] is not None


def block_top(y: Array) -> Array | None:
    """The few largest entries of each block, or `None` where the row is not worth splitting."""
    n = y.shape[-1]
    if n < _SHORTEST_SPLIT or class_axis_is_sharded(y):
        return None
    size = block_size(n)
    whole = n - n % size
    blocks = y[..., :whole].reshape(*y.shape[:-1], whole // size, size)
    best = jnp.max(blocks, axis=-1)
    entries = [y[..., whole:], best]
    for _ in range(_TAKEN - 1):
        # Ties of the best are passed over: the start is then a little further left, never wrong.
        best = jnp.max(jnp.where(blocks < best[..., None], blocks, -jnp.inf), axis=-1)
        entries.append(best)
    return jnp.concatenate(entries, axis=-1)


def sparsemax_threshold(y: Array) -> Array:
    """`tau` with `sum max(y - tau, 0) = 1`, for rows with maximum 0; Michelot's iteration."""

    def moments(y: Array, tau: Array) -> tuple[Array, Array]:
        return row_sum(jnp.maximum(y - tau, 0)), support(y, tau)

    def support(y: Array, tau: Array) -> Array:
        return row_sum((y > tau).astype(y.dtype))

    def step(total: Array, slope: Array) -> Array:
        return safe_divide(total - 1, slope)

    family = Family(moments, step, support, 4 * jnp.finfo(y.dtype).eps)
    start = jnp.full_like(y[..., :1], -1)
    return solve(family, y, start, jnp.ones_like(start, jnp.bool_))


def entmax15_threshold(z: Array) -> Array:
    """`tau` with `sum max(z - tau, 0)^2 = 1`, for rows `z = y / 2` with maximum 0."""

    def moments(z: Array, tau: Array) -> tuple[Array, Array]:
        positive = jnp.maximum(z - tau, 0)
        return row_sum(jnp.square(positive)), row_sum(positive)

    def support(z: Array, tau: Array) -> Array:
        return row_sum((z > tau).astype(z.dtype))

    def step(total: Array, slope: Array) -> Array:
        norm = jnp.sqrt(total)
        return safe_divide((norm - 1) * norm, slope)

    family = Family(moments, step, support, jnp.sqrt(jnp.finfo(z.dtype).eps) / 3)
    start = jnp.full_like(z[..., :1], -1)
    return solve(family, z, start, jnp.ones_like(start, jnp.bool_))


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

    def threshold(self, offset: Array) -> Array:
        """`lam`, at which the output of score `lam` is 1."""
        return (1 - self.base - offset) / self.eps

    def tsallis_log_base(self, y: Array, offset: Array) -> tuple[Array, Array, Array]:
        """`(inside, u, log u)` with `u = p^(alpha-1)`."""
        v = self.eps * y + offset
        u = self.base + v
        # NaN is inside, so that it comes out again; a masked entry never is.
        inside = ~(u <= 0) & (y != -jnp.inf)
        u = jnp.where(inside, u, 1)
        lost = jnp.where(inside, v, 1 - self.base) - (u - self.base)
        return inside, u, jnp.log(u) + lost / u

    def output(self, y: Array, offset: Array) -> Array:
        inside, _, log_u = self.tsallis_log_base(y, offset)
        return jnp.where(inside, jnp.exp(log_u / self.eps), 0)

    def moments(self, y: Array, offset: Array) -> tuple[Array, Array]:
        inside, u, log_u = self.tsallis_log_base(y, offset)
        p = jnp.where(inside, jnp.exp(log_u / self.eps), 0)
        return row_sum(p), row_sum(p / u)

    def step(self, total: Array, slope: Array) -> Array:
        total = jnp.where(total == 0, 1, total)
        return safe_divide(total * jnp.expm1(-self.eps * jnp.log(total)), slope)

    def support(self, y: Array, offset: Array) -> Array:
        u = self.base + (self.eps * y + offset)
        return row_sum(((u > 0) & (y != -jnp.inf)).astype(y.dtype))

    def tolerance(self) -> Array:
        # Near 1 Newton is of second order; at 2 only an unchanged support makes a step exact.
        unit = jnp.finfo(self.eps.dtype).eps
        return jnp.clip(unit**self.eps, 4 * unit, jnp.sqrt(unit) / 3)

    def family(self) -> Family:
        return Family(self.moments, self.step, self.support, self.tolerance())


def smallest_output(y: Array, eps: Array, pending: Array) -> tuple[Array, Array]:
    """For alpha > 2: the smallest kept score and its output, `(lowest, least)`.

    The support is exact: a class is in it if and only if the classes above it, measured from it,
    do not fill the simplex, a sum of differences of scores that no threshold's rounding enters.
    With the support known, the sum is convex and increasing in its smallest output `v`:
    `p_i = (g_i + v^eps)^(1/eps)` with `g_i = eps * (y_i - lowest)`, and Newton's method from
    `v = 1 / count`, to the right of the root, is monotone. Rows not pending get `(0, 1)`.
    """
    lowest = _lowest_of_support(y, eps, pending)
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
    least = lax.while_loop(unfinished, advance, (start, pending, jnp.int32(0)))[0]
    return lowest, least


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
