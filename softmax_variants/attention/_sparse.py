"""Entmax attention of a block of queries: its scores with all keys are kept while it is solved."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax

from softmax_variants._numerics import finite_top, safe_divide
from softmax_variants._summed import Bracket, solve_by_sums
from softmax_variants._threshold import Closed, Power, Rows, solve
from softmax_variants._typing import Array
from softmax_variants.attention._blocks import Block, Plan, filled, needed, sums_of, wide
from softmax_variants.attention._parts import Parts, apart, together
from softmax_variants.attention._steep_rows import loosened, refined
from softmax_variants.attention._weights import Row, Weights, gap, weights

_GROUP = 32  # keys of which the start of Newton's method sees the largest alone


class Survey(NamedTuple):
    """The scores of a block of queries.

    Attributes:
      scores: [blocks of keys, batch, heads, group, queries, keys].
      best: the largest of each block, [blocks of keys, ..., 1]; NaN where one is NaN.
      largest: the largest scores of groups of keys, [..., groups].
      top: the largest of all, [..., 1].
    """

    scores: Array
    best: Array
    largest: Array
    top: Array


class Sums(NamedTuple):
    """Sums over the keys: of the weights, of their slopes, and of the values with each."""

    total: Array
    slope: Array
    value: Array
    moment: Array | None


def survey(plan: Plan, inputs: Parts, known: Parts, query: Array) -> Survey:
    """All scores of the block of queries."""
    zero = filled(wide(inputs.rows.query), 0, 1)

    def step(carry: None, part: Parts, key: Array) -> tuple[None, tuple[Array, Array, Array]]:
        inputs, known = apart(part)
        block = Block.of(plan, inputs, known, query, key)

        def seen() -> tuple[Array, Array, Array]:
            scores = block.scores(block.products())
            largest = _group_maxima(scores)
            best = jnp.max(scores, axis=-1, keepdims=True)
            # A compiled maximum may take a NaN for missing.
            best = jnp.where(jnp.any(jnp.isnan(scores), axis=-1, keepdims=True), jnp.nan, best)
            return scores, best, largest

        def unseen() -> tuple[Array, Array, Array]:
            keys = part.keys[0].key.shape[3]
            scores, best, largest = (
                filled(zero, -jnp.inf, size) for size in (keys, 1, _groups(keys)[0])
            )
            return scores, best, largest

        return carry, block.if_visible(seen, unseen)

    _, (scores, best, largest) = plan.layout.over_keys(
        step, None, together(inputs, known), plan.shape[4]
    )
    largest = jnp.moveaxis(largest, 0, -2)
    return Survey(scores, best, largest.reshape(*largest.shape[:-2], -1), jnp.max(best, axis=0))


def _groups(keys: int) -> tuple[int, int]:
    """How many groups there are, and of how many keys; a rest is left out."""
    size = min(_GROUP, keys)
    return keys // size, size


def _group_maxima(scores: Array) -> Array:
    count, size = _groups(scores.shape[-1])
    kept = scores[..., : count * size]
    return jnp.max(kept.reshape(*kept.shape[:-1], size, count), axis=-2)


def entmax_rows(
    plan: Plan, inputs: Parts, known: Parts, query: Array, moments: bool
) -> tuple[Array, Row, Array, Array | None]:
    """The outputs, what the weights follow from, the slopes' sum, and the mean value by slopes."""
    found = survey(plan, inputs, known, query)
    alpha, n = inputs.rows.alpha, inputs.rows.sinks
    row = _solved(plan, found, alpha, n)
    steep = None
    if plan.kind.exponent is None:
        row, steep = _exact(found, row, alpha, n)
    sums = _summed(plan, inputs, found, row, alpha, moments)
    total, slope = sums.total, sums.slope
    if n is not None:
        sink = sink_weights(plan, row, alpha, n)
        total, slope = total + n * sink.weight, slope + n * sink.slope
    scale = safe_divide(jnp.ones_like(total), total)
    row = row._replace(scale=scale)
    row = row if steep is None else loosened(row, steep)
    moment = None
    if sums.moment is not None:
        moment = sums.moment * safe_divide(jnp.ones_like(slope), slope)
    return sums.value * scale, row, slope, moment


def sink_weights(plan: Plan, row: Row, alpha: Array | None, n: Array) -> Weights:
    """The weight of one sink and its slope, finite also where no sink is."""
    one = weights(plan.kind, -row.top, row, alpha)
    large = jnp.finfo(row.top.dtype).max ** 0.5
    dead = n == 0
    return Weights(*(jnp.where(dead & ~(x < large), large, x) for x in one))


def _summed(
    plan: Plan, inputs: Parts, found: Survey, row: Row, alpha: Array | None, moments: bool
) -> Sums:
    """The sums over the blocks in which a query has a weight."""
    zero = filled(row.top, 0)
    value = filled(zero, 0, inputs.keys.value.shape[-1])
    start = Sums(zero, zero, value, value if moments else None)

    def step(sums: Sums, block: tuple[Array, Array, Array]) -> tuple[Sums, None]:
        scores, best, value = block

        def add(sums: Sums) -> Sums:
            p, s = weights(plan.kind, gap(scores, row), row, alpha)
            return Sums(
                sums.total + jnp.sum(p, axis=-1, keepdims=True),
                sums.slope + jnp.sum(s, axis=-1, keepdims=True),
                sums.value + sums_of(p, value),
                None if sums.moment is None else sums.moment + sums_of(s, value),
            )

        largest = weights(plan.kind, gap(best, row), row, alpha).weight
        return lax.cond(needed(largest != 0), add, lambda sums: sums, sums), None

    values = plan.layout.cut_keys(inputs.keys.value, plan.shape[4])
    return lax.scan(step, start, (found.scores, found.best, values))[0]


def _solved(plan: Plan, found: Survey, alpha: Array | None, n: Array | None) -> Row:
    """What the weights follow from, but for their scale."""
    exponent = plan.kind.exponent
    dead = found.top == -jnp.inf
    if exponent is None:
        assert alpha is not None
        power = Power.of(jnp.broadcast_to(alpha, found.top.shape))
        family: Closed | Power = power
        eps, first = power.eps, power.start()
    else:
        assert exponent > 0
        family, eps = Closed(exponent), filled(found.top, 1 / exponent)
        first = filled(found.top, -1)
    top = finite_top(found.top)
    if n is not None:
        n = jnp.broadcast_to(jnp.where((n >= 0) & (n < jnp.inf), n, jnp.nan), top.shape)
        top = jnp.where(dead, top, jnp.maximum(top, _sinks_top(n, eps)))
    live = jnp.isfinite(found.top) & ~jnp.isnan(top) & ~jnp.isnan(eps)
    start, bracket = _start(family, found, top, first, live)
    offset, _ = solve_by_sums(
        family, lambda unknown: _newton_sums(family, found, top, n, unknown), start, live, bracket
    )
    offset = jnp.where(dead, first, offset)
    # In the family of products the unknown is the threshold itself, in the other what it leaves.
    lead = offset if isinstance(family, Closed) else 1 - family.base - offset
    zero = filled(top, 0)
    return Row(top, zero, lead / eps, offset, zero - jnp.inf, zero + 1)


def _exact(found: Survey, row: Row, alpha: Array | None, n: Array | None) -> tuple[Row, Array]:
    """The row with the exact support where alpha is above 2, and where that is."""
    assert alpha is not None
    eps = Power.of(jnp.broadcast_to(alpha, row.top.shape)).eps
    pending = (eps > 1) & jnp.isfinite(found.top) & jnp.isfinite(row.offset)
    row = lax.cond(
        needed(pending),
        lambda row: refined(found.scores, row, eps, n, found.top, pending),
        lambda row: row,
        row,
    )
    return row, pending


def _sinks_top(n: Array, eps: Array) -> Array:
    """The score that one entry needs to have, alone, the threshold that `n` sinks have alone."""
    log_n = jnp.log(jnp.where(n > 0, n, 1))
    return jnp.where(n == 0, -jnp.inf, -jnp.expm1(-eps * log_n) / eps)


def _start(
    family: Closed | Power, found: Survey, top: Array, first: Array, live: Array
) -> tuple[Array, Bracket | None]:
    """Where Newton's method starts, to the left of the root, and the bracket of the steep rows."""
    steep = live & False
    bracket: Bracket | None = None
    if isinstance(family, Power):
        steep = family.eps > 1
        # With the offset at 0 no key has a weight, and the sinks alone do not fill the row.
        bracket = Bracket(steep, filled(top, 0), first)
    # Fewer keys have a smaller sum: their threshold lies to the left of that of all.
    few = Rows((found.largest,), top)
    start = solve(family, few, first, live & ~steep).unknown
    # With sinks it may even lie to the left of where the largest entry alone has all.
    right = jnp.maximum if isinstance(family, Closed) else jnp.minimum
    return jnp.where(steep, first, right(start, first)), bracket


def _newton_sums(
    family: Closed | Power, found: Survey, top: Array, n: Array | None, unknown: Array
) -> tuple[Array, Array]:
    """The sum of the outputs and what a step of Newton's method needs of its derivative."""

    def step(sums: tuple[Array, Array], block: tuple[Array, Array]) -> Any:
        scores, best = block

        def add(sums: tuple[Array, Array]) -> tuple[Array, Array]:
            below = jnp.minimum(scores - top, 0)
            p = family.output(below, unknown)
            total = sums[0] + jnp.sum(p, axis=-1, keepdims=True)
            return total, sums[1] + family.slope(below, unknown, p)

        largest = family.output(jnp.minimum(best - top, 0), unknown)
        return lax.cond(needed(largest != 0), add, lambda sums: sums, sums), None

    zero = filled(top, 0)
    (total, slope), _ = lax.scan(step, (zero, zero), (found.scores, found.best))
    if n is not None:
        p = family.output(-top, unknown)
        total = total + jnp.where(n == 0, 0, n * p)
        slope = slope + jnp.where(n == 0, 0, n * family.slope(-top, unknown, p))
    return total, slope
