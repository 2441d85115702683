"""Evaluation of one part of the classes, a block of them at a time."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from softmax_variants._numerics import finite_top
from softmax_variants._typing import Array
from softmax_variants.heads._blocks import Block, Known, Layer, Layout, product
from softmax_variants.heads._sums import fold
from softmax_variants.maps._gumbel import gumbel

_EVERYTHING = Known(None, None)


class Largest(NamedTuple):
    """The classes with the largest scores, best first, and of equal ones the first first.

    Attributes:
      scores: [examples, k].
      ids: [examples, k], counted from the part's first class.
      log_normalizer: of the scores of all classes of the part, [examples].
    """

    scores: Array
    ids: Array
    log_normalizer: Array


def largest(rows: Array, weight: Array, bias: Array | None, k: int) -> Largest:
    """The k best of a part's classes, k being at most their number."""
    layer, layout = _layer(rows, weight, bias)
    count, dtype = rows.shape[0], layer.dtype()

    def step(
        carry: tuple[Array, Array, Array, Array], index: Array | None
    ) -> tuple[Array, Array, Array, Array]:
        best, ids, top, total = carry
        scores = Block.of(layer, _EVERYTHING, layout, index).scores
        new, places = lax.top_k(scores, min(k, scores.shape[1]))
        best, ids = merged(best, ids, new, layout.ids(index)[places])
        old, top = top, jnp.maximum(top, jnp.max(scores, axis=-1))
        base = finite_top(top)
        lower = jnp.where(old == -jnp.inf, 0, jnp.exp(finite_top(old) - base))
        total = total * lower + jnp.sum(jnp.exp(scores - base[:, None]), axis=-1)
        return best, ids, top, total

    start = (
        jnp.full_like(rows, -jnp.inf, dtype, shape=(count, k)),
        jnp.zeros_like(rows, jnp.int32, shape=(count, k)),
        jnp.full_like(rows, -jnp.inf, dtype, shape=(count,)),
        jnp.zeros_like(rows, dtype, shape=(count,)),
    )
    best, ids, top, total = fold(step, start, layout)
    return Largest(best, ids, finite_top(top) + jnp.log(total))


def merged(scores: Array, ids: Array, new_scores: Array, new_ids: Array) -> tuple[Array, Array]:
    """The best of two lists, as many as the first has; of equal ones those of the first first."""
    both = jnp.concatenate([scores, new_scores], axis=-1)
    best, places = lax.top_k(both, scores.shape[1])
    return best, jnp.take_along_axis(jnp.concatenate([ids, new_ids], axis=-1), places, axis=-1)


def drawn(key: Array, rows: Array, weight: Array, bias: Array | None = None) -> tuple[Array, Array]:
    """The largest score with Gumbel noise, and its class: a draw from softmax over the part."""
    layer, layout = _layer(rows, weight, bias)

    def step(carry: tuple[Array, Array], index: Array | None) -> tuple[Array, Array]:
        scores = Block.of(layer, _EVERYTHING, layout, index).scores
        number = jnp.int32(layout.count) if index is None else index
        noisy = scores + gumbel(jax.random.fold_in(key, number), scores)
        new, id_ = jnp.max(noisy, axis=-1), layout.ids(index)[jnp.argmax(noisy, axis=-1)]
        best, ids = carry
        return jnp.where(new > best, new, best), jnp.where(new > best, id_, ids)

    count = rows.shape[0]
    start = (
        jnp.full_like(rows, -jnp.inf, layer.dtype(), shape=(count,)),
        jnp.zeros_like(rows, jnp.int32, shape=(count,)),
    )
    found: tuple[Array, Array] = fold(step, start, layout)
    return found


def logits(rows: Array, weight: Array, bias: Array | None = None) -> Array:
    """The scores of all classes of the part, [examples, classes]."""
    layer, _ = _layer(rows, weight, bias)
    scores = product(rows, weight, (1, 1), layer.dtype())
    return scores if bias is None else scores + bias.astype(scores.dtype)[None, :]


def _layer(rows: Array, weight: Array, bias: Array | None) -> tuple[Layer, Layout]:
    layer = Layer(rows, weight, bias, None, None)
    return layer, Layout.of(weight.shape[0], rows.shape[0], None, devices=1)
