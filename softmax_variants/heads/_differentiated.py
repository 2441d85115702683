"""Differentiated softmax: one softmax over parts of the classes that see features of their own."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from softmax_variants._sharding import examples_of, over_devices
from softmax_variants._typing import Array, ArrayLike
from softmax_variants._validation import as_mask
from softmax_variants.heads._arguments import (
    as_block_size,
    as_floating,
    as_id_labels,
    as_rows,
    ignored_ids,
    per_row,
)
from softmax_variants.heads._blocks import dtype_of, product
from softmax_variants.heads._linear import linear_cross_entropy
from softmax_variants.heads._spoiling import spoiled
from softmax_variants.maps._softmax import log_softmax


class Part(NamedTuple):
    """What the scores of one part of the classes are made of.

    Attributes:
      rows: the features that the part sees, [examples, width].
      weight: [classes, width].
      bias: [classes], or none.
    """

    rows: Array
    weight: Array
    bias: Array | None


class Tables(NamedTuple):
    """The parameters: a weight for each part, a bias of all classes and projections, or none."""

    weights: tuple[Array, ...]
    bias: Array | None
    projections: tuple[Array, ...] | None

    @property
    def bounds(self) -> tuple[int, ...]:
        """The first class of each part, and the number of all classes."""
        bounds = [0]
        for weight in self.weights:
            bounds.append(bounds[-1] + weight.shape[0])
        return tuple(bounds)

    def parts(self, rows: Array) -> list[Part]:
        """The parts for the hidden states [examples, features]."""
        found, first = [], 0
        for i, weight in enumerate(self.weights):
            if self.projections is None:
                own = rows[:, first : first + weight.shape[1]]
                first += weight.shape[1]
            else:
                down = self.projections[i]
                own = product(rows, down, (1, 1), dtype_of(rows, down))
            low, high = self.bounds[i : i + 2]
            found.append(Part(own, weight, None if self.bias is None else self.bias[low:high]))
        return found


def differentiated_softmax_loss(
    hidden: ArrayLike,
    labels: ArrayLike,
    weights: Sequence[ArrayLike],
    bias: ArrayLike | None = None,
    *,
    projections: Sequence[ArrayLike] | None = None,
    where: ArrayLike | None = None,
    ignore_index: int | None = None,
    label_smoothing: ArrayLike = 0.0,
    block_size: int | None = None,
) -> Array:
    r"""Cross-entropy of one softmax whose classes see different numbers of features.

    .. math:: L(h; y) = \log \sum_k \sum_{j \in V_k} \exp(x_j) - x_y,
              \qquad x_j = w_j \cdot h_k + b_j \quad (j \in V_k)

    The features are divided among the parts of the classes, h = [h_1, ..., h_K]: it is the loss of
    a dense layer with a block-diagonal weight, at the cost of the blocks. With projections
    (D-softmax*) each part sees h_k = P_k h instead. The logits of all classes never exist at once.

    Args:
      hidden: [..., features], any floating dtype.
      labels: class ids, [...], of integer dtype.
      weights: for each part of the classes, in order, [classes of the part, width]. Without
        projections the widths sum to `features`.
      bias: of all classes.
      projections: for each part [width, features].
      where: boolean [...], which examples take part; the others have loss 0 and gradient 0.
      ignore_index: an id whose examples have loss 0 and gradient 0.
      label_smoothing: mass moved from the label to the uniform distribution over all classes; a
        scalar or one an example. The loss of a perfect prediction of the smoothed label is 0.
      block_size: classes that a block has; by default chosen from the shapes.

    Returns:
      One loss an example, [...], at least float32. NaN where an id is out of range.

    Raises:
      TypeError: a dtype that does not fit; the message names the argument.
      ValueError: a shape that does not fit, such as widths that do not sum to the features.

    Example:
      >>> import jax.numpy as jnp
      >>> import softmax_variants as sv
      >>> hidden, weights = jnp.ones((2, 4)), [jnp.zeros((2, 3)), jnp.zeros((6, 1))]
      >>> print(sv.differentiated_softmax_loss(hidden, jnp.array([0, 7]), weights))
      [2.0794415 2.0794415]

    References:
      Chen, Grangier and Auli, `Strategies for Training Large Vocabulary Neural Language Models
      <https://arxiv.org/abs/1512.04906>`_, 2016; with projections (D-softmax*): Grave et
      al., `Efficient softmax approximation for GPUs <https://arxiv.org/abs/1609.04309>`_, 2017.
    """
    hidden, tables = as_tables(hidden, weights, bias, projections)
    batch = hidden.shape[:-1]
    labels = as_id_labels(labels, batch)
    ignored = ignored_ids(labels, as_mask(where, batch), ignore_index)
    smoothing: Array | None = None
    if not (isinstance(label_smoothing, float | int) and label_smoothing == 0):
        smoothing = per_row(label_smoothing, "label_smoothing", batch, high=1)
        smoothing = jnp.broadcast_to(smoothing.astype(jnp.float32), batch)
    run = functools.partial(_losses, block=as_block_size(block_size))
    split = examples_of(hidden)
    loss: Array = over_devices(run, hidden, labels, tables, ignored, smoothing, split=split)
    return loss


def as_tables(
    hidden: ArrayLike,
    weights: Sequence[ArrayLike],
    bias: ArrayLike | None,
    projections: Sequence[ArrayLike] | None,
) -> tuple[Array, Tables]:
    """The hidden states and the parameters, which have to fit each other."""
    hidden = jnp.asarray(hidden)
    if not jnp.issubdtype(hidden.dtype, jnp.floating):
        raise TypeError(f"hidden must have a floating dtype, got dtype {hidden.dtype}")
    if hidden.ndim == 0:
        raise ValueError("hidden must have shape (..., features), got a scalar")
    features = hidden.shape[-1]
    arrays = [as_floating(w, f"weights[{i}]", ("classes", "width")) for i, w in enumerate(weights)]
    if not arrays:
        raise ValueError("weights must have at least one part, got none")
    for i, array in enumerate(arrays):
        if 0 in array.shape:
            raise ValueError(
                f"weights[{i}] must have at least one class and one feature, got {array.shape}"
            )
    classes = sum(array.shape[0] for array in arrays)
    widths = [array.shape[1] for array in arrays]
    downs = None
    if projections is not None:
        if len(projections) != len(arrays):
            raise ValueError(
                f"projections must have one matrix for each of the {len(arrays)} parts, got "
                f"{len(projections)}"
            )
        downs = tuple(
            as_floating(p, f"projections[{i}]", (widths[i], features))
            for i, p in enumerate(projections)
        )
    elif sum(widths) != features:
        raise ValueError(
            f"weights must have widths that sum to the {features} features of hidden, got {widths}"
        )
    bias = None if bias is None else as_floating(bias, "bias", (classes,))
    return hidden, Tables(tuple(arrays), bias, downs)


@functools.partial(jax.jit, static_argnames=("block",))
def _losses(
    hidden: Array,
    labels: Array,
    tables: Tables,
    ignored: Array | None,
    smoothing: Array | None,
    block: int | None,
) -> Array:
    rows, ids = as_rows(hidden), labels.reshape(-1)
    bounds = tables.bounds
    valid = ids >= 0
    if bounds[-1] <= int(jnp.iinfo(ids.dtype).max):
        valid = valid & (ids < bounds[-1])
    ids = jnp.where(valid, ids.astype(jnp.int32), 0)
    if ignored is not None:
        # Selected away before and after: whatever an ignored example holds, it has no gradient.
        ignored = ignored.reshape(-1)
        rows = jnp.where(ignored[:, None], 0, rows)
    normalizers, inside, parts = [], [], tables.parts(rows)
    for i, part in enumerate(parts):
        own = (ids >= bounds[i]) & (ids < bounds[i + 1])
        loss, normalizer = linear_cross_entropy(
            part.rows,
            jnp.where(own, ids - bounds[i], 0),
            part.weight,
            part.bias,
            block_size=block,
            return_log_normalizer=True,
        )
        normalizers.append(normalizer)
        inside.append(jnp.where(own, loss, 0))
    stacked = jnp.stack(normalizers, axis=-1)
    part_of = jnp.sum(ids[:, None] >= jnp.asarray(bounds[1:-1], jnp.int32)[None, :], axis=-1)
    log_part = log_softmax(stacked)
    loss = -jnp.take_along_axis(log_part, part_of[:, None], axis=-1)[:, 0] + sum(inside)
    if smoothing is not None:
        loss = _smoothed(loss, stacked, parts, bounds[-1], smoothing.reshape(-1))
    if ignored is not None:
        valid = valid | ignored
    loss = spoiled(loss, valid)
    if ignored is not None:
        loss = jnp.where(ignored, 0, loss)
    return loss.reshape(hidden.shape[:-1])


def _smoothed(
    loss: Array, normalizers: Array, parts: list[Part], classes: int, smoothing: Array
) -> Array:
    """The loss against the smoothed label, less that label's entropy.

    The mean of all scores is the score of the mean class: it takes no logit.
    """
    whole = jax.nn.logsumexp(normalizers, axis=-1)
    total = jnp.zeros_like(loss)
    for part in parts:
        mean = jnp.sum(part.weight.astype(loss.dtype), axis=0)
        total = total + product(part.rows, mean[:, None], (1, 0), jnp.dtype(loss.dtype))[:, 0]
        if part.bias is not None:
            total = total + jnp.sum(part.bias.astype(loss.dtype))
    uniform = whole - total / classes
    smoothing = smoothing.astype(loss.dtype)
    rest = smoothing / classes
    kept = 1 - smoothing + rest
    entropy = -(_xlogx(kept) + (classes - 1) * _xlogx(rest))
    return (1 - smoothing) * loss + smoothing * uniform - entropy


def _xlogx(x: Array) -> Array:
    return jnp.where(x == 0, 0, x * jnp.log(jnp.where(x == 0, 1, x)))
