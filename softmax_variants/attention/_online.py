"""Softmax attention of a block of queries: one pass over the keys with a state that merges."""

from typing import Any

import jax.numpy as jnp

from softmax_variants._numerics import finite_top, safe_divide
from softmax_variants._typing import Array
from softmax_variants.attention._blocks import Block, Plan, filled, sums_of, wide
from softmax_variants.attention._parts import Parts, apart, together
from softmax_variants.attention._state import AttentionState, beside_sinks, drop
from softmax_variants.attention._weights import Row


def softmax_rows(plan: Plan, inputs: Parts, known: Parts, query: Array) -> tuple[Array, Row]:
    """The outputs and what the weights follow from."""

    def seen(block: Block, state: AttentionState) -> AttentionState:
        scores = block.scores(block.products())
        top = jnp.maximum(state.max, jnp.max(scores, axis=-1, keepdims=True))
        weight = jnp.exp(jnp.minimum(scores - finite_top(top), 0))
        factor = jnp.exp(drop(state.max, top))
        total = factor * state.sum + jnp.sum(weight, axis=-1, keepdims=True)
        value = factor * state.value + sums_of(weight, block.inputs.keys.value)
        return AttentionState(top, total, value)

    def step(state: AttentionState, part: Parts, key: Array) -> tuple[AttentionState, Any]:
        inputs, known = apart(part)
        block = Block.of(plan, inputs, known, query, key)
        return block.if_visible(lambda s: seen(block, s), lambda s: s, state), None

    zero = filled(wide(inputs.rows.query), 0, 1)
    value = filled(zero, 0, inputs.keys.value.shape[-1])
    start = AttentionState(zero - jnp.inf, zero, value)
    state, _ = plan.layout.over_keys(step, start, together(inputs, known), plan.shape[4])
    return _finished(state, inputs.rows.sinks)


def _finished(state: AttentionState, sinks: Array | None) -> tuple[Array, Row]:
    seen = (state.max > -jnp.inf).astype(state.sum.dtype)
    if sinks is not None:
        state = beside_sinks(state, sinks)
    log_total = jnp.log(jnp.where(state.sum == 0, 1, state.sum))
    zero = filled(log_total, 0)
    row = Row(finite_top(state.max), zero, log_total, zero, zero - jnp.inf, seen)
    return state.value * safe_divide(jnp.ones_like(state.sum), state.sum), row
