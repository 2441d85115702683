"""Target sampling: softmax over a subset of the classes that is fixed for a part of the data."""

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from softmax_variants._sharding import examples_of, over_devices
from softmax_variants._typing import Array, ArrayLike
from softmax_variants._validation import as_count, as_mask
from softmax_variants.heads._arguments import as_floating, as_hidden
from softmax_variants.heads._gathered import as_class_ids, take
from softmax_variants.heads._linear import linear_cross_entropy


class TargetPartition(NamedTuple):
    """A stretch of the data and the classes that occur in it.

    Attributes:
      start: its first example.
      stop: one past its last example.
      subset: its classes in rising order, int32 [size]; the number of classes fills it up.
    """

    start: int
    stop: int
    subset: Array


def target_partitions(
    labels: ArrayLike | Sequence[int] | Sequence[Sequence[int]], classes: int, size: int
) -> tuple[TargetPartition, ...]:
    r"""Divides the data into stretches in which at most `size` classes occur.

    .. math:: |\{y_i : \mathrm{start} \le i < \mathrm{stop}\}| \le \mathrm{size}

    Each stretch is as long as it can be. All subsets have one shape, so that one compiled step
    serves all of them.

    Args:
      labels: class ids in the order of training, integer [examples] or [examples, labels].
      classes: how many classes there are.
      size: how many classes a subset has.

    Returns:
      The stretches, one after another, with their subsets.

    Raises:
      TypeError: labels of no integer dtype, or traced.
      ValueError: more classes in a subset than there are, labels out of range, an example with
        more labels than `size`.

    Example:
      >>> import softmax_variants as sv
      >>> for part in sv.target_partitions([3, 0, 3, 1, 2], classes=4, size=2):
      ...     print(part.start, part.stop, part.subset)
      0 3 [0 3]
      3 5 [1 2]

    References:
      Jean et al., `On Using Very Large Target Vocabulary for Neural Machine Translation
      <https://arxiv.org/abs/1412.2007>`_, 2015, section 3.2.
    """
    if isinstance(labels, jax.core.Tracer):
        raise TypeError("labels must be known when the partitions are made, got a traced array")
    array = np.asarray(labels)
    if not array.size and not hasattr(labels, "dtype"):  # an empty list has no dtype of its own
        array = array.astype(np.int64)
    if array.dtype.kind not in "iu":
        raise TypeError(f"labels must be class ids of integer dtype, got dtype {array.dtype}")
    classes = as_count(classes, "classes", high=2**31 - 2)
    size = as_count(size, "size", high=classes)
    if array.ndim not in (1, 2):
        raise ValueError(
            f"labels must have shape (examples,) or (examples, labels), got {array.shape}"
        )
    bad = (array < 0) | (array >= classes)
    if bad.any():
        raise ValueError(f"labels must lie in [0, {classes}), got {array[bad][0]}")
    table = array.reshape(array.shape[0], math.prod(array.shape[1:])).astype(np.int64)
    before = _previous(table.reshape(-1)).reshape(table.shape)
    found, start = [], 0
    while start < table.shape[0]:
        stop = _stop(before, start, size)
        if stop == start:
            raise ValueError(f"size must be at least the labels of an example, got {size}")
        subset = np.full(size, classes, np.int32)
        inside = np.unique(table[start:stop])
        subset[: inside.size] = inside
        found.append(TargetPartition(start, stop, jnp.asarray(subset)))
        start = stop
    return tuple(found)


def _previous(labels: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    """Where each label occurred last before, -1 where it did not."""
    order = np.argsort(labels, kind="stable")
    same = labels[order[1:]] == labels[order[:-1]]
    before = np.full(labels.size, -1, np.int64)
    before[order[1:][same]] = order[:-1][same]
    return before


def _stop(before: "np.ndarray[Any, Any]", start: int, size: int) -> int:
    """The end of the longest stretch from `start` on with at most `size` classes."""
    examples, count = before.shape
    window = max(size, 1)
    while True:
        new = (before[start : start + window] < start * count).sum(axis=1)
        over = np.cumsum(new) > size
        if over.any():
            return start + int(np.argmax(over))
        if start + window >= examples:
            return examples
        window *= 2


def target_sampled_softmax_loss(
    hidden: ArrayLike,
    labels: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    subset: ArrayLike,
    where: ArrayLike | None = None,
) -> Array:
    r"""Cross-entropy over a subset of the classes, in which the labels have to be.

    .. math:: L = \log \sum_{j \in V'} e^{x_j} - x_y, \qquad x = W h + b

    It is importance sampling from the uniform law over V', whose correction cancels. The labels of
    the partition are always among its candidates, so that it underestimates the cross-entropy.

    Args:
      hidden: [..., features], any floating dtype.
      labels: class ids, integer [...].
      weight: [classes, features], any floating dtype; a row a class, as embeddings have it.
      bias: [classes].
      subset: V', distinct class ids in rising order, [size], such as those of
        `target_partitions`; ids from `classes` on fill it up and are no class. Where it is traced
        its order is of no account, a class counts once, and negative ids are no class.
      where: boolean, broadcasts to the examples [...]; False gives loss 0 and gradient 0.

    Returns:
      One loss an example, [...], at least float32 and at least 0; NaN where the label is not in
      the subset. All gradients are summed in at least float32.

    Raises:
      TypeError: a dtype that does not fit; the message names the argument.
      ValueError: a shape that does not fit, such as a transposed weight; a subset larger than the
        number of classes, or not of distinct classes in rising order.

    Example:
      >>> import jax.numpy as jnp
      >>> import softmax_variants as sv
      >>> hidden, weight = jnp.ones((2, 3)), jnp.zeros((4, 3))
      >>> subset = jnp.array([1, 3])
      >>> print(sv.target_sampled_softmax_loss(hidden, jnp.array([1, 2]), weight, subset=subset))
      [0.6931472       nan]

    References:
      Jean et al., `On Using Very Large Target Vocabulary for Neural Machine Translation
      <https://arxiv.org/abs/1412.2007>`_, 2015.
    """
    hidden, weight = as_hidden(hidden, weight)
    batch, classes = hidden.shape[:-1], weight.shape[0]
    bias = None if bias is None else as_floating(bias, "bias", (classes,))
    ids = as_class_ids(labels, classes)
    if ids.shape != batch:
        raise ValueError(
            f"labels must have shape {batch} (hidden's shape without features), got {ids.shape}"
        )
    chosen = jnp.asarray(subset)
    if not jnp.issubdtype(chosen.dtype, jnp.integer):
        raise TypeError(f"subset must be class ids of integer dtype, got dtype {chosen.dtype}")
    if chosen.ndim != 1 or not 0 < chosen.shape[0] <= classes:
        raise ValueError(
            f"subset must have shape (size,) of at most {classes} distinct classes, got "
            f"{chosen.shape}"
        )
    rising, known = _known_to_rise(chosen, classes), as_class_ids(chosen, classes)
    mask, split = as_mask(where, batch), examples_of(hidden)
    losses = functools.partial(_losses, rising=rising)
    loss: Array = over_devices(losses, hidden, ids, weight, bias, known, mask, split=split)
    return loss


def _known_to_rise(subset: Array, classes: int) -> bool:
    """Whether the ids are known; they then have to be classes in rising order, followed by none."""
    if isinstance(subset, jax.core.Tracer) or not subset.is_fully_addressable:
        return False
    ids = np.minimum(np.asarray(subset).astype(np.int64), classes)
    falls = (ids[1:] < ids[:-1]) | ((ids[1:] == ids[:-1]) & (ids[1:] < classes))
    if ids[0] < 0 or falls.any():
        place = 0 if ids[0] < 0 else int(np.argmax(falls)) + 1
        raise ValueError(
            f"subset must have distinct classes in rising order, got {ids[place]} at place {place}"
            + (f" after {ids[place - 1]}" if place else "")
        )
    return True


@functools.partial(jax.jit, static_argnames=("rising",))
def _losses(
    hidden: Array,
    ids: Array,
    weight: Array,
    bias: Array | None,
    subset: Array,
    where: Array | None,
    rising: bool,
) -> Array:
    classes = weight.shape[0]
    counted = subset < classes
    if not rising:
        subset = jnp.sort(subset)
        first = jnp.concatenate([jnp.ones(1, bool), subset[1:] != subset[:-1]])
        counted = (subset < classes) & first
    place = jnp.minimum(jnp.searchsorted(subset, ids).astype(jnp.int32), subset.shape[0] - 1)
    place = jnp.where((subset[place] == ids) & (ids < classes), place, -1)
    if where is not None:
        where = jnp.broadcast_to(where, ids.shape)
        hidden = jnp.where(where[..., None], hidden, 0)
    loss = linear_cross_entropy(
        hidden,
        place,
        take(weight, subset),
        None if bias is None else take(bias, subset),
        where=counted,
    )
    return loss if where is None else jnp.where(where, loss, 0)
