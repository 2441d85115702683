"""Binary trees whose leaves are the classes: their storage, their checks, the paths of labels."""

import dataclasses
from typing import NamedTuple, TypeAlias

import jax.numpy as jnp
import numpy as np
from jax import lax
from numpy.typing import ArrayLike, NDArray

from softmax_variants._pytrees import pytree_dataclass
from softmax_variants._typing import Array

Ids: TypeAlias = NDArray[np.int64]

# Levels that programs treat one by one; what lies deeper (a skewed tree) they treat at once.
MAX_LEVELS = 64
# Numbers of vertices and twice those of nodes have to fit int32.
MAX_CLASSES = 2**30


class Paths(NamedTuple):
    """From each label up to the root, [..., depth].

    Attributes:
      nodes: int32, the rows of the nodes, the label's parent first; after the root the number of
        nodes, which stands for no row. A label out of range has no row at all.
      right: boolean, whether the path goes right at the node.
    """

    nodes: Array
    right: Array


@pytree_dataclass
@dataclasses.dataclass(frozen=True)
class Tree:
    r"""A binary tree whose leaves are the classes, each of its inner nodes a binary decision.

    A vertex below `classes` is a class, the vertex `classes + n` is the node n, which is row n of
    `node_weight`. Nodes are numbered breadth first: the root is node 0, and every level is one
    range. A tree is a pytree, to be passed through `jit` as an argument: closed over, its arrays
    would become constants of the program. It takes 16 bytes a class: the paths of labels are
    followed by pointers to the parents, where a table [classes, depth] would take 100 and more.

    Build it with `Tree.from_children`, `Tree.from_parents`, `huffman_tree`, `balanced_tree`,
    `class_tree` or `clustered_tree`; the constructor checks nothing.

    Attributes:
      children: int32 [classes - 1, 2], the left and the right child of each node, as vertices.
      parents: int32 [2 classes], of each vertex twice its parent plus 1 for a right child; the
        root's parent, and that of the last entry, is the number of nodes, which is no node.
      depth: the nodes on the longest path.
      levels: the first node of each level but the deepest ones of a tree deeper than 64.

    Example:
      >>> import softmax_variants as sv
      >>> tree = sv.Tree.from_children([[1, 4], [0, 2]])  # 3 classes; the node 4 - 3 = 1
      >>> tree.classes, tree.depth
      (3, 2)
      >>> print(tree.path_lengths())
      [2 1 2]

    References:
      Morin and Bengio, `Hierarchical Probabilistic Neural Network Language Model
      <https://proceedings.mlr.press/r5/morin05a.html>`_, 2005.
    """

    children: Array
    parents: Array
    depth: int = dataclasses.field(metadata={"static": True})
    levels: tuple[int, ...] = dataclasses.field(metadata={"static": True})

    @property
    def classes(self) -> int:
        """The number of classes."""
        return int(self.children.shape[0]) + 1

    @property
    def nodes(self) -> int:
        """The number of inner nodes, the rows of `node_weight`: one less than the classes."""
        return int(self.children.shape[0])

    @classmethod
    def from_children(cls, children: ArrayLike) -> "Tree":
        """A tree from the two children of each node.

        Args:
          children: integers [classes - 1, 2], left and right: a class, or `classes` plus the
            number of a node. The nodes may have any order; the tree numbers them breadth first,
            so that node i of the tree is node `breadth_first(children)[i]` of the argument.

        Returns:
          The tree.

        Raises:
          TypeError: integers are needed.
          ValueError: a class is missing or repeated, a node is used twice, or there is a cycle.
        """
        checked = _as_children(children)
        return _numbered(checked, *_breadth_first(checked))

    @classmethod
    def from_parents(cls, parents: ArrayLike, right: ArrayLike) -> "Tree":
        """A tree from the parent of each vertex.

        Args:
          parents: integers [2 classes - 1], the parent node (from 0) of each class, then of each
            node; -1 for the root.
          right: booleans of the same shape, whether the vertex is its parent's right child; the
            root's value is not looked at.

        Returns:
          The tree, its nodes renumbered as by `from_children`.

        Raises:
          TypeError: a dtype that does not fit.
          ValueError: there is not one root, or a node has not one left and one right child.
        """
        up, side = _as_integers(parents, "parents"), np.asarray(right)
        if side.dtype != np.bool_:
            raise TypeError(f"right must be boolean, got dtype {side.dtype}")
        if up.ndim != 1 or up.shape[0] % 2 == 0:
            raise ValueError(f"parents must have shape (2 * classes - 1,), got {up.shape}")
        if side.shape != up.shape:
            raise ValueError(f"right must have the shape of parents, {up.shape}, got {side.shape}")
        nodes = up.shape[0] // 2
        if np.any((up < -1) | (up >= nodes)) or np.count_nonzero(up == -1) != 1:
            raise ValueError(f"parents must be nodes in [0, {nodes}), and -1 for exactly one root")
        vertices = np.flatnonzero(up >= 0)
        slots = 2 * up[vertices] + side[vertices]
        if np.any(np.bincount(slots, minlength=2 * nodes) != 1):
            node = int(np.flatnonzero(np.bincount(slots, minlength=2 * nodes) != 1)[0]) // 2
            raise ValueError(
                f"parents must give each node one left and one right child; node {node} has not"
            )
        children = np.empty(2 * nodes, np.int64)
        children[slots] = vertices
        return cls.from_children(children.reshape(nodes, 2))

    @staticmethod
    def breadth_first(children: ArrayLike) -> Ids:
        """The order that `from_children` gives the nodes, to bring rows of weights along."""
        return _breadth_first(_as_children(children))[0]

    def paths(self, labels: Array) -> Paths:
        """The paths of labels of any integer dtype, without any check of them at trace time."""
        known = in_range(labels, self.classes)
        vertex = jnp.where(known, labels, 0).astype(jnp.int32)
        vertex = jnp.where(known, vertex, 2 * self.classes - 1)

        def step(vertex: Array, _: None) -> tuple[Array, Array]:
            edge = self.parents[vertex]
            return self.classes + (edge >> 1), edge

        # Not unrolled: on the CPU steps this small cost most as operations of their own.
        edges = lax.scan(step, vertex, None, length=self.depth)
        moved = jnp.moveaxis(edges[1], 0, -1)
        return Paths(moved >> 1, (moved & 1) == 1)

    def path_lengths(self) -> NDArray[np.int32]:
        """The number of nodes on the path of each class, int32 [classes]; not to be traced."""
        up = np.asarray(self.parents) >> 1
        level = np.zeros(self.nodes + 1, np.int32)
        level[self.nodes] = -1
        for start, stop in self._ranges():
            level[start:stop] = level[up[self.classes + start : self.classes + stop]] + 1
        return level[up[: self.classes]] + 1

    def _ranges(self) -> list[tuple[int, int]]:
        """The nodes of each level; those of the levels past `levels` one by one."""
        stops = [*self.levels, self.nodes][1:]
        ranges = list(zip(self.levels, stops, strict=True))
        if len(ranges) <= MAX_LEVELS:
            return ranges
        start, stop = ranges.pop()
        return [*ranges, *((node, node + 1) for node in range(start, stop))]


def in_range(labels: Array, classes: int) -> Array:
    """Which labels are classes, compared in their own dtype: an int64 may not fit int32."""
    last = min(classes - 1, int(jnp.iinfo(labels.dtype).max))
    zero, top = jnp.asarray(0, labels.dtype), jnp.asarray(last, labels.dtype)
    return (labels >= zero) & (labels <= top)


def _as_integers(value: ArrayLike, name: str) -> Ids:
    array = np.asarray(value)
    if array.size == 0:
        return array.astype(np.int64)
    if not np.issubdtype(array.dtype, np.integer):
        raise TypeError(f"{name} must have an integer dtype, got dtype {array.dtype}")
    return array.astype(np.int64)


def _as_children(children: ArrayLike) -> Ids:
    """Children in which every vertex but one root occurs once: what is left to check are cycles."""
    array = _as_integers(children, "children")
    if array.ndim != 2 or array.shape[1] != 2:
        raise ValueError(f"children must have shape (classes - 1, 2), got {array.shape}")
    classes = array.shape[0] + 1
    check_classes(classes, "children")
    outside = (array < 0) | (array >= 2 * classes - 1)
    if outside.any():
        raise ValueError(
            f"children must lie in [0, {2 * classes - 1}): {classes} classes, then {classes - 1} "
            f"nodes; got {array[outside][0]}"
        )
    uses = np.bincount(array.ravel(), minlength=2 * classes - 1)
    if np.any(uses[:classes] > 1):
        raise ValueError(
            f"children must name each class once; class {np.argmax(uses[:classes] > 1)} is repeated"
        )
    if classes > 1 and np.any(uses[:classes] == 0):
        raise ValueError(
            f"children must name each class once; class {np.argmin(uses[:classes])} is missing"
        )
    if np.any(uses[classes:] > 1):
        raise ValueError(
            f"children must name each node at most once; node {np.argmax(uses[classes:] > 1)} is "
            f"repeated"
        )
    return array


def check_classes(classes: int, name: str) -> None:
    """Raises where the ids of so many classes and nodes do not fit int32."""
    if classes > MAX_CLASSES:
        raise ValueError(f"{name} must be of at most {MAX_CLASSES} classes, got {classes}")


def _breadth_first(children: Ids) -> tuple[Ids, list[int]]:
    """The nodes level by level, and the first position of each level."""
    nodes = children.shape[0]
    if nodes == 0:
        return np.zeros(0, np.int64), []
    inner = children - (nodes + 1)
    used = np.zeros(nodes, bool)
    used[inner[inner >= 0]] = True
    roots = np.flatnonzero(~used)
    order, starts, seen = [], [], 0
    # A cycle hangs on no root: what is reached is then not all.
    level = roots
    while level.size:
        order.append(level)
        starts.append(seen)
        seen += level.size
        below = inner[level].ravel()
        level = below[below >= 0]
    if len(roots) != 1 or seen != nodes:
        raise ValueError("children must form one tree, got a cycle")
    return np.concatenate(order), starts


def _numbered(children: Ids, order: Ids, starts: list[int]) -> Tree:
    """The tree of checked children whose nodes are taken in the order given."""
    nodes = children.shape[0]
    classes = nodes + 1
    rank = np.empty(nodes, np.int64)
    rank[order] = np.arange(nodes)
    moved = children[order]
    inner = moved >= classes
    moved[inner] = classes + rank[moved[inner] - classes]
    return tree_of_levels(moved, starts)


def tree_of_levels(children: Ids, starts: list[int]) -> Tree:
    """The tree of children that are right and numbered breadth first."""
    nodes = children.shape[0]
    parents = np.full(2 * nodes + 2, 2 * nodes, np.int32)
    parents[children.ravel()] = np.arange(2 * nodes, dtype=np.int32)
    return Tree(
        jnp.asarray(children.astype(np.int32)),
        jnp.asarray(parents),
        depth=len(starts),
        levels=tuple(starts[: MAX_LEVELS + 1]),
    )
