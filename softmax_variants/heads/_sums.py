"""What a loss needs to know of all classes, as sums over blocks, and their linear change.

Both directions of the change work block by block and store no block: the tangent of the sums from
that of the layer, and its transpose, the gradients from the sums' cotangents.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from softmax_variants._typing import Array
from softmax_variants.heads._blocks import Block, Change, Known, Layer, Layout

# The outputs of a block from `scores - top` and what else is known of each row.
Output = Callable[[Array, Any], Array]


class Sums(NamedTuple):
    """One number an example each, all relative to the largest score.

    Attributes:
      conjugate: the conjugate of the loss, for cross-entropy the log-sum-exp.
      label: the score that the target expects.
      kept: the sum of the scores of all classes that take part; none where nothing needs it.
    """

    conjugate: Array
    label: Array
    kept: Array | None


class Row(NamedTuple):
    """What the outputs of a row are worked out from.

    Attributes:
      top: the row's largest score, finite; a constant to all derivatives.
      state: whatever else, differentiable.
    """

    top: Array
    state: Any


def far_below(top: Array, value: Array) -> Array:
    """What lies below the largest score, `-inf` where that is the largest float, for infinity."""
    return jnp.where((top == jnp.finfo(top.dtype).max) & (value < 0), -jnp.inf, value)


def fold(
    step: Callable[[Any, Array | None], Any], start: Any, layout: Layout, *, again: bool = False
) -> Any:
    """`step(carry, index)` over all blocks; `again` derives a block from scratch, storing none."""
    if again:
        step = jax.checkpoint(step, prevent_cse=False)

    def body(carry: Any, index: Array) -> tuple[Any, None]:
        return step(carry, index), None

    # What is left over comes first: what the loop then adds to is its own.
    start = step(start, None) if layout.rest else start
    carry, _ = lax.scan(body, start, jnp.arange(layout.count, dtype=jnp.int32))
    return carry


def change_of_sums(
    output: Output, layer: Layer, known: Known, row: Row, change: Change, layout: Layout, kept: bool
) -> Sums:
    """The tangent of the sums with the layer, linear in the layer's."""

    def step(sums: Sums, index: Array | None) -> Sums:
        block = Block.of(layer, known, layout, index)
        part = change.at(layout, index)
        gap, moved = block.gap(row.top), block.moved(part)
        label = sums.label + block.on_label(moved)
        if part.labels is not None:
            # As in the transpose: a class whose score is `-inf` has no mass to gain.
            scores = jnp.where(jnp.isfinite(gap), gap, 0)
            label = label + block.on_kept(scores * part.labels.astype(gap.dtype))
        return Sums(
            sums.conjugate + jnp.sum(output(gap, row.state) * moved, axis=-1),
            label,
            None if sums.kept is None else sums.kept + block.on_kept(moved),
        )

    zero = jnp.zeros_like(row.top)
    return fold(step, Sums(zero, zero, zero if kept else None), layout, again=True)


def pulled_sums(
    output: Output, layer: Layer, known: Known, row: Row, wanted: Change, sums: Sums, layout: Layout
) -> Change:
    """The transpose of `change_of_sums`: the gradients, each summed in the dtype of the sums.

    `wanted` says of which parts of the layer, and in which dtypes.
    """
    dtype = row.top.dtype

    def step(total: Change, index: Array | None) -> Change:
        block = Block.of(layer, known, layout, index)
        gap = block.gap(row.top)
        new = block.pulled(_weights(block, output(gap, row.state), sums), wanted)
        add = functools.partial(jax.tree.map, jnp.add)
        put = functools.partial(jax.tree.map, lambda a, x: layout.put(a, x.astype(a.dtype), index))
        labels = total.labels
        if labels is not None:
            assert block.layer.labels is not None
            moved = jnp.where(jnp.isfinite(gap), gap, 0) * sums.label[:, None]
            labels = layout.put(labels, moved.astype(labels.dtype), index, axis=1)
        return Change(
            add(total.hidden, new.hidden),
            put(total.weight, new.weight),
            put(total.bias, new.bias),
            add(total.softcap, new.softcap),
            labels,
        )

    # What all blocks add to is added in full precision; what each adds a part of its own, is not.
    start = jax.tree.map(jnp.zeros_like, wanted)
    start = start._replace(
        hidden=None if start.hidden is None else start.hidden.astype(dtype),
        softcap=None if start.softcap is None else start.softcap.astype(dtype),
    )
    total = fold(step, start, layout)
    return jax.tree.map(lambda x, like: x.astype(like.dtype), total, wanted)


def _weights(block: Block, p: Array, sums: Sums) -> Array:
    """What each score's change counts, from the sums' cotangents.

    The output less the target comes first: a true class with nearly all of the mass then has the
    exact difference, whatever the cotangents are.
    """
    conjugate, label = sums.conjugate[:, None], sums.label[:, None]
    if block.hit is not None:
        weights = jnp.where(block.hit, (p - 1) * conjugate + (conjugate + label), p * conjugate)
    else:
        assert block.layer.labels is not None
        t = block.layer.labels.astype(p.dtype)
        weights = (p - t) * conjugate + t * (conjugate + label)
    return weights if sums.kept is None else weights + sums.kept[:, None]


def tangent_of_sums(
    output: Output, layer: Layer, known: Known, row: Row, change: Change, layout: Layout, kept: bool
) -> Sums:
    """`change_of_sums` with `pulled_sums` for its transpose."""

    def forward(change: Change) -> Sums:
        return change_of_sums(output, layer, known, row, change, layout, kept)

    def backward(sums: Sums) -> Change:
        return pulled_sums(output, layer, known, row, change, sums, layout)

    like = jnp.zeros_like(row.top)
    return with_transpose(
        forward, backward, change, Sums(like, like, like if kept else None), (layer, row)
    )


def with_transpose(
    forward: Callable[[Any], Any],
    backward: Callable[[Any], Any],
    argument: Any,
    result_like: Any,
    depends_on: Any,
) -> Any:
    """`forward(argument)`, a linear function, with `backward` for its transpose.

    It is written as the solution of `x = argument, y - forward(x) = 0`. JAX lets a linear solve
    have a transpose of its own, batches it, and derives it for what `forward` closes over
    (`depends_on`) from the equations themselves, which `linear_call` and `custom_vjp` do not.
    """

    def equations(pair: tuple[Any, Any]) -> tuple[Any, Any]:
        # Every equation has to have a tangent wherever one has: the solve is not transposed else.
        none = _nothing(depends_on)
        x, y = jax.tree.map(lambda a: a + a * none.astype(a.dtype), pair)
        return x, jax.tree.map(jnp.subtract, y, forward(x))

    def solve(_: Any, pair: tuple[Any, Any]) -> tuple[Any, Any]:
        x, y = pair
        return x, jax.tree.map(jnp.add, y, forward(x))

    def transposed(_: Any, pair: tuple[Any, Any]) -> tuple[Any, Any]:
        x, y = pair
        return jax.tree.map(jnp.add, x, backward(y)), y

    none = _nothing(argument)
    zeros = jax.tree.map(lambda a: jnp.zeros_like(a) + none.astype(a.dtype), result_like)
    _, result = lax.custom_linear_solve(equations, (argument, zeros), solve, transposed)
    return result


def _nothing(tree: Any) -> Array:
    """0, which depends on every array of the tree all the same, whatever they hold."""
    none = jnp.zeros((), jnp.float32)
    for leaf in jax.tree.leaves(tree):
        if leaf.size:  # the compiler folds it: nothing is added up
            none = none + jnp.sum(jnp.where(False, leaf, 0)).astype(jnp.float32)
    return none
