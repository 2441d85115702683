"""Threshold solvers shared by the maps and by the conjugates of their losses.

Every sparse map is `p_i = power(y_i - tau)` for one number tau a row. All solvers here find it by
reductions along the row (never by a sort), so the class axis may be sharded.

For alpha <= 2 the sum of the outputs, on the scale of the Tsallis logarithm, is a convex and
decreasing function of tau (a norm of a convex map), so Newton's method from the left is monotone
and cannot overshoot. Any subset of a row has its root to the left of the row's own, so the largest
entry of each block of the row gives a start that is nearly always close to the answer, and the
largest of each block of those gives the start for that.
"""

import dataclasses
import functools
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax import lax

from softmax_variants._numerics import (
    apart,
    below_top,
    row_sum,
    safe_divide,
    spoil,
    staged_sum,
    sums_in_lanes,
)
from softmax_variants._powers import power
from softmax_variants._sharding import is_split
from softmax_variants._typing import Array

_BLOCK = 8  # entries a block
_SHORTEST_SPLIT = 256  # below this a pass over the row costs less than preparing the start
_LARGE = 1 << 18  # values from which the CPU collects rows that take longer than others
_STRAGGLERS = 8  # this part of the rows at most
_MAX_PASSES = 50  # Newton takes at most 13; this bounds a row that rounding keeps from settling


class Rows(NamedTuple):
    """Rows as a solver reads them, and the maxima of their blocks, of the blocks of those, ...

    Each pass subtracts the maximum again: writing the differences down would cost a pass.

    Attributes:
      levels: the rows, then ever fewer entries of them; each level's last axis is a row's.
      top: the maximum of each row.
    """

    levels: tuple[Array, ...]
    top: Array

    @classmethod
    def of(cls, x: Array) -> "Rows":
        levels = [x]
        while levels[-1].shape[-1] >= _SHORTEST_SPLIT and not is_split(levels[-1], -1):
            levels.append(_block_maxima(levels[-1]))
        top = jnp.max(levels[-1], axis=-1, keepdims=True, initial=-jnp.inf)
        return cls(tuple(levels), spoil(top, x))

    def live(self) -> Array:
        """Which rows have a solution: something is kept, and nothing is NaN."""
        return self.top > -jnp.inf

    def at(self, level: int) -> "Rows":
        """The rows that have this level's entries alone."""
        return Rows(self.levels[level : level + 1], self.top)

    def gap(self, unknown: Array) -> Array:
        """`x - max(x)` for the pass that wants it for this unknown."""
        return below_top(self.levels[0], self.top, unknown)


def _block_maxima(x: Array) -> Array:
    """The largest entry of each block, and what no block has room for.

    A block is every k-th entry: if the row is split over devices, each block is split over all of
    them, and its maximum is an all-reduce.
    """
    n = x.shape[-1]
    whole = n - n % _BLOCK
    best = jnp.max(x[..., :whole].reshape(*x.shape[:-1], _BLOCK, whole // _BLOCK), axis=-2)
    return best if whole == n else jnp.concatenate([x[..., whole:], best], axis=-1)


class Family(Protocol):
    """A family of outputs `p(gap, u)`, convex and decreasing in its sum's scale as `u` moves.

    It is a pytree whose leaves are its parameters, one a row or one for all rows.
    """

    def output(self, gap: Array, unknown: Array) -> Array:
        """The outputs at the unknown."""

    def slope(self, gap: Array, unknown: Array, output: Array) -> Array:
        """What `step` needs of the derivative of the outputs' sum."""

    def step(self, total: Array, slope: Array) -> Array:
        """One Newton step, from the outputs' sum."""

    def tolerance(self, dtype: Any) -> Array | float:
        """The distance of the sum from 1 below which one more step is exact to rounding."""

    @property
    def keeps(self) -> bool:
        """Whether outputs cost more to compute again than to keep from one pass to the next."""


class Solution(NamedTuple):
    """The unknown of each row, its outputs and their sum, which is 1 up to rounding."""

    unknown: Array
    output: Array
    total: Array

    def normalized(self) -> Array:
        return self.output * safe_divide(jnp.ones_like(self.total), self.total)


def solve(family: Family, rows: Rows, start: Array, live: Array) -> Solution:
    """Newton's method on each live row from `start`, which lies to the left of its root."""
    x = rows.levels[0]
    few = x.size // x.shape[-1] // _STRAGGLERS if x.size >= _LARGE else 0
    if few == 0 or any(is_split(x, axis) for axis in range(x.ndim)):
        return _solve(family, rows, start, live, few=0)
    # Collecting rows is free on one CPU; elsewhere they may lie on other devices.
    return lax.platform_dependent(
        family,
        rows,
        start,
        live,
        cpu=functools.partial(_solve, few=few),
        default=functools.partial(_solve, few=0),
    )


def _solve(family: Family, rows: Rows, start: Array, live: Array, *, few: int) -> Solution:
    for level in reversed(range(len(rows.levels))):
        here = rows.at(level)
        state = _evaluate(family, here, start)
        state, pending = _newton(family, here, state, live & _off(state), few)
        if few:
            state = _finish(family, here, state, pending, few)
        start = state.unknown
    output = family.output(rows.gap(start), start) if state.kept is None else state.kept
    return Solution(start, output, state.total)


class State(NamedTuple):
    """An unknown, its outputs if the family keeps them, and the outputs' sum."""

    unknown: Array
    kept: Array | None
    total: Array


def _evaluate(family: Family, rows: Rows, unknown: Array) -> State:
    output = family.output(rows.gap(unknown), unknown)
    # Where a pass is arithmetic alone its sum does not drift, and stages would only cost time.
    alone = not family.keeps and sums_in_lanes(output)
    total = row_sum(output) if alone else staged_sum(output)
    return State(unknown, output if family.keeps else None, total)


def _off(state: State) -> Array:
    """Whether a sum differs from 1 by more than rounding; a NaN row never does."""
    return jnp.abs(state.total - 1) > 3 * jnp.finfo(state.total.dtype).eps


def _newton(
    family: Family, rows: Rows, state: State, pending: Array, few: int
) -> tuple[State, Array]:
    """Steps of all pending rows, until no more than a few are pending."""

    def unfinished(carry: tuple[State, Array, Array]) -> Array:
        _, pending, passes = carry
        return (jnp.sum(pending, dtype=jnp.int32) > few) & (passes < _MAX_PASSES)

    def advance(carry: tuple[State, Array, Array]) -> tuple[State, Array, Array]:
        state, pending, passes = carry
        gap = rows.gap(state.unknown)
        output = family.output(gap, state.unknown) if state.kept is None else state.kept
        step = family.step(state.total, family.slope(gap, state.unknown, output))
        # The step from within the tolerance is the last one: rounding moves it from then on.
        last = jnp.abs(state.total - 1) <= family.tolerance(state.total.dtype)
        state = _evaluate(family, rows, state.unknown + jnp.where(pending, step, 0))
        return state, pending & ~last & _off(state), passes + 1

    return lax.while_loop(unfinished, advance, (state, pending, jnp.int32(0)))[:2]


def _finish(family: Family, rows: Rows, state: State, pending: Array, few: int) -> State:
    """The steps of the few rows that are still pending, which are collected first."""

    def collected(carry: tuple[State, Array]) -> tuple[State, Array]:
        state, pending = carry
        (index,) = jnp.nonzero(pending.ravel(), size=few, fill_value=pending.size)

        def take(array: Array) -> Array:
            array = jnp.broadcast_to(array, (*pending.shape[:-1], array.shape[-1]))
            array = array.reshape(-1, array.shape[-1])
            return jnp.take(array, index, axis=0, mode="clip")

        def put(whole: Array, part: Array) -> Array:
            flat = whole.reshape(-1, whole.shape[-1])
            return flat.at[index].set(part, mode="drop").reshape(whole.shape)

        their_family, their_rows, part, left = jax.tree.map(take, (family, rows, state, pending))
        done, _ = _newton(their_family, their_rows, part, left, 0)
        return jax.tree.map(put, state, done), jnp.zeros_like(pending)

    # A loop of one turn at most: a `cond` would copy the outputs that are kept.
    return lax.while_loop(lambda carry: jnp.any(carry[1]), collected, (state, pending))[0]


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Closed:
    """The outputs of entmax by products alone, with alpha = 1 + 1 / exponent.

    `p = max(gap / exponent - tau, 0)^exponent` for the exponents 1 (sparsemax), 2 and 4.
    """

    exponent: int

    @property
    def keeps(self) -> bool:
        return False

    def _excess(self, gap: Array, tau: Array) -> Array:
        scale = jnp.full_like(tau, 1 / self.exponent)
        tau, zero, scale = apart(tau, jnp.zeros_like(tau), scale)
        return jnp.maximum(gap * scale - tau, zero)

    def output(self, gap: Array, tau: Array) -> Array:
        return lax.integer_pow(self._excess(gap, tau), self.exponent)

    def slope(self, gap: Array, tau: Array, output: Array) -> Array:
        del output
        excess = self._excess(gap, tau)
        if self.exponent == 1:
            return row_sum(jnp.sign(excess))
        return row_sum(lax.integer_pow(excess, self.exponent - 1))

    def step(self, total: Array, slope: Array) -> Array:
        norm = total
        for _ in range(self.exponent.bit_length() - 1):
            norm = jnp.sqrt(norm)
        return safe_divide((norm - 1) * lax.integer_pow(norm, self.exponent - 1), slope)

    def tolerance(self, dtype: Any) -> float:
        unit = float(jnp.finfo(dtype).eps)
        # The steps of sparsemax change the support until one does not, which is exact.
        return 3 * unit if self.exponent == 1 else unit**0.5 / 3


def solve_closed(rows: Rows, exponent: int) -> Solution:
    """Entmax with alpha = 1 + 1 / exponent, for the exponents that `Closed` has."""
    live = rows.live()
    start = jnp.where(live, -jnp.ones_like(rows.top), 0)
    return solve(Closed(exponent), rows, start, live)


def less_one(alpha: Array) -> Array:
    """`alpha - 1`, and where that is 0 a number so small that entmax is softmax to the last bit.

    It has no derivative for alpha at 1: what depends on one takes `alpha - 1` itself.
    """
    eps = alpha - 1
    return jnp.where(eps == 0, float(jnp.finfo(eps.dtype).eps) ** 2, eps)


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
        eps = less_one(alpha)
        return cls(eps, (eps < 0.2).astype(eps.dtype))

    def start(self) -> Array:
        return 1 - self.base

    def output(self, y: Array, offset: Array) -> Array:
        v = self.eps * y + offset
        inside = (self.base + v > 0) & (y != -jnp.inf)
        p = jnp.where(inside, power(v, self.base, 1 / self.eps), 0)
        return jnp.where(jnp.isnan(v), v, p)

    def slope(self, y: Array, offset: Array, p: Array) -> Array:
        tiny = jnp.full_like(offset, jnp.finfo(offset.dtype).tiny)
        eps, base, offset, tiny = apart(self.eps, self.base, offset, tiny)
        return row_sum(p / jnp.maximum(base + (eps * y + offset), tiny))

    def step(self, total: Array, slope: Array) -> Array:
        total = jnp.where(total == 0, 1, total)
        return safe_divide(total * jnp.expm1(-self.eps * jnp.log(total)), slope)

    def tolerance(self, dtype: Any) -> Array:
        # Near 1 Newton is of second order; at 2 only an unchanged support makes a step exact.
        unit = jnp.finfo(dtype).eps
        return jnp.clip(unit**self.eps, 4 * unit, jnp.sqrt(unit) / 3)

    @property
    def keeps(self) -> bool:
        return True
