"""Adaptive softmax: frequent classes in a head, rare ones in tails that few examples reach."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from softmax_variants._sharding import examples_of, over_devices
from softmax_variants._typing import Array, ArrayLike
from softmax_variants._validation import as_mask
from softmax_variants.heads._arguments import (
    as_floating,
    as_hidden,
    as_id_labels,
    as_rows,
    as_shares,
    ignored_ids,
)
from softmax_variants.heads._blocks import dtype_of, product
from softmax_variants.heads._groups import Groups, capacity_of, zipf_shares
from softmax_variants.heads._linear import Normalizer, cross_entropy_once, linear_cross_entropy

Tail = tuple[ArrayLike, ArrayLike]
_IGNORED, _INVALID = -1, -2  # ids that stand for an example without a loss, and one without a class


class Tables(NamedTuple):
    """The parameters.

    Attributes:
      weight: the head's, [shortlist + tails, features]: a row a frequent class, then one a tail.
      bias: the head's, [shortlist + tails], or none.
      tails: a projection [width, features] and a weight [classes, width] each.
    """

    weight: Array
    bias: Array | None
    tails: tuple[tuple[Array, Array], ...]

    @property
    def cutoffs(self) -> tuple[int, ...]:
        """The first class of each tail, and the number of all classes."""
        bounds = [self.weight.shape[0] - len(self.tails)]
        for _, tail in self.tails:
            bounds.append(bounds[-1] + tail.shape[0])
        return tuple(bounds)


def adaptive_softmax_loss(
    hidden: ArrayLike,
    labels: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    tails: Sequence[Tail],
    where: ArrayLike | None = None,
    ignore_index: int | None = None,
    tail_shares: Sequence[float] | None = None,
) -> Array:
    r"""Cross-entropy of a softmax that gives rare classes fewer features and less work.

    .. math:: -\log P(y) = \begin{cases}
              -\log \mathrm{softmax}(W h + b)_y & y < c_0 \\
              -\log \mathrm{softmax}(W h + b)_{c_0 + i}
              - \log \mathrm{softmax}(U_i P_i h)_{y - c_i} & c_i \le y < c_{i+1}
              \end{cases}

    Classes are numbered by falling frequency. Only the examples whose label is in a tail meet that
    tail. The shapes are static: the examples are sorted by tail, and a tail takes a fixed number
    of them at a time, as often as the batch needs. One program serves every batch.

    Args:
      hidden: [..., features], any floating dtype.
      labels: class ids, [...], of integer dtype.
      weight: the head's, [shortlist + len(tails), features]: the rows of the frequent classes, then
        one row for each tail as a whole.
      bias: the head's, [shortlist + len(tails)].
      tails: for each tail its projection P [width, features] and its weight U [classes, width].
        How many classes the rows of the weights say: no cutoffs are needed.
      where: boolean [...], which examples take part; the others have loss 0 and gradient 0.
      ignore_index: an id whose examples have loss 0 and gradient 0.
      tail_shares: which share of the examples each tail is expected to get, by default that of
        Zipf's law. The time depends on it, the result never does.

    Returns:
      One loss an example, [...], at least float32. NaN where an id is out of range.

    Raises:
      TypeError: a dtype that does not fit; the message names the argument.
      ValueError: a shape that does not fit, such as a projection to no feature at all.

    Example:
      >>> import jax.numpy as jnp
      >>> import softmax_variants as sv
      >>> hidden, head = jnp.ones((2, 4)), jnp.zeros((3, 4))  # two classes and one tail
      >>> tail = (jnp.zeros((1, 4)), jnp.zeros((5, 1)))  # of five classes
      >>> print(sv.adaptive_softmax_loss(hidden, jnp.array([1, 6]), head, tails=[tail]))
      [1.0986123 2.7080503]

    References:
      Grave et al., `Efficient softmax approximation for GPUs
      <https://arxiv.org/abs/1609.04309>`_, 2017.
    """
    hidden, tables = as_tables(hidden, weight, bias, tails)
    batch = hidden.shape[:-1]
    labels = as_id_labels(labels, batch)
    ignored = ignored_ids(labels, as_mask(where, batch), ignore_index)
    shares = zipf_shares(tables.cutoffs[:-1], tables.cutoffs[-1])
    if tail_shares is not None:
        shares = as_shares(tail_shares, len(tables.tails))
    run = functools.partial(_losses, shares=shares)
    loss: Array = over_devices(run, hidden, labels, tables, ignored, split=examples_of(hidden))
    return loss


def as_tables(
    hidden: ArrayLike, weight: ArrayLike, bias: ArrayLike | None, tails: Sequence[Tail]
) -> tuple[Array, Tables]:
    """The hidden states and the parameters, which have to fit each other."""
    hidden, weight = as_hidden(hidden, weight)
    features = hidden.shape[-1]
    pairs = []
    for i, (projection, tail) in enumerate(tails):
        down = as_floating(projection, f"the projection of tails[{i}]", ("width", features))
        if down.shape[0] == 0:
            raise ValueError(
                f"the projection of tails[{i}] must have a width of at least 1, got shape "
                f"{down.shape}: fewer tails, or a smaller division of their widths"
            )
        up = as_floating(tail, f"the weight of tails[{i}]", ("classes", down.shape[0]))
        if up.shape[0] == 0:
            raise ValueError(
                f"the weight of tails[{i}] must have at least one class, got shape {up.shape}"
            )
        pairs.append((down, up))
    if not pairs:
        raise ValueError("tails must have at least one tail, got none: use linear_cross_entropy")
    if weight.shape[0] <= len(pairs):
        raise ValueError(
            f"weight must have a row for at least one class and for each of the {len(pairs)} "
            f"tails, got {weight.shape[0]} rows"
        )
    if bias is not None:
        bias = as_floating(bias, "bias", (weight.shape[0],))
    return hidden, Tables(weight, bias, tuple(pairs))


@functools.partial(jax.jit, static_argnames=("shares",))
def _losses(
    hidden: Array,
    labels: Array,
    tables: Tables,
    ignored: Array | None,
    shares: tuple[float, ...],
) -> Array:
    batch = hidden.shape[:-1]
    rows, ids = as_rows(hidden), labels.reshape(-1)
    cutoffs = tables.cutoffs
    valid = ids >= 0
    if cutoffs[-1] <= int(jnp.iinfo(ids.dtype).max):
        valid = valid & (ids < cutoffs[-1])
    ids = jnp.where(valid, ids.astype(jnp.int32), _INVALID)
    if ignored is not None:
        ids = jnp.where(ignored.reshape(-1), _IGNORED, ids)
    bounds = jnp.asarray(cutoffs[:-1], jnp.int32)
    group = jnp.sum(ids[:, None] >= bounds[None, :], axis=-1, dtype=jnp.int32) - 1
    in_head = jnp.where(group < 0, ids, cutoffs[0] + group)
    loss = linear_cross_entropy(rows, in_head, tables.weight, tables.bias, ignore_index=_IGNORED)
    loss = loss + tail_losses(rows, ids, group, tables, shares).astype(loss.dtype)
    return loss.reshape(batch)


def tail_losses(
    rows: Array, ids: Array, group: Array, tables: Tables, shares: tuple[float, ...]
) -> Array:
    """The cross-entropy within the tail of each example, 0 for those of the head."""
    groups = Groups.of(group, len(tables.tails))
    total = jnp.zeros(rows.shape[0], jnp.float32)
    for i, (down, up) in enumerate(tables.tails):
        capacity = capacity_of(shares[i], rows.shape[0])
        values = groups.apply(_within, i, capacity, (rows, down, up), ids - tables.cutoffs[i])
        total = total.astype(values.dtype) + values
    return total


def _within(
    parameters: tuple[Array, Array, Array],
    ids: Array,
    examples: Array,
    live: Array,
    memo: Normalizer | None,
) -> tuple[Array, Normalizer]:
    """The cross-entropy of some examples within the tail that their labels are in."""
    rows, down, up = parameters
    own = jnp.where(live, ids[examples], _IGNORED)
    # Selected before the projection, whose gradient nothing of another group may reach.
    inner = project(jnp.where(live[:, None], rows[examples], 0), down)
    return cross_entropy_once(inner, own, up, ignore_index=_IGNORED, normalizer=memo)


def project(rows: Array, down: Array) -> Array:
    """The features that a tail sees, in at least float32."""
    return product(rows, down, (1, 1), dtype_of(rows, down))
