"""From the arguments of blockwise attention to arrays of five axes, and back."""

import math

import jax
import jax.numpy as jnp
from jax import lax

from softmax_variants._typing import Array
from softmax_variants.attention._arguments import Arguments
from softmax_variants.attention._attend import Attended, attend, over_rows
from softmax_variants.attention._blocks import (
    Block,
    KeyInputs,
    Lengths,
    Plan,
    QueryInputs,
    needed,
    nothing,
)
from softmax_variants.attention._clean import clean
from softmax_variants.attention._parts import Layout, Parts, apart, together
from softmax_variants.attention._weights import Kind


def attended(
    arguments: Arguments,
    alpha: Array | None,
    sinks: Array | None,
    kind: Kind,
    block: tuple[int, int] | None,
) -> tuple[Attended, Array]:
    """The attention of all queries, and which of them are or see what is not finite.

    Alpha and the number of sinks are of full rank like the scale.
    """
    *batch, queries, heads, _ = arguments.query.shape
    keys, key_heads = arguments.key.shape[-3:-1]
    visibility = arguments.visibility
    shape = (math.prod(batch), key_heads, heads // key_heads, queries, keys)
    layout = Layout.of(shape, block)
    plan = Plan(kind, layout, shape, visibility.causal, visibility.window)

    def five(array: Array | None) -> Array | None:
        return None if array is None else _grouped(array, tuple(batch), key_heads)

    key_lengths = five(visibility.key_lengths)
    if keys % layout.keys:
        # The zeros that pad the keys are beyond the length of every entry of the batch.
        whole = jnp.full((1,) * 5, keys, jnp.int32)
        key_lengths = whole if key_lengths is None else jnp.minimum(key_lengths, whole)
    query = jnp.moveaxis(arguments.query.reshape(shape[0], queries, key_heads, shape[2], -1), 1, 3)
    key, value = (
        jnp.moveaxis(x.reshape(shape[0], keys, key_heads, -1), 1, 2)[:, :, None]
        for x in (arguments.key, arguments.value)
    )
    inputs = Parts(
        QueryInputs(clean(query), five(arguments.scale), five(alpha), five(sinks)),
        KeyInputs(clean(key), clean(value)),
        five(arguments.bias),
    )
    known = Parts(Lengths(five(visibility.query_lengths), key_lengths), None, five(visibility.mask))
    bad = Parts(_not_finite(query), _not_finite(key) | _not_finite(value), None)
    inputs, known, bad = (layout.padded(part, shape) for part in (inputs, known, bad))
    # Under `shard_map` all of them differ over the devices as soon as one does.
    none = nothing((inputs, known, bad))
    inputs, known, bad = jax.tree.map(
        lambda x: x ^ (none != 0) if x.dtype == jnp.bool_ else x + none.astype(x.dtype),
        (inputs, known, bad),
    )
    spoiled = _spoiled(plan, inputs, known, bad)
    found = attend(inputs, known, plan, False)
    return jax.tree.map(lambda x: x[:, :, :, :queries], (found, spoiled))


def from_canonical(array: Array, batch: tuple[int, ...]) -> Array:
    """[..., T, N, x] from [batch, heads, group, T, x]."""
    _, heads, group, queries, size = array.shape
    return jnp.moveaxis(array, 3, 1).reshape(*batch, queries, heads * group, size)


def _grouped(array: Array, batch: tuple[int, ...], key_heads: int) -> Array:
    """[batch, heads, group, x, y] from [..., heads, x, y], keeping axes of size 1."""
    *lead, heads, x, y = array.shape
    if any(size != 1 for size in lead):
        array = jnp.broadcast_to(array, (*batch, heads, x, y))
        lead = [math.prod(batch)]
    else:
        lead = [1]
    group = (1, 1) if heads == 1 else (key_heads, heads // key_heads)
    return array.reshape(*lead, *group, x, y)


def _not_finite(x: Array) -> Array:
    return jnp.any(~jnp.isfinite(x), axis=-1, keepdims=True)


def _spoiled(plan: Plan, inputs: Parts, known: Parts, bad: Parts) -> Array:
    """Which queries are or see something that is not finite: [batch, heads, group, queries, 1]."""

    def rows(part: Parts, query: Array) -> Array:
        _, _, bad = apart(part)

        def step(spoiled: Array, part: Parts, key: Array) -> tuple[Array, None]:
            inputs, known, bad = apart(part)
            pairs = bad.rows | jnp.swapaxes(bad.keys, -1, -2)
            visible = Block.of(plan, inputs, known, query, key).visible
            if visible is not None:
                pairs = pairs & visible
            return spoiled | jnp.any(pairs, axis=-1, keepdims=True), None

        start = bad.rows & False
        return plan.layout.over_keys(step, start, part, plan.shape[4])[0]

    # Only where something is amiss is every pair of a query and a key looked at.
    return lax.cond(
        needed(bad.rows) | needed(bad.keys),
        lambda parts: over_rows(plan, rows, parts),
        lambda parts: parts.rows[2] & False,
        together(inputs, known, bad),
    )
