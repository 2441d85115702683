"""Hierarchical softmax for all classes at once: from the root down, a level at a time."""

import itertools
import math

import jax.numpy as jnp

from softmax_variants._numerics import apart
from softmax_variants._typing import Array
from softmax_variants.heads._decisions import dot, log_sigmoids, plus
from softmax_variants.heads._tree import MAX_LEVELS, Tree


def all_classes(w: Array, b: Array | None, tree: Tree, h: Array) -> Array:
    """The log-probabilities of all classes, [n, classes].

    They are summed up for edges, two a node, from the root down. Examples come first throughout:
    on the CPU gathering columns costs less than gathering rows and a transposition.
    """
    scores = dot("nd,vd->nv", h, w)
    if b is not None:
        scores = plus(scores, b[None])
    if tree.nodes == 0:
        return jnp.zeros_like(scores, shape=(h.shape[0], 1))
    # Worked out once: every level would fuse it, and work it out for itself.
    decided = jnp.stack(apart(*log_sigmoids(*apart(scores))), axis=-1)
    starts = (
        *tree.levels[:MAX_LEVELS],
        tree.nodes if tree.depth <= MAX_LEVELS else tree.levels[-1],
    )
    reached = jnp.zeros_like(scores[:, :1])
    edges: list[Array] = []
    for level, (start, stop) in enumerate(itertools.pairwise(starts)):
        if level > 0:
            above = tree.parents[tree.classes + start : tree.classes + stop]
            reached = edges[-1][:, above - 2 * starts[level - 1]]
        edges.append(_two_each(reached, decided[:, start:stop]))
    if tree.depth > MAX_LEVELS:
        reached = _below(decided, edges[-1], tree, starts[-2], starts[-1])
        edges.append(_two_each(reached, decided[:, starts[-1] :]))
    return jnp.concatenate(edges, axis=1)[:, tree.parents[: tree.classes]]


def _two_each(reached: Array, decided: Array) -> Array:
    """The log-probabilities of the edges below some nodes, from the nodes' own."""
    sums = reached[..., None] + decided
    return sums.reshape(sums.shape[0], 2 * sums.shape[1])


def _below(decided: Array, above: Array, tree: Tree, before: int, start: int) -> Array:
    """The log-probabilities of all nodes from `start` on, by doubling the steps that are summed.

    `above` are those of the edges of the last level before, which begins at the node `before`.
    """
    edges = tree.parents[tree.classes + start : 2 * tree.classes - 1]
    parent = edges >> 1
    first = parent < start
    inside = decided.reshape(decided.shape[0], 2 * decided.shape[1])[:, edges]
    sums = jnp.where(first[None], above[:, jnp.where(first, edges - 2 * before, 0)], inside)
    count = edges.shape[0]
    # The entry past the end is its own ancestor, and adds nothing.
    sums = jnp.concatenate([sums, jnp.zeros_like(sums[:, :1])], axis=1)
    end = jnp.full(1, count, jnp.int32)
    ancestor = jnp.concatenate([jnp.where(first, count, parent - start), end])
    for _ in range(math.ceil(math.log2(tree.depth - MAX_LEVELS + 1))):
        sums = sums + sums[:, ancestor]
        ancestor = ancestor[ancestor]
    return sums[:, :count]
