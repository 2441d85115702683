"""Blockwise attention with its derivative rule: no direction stores a block of scores."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

from softmax_variants._numerics import safe_divide
from softmax_variants._typing import Array
from softmax_variants.attention._blocks import (
    Block,
    Plan,
    QueryInputs,
    filled,
    needed,
    pairs_of,
    sums_of,
    wide,
)
from softmax_variants.attention._online import softmax_rows
from softmax_variants.attention._parts import Parts, apart, together
from softmax_variants.attention._sparse import entmax_rows, sink_weights
from softmax_variants.attention._weights import Row, alpha_direction, gap, weights


class Moments(NamedTuple):
    """What the derivatives of a query's output need of all its keys.

    Attributes:
      slope: the sum of the slopes of all weights, the sinks' included.
      value: the mean of the values by slopes; the sinks have the value 0.
    """

    slope: Array
    value: Array


class Attended(NamedTuple):
    """The outputs [..., queries, features], what the weights follow from, and the moments."""

    output: Array
    row: Row
    moments: Moments | None


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def attend(inputs: Parts, known: Parts, plan: Plan, moments: bool) -> Attended:
    """Attention of all queries. The moments are worked out on demand."""

    def rows(part: Parts, query: Array) -> Attended:
        inputs, known = apart(part)
        if plan.kind.is_softmax:
            output, row = softmax_rows(plan, inputs, known, query)
            one = (output[..., :1] * 0 + 1) if moments else None
            return Attended(output, row, None if one is None else Moments(one, output))
        output, row, slope, mean = entmax_rows(plan, inputs, known, query, moments)
        return Attended(output, row, None if mean is None else Moments(slope, mean))

    return over_rows(plan, rows, together(inputs, known))


def over_rows(plan: Plan, f: Any, parts: Parts) -> Any:
    """`f(part, number of its first query)` for all blocks of queries with all their keys."""
    batch, heads, _, queries, _ = plan.shape
    layout = plan.layout
    return layout.over_batch(
        lambda part: layout.over_heads(
            lambda part: layout.over_queries(f, part, queries), part, heads
        ),
        parts,
        batch,
    )


def _attend_jvp(
    plan: Plan, moments: bool, primals: tuple[Parts, Parts], tangents: tuple[Any, Any]
) -> tuple[Attended, Attended]:
    inputs, known = primals
    attended = attend(inputs, known, plan, True)
    change = jax.tree.map(
        lambda d: None if isinstance(d, SymbolicZero) else wide(d),
        tangents[0],
        is_leaf=lambda d: isinstance(d, SymbolicZero),
    )
    doutput, dthreshold = over_rows(
        plan,
        # Nothing is kept for the reverse pass but what goes in.
        jax.checkpoint(lambda part, query: _moved(plan, part, query), prevent_cse=False),
        together(inputs, known, change, Parts((attended.row, attended.moments), None, None)),
    )
    drow = jax.tree.map(jnp.zeros_like, attended.row)._replace(threshold=dthreshold)
    moved = Attended(doutput, drow, None)
    if moments:
        moved = moved._replace(moments=_moments_change(plan, primals, attended, change, moved))
        return attended, moved
    return attended._replace(moments=None), moved


attend.defjvp(_attend_jvp, symbolic_zeros=True)


def _moved(plan: Plan, part: Parts, query: Array) -> tuple[Array, Array]:
    """The change of the outputs and of the thresholds, linear in that of the inputs."""
    inputs, known, change, found = apart(part)
    row: Row = found.rows[0]
    moments: Moments = found.rows[1]
    given = inputs.rows
    drows: QueryInputs = change.rows
    zero = filled(row.top, 0)

    def step(carry: tuple[Array, Array], part: Parts, key: Array) -> tuple[Any, None]:
        part_inputs, part_known, part_change = apart(part)
        block = Block.of(plan, part_inputs, part_known, query, key)

        def seen(carry: tuple[Array, Array]) -> tuple[Array, Array]:
            products = block.products()
            below = gap(block.scores(products), row)
            p, s = weights(plan.kind, below, row, given.alpha)

            def add(carry: tuple[Array, Array]) -> tuple[Array, Array]:
                total = _scores_change(block, part_change, products)
                if drows.alpha is not None:
                    total = total + alpha_direction(plan.kind, p, given.alpha) * drows.alpha
                moved = jnp.where(s == 0, 0, s * total)
                output = carry[0] + sums_of(moved, block.inputs.keys.value)
                if part_change.keys.value is not None:
                    output = output + sums_of(p, part_change.keys.value)
                return output, carry[1] + jnp.sum(moved, axis=-1, keepdims=True)

            if not plan.kind.has_zeros:
                return add(carry)
            return lax.cond(needed(p != 0), add, lambda carry: carry, carry)

        return block.if_visible(seen, lambda carry: carry, carry), None

    start = (filled(moments.value, 0), zero)
    parts = together(inputs, known, change)
    step = jax.checkpoint(step, prevent_cse=False)
    (output, moved), _ = plan.layout.over_keys(step, start, parts, plan.shape[4])
    if given.sinks is not None:
        moved = moved + _sinks_change(plan, row, given, drows)
    dthreshold = moved * safe_divide(jnp.ones_like(zero), moments.slope)
    return output - moments.value * moved, dthreshold


def _scores_change(block: Block, change: Parts, products: Array) -> Array:
    """The change of the scores of a block."""
    given, drows, dkeys = block.inputs.rows, change.rows, change.keys
    total = filled(products, 0)
    if drows.query is not None:
        total = total + pairs_of(drows.query, block.inputs.keys.key)
    if dkeys.key is not None:
        total = total + pairs_of(given.query, dkeys.key)
    total = total * given.scale
    if drows.scale is not None:
        total = total + products * drows.scale
    return total if change.pairs is None else total + change.pairs


def _sinks_change(plan: Plan, row: Row, given: QueryInputs, change: QueryInputs) -> Array:
    """What the sinks add to the change of the weights' sum at a fixed threshold."""
    p, s = sink_weights(plan, row, given.alpha, given.sinks)
    total = filled(p, 0)
    if change.alpha is not None:
        total = total + given.sinks * s * alpha_direction(plan.kind, p, given.alpha) * change.alpha
    return total if change.sinks is None else total + p * change.sinks


def _moments_change(
    plan: Plan, primals: tuple[Parts, Parts], attended: Attended, change: Parts, moved: Attended
) -> Moments:
    """The change of the moments, which only second derivatives need.

    Where none is asked for the compiler leaves it out.
    """
    if plan.kind.is_softmax:
        return Moments(jnp.zeros_like(moved.output[..., :1]), moved.output)
    inputs, known = primals

    def of(inputs: Parts, row: Row) -> Moments:
        body = jax.checkpoint(lambda part, query: _moments(plan, part, query), prevent_cse=False)
        return over_rows(plan, body, together(inputs, known, Parts(row, None, None)))

    filled = jax.tree.map(
        lambda x, d: d if x is None else jnp.zeros_like(x) if d is None else d.astype(x.dtype),
        inputs,
        change,
        is_leaf=lambda x: x is None,
    )
    return jax.jvp(of, (inputs, attended.row), (filled, moved.row))[1]


def _moments(plan: Plan, part: Parts, query: Array) -> Moments:
    """The moments as a function with derivatives."""
    inputs, known, found = apart(part)
    row: Row = found.rows
    alpha, n = inputs.rows.alpha, inputs.rows.sinks

    def step(carry: tuple[Array, Array], part: Parts, key: Array) -> tuple[Any, None]:
        part_inputs, part_known = apart(part)
        block = Block.of(plan, part_inputs, part_known, query, key)

        def seen(carry: tuple[Array, Array]) -> tuple[Array, Array]:
            s = weights(plan.kind, gap(block.scores(block.products()), row), row, alpha).slope
            total = carry[0] + jnp.sum(s, axis=-1, keepdims=True)
            return total, carry[1] + sums_of(s, block.inputs.keys.value)

        return block.if_visible(seen, lambda carry: carry, carry), None

    start = (filled(row.top, 0), filled(row.top, 0, inputs.keys.value.shape[-1]))
    step = jax.checkpoint(step, prevent_cse=False)
    (slope, value), _ = plan.layout.over_keys(step, start, together(inputs, known), plan.shape[4])
    if n is not None:
        slope = slope + n * sink_weights(plan, row, alpha, n).slope
    return Moments(slope, value * safe_divide(jnp.ones_like(slope), slope))
