"""How a public sampled loss is worked out: checks, what is drawn, the rows, the objective."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from softmax_variants._sharding import examples_of, over_devices
from softmax_variants._typing import Array, ArrayLike
from softmax_variants._validation import as_key, check_broadcastable
from softmax_variants.heads._arguments import as_floating, as_hidden
from softmax_variants.heads._blocks import dtype_of
from softmax_variants.heads._gathered import (
    Draw,
    Objective,
    as_class_ids,
    as_labels,
    losses_of_rows,
    row_ids,
    take,
)
from softmax_variants.heads._samplers import Sampler


def as_sampler(sampler: Sampler | None, classes: int) -> Sampler:
    """A sampler over as many classes as the layer has."""
    if not isinstance(sampler, Sampler):
        raise TypeError(
            f"sampler must be a sampler, such as LogUniformSampler({classes}), got "
            f"{type(sampler).__name__}"
        )
    if sampler.classes != classes:
        raise ValueError(f"sampler must have {classes} classes, got {sampler.classes}")
    return sampler


def as_candidates(candidates: Any, hidden: ArrayLike, weight: ArrayLike) -> Draw:
    """`(ids, log_q)` in place of what a sampler would draw; ids that are no class do not count."""
    hidden, weight = as_hidden(hidden, weight)
    batch, classes = hidden.shape[:-1], weight.shape[0]
    if not isinstance(candidates, tuple | list) or len(candidates) != 2:
        raise TypeError(f"candidates must be a pair (ids, log_q), got {type(candidates).__name__}")
    ids, log_q = map(jnp.asarray, candidates)
    if not jnp.issubdtype(ids.dtype, jnp.integer):
        raise TypeError(f"candidates' ids must have an integer dtype, got dtype {ids.dtype}")
    if (ids.ndim != 1 and ids.shape[:-1] != batch) or ids.ndim == 0 or ids.shape[-1] == 0:
        raise ValueError(
            f"candidates' ids must have shape (samples,) or {(*batch, 'samples')}, got {ids.shape}"
        )
    if not jnp.issubdtype(log_q.dtype, jnp.floating):
        raise TypeError(f"candidates' log_q must have a floating dtype, got dtype {log_q.dtype}")
    check_broadcastable(log_q.shape, ids.shape, "candidates' log_q")
    log_q = jnp.broadcast_to(log_q, ids.shape)
    if ids.ndim > 1:
        shape = (-1 if ids.size else 0, ids.shape[-1])
        ids, log_q = ids.reshape(shape), log_q.reshape(shape)
    ids = as_class_ids(ids, classes)
    return Draw(ids, log_q.astype(dtype_of(hidden, weight)), None, ids < classes)


def sampled_losses(
    objective: Objective,
    key: Array | None,
    sampler: Sampler | None,
    draw: Any,
    hidden: ArrayLike,
    labels: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None,
    label_weights: ArrayLike | None,
    where: ArrayLike | None,
) -> Array:
    """The losses of one objective, [...]; with a `draw` nothing is drawn."""
    hidden, weight = as_hidden(hidden, weight)
    bias = None if bias is None else as_floating(bias, "bias", (weight.shape[0],))
    if draw is None:
        sampler = as_sampler(sampler, weight.shape[0])
        key = as_key(key)  # type: ignore[arg-type] # it says itself what it is given
    # Nothing of a sampler is needed where nothing is drawn.
    used = sampler if draw is None else None
    target = None if label_weights is None else jnp.asarray(label_weights)
    mask = None if where is None else jnp.asarray(where)
    run, ids = functools.partial(_losses, objective), jnp.asarray(labels)
    loss: Array = over_devices(
        run, key, used, draw, hidden, ids, weight, bias, target, mask, split=examples_of(hidden)
    )
    return loss


@functools.partial(jax.jit, static_argnames=("objective",))
def _losses(
    objective: Objective,
    key: Array | None,
    sampler: Sampler | None,
    draw: Any,
    hidden: Array,
    labels: Array,
    weight: Array,
    bias: Array | None,
    label_weights: ArrayLike | None,
    where: ArrayLike | None,
) -> Array:
    classes = weight.shape[0]
    ids = as_class_ids(labels, classes).reshape(-1)
    if draw is None:
        assert sampler is not None
        rows, draw = drawn(objective, sampler, key, ids)
    else:
        rows = row_ids(ids, draw)
    return row_losses(
        objective,
        take(weight, rows),
        None if bias is None else take(bias, rows),
        draw,
        hidden,
        labels,
        label_weights,
        where,
        classes,
    )


@functools.partial(jax.jit, static_argnames=("objective",))
def drawn(
    objective: Objective, sampler: Sampler, key: Array | None, labels: Array
) -> tuple[Array, Any]:
    """The rows that a step reads, and what else its loss needs of what was drawn."""
    state = objective.draw(sampler, key, labels)
    return row_ids(labels, state), state


@functools.partial(jax.jit, static_argnames=("objective", "classes"))
def row_losses(
    objective: Objective,
    rows: Array,
    biases: Array | None,
    state: Any,
    hidden: Array,
    labels: Array,
    label_weights: ArrayLike | None,
    where: ArrayLike | None,
    classes: int,
) -> Array:
    """The losses [...] from gathered rows: where heads and functions meet."""
    batch = hidden.shape[:-1]
    dtype = dtype_of(hidden, rows)
    known, shown = as_labels(labels, label_weights, where, batch, classes, dtype)
    flat = hidden.reshape(known.ids.shape[0], hidden.shape[-1])
    loss = losses_of_rows(objective, rows, biases, state, flat, known, shown, classes)
    return loss.reshape(batch)
