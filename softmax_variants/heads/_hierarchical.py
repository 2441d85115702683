"""Hierarchical softmax: a class's probability is the product of the decisions on its path."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from softmax_variants._sharding import examples_of, over_devices
from softmax_variants._typing import Array, ArrayLike
from softmax_variants._validation import as_count, as_key, as_mask
from softmax_variants.heads._arguments import as_floating
from softmax_variants.heads._decisions import dot, plus, softplus
from softmax_variants.heads._hierarchical_classes import all_classes
from softmax_variants.heads._spoiling import spoiled
from softmax_variants.heads._tree import Paths, Tree, in_range

# Numbers that one chunk of the examples may hold at a time where nothing but the result has to.
_CHUNK = 1 << 24


def hierarchical_softmax_loss(
    hidden: ArrayLike,
    labels: ArrayLike,
    node_weight: ArrayLike,
    node_bias: ArrayLike | None = None,
    *,
    tree: Tree,
    where: ArrayLike | None = None,
) -> Array:
    r"""Cross-entropy of hierarchical softmax, at the cost of the label's path alone.

    .. math:: L(h; y) = \sum_{n \in \text{path}(y)} \log(1 + \exp(-s_n z_n)),
              \qquad z = W h + b, \quad s_n = \pm 1

    A node goes left (s = 1) with probability sigmoid(z), right (s = -1) with sigmoid(-z).

    Args:
      hidden: [..., features], any floating dtype.
      labels: class ids of any integer dtype, [...].
      node_weight: [classes - 1, features], a row a node of the tree; with one class no row.
      node_bias: [classes - 1].
      tree: the `Tree` over the classes; pass it through `jit` as an argument.
      where: boolean, broadcastable to [...]; an example left out has loss 0 and gradient 0.

    Returns:
      One loss an example, [...], at least float32. NaN where a label is out of range: such an
      example reads the root's row alone. Memory is that of the rows read, [..., depth, features].

    Raises:
      TypeError: a dtype that does not fit; the message names the argument.
      ValueError: a shape that does not fit.

    Example:
      >>> import jax.numpy as jnp
      >>> import softmax_variants as sv
      >>> tree = sv.huffman_tree([5, 1, 1, 2])
      >>> hidden, weight = jnp.ones((2, 3)), jnp.zeros((3, 3))
      >>> print(sv.hierarchical_softmax_loss(hidden, jnp.array([0, 1]), weight, tree=tree))
      [0.6931472 2.0794415]

    References:
      Morin and Bengio, `Hierarchical Probabilistic Neural Network Language Model
      <https://proceedings.mlr.press/r5/morin05a.html>`_, 2005; Mikolov et al., `Distributed
      Representations of Words and Phrases and their Compositionality
      <https://arxiv.org/abs/1310.4546>`_, 2013.
    """
    h, w, b = as_layer(hidden, node_weight, node_bias, tree)
    y = as_labels(labels, h.shape[:-1])
    mask = as_mask(where, y.shape)
    loss: Array = over_devices(_loss, h, y, w, b, tree, mask, split=examples_of(h))
    return loss


def hierarchical_log_probs(
    hidden: ArrayLike, node_weight: ArrayLike, node_bias: ArrayLike | None = None, *, tree: Tree
) -> Array:
    r"""Log-probabilities of all classes under hierarchical softmax.

    .. math:: \log p_y = -\sum_{n \in \text{path}(y)} \log(1 + \exp(-s_n z_n)),
              \qquad z = W h + b, \quad s_n = \pm 1

    One product of matrices, then the tree from the root down, a level at a time.

    Args:
      hidden: [..., features], any floating dtype.
      node_weight: [classes - 1, features].
      node_bias: [classes - 1].
      tree: the `Tree` over the classes.

    Returns:
      [..., classes], at least float32. The examples are taken in chunks: beyond the result, memory
      does not grow with their number.

    Raises:
      TypeError: a dtype that does not fit; the message names the argument.
      ValueError: a shape that does not fit.

    Example:
      >>> import jax.numpy as jnp
      >>> import softmax_variants as sv
      >>> tree = sv.huffman_tree([5, 1, 1, 2])
      >>> print(jnp.exp(sv.hierarchical_log_probs(jnp.ones(3), jnp.zeros((3, 3)), tree=tree)))
      [0.5   0.125 0.125 0.25 ]

    References:
      Morin and Bengio, `Hierarchical Probabilistic Neural Network Language Model
      <https://proceedings.mlr.press/r5/morin05a.html>`_, 2005.
    """
    h, w, b = as_layer(hidden, node_weight, node_bias, tree)
    found: Array = over_devices(_log_probs, h, w, b, tree, split=examples_of(h))
    return found


def hierarchical_top_k(
    hidden: ArrayLike,
    node_weight: ArrayLike,
    node_bias: ArrayLike | None = None,
    *,
    k: int,
    tree: Tree,
) -> tuple[Array, Array]:
    r"""The k most probable classes under hierarchical softmax, exactly.

    .. math:: p_{y_1} \ge p_{y_2} \ge \dots \ge p_{y_k} \ge p_y \quad \text{for all other } y

    A beam of width k from level to level is not exact: with 0.6 = 0.3 + 0.3 on the left and a
    class of 0.4 on the right, it goes left. Here every class is looked at, in chunks of examples.

    Args:
      hidden: [..., features], any floating dtype.
      node_weight: [classes - 1, features].
      node_bias: [classes - 1].
      k: how many classes, a Python integer from 1 to classes.
      tree: the `Tree` over the classes.

    Returns:
      Log-probabilities and int32 ids, both [..., k], the most probable first; of equally probable
      ones that of the lowest id.

    Raises:
      TypeError: a dtype that does not fit; the message names the argument.
      ValueError: a shape that does not fit, or k out of range.

    Example:
      >>> import jax.numpy as jnp
      >>> import softmax_variants as sv
      >>> tree = sv.huffman_tree([5, 1, 1, 2])
      >>> _, ids = sv.hierarchical_top_k(jnp.ones(3), jnp.zeros((3, 3)), k=2, tree=tree)
      >>> print(ids)
      [0 3]

    References:
      Mnih and Hinton, `A Scalable Hierarchical Distributed Language Model
      <https://papers.nips.cc/paper/3583-a-scalable-hierarchical-distributed-language-model>`_,
      2008.
    """
    h, w, b = as_layer(hidden, node_weight, node_bias, tree)
    run = functools.partial(_top_k, k=as_count(k, "k", high=tree.classes))
    log_probs, ids = over_devices(run, h, w, b, tree, split=examples_of(h))
    return log_probs, ids


def hierarchical_sample(
    key: Array,
    hidden: ArrayLike,
    node_weight: ArrayLike,
    node_bias: ArrayLike | None = None,
    *,
    tree: Tree,
) -> Array:
    r"""A class drawn from hierarchical softmax, by one decision a level.

    .. math:: P(\text{left at } n) = \frac{1}{1 + \exp(-z_n)}, \qquad z = W h + b

    Args:
      key: a random key.
      hidden: [..., features], any floating dtype.
      node_weight: [classes - 1, features]; one row a level and example is read.
      node_bias: [classes - 1].
      tree: the `Tree` over the classes.

    Returns:
      int32 ids, [...]. They have no derivative.

    Raises:
      TypeError: a dtype that does not fit; the message names the argument.
      ValueError: a shape that does not fit.

    Example:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> import softmax_variants as sv
      >>> tree = sv.balanced_tree(4)
      >>> weight = jnp.array([[9.0], [-9.0], [0.0]])  # left, then right
      >>> print(sv.hierarchical_sample(jax.random.key(0), jnp.full((3, 1), 5.0), weight, tree=tree))
      [1 1 1]

    References:
      Morin and Bengio, `Hierarchical Probabilistic Neural Network Language Model
      <https://proceedings.mlr.press/r5/morin05a.html>`_, 2005.
    """
    h, w, b = as_layer(hidden, node_weight, node_bias, tree)
    ids: Array = over_devices(_sample, as_key(key), h, w, b, tree, split=examples_of(h))
    return ids


def as_layer(
    hidden: ArrayLike, node_weight: ArrayLike, node_bias: ArrayLike | None, tree: Tree
) -> tuple[Array, Array, Array | None]:
    """The hidden states and the parameters, which have to fit each other and the tree."""
    if not isinstance(tree, Tree):
        raise TypeError(
            f"tree must be a Tree, such as balanced_tree(10), got {type(tree).__name__}"
        )
    states = as_states(hidden)
    features = states.shape[-1]
    weight = jnp.asarray(node_weight)
    if weight.shape == (features, tree.nodes) and features != tree.nodes:
        raise ValueError(
            f"node_weight must have shape ({tree.nodes}, {features}), one row a node, got "
            f"{weight.shape}: transpose it"
        )
    weight = as_floating(weight, "node_weight", (tree.nodes, features))
    bias = None if node_bias is None else as_floating(node_bias, "node_bias", (tree.nodes,))
    return states, weight, bias


def as_states(hidden: ArrayLike) -> Array:
    """The hidden states."""
    states = jnp.asarray(hidden)
    if states.ndim == 0:
        raise ValueError("hidden must have shape (..., features), got a scalar")
    return as_floating(states, "hidden", states.shape)


def as_labels(labels: ArrayLike, batch: tuple[int, ...] | None = None) -> Array:
    """Class ids, one an example."""
    ids = jnp.asarray(labels)
    if not jnp.issubdtype(ids.dtype, jnp.integer):
        raise TypeError(f"labels must be class ids of integer dtype, got dtype {ids.dtype}")
    if batch is not None and ids.shape != batch:
        raise ValueError(
            f"labels must have shape {batch} (hidden's shape without features), got {ids.shape}"
        )
    return ids


def loss_of_paths(
    weight: Array,
    bias: Array | None,
    paths: Paths,
    hidden: Array,
    labels: Array,
    where: Array | None,
    nodes: int,
) -> Array:
    """The losses from the rows on the paths, [..., depth, features] and [..., depth].

    Rows where a path has ended may hold anything, and get gradient 0.
    """
    on_path = paths.nodes < nodes
    if where is not None:
        keep = jnp.broadcast_to(where, labels.shape)
        on_path = on_path & keep[..., None]
        hidden = jnp.where(keep[..., None], hidden, 0)
    weight = jnp.where(on_path[..., None], weight, 0)
    scores = dot("...ld,...d->...l", weight, hidden)
    if bias is not None:
        scores = plus(scores, jnp.where(on_path, bias, 0))
    terms = softplus(jnp.where(paths.right, scores, -scores))
    loss = jnp.sum(jnp.where(on_path, terms, 0), axis=-1)
    known = in_range(labels, nodes + 1)
    if where is not None:
        known = known | ~keep
    if nodes == 0:  # no root that would pass the gradient of a label out of range on to its state
        loss = jnp.sum(jnp.where(known[..., None], 0, hidden).astype(loss.dtype), axis=-1)
    return spoiled(loss, known)


def paths_of(tree: Tree, labels: Array) -> Paths:
    """The paths of labels; that of a label out of range is the root, which all paths share."""
    paths = tree.paths(labels)
    if tree.nodes == 0:
        return paths
    first = jnp.where(in_range(labels, tree.classes), paths.nodes[..., 0], 0)
    return paths._replace(nodes=paths.nodes.at[..., 0].set(first))


def rows_of(table: Array, ids: Array) -> Array:
    """Rows of a table, whatever row there is for an id past its end."""
    if table.shape[0] == 0:
        return jnp.zeros((*ids.shape, *table.shape[1:]), table.dtype)
    return table.at[ids].get(mode="clip")


def _loss_at(h: Array, y: Array, w: Array, b: Array | None, tree: Tree, m: Array | None) -> Array:
    paths = paths_of(tree, y)
    bias = None if b is None else rows_of(b, paths.nodes)
    return loss_of_paths(rows_of(w, paths.nodes), bias, paths, h, y, m, tree.nodes)


_loss = jax.jit(_loss_at)


@jax.jit
def log_prob_of_labels(h: Array, y: Array, w: Array, b: Array | None, tree: Tree) -> Array:
    """The log-probabilities of the labels, the rows of a chunk of examples at a time."""

    def chunk(h: Array, y: Array) -> Array:
        return -_loss_at(h, y, w, b, tree, None)

    return _in_chunks(chunk, tree.depth * h.shape[-1], h, y)


@jax.jit
def _log_probs(h: Array, w: Array, b: Array | None, tree: Tree) -> Array:
    return _in_chunks(functools.partial(all_classes, w, b, tree), tree.classes, h)


@functools.partial(jax.jit, static_argnames=("k",))
def _top_k(h: Array, w: Array, b: Array | None, tree: Tree, k: int) -> tuple[Array, Array]:
    def chunk(h: Array) -> tuple[Array, Array]:
        values, ids = lax.top_k(all_classes(w, b, tree, h), k)
        return values, ids.astype(jnp.int32)

    return _in_chunks(chunk, tree.classes, h)


def _in_chunks(function: Callable[..., Any], size: int, h: Array, *rest: Array) -> Any:
    """A function of examples [n, features], applied to few examples at a time.

    `size` is how many numbers it holds for an example.
    """
    batch = h.shape[:-1]
    arrays = (h.reshape(math.prod(batch), h.shape[-1]), *(x.reshape(-1) for x in rest))
    count = arrays[0].shape[0]
    few = max(1, _CHUNK // max(1, size))
    if count <= few:
        flat = function(*arrays)
    else:
        whole = count - count % few
        turns = [x[:whole].reshape(whole // few, few, *x.shape[1:]) for x in arrays]
        flat = lax.map(lambda xs: function(*xs), turns)
        flat = jax.tree.map(lambda x: x.reshape(whole, *x.shape[2:]), flat)
        if whole < count:
            last = function(*(x[whole:] for x in arrays))
            flat = jax.tree.map(lambda x, y: jnp.concatenate([x, y]), flat, last)
    return jax.tree.map(lambda x: x.reshape(*batch, *x.shape[1:]), flat)


@jax.jit
def _sample(key: Array, h: Array, w: Array, b: Array | None, tree: Tree) -> Array:
    h, w, b = jax.tree.map(lax.stop_gradient, (h, w, b))
    batch = h.shape[:-1]
    if tree.nodes == 0:
        return jnp.zeros(batch, jnp.int32)

    def step(level: Array, vertex: Array) -> Array:
        node = jnp.maximum(vertex - tree.classes, 0)
        scores = dot("...d,...d->...", w[node], h)
        if b is not None:
            scores = plus(scores, b[node])
        drawn = jax.random.uniform(jax.random.fold_in(key, level), batch, scores.dtype)
        right = (drawn >= jax.nn.sigmoid(scores)).astype(jnp.int32)
        return jnp.where(vertex < tree.classes, vertex, tree.children[node, right])

    root = jnp.full_like(h, tree.classes, jnp.int32, shape=batch)
    return lax.fori_loop(0, tree.depth, step, root)
