"""The exact support of queries with alpha > 2, from scores that are kept in blocks."""

from typing import Any

import jax.numpy as jnp
from jax import lax

from softmax_variants._numerics import row_max, row_sum
from softmax_variants._steep import Reductions, lowest_of_support, powers_above, smallest_output
from softmax_variants._typing import Array
from softmax_variants.attention._blocks import filled
from softmax_variants.attention._weights import Row


def refined(
    scores: Array, row: Row, eps: Array, n: Array | None, largest: Array, pending: Array
) -> Row:
    """The rows that are pending, anchored at the smallest score that has a weight.

    Near that score a weight is a root of the distance to the threshold: only differences of scores
    are exact enough for it. `largest` is the largest of a query's scores.
    """
    if n is not None:
        largest = jnp.where((n > 0) & ~(largest > 0), 0, largest)
    reductions = _reductions(scores, n, eps)
    # The threshold is known up to rounding: few scores lie that close to it.
    threshold = row.top - row.offset / eps
    unit = float(jnp.finfo(row.top.dtype).eps)
    margin = 16 * unit * (jnp.abs(row.top) + 1 / eps)
    high = jnp.minimum(_smallest_from(scores, n, threshold + margin), largest)
    lowest = lowest_of_support(reductions, threshold - margin, high, pending)
    lowest = jnp.where(pending, lowest, row.top)
    least = smallest_output(reductions, eps, lowest, pending)
    offset = jnp.where(pending, jnp.exp(eps * jnp.log(least)), row.offset)
    return Row(
        lowest,
        jnp.where(pending, largest - lowest, row.highest),
        jnp.where(pending, -offset / eps, row.threshold),
        offset,
        jnp.where(pending, 0, row.floor),
        row.scale,
    )


def loosened(row: Row, steep: Array) -> Row:
    """The rows with a floor that scores worked out again, and rounded otherwise, do not fall below.

    That adds no score which has no weight: one so close below the anchor has one.
    """
    unit = float(jnp.finfo(row.top.dtype).eps)
    return row._replace(floor=jnp.where(steep, -4 * unit * jnp.abs(row.top), row.floor))


def _reductions(scores: Array, n: Array | None, eps: Array) -> Reductions:
    """The reductions over the scores [blocks, ..., queries, keys] and `n` scores of 0."""
    count = 0 if n is None else n

    def zero_if(kept: Array) -> Array:
        return jnp.where(kept & (count > 0), 0, -jnp.inf)

    def at_most(x: Array) -> Array:
        found = _maximum(scores, lambda y: y <= x, x)
        return found if n is None else jnp.maximum(found, zero_if(x >= 0))

    def below(x: Array) -> Array:
        found = _maximum(scores, lambda y: y < x, x)
        return found if n is None else jnp.maximum(found, zero_if(x > 0))

    def sums(score: Array, floor: Array) -> tuple[Array, Array]:
        def step(total: tuple[Array, Array], block: Array) -> Any:
            p, slope = powers_above(block, eps, score, floor)
            return (total[0] + row_sum(p), total[1] + row_sum(slope)), None

        zero = filled(score, 0)
        total, slope = lax.scan(step, (zero, zero), scores)[0]
        if n is not None:
            p, more = powers_above(zero, eps, score, floor)
            total, slope = total + n * p, slope + n * more
        return total, slope

    def counts(score: Array) -> tuple[Array, Array]:
        def step(total: tuple[Array, Array], block: Array) -> Any:
            kept, ties = ((block >= score), (block == score))
            more = row_sum(kept.astype(score.dtype)), row_sum(ties.astype(score.dtype))
            return (total[0] + more[0], total[1] + more[1]), None

        zero = filled(score, 0)
        total, ties = lax.scan(step, (zero, zero), scores)[0]
        if n is not None:
            total, ties = total + jnp.where(score <= 0, n, 0), ties + jnp.where(score == 0, n, 0)
        return total, ties

    return Reductions(at_most, below, sums, counts)


def _maximum(scores: Array, kept: Any, like: Array) -> Array:
    def step(best: Array, block: Array) -> tuple[Array, None]:
        return jnp.maximum(best, row_max(jnp.where(kept(block), block, -jnp.inf))), None

    return lax.scan(step, filled(like, -jnp.inf), scores)[0]


def _smallest_from(scores: Array, n: Array | None, bound: Array) -> Array:
    """The smallest score from a bound on, infinite if there is none."""

    def step(best: Array, block: Array) -> tuple[Array, None]:
        kept = jnp.where(block >= bound, block, jnp.inf)
        return jnp.minimum(best, jnp.min(kept, axis=-1, keepdims=True)), None

    best = lax.scan(step, filled(bound, jnp.inf), scores)[0]
    if n is None:
        return best
    return jnp.minimum(best, jnp.where((n > 0) & (bound <= 0), 0, jnp.inf))
