"""Entmax's threshold over blocks of classes: Newton's method, every pass of which starts afresh."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from softmax_variants._numerics import finite_top, row_sum
from softmax_variants._summed import Bracket, solve_by_sums
from softmax_variants._threshold import Power, Rows
from softmax_variants._threshold import solve as solve_rows
from softmax_variants._typing import Array
from softmax_variants.heads._blocks import Block, Known, Layer, Layout
from softmax_variants.heads._sums import Sums, far_below, fold
from softmax_variants.maps._entmax import phi

_GROUP = 32  # classes of which the start of Newton's method sees the largest alone


class State(NamedTuple):
    """What the outputs of each example follow from; one number an example each.

    Attributes:
      alpha: entmax's.
      offset: the unknown of `Power`; a constant to all derivatives.
      threshold: the same unknown as a shift of the scores, which carries the derivatives.
      scale: the inverse of the outputs' sum, 1 up to rounding; a constant to all derivatives.
    """

    alpha: Array
    offset: Array
    threshold: Array
    scale: Array


def _family(alpha: Array) -> Power:
    return Power.of(jnp.where(jnp.isinf(alpha), 2, alpha))


def _raw(gap: Array, alpha: Array, offset: Array) -> Array:
    """The outputs before they are scaled; `alpha` and `offset` are [examples, 1]."""
    p = _family(alpha).output(gap, offset)
    ties = jnp.where(jnp.isnan(gap), gap, (gap == 0).astype(gap.dtype))
    return jnp.where(jnp.isinf(alpha), ties, p)


@jax.custom_jvp
def output(gap: Array, state: State) -> Array:
    """Entmax's outputs for a block of `scores - top`."""
    return _raw(gap, state.alpha[:, None], state.offset[:, None]) * state.scale[:, None]


@output.defjvp
def _output_jvp(primals: tuple[Array, State], tangents: tuple[Array, State]) -> tuple[Array, Array]:
    (gap, state), (dgap, dstate) = primals, tangents
    p = output(gap, state)
    off = (p == 0) | jnp.isinf(state.alpha)[:, None]
    log_p = jnp.log(jnp.where(off, 1, p))
    u = (jnp.where(jnp.isinf(state.alpha), 2, state.alpha) - 1)[:, None] * log_p
    inner = dgap - dstate.threshold[:, None] + jnp.square(log_p) * phi(u) * dstate.alpha[:, None]
    return p, jnp.where(off, 0, p * jnp.exp(-u) * jnp.where(off, 0, inner))


def solve(
    layer: Layer, alpha: Array, known: Known, layout: Layout, kept: bool
) -> tuple[Array, State, Sums]:
    """The largest score, the state, and the sums but for the conjugate."""
    top, sums, largest = _survey(layer, known, layout, kept)
    order = alpha[:, None]
    power = _family(order)
    live = jnp.isfinite(top) & (largest > -jnp.inf).any(axis=-1)
    steep = (power.eps > 1)[:, 0]
    # Fewer classes have a smaller sum: their threshold lies to the left of that of all.
    start = jnp.broadcast_to(power.start(), order.shape)
    few = Rows((largest,), top[:, None])
    start = solve_rows(power, few, start, (live & ~steep)[:, None]).unknown
    offset, total = _newton(layer, order, power, known, layout, top, start, live, steep)
    total = jnp.where(alpha > 0, total, jnp.nan)
    scale = jnp.where(total == 0, 0, 1 / jnp.where(total == 0, 1, total))
    threshold = (1 - power.base - offset) / power.eps
    return top, State(alpha, offset[:, 0], threshold[:, 0], scale), sums


def _survey(layer: Layer, known: Known, layout: Layout, kept: bool) -> tuple[Array, Sums, Array]:
    """The largest score, the label's and the kept sums, and the largest scores of groups."""
    zero = jnp.zeros_like(layer.hidden, layer.dtype(), shape=layer.hidden.shape[:1])

    def groups(scores: Array) -> Array:
        # Of one part, if it has enough: no device then needs the scores of others.
        width = scores.shape[1] // layout.parts
        size = min(_GROUP, width)
        parts, whole = math.gcd(layout.parts, _GROUP // size), width // size
        split = scores.reshape(zero.shape[0], parts, layout.parts // parts, width)
        many, few = split[..., : size * whole], split[..., size * whole :]
        best = jnp.max(many.reshape(*split.shape[:3], size, whole), axis=(1, 3))
        if few.size:  # the largest score of all may be there
            best = jnp.concatenate([best, jnp.max(few, axis=(1, 3))[..., None]], axis=-1)
        return best.reshape(zero.shape[0], math.prod(best.shape[1:]))

    def step(carry: Any, index: Array | None) -> tuple[Any, Array]:
        best, mass, count, label, rest = carry
        block = Block.of(layer, known, layout, index)
        old, best = best, jnp.maximum(best, jnp.max(block.scores, axis=-1))
        top = finite_top(best)
        lower = jnp.where(old == -jnp.inf, 0, finite_top(old) - top)
        gap = block.gap(top)
        label = label + lower * mass + block.on_label(gap)
        mass = mass + block.on_label(jnp.ones_like(gap))
        if rest is not None:
            rest = rest + lower * count + block.on_kept(gap)
            count = count + block.on_kept(jnp.ones_like(gap))
        return (best, mass, count, label, rest), groups(block.scores)

    start = (jnp.full_like(zero, -jnp.inf), zero, zero, zero, zero if kept else None)
    carry, largest = lax.scan(step, start, jnp.arange(layout.count, dtype=jnp.int32))
    blocks, examples, size = largest.shape
    largest = jnp.moveaxis(largest, 0, 1).reshape(examples, blocks * size)
    if layout.rest:
        carry, last = step(carry, None)
        largest = jnp.concatenate([largest, last], axis=-1)
    best, _, _, label, rest = carry
    top = finite_top(best)
    rest = None if rest is None else far_below(top, rest)
    return top, Sums(zero, far_below(top, label), rest), largest


def _newton(
    layer: Layer,
    alpha: Array,
    power: Power,
    known: Known,
    layout: Layout,
    top: Array,
    start: Array,
    live: Array,
    steep: Array,
) -> tuple[Array, Array]:
    """The unknown of each row and the sum of its outputs."""

    def sums(offset: Array) -> tuple[Array, Array]:
        def step(carry: tuple[Array, Array], index: Array | None) -> tuple[Array, Array]:
            gap = Block.of(layer, known, layout, index).gap(top)
            p = _raw(gap, alpha, offset)
            return carry[0] + row_sum(p), carry[1] + power.slope(gap, offset, p)

        zero = jnp.zeros_like(start)
        return fold(step, (zero, zero), layout)

    live = live[:, None] & ~jnp.isinf(alpha)
    count = jnp.asarray(layout.classes, top.dtype)
    low = jnp.exp(-power.eps * jnp.log(count)) * 0.5 - power.base
    high = jnp.broadcast_to(1 - power.base, start.shape)
    offset, total = solve_by_sums(
        power, sums, start, live, Bracket(jnp.broadcast_to(steep[:, None], start.shape), low, high)
    )
    return offset, total[:, 0]
