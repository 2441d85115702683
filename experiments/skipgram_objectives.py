"""What predicts the words in `skipgram`: the nodes of a Huffman tree, or negative samples."""

import dataclasses
from typing import NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np

import softmax_variants as sv
from experiments.skipgram import TILE, Crowds, Meetings, Tile, cut, inside, same_id
from softmax_variants._pytrees import pytree_dataclass

# A tile costs about as much as this many rows beside those that it meets.
_TILE_COST = 24
# Capacities are multiples of this, and are tried on so many words.
_STEP = 8
_SAMPLE = 20_000


@pytree_dataclass
@dataclasses.dataclass(frozen=True)
class Negatives:
    """Negative sampling: a pair's word against words drawn from their counts to a power.

    Attributes:
      sampler: the distribution of negative words.
      weight: how many of them a pair has.
      shared: how many are drawn for a tile.
    """

    sampler: sv.UnigramSampler
    weight: float = dataclasses.field(metadata={"static": True}, default=5.0)
    shared: int = dataclasses.field(metadata={"static": True}, default=18)

    capacity = 1

    @property
    def outputs(self) -> int:
        """A row for each word."""
        return self.sampler.classes

    def per_pair(self, words: jax.Array) -> jax.Array:
        """The word and the negative ones."""
        return jnp.full(words.shape, 1 + self.weight)

    def lengths(self, words: np.ndarray) -> np.ndarray:
        """All words are alike."""
        return np.zeros(words.shape, np.int64)

    def prepare(self, key: jax.Array, tiles: Tile) -> tuple[jax.Array, Crowds]:
        """The rows, words first and then negative ones, and their crowds."""
        centers, pairs = tiles.centers, tiles.pairs()
        drawn = self.sampler.draw(key, centers.shape[0] * self.shared)
        drawn = drawn.reshape(centers.shape[0], self.shared)
        rows = jnp.concatenate([centers, drawn], axis=1)
        share = self.weight / self.shared * jnp.sum(pairs, axis=1, keepdims=True)
        meetings = jnp.concatenate([pairs, jnp.broadcast_to(share, drawn.shape)], axis=1)
        return rows, Crowds.of(meetings, same_id(rows, meetings))

    def meetings(self, tile: Tile, prepared: tuple[jax.Array, Crowds]) -> Meetings:
        """Pairs skip the negative words that are their own."""
        rows, crowds = prepared
        near = tile.near()
        other = rows[tile.low.size :, None] != tile.centers[None, :]
        negative = (self.weight / self.shared) * (other.astype(jnp.float32) @ near)
        positive = jnp.concatenate([near, jnp.zeros_like(negative)])
        return Meetings(rows, positive, jnp.concatenate([near, negative]), crowds)


@pytree_dataclass
@dataclasses.dataclass(frozen=True)
class Paths:
    """Hierarchical softmax: the decisions on the path of a pair's word.

    Nodes are rows by falling count of the words below them. Every tile meets the first rows, once
    for all paths; what is left of a path is a list, and a tile has room for so much of lists.

    Attributes:
      shared: float32 [words, 2 shared nodes]: 1 where the path goes left at the node, and then 1
        where the node is on the path.
      first: int32 [words + 1], where each list begins in `lists`.
      lists: int32 [all lists], twice a row, plus 1 where the path goes right.
      depth: float32 [words], the length of each path.
      nodes: int32 [nodes], the row of each node of the tree.
      capacity: how much of lists a tile holds.
    """

    shared: jax.Array
    first: jax.Array
    lists: jax.Array
    depth: jax.Array
    nodes: jax.Array
    capacity: int = dataclasses.field(metadata={"static": True})

    @classmethod
    def of(cls, tree: sv.Tree, counts: np.ndarray, *, shared: int = 16, tile: int = TILE) -> Self:
        """The paths of a tree over words with counts; the capacity is chosen for such a text."""
        paths = tree.paths(jnp.arange(tree.classes, dtype=jnp.int32))
        nodes, right = np.asarray(paths.nodes), np.asarray(paths.right)
        # Past the root there is one more node, which is none.
        below = np.bincount(
            nodes.ravel(), np.repeat(counts, nodes.shape[1]), minlength=tree.nodes + 1
        )
        order = np.argsort(-below[:-1], kind="stable")
        row = np.empty(tree.nodes + 1, np.int64)
        row[order], row[-1] = np.arange(tree.nodes), tree.nodes
        rows, shared = row[nodes], min(shared, tree.nodes)
        ways = np.zeros((2, tree.classes, shared), np.float32)
        word, level = np.nonzero(rows < shared)
        ways[0, word, rows[word, level]] = ~right[word, level]
        ways[1, word, rows[word, level]] = 1
        listed = (rows >= shared) & (rows < tree.nodes)
        lengths = listed.sum(axis=1)
        return cls(
            jnp.asarray(np.concatenate(list(ways), axis=1)),
            jnp.asarray(np.concatenate([[0], np.cumsum(lengths)]), jnp.int32),
            # Never empty, so that there is an entry to read.
            jnp.asarray(np.append((2 * rows + right)[listed], 2 * shared - 2), jnp.int32),
            jnp.asarray((rows < tree.nodes).sum(axis=1), jnp.float32),
            jnp.asarray(row[:-1], jnp.int32),
            _capacity(lengths, counts, shared, tile),
        )

    @property
    def outputs(self) -> int:
        """A row for each node."""
        return self.nodes.size

    def per_pair(self, words: jax.Array) -> jax.Array:
        """The length of the path."""
        return self.depth[words]

    def lengths(self, words: np.ndarray) -> np.ndarray:
        """The lengths of the lists."""
        return np.diff(np.asarray(self.first))[words]

    def prepare(self, key: jax.Array, tiles: Tile) -> "_Nodes":
        """The lists of each tile's words, one after another."""
        del key  # nothing is drawn
        centers, pairs = tiles.centers, tiles.pairs()
        count, words = self.shared.shape[1] // 2, centers.shape[1]
        length = jnp.where(pairs > 0, self.first[centers + 1] - self.first[centers], 0)
        stop = jnp.cumsum(length, axis=1)
        number = jnp.arange(self.capacity, dtype=jnp.int32)
        owner = jnp.sum(stop[:, None, :] <= number[None, :, None], axis=2, dtype=jnp.int32)
        used, owner = owner < words, jnp.minimum(owner, words - 1)

        def of_owner(values: jax.Array) -> jax.Array:
            return jnp.take_along_axis(values, owner, axis=1)

        entry = of_owner(self.first[centers] + length - stop) + number[None, :]
        edge = self.lists[jnp.clip(entry, 0, self.lists.size - 1)]
        shared = jnp.arange(count, dtype=jnp.int32)[None, :]
        shared = jnp.broadcast_to(shared, (centers.shape[0], count))
        on_path = self.shared[centers][:, :, count:]
        top = jnp.sum(pairs[:, :, None] * on_path, axis=1)
        listed = jnp.where(used, of_owner(pairs), 0.0)
        # Another word with the same node far down in the tree is rare: it need not count.
        crowd = of_owner(same_id(centers, pairs))
        crowds = Crowds.of(
            jnp.concatenate([top, listed], axis=1), jnp.concatenate([top, crowd], axis=1)
        )
        return _Nodes(
            jnp.concatenate([shared, edge >> 1], axis=1),
            (1 - (edge & 1)).astype(jnp.float32),
            jnp.where(used, of_owner(tiles.low), 1),
            jnp.where(used, of_owner(tiles.high), 0),
            owner + tiles.window,
            crowds,
        )

    def meetings(self, tile: Tile, prepared: "_Nodes") -> Meetings:
        """The shared nodes are met by counts of windows, a list's nodes by its word's window."""
        near, count = tile.near(), self.shared.shape[1] // 2
        visits = self.shared[tile.centers].T @ near
        listed = inside(prepared.low, prepared.high, prepared.center, tile.ids.size)
        positive = jnp.concatenate([visits[:count], prepared.left[:, None] * listed])
        total = jnp.concatenate([visits[count:], listed])
        return Meetings(prepared.rows, positive, total, prepared.crowds)


class _Nodes(NamedTuple):
    """The nodes that a tile meets: shared ones, and of the lists; the latters' windows."""

    rows: jax.Array
    left: jax.Array
    low: jax.Array
    high: jax.Array
    center: jax.Array
    crowds: Crowds


def _capacity(lengths: np.ndarray, counts: np.ndarray, shared: int, tile: int) -> int:
    """The room for lists with which a text of such counts takes the least time."""
    rng = np.random.default_rng(0)
    sample = lengths[rng.choice(counts.size, size=_SAMPLE, p=counts / counts.sum())]
    longest = -(-max(int(lengths.max()), 1) // _STEP) * _STEP
    choices = range(longest, max(longest, 10 * tile) + 1, _STEP)
    costs = [
        (cut(sample, choice, tile).size * (_TILE_COST + shared + choice), choice)
        for choice in choices
    ]
    return min(costs)[1]
