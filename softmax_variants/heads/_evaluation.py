"""Exact evaluation of a linear layer with softmax or entmax, in bounded memory.

All classes' scores exist for a block of classes at a time only, except where they are the answer.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax

from softmax_variants._sharding import examples_of, over_devices
from softmax_variants._typing import Array, ArrayLike
from softmax_variants._validation import as_count, as_key
from softmax_variants.heads._arguments import as_hidden, as_rows
from softmax_variants.heads._blocks import Block, Known, Layer, Layout, product
from softmax_variants.heads._entmax_threshold import State, output
from softmax_variants.heads._entmax_threshold import solve as solve_entmax
from softmax_variants.heads._gathered import as_class_ids
from softmax_variants.heads._linear import linear_cross_entropy, softmax_sums
from softmax_variants.heads._sums import far_below
from softmax_variants.maps._entmax import entmax
from softmax_variants.maps._gumbel import NOTHING, gumbel
from softmax_variants.maps._softmax import log_softmax

# The map's parameter: none is softmax.
Alpha: TypeAlias = float | None


class Law(NamedTuple):
    """The distribution of each example.

    Attributes:
      top: the largest score, finite.
      state: the log-normalizer relative to it, or entmax's state.
      label: the label's score relative to it; 0 without labels.
    """

    top: Array
    state: Array | State
    label: Array

    def log_p(self, gap: Array) -> Array:
        """The log-probabilities from `scores - top`, [examples, classes of a block]."""
        if isinstance(self.state, State):
            p = output(gap, self.state)
            return jnp.where(p == 0, -jnp.inf, jnp.log(jnp.where(p == 0, 1, p)))
        return gap - self.state[:, None]


def log_prob(
    hidden: ArrayLike, labels: ArrayLike, weight: Array, bias: Array | None, alpha: Alpha
) -> Array:
    """The log-probability of each label; NaN where the label is no class."""
    if alpha is None:
        return -linear_cross_entropy(hidden, labels, weight, bias)
    hidden, weight = as_hidden(hidden, weight)
    ids = as_class_ids(labels, weight.shape[0])
    batch = hidden.shape[:-1]
    if ids.shape != batch:
        raise ValueError(f"labels must have shape {batch}, got {ids.shape}")
    run = functools.partial(_entmax_log_prob, alpha=alpha)
    found: Array = over_devices(run, hidden, weight, bias, ids, split=examples_of(hidden))
    return found


def log_probs(hidden: ArrayLike, weight: Array, bias: Array | None, alpha: Alpha) -> Array:
    """The log-probabilities of all classes, [..., classes]."""
    hidden, weight = as_hidden(hidden, weight)
    run = functools.partial(_log_probs, alpha=alpha)
    found: Array = over_devices(run, hidden, weight, bias, split=examples_of(hidden))
    return found


def top_k(
    hidden: ArrayLike, weight: Array, bias: Array | None, k: int, alpha: Alpha
) -> tuple[Array, Array]:
    """The k most probable classes, best first; of equal scores the lowest id first."""
    hidden, weight = as_hidden(hidden, weight)
    k = as_count(k, "k", high=weight.shape[0])
    run = functools.partial(_top_k, k=k, alpha=alpha)
    logs, ids = over_devices(run, hidden, weight, bias, split=examples_of(hidden))
    return logs, ids


def sample(key: Array, hidden: ArrayLike, weight: Array, bias: Array | None, alpha: Alpha) -> Array:
    """A class of each example by the Gumbel-max trick; -1 where its scores have a NaN."""
    hidden, weight = as_hidden(hidden, weight)
    run = functools.partial(_sample, alpha=alpha)
    found: Array = over_devices(run, as_key(key), hidden, weight, bias, split=examples_of(hidden))
    return found


def _layer(
    hidden: Array, weight: Array, bias: Array | None, least: int = 1
) -> tuple[Layer, Layout]:
    """The layer with all examples on one axis, and blocks of neighbouring classes."""
    rows = as_rows(hidden)
    layout = Layout.of(weight.shape[0], rows.shape[0], None, devices=1)
    if layout.block < least:
        layout = Layout.of(weight.shape[0], rows.shape[0], least, devices=1)
    return Layer(rows, weight, bias, None, None), layout


def _law(layer: Layer, known: Known, layout: Layout, alpha: Alpha) -> Law:
    if alpha is None:
        top, sums = softmax_sums(layer, known, layout, False)
        return Law(top, sums.conjugate, sums.label)
    order = jnp.full_like(layer.hidden, alpha, layer.dtype(), shape=layer.hidden.shape[:1])
    top, state, sums = solve_entmax(layer, order, known, layout, False)
    return Law(top, state, sums.label)


def _nobody(layer: Layer) -> Known:
    """No example's label is a class."""
    return Known(jnp.full_like(layer.hidden, -1, jnp.int32, shape=layer.hidden.shape[:1]), None)


@functools.partial(jax.jit, static_argnames=("alpha",))
def _entmax_log_prob(
    hidden: Array, weight: Array, bias: Array | None, labels: Array, alpha: float
) -> Array:
    layer, layout = _layer(hidden, weight, bias)
    ids = labels.reshape(layer.hidden.shape[0])
    valid = ids < layout.classes
    law = _law(layer, Known(jnp.where(valid, ids, -1), None), layout, alpha)
    found = jnp.where(valid, law.log_p(law.label[:, None])[:, 0], jnp.nan)
    return found.reshape(labels.shape)


@functools.partial(jax.jit, static_argnames=("alpha",))
def _log_probs(hidden: Array, weight: Array, bias: Array | None, alpha: Alpha) -> Array:
    layer, _ = _layer(hidden, weight, bias)
    shape, dtype = (*hidden.shape[:-1], weight.shape[0]), layer.dtype()
    scores = product(layer.hidden, layer.weight, (1, 1), dtype)
    if layer.bias is not None:
        scores = scores + layer.bias.astype(dtype)[None, :]
    if alpha is None:
        return log_softmax(scores).reshape(shape)
    p = entmax(scores, alpha=alpha)
    return jnp.where(p == 0, -jnp.inf, jnp.log(jnp.where(p == 0, 1, p))).reshape(shape)


@functools.partial(jax.jit, static_argnames=("k", "alpha"))
def _top_k(
    hidden: Array, weight: Array, bias: Array | None, k: int, alpha: Alpha
) -> tuple[Array, Array]:
    layer, layout = _layer(hidden, weight, bias, least=k)
    known = _nobody(layer)
    law = _law(layer, known, layout, alpha)

    def best(index: Array | None) -> tuple[Array, Array]:
        gap = Block.of(layer, known, layout, index).gap(law.top)
        values, places = lax.top_k(gap, min(k, gap.shape[1]))
        return values, jnp.take(layout.ids(index), places)

    def step(carry: tuple[Array, Array], index: Array | None) -> tuple[Array, Array]:
        # What was found before has the lower ids and stands first: it wins where scores are equal.
        values, ids = (jnp.concatenate(p, axis=1) for p in zip(carry, best(index), strict=True))
        values, places = lax.top_k(values, k)
        return values, jnp.take_along_axis(ids, places, axis=1)

    # The first block has at least k classes.
    values, ids = _over_rest(step, best(jnp.int32(0)), layout)
    shape = (*hidden.shape[:-1], k)
    logs = law.log_p(far_below(law.top[:, None], values))
    return logs.reshape(shape), ids.reshape(shape)


@functools.partial(jax.jit, static_argnames=("alpha",))
def _sample(key: Array, hidden: Array, weight: Array, bias: Array | None, alpha: Alpha) -> Array:
    layer, layout = _layer(hidden, weight, bias)
    known = _nobody(layer)
    law = _law(layer, known, layout, alpha)

    def best(index: Array | None) -> tuple[Array, Array]:
        number = jnp.int32(layout.count) if index is None else index
        logs = law.log_p(Block.of(layer, known, layout, index).gap(law.top))
        noisy = logs + gumbel(jax.random.fold_in(key, number), logs)
        place = jnp.argmax(noisy, axis=1)
        value = jnp.take_along_axis(noisy, place[:, None], axis=1)[:, 0]
        return value, jnp.take(layout.ids(index), place)

    def step(carry: tuple[Array, Array], index: Array | None) -> tuple[Array, Array]:
        (value, ids), (new, found) = carry, best(index)
        # A NaN stays the largest.
        higher = (new > value) | jnp.isnan(new)
        return jnp.where(higher, new, value), jnp.where(higher, found, ids)

    value, ids = _over_rest(step, best(jnp.int32(0)), layout)
    return jnp.where(value > -jnp.inf, ids, NOTHING).reshape(hidden.shape[:-1])


def _over_rest(step: Callable[[Any, Array | None], Any], start: Any, layout: Layout) -> Any:
    """`step` over all blocks after the first, which has given `start`."""
    carry, _ = lax.scan(
        lambda carry, index: (step(carry, index), None),
        start,
        jnp.arange(1, layout.count, dtype=jnp.int32),
    )
    return step(carry, None) if layout.rest else carry
