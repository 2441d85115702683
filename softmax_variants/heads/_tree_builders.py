"""Trees over the classes: Huffman's, balanced, of two levels, and of the classes' embeddings."""

from collections.abc import Callable
from typing import Any, TypeAlias

import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

from softmax_variants._validation import as_count
from softmax_variants.heads._tree import MAX_CLASSES, Ids, Tree, check_classes, tree_of_levels

Split: TypeAlias = Callable[[Ids, Ids], Ids]
Floats: TypeAlias = NDArray[np.floating[Any]]

# Principal components that a clustering looks at, and power iterations for a cluster's largest.
_COMPONENTS = 16
_ITERATIONS = 12
_ITERATIONS_OF_FEW = 3


def huffman_tree(counts: ArrayLike) -> Tree:
    r"""Huffman's tree: of all trees the one with the shortest mean path.

    .. math:: H(p) \le \sum_w p_w \ell_w < H(p) + 1, \qquad p_w = c_w / \sum_v c_v

    in which H is the entropy in bits and l_w the length of the path of the class w.

    Args:
      counts: [classes], how often each class occurs: finite and not negative. A class that does not
        occur is as rare as can be.

    Returns:
      The `Tree`. All weights 0, its hierarchical softmax is nearly the distribution of the counts.

    Raises:
      TypeError: counts are no real numbers.
      ValueError: counts are negative, infinite, NaN or all 0, or are not one-dimensional.

    Example:
      >>> import softmax_variants as sv
      >>> print(sv.huffman_tree([5, 1, 1, 2]).path_lengths())
      [1 3 3 2]

    References:
      Huffman, `A Method for the Construction of Minimum-Redundancy Codes
      <https://doi.org/10.1109/JRPROC.1952.273898>`_, 1952; Mikolov et al., `Distributed
      Representations of Words and Phrases and their Compositionality
      <https://arxiv.org/abs/1310.4546>`_, 2013.
    """
    weights = _as_counts(counts)
    return Tree.from_children(_merged(weights))


def balanced_tree(classes: int) -> Tree:
    r"""A tree whose paths have length floor(log2 V) or ceil(log2 V), for any number V of classes.

    Neighbouring ids are neighbours in the tree.

    Args:
      classes: how many classes there are.

    Returns:
      The `Tree`.

    Raises:
      TypeError: classes is no integer.
      ValueError: classes is not positive, or more than 2^30.

    Example:
      >>> import softmax_variants as sv
      >>> print(sv.balanced_tree(5).path_lengths())
      [3 3 2 2 2]

    References:
      Morin and Bengio, `Hierarchical Probabilistic Neural Network Language Model
      <https://proceedings.mlr.press/r5/morin05a.html>`_, 2005.
    """
    count = as_count(classes, "classes", high=MAX_CLASSES)
    return _by_intervals(np.arange(count), _middle)


def class_tree(class_ids: ArrayLike) -> Tree:
    r"""A tree of two levels: first the group of a word, then the word in its group.

    .. math:: P(w \mid h) = P(g(w) \mid h) \, P(w \mid g(w), h)

    Both factors are balanced binary trees: a label costs about log2 of the number of groups plus
    log2 of its group's size, where one softmax over the groups and another one inside costs both
    numbers themselves, about 2 sqrt(V) at the best.

    Args:
      class_ids: integers [words], the group of each word; any numbers.

    Returns:
      The `Tree` over the words. Each group is one subtree.

    Raises:
      TypeError: class_ids are no integers.
      ValueError: class_ids are not one-dimensional, or are empty.

    Example:
      >>> import softmax_variants as sv
      >>> print(sv.class_tree([0, 1, 0, 1, 1, 1]).path_lengths())
      [2 3 2 3 3 3]

    References:
      Goodman, `Classes for Fast Maximum Entropy Training
      <https://arxiv.org/abs/cs/0108006>`_, 2001.
    """
    ids = np.asarray(class_ids)
    if ids.ndim != 1 or ids.size == 0:
        raise ValueError(f"class_ids must have shape (words,), at least one, got {ids.shape}")
    if not np.issubdtype(ids.dtype, np.integer):
        raise TypeError(f"class_ids must have an integer dtype, got dtype {ids.dtype}")
    check_classes(ids.size, "class_ids")
    order = np.argsort(ids, kind="stable")
    group = np.unique(ids, return_inverse=True)[1][order].astype(np.int64)
    first = np.flatnonzero(np.concatenate([[True], group[1:] != group[:-1]]))

    def split(low: Ids, high: Ids) -> Ids:
        left, right = group[low], group[high - 1]
        between = first[(left + right) // 2 + 1 - (left == right)]
        return np.where(left == right, _middle(low, high), between)

    return _by_intervals(order, split)


def clustered_tree(embeddings: ArrayLike) -> Tree:
    r"""A balanced tree in which classes with similar embeddings are close.

    Each set of classes is split in two halves along its direction of greatest variance. Embeddings
    with many features are first reduced to their 16 principal components. Nothing is random, and
    classes with equal embeddings keep their order.

    Args:
      embeddings: [classes, features], finite, any floating dtype; from a first model, say.

    Returns:
      The `Tree`, its paths as short as those of `balanced_tree`.

    Raises:
      TypeError: embeddings have no floating dtype.
      ValueError: embeddings have another shape, or are not finite.

    Example:
      >>> import jax.numpy as jnp
      >>> import softmax_variants as sv
      >>> tree = sv.clustered_tree(jnp.array([[0.0], [9.0], [1.0], [8.0]]))
      >>> print(tree.children)  # below 4 are classes
      [[5 6]
       [0 2]
       [3 1]]

    References:
      Mnih and Hinton, `A Scalable Hierarchical Distributed Language Model
      <https://papers.nips.cc/paper/3583-a-scalable-hierarchical-distributed-language-model>`_,
      2008.
    """
    points = _reduced(_as_embeddings(embeddings))
    order = np.arange(points.shape[0])

    def split(low: Ids, high: Ids) -> Ids:
        _sort_along_spread(points, order, low, high)
        return _middle(low, high)

    return _by_intervals(order, split)


def _as_counts(counts: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(counts)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"counts must have shape (classes,), at least one, got {array.shape}")
    if array.dtype == np.bool_ or not np.can_cast(array.dtype, np.float64, "same_kind"):
        raise TypeError(f"counts must be real numbers, got dtype {array.dtype}")
    check_classes(array.size, "counts")
    weights = array.astype(np.float64)
    bad = ~np.isfinite(weights) | (weights < 0)
    if bad.any():
        raise ValueError(f"counts must be finite and not negative, got {weights[bad][0]:g}")
    if not weights.any():
        raise ValueError("counts must not all be 0")
    return weights / weights.max() if not np.isfinite(weights.sum()) else weights


def _merged(weights: NDArray[np.float64]) -> Ids:
    """The children of Huffman's nodes in the order in which they come about.

    Two queues, the classes and the nodes, are each sorted. Whatever is no heavier than the first
    new node would be taken before it: all of that is paired at once. Every two rounds double the
    weight of the lightest, so there are few.
    """
    classes = weights.size
    order = np.argsort(weights, kind="stable")
    leaf = weights[order]
    node = np.empty(classes - 1)
    children = np.empty((classes - 1, 2), np.int64)
    leaves, taken, made = 0, 0, 0  # of the leaves, of the nodes made, and the nodes made
    while made < classes - 1:
        lightest = np.sort(
            np.concatenate([leaf[leaves : leaves + 2], node[taken : min(taken + 2, made)]])
        )
        bound = lightest[0] + lightest[1]
        stop = leaves + int(np.searchsorted(leaf[leaves:], bound, side="right"))
        end = taken + int(np.searchsorted(node[taken:made], bound, side="right"))
        light = np.concatenate([leaf[leaves:stop], node[taken:end]])
        names = np.concatenate([order[leaves:stop], classes + np.arange(taken, end)])
        rank = np.argsort(light, kind="stable")
        pairs = rank.size // 2
        chosen = rank[: 2 * pairs]
        children[made : made + pairs] = names[chosen].reshape(pairs, 2)
        node[made : made + pairs] = light[chosen].reshape(pairs, 2).sum(axis=1)
        # An odd one stays; it is the last of its own queue's part.
        from_leaves = int(np.count_nonzero(chosen < stop - leaves))
        leaves, taken, made = leaves + from_leaves, taken + 2 * pairs - from_leaves, made + pairs
    return children


def _middle(low: Ids, high: Ids) -> Ids:
    """Halves, the left one larger by at most one."""
    return (low + high + 1) // 2


def _by_intervals(order: Ids, split: Split) -> Tree:
    """A tree of nested intervals of positions in `order`, all of a level split at once.

    `split` gives the positions that divide the intervals from `low` to `high`; it may reorder what
    is inside an interval.
    """
    classes = order.shape[0]
    children = np.empty((classes - 1, 2), np.int64)
    starts: list[int] = []
    low, high = np.zeros(1, np.int64), np.full(1, classes, np.int64)
    first = 0
    while classes > 1 and low.size:
        starts.append(first)
        middle = split(low, high)
        left = np.stack([low, middle], axis=1).ravel()
        right = np.stack([middle, high], axis=1).ravel()
        inner = right - left > 1
        following = first + low.size
        names = order[left]
        names[inner] = classes + following + np.arange(np.count_nonzero(inner))
        children[first:following] = names.reshape(-1, 2)
        low, high, first = left[inner], right[inner], following
    return tree_of_levels(children, starts)


def _as_embeddings(embeddings: ArrayLike) -> Floats:
    array = np.asarray(embeddings)
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(f"embeddings must have shape (classes, features), got {array.shape}")
    check_classes(array.shape[0], "embeddings")
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(f"embeddings must have a floating dtype, got dtype {array.dtype}")
    points: Floats = array.astype(np.float64 if array.dtype == np.float64 else np.float32)
    if not np.isfinite(points).all():
        raise ValueError("embeddings must be finite, got NaN or infinity")
    return points


def _reduced(points: Floats) -> NDArray[np.float32]:
    """The principal components of greatest variance, scaled to be at most 1."""
    centered = points - points.mean(axis=0, dtype=np.float64).astype(points.dtype)
    centered /= max(float(np.abs(centered).max()), float(np.finfo(points.dtype).tiny))
    if points.shape[1] > _COMPONENTS:
        _, axes = np.linalg.eigh((centered.T @ centered).astype(np.float64))
        centered = centered @ axes[:, -_COMPONENTS:].astype(points.dtype)
    return centered.astype(np.float32)


def _sort_along_spread(points: NDArray[np.float32], order: Ids, low: Ids, high: Ids) -> None:
    """Sorts each interval of `order` along its points' direction of greatest variance.

    Halving leaves intervals whose sizes differ by one at most, so that all are a dense array.
    """
    longest = int((high - low).max())
    place = low[:, None] + np.arange(longest)
    inside = place < high[:, None]
    ids = order[np.where(inside, place, low[:, None])]
    if longest > 2:
        cloud = points[ids]
        cloud -= (cloud * inside[..., None]).sum(1, keepdims=True) / (high - low)[:, None, None]
        cloud *= inside[..., None]
        along = np.matmul(cloud, _spread(cloud))[..., 0]
    else:
        cloud = points[ids]
        along = np.take_along_axis(
            cloud, np.abs(cloud[:, :1] - cloud[:, -1:]).argmax(-1)[..., None], axis=-1
        )[..., 0]
    along = np.where(inside, along, np.inf)
    ids = np.take_along_axis(ids, np.argsort(along, axis=1, kind="stable"), axis=1)
    order[place[inside]] = ids[inside]


def _spread(cloud: NDArray[np.float32]) -> NDArray[np.float32]:
    """The direction of greatest variance of each cloud, [clouds, features, 1], by powers."""
    axis = np.square(cloud).sum(axis=1).argmax(axis=-1)[:, None, None]
    turned = cloud.swapaxes(1, 2)
    few = cloud.shape[1] <= cloud.shape[2]
    covariance = None if few else np.matmul(turned, cloud)
    # The covariance with the feature of greatest variance: never at right angles to the answer
    # unless that feature varies with no other.
    found = np.matmul(turned, np.take_along_axis(cloud, axis, axis=2))
    for _ in range(_ITERATIONS_OF_FEW if few else _ITERATIONS):
        size = np.abs(found).max(axis=1, keepdims=True)
        found = found / np.where(size == 0, 1, size)
        if covariance is None:
            found = np.matmul(turned, np.matmul(cloud, found))
        else:
            found = np.matmul(covariance, found)
    # The sign is free: the largest component is positive.
    largest = np.take_along_axis(found, np.abs(found).argmax(axis=1)[:, None], axis=1)
    return found * np.where(largest < 0, -1, 1).astype(np.float32)
