"""Softmax attention of a block of queries: one pass over the keys with a state that merges."""

from typing import Any

import jax.numpy as jnp

from softmax_variants._numerics import finite_top, safe_divide
from softmax_variants._typing import Array
from softmax_variants.attention._blocks import Block, Plan, sums_of, wide
from softmax_variants.attention._parts import Parts, apart, together
from softmax_variants.attention._weights import Row

State = tuple[Array, Array, Array]


def merged(a: State, b: State) -> State:
    """The state of the keys of both: the largest score, the sum and the sum of values below it.

    Scores of `+inf` tie: they are as far above the others as the dtype allows.
    """
    top = jnp.maximum(a[0], b[0])
    factors = [jnp.exp(_drop(x[0], top)) for x in (a, b)]
    return top, *(factors[0] * x + factors[1] * y for x, y in zip(a[1:], b[1:], strict=True))


def _drop(old: Array, new: Array) -> Array:
    """`old - new` where something is in the state; nothing has no sum to shrink."""
    return jnp.where(old == -jnp.inf, 0, finite_top(old) - finite_top(new))


def softmax_rows(plan: Plan, inputs: Parts, known: Parts, query: Array) -> tuple[Array, Row]:
    """The outputs and what the weights follow from."""
    dtype = wide(inputs.rows.query).dtype
    shape = (*inputs.rows.query.shape[:-1], 1)

    def seen(block: Block, state: State) -> State:
        scores = block.scores(block.products())
        top = jnp.maximum(state[0], jnp.max(scores, axis=-1, keepdims=True))
        weight = jnp.exp(jnp.minimum(scores - finite_top(top), 0))
        factor = jnp.exp(_drop(state[0], top))
        total = factor * state[1] + jnp.sum(weight, axis=-1, keepdims=True)
        return top, total, factor * state[2] + sums_of(weight, block.inputs.keys.value)

    def step(state: State, part: Parts, key: Array) -> tuple[State, Any]:
        block = Block.of(plan, *apart(part), query, key)
        return block.if_visible(lambda s: seen(block, s), lambda s: s, state), None

    zero = jnp.zeros(shape, dtype)
    value = jnp.zeros((*shape[:-1], inputs.keys.value.shape[-1]), dtype)
    start = (jnp.full(shape, -jnp.inf, dtype), zero, value)
    state, _ = plan.layout.over_keys(step, start, together(inputs, known), plan.shape[4])
    return _finished(state, inputs.rows.sinks)


def _finished(state: State, sinks: Array | None) -> tuple[Array, Row]:
    top, total, value = state
    dead = top == -jnp.inf
    if sinks is not None:
        # The sinks weigh `sinks` together: their common score is its logarithm.
        n = jnp.where(sinks >= 0, sinks, jnp.nan)
        extra = jnp.where(n == 0, -jnp.inf, jnp.log(jnp.where(n == 0, 1, n)))
        extra = jnp.where(dead, -jnp.inf, extra)
        beside = jnp.where(extra == -jnp.inf, 0, jnp.ones_like(total))
        top, total, value = merged(state, (extra, beside, jnp.zeros_like(value)))
    log_total = jnp.log(jnp.where(total == 0, 1, total))
    zero = jnp.zeros_like(total)
    row = Row(finite_top(top), zero, log_total, zero, zero - jnp.inf, zero + 1)
    return value * safe_divide(jnp.ones_like(total), total), row
