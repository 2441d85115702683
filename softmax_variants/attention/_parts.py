"""What blockwise attention is made of, and the loops over its blocks.

Every array has five axes: batch, key head, query head of the key head, and then queries and keys,
or one of them and features. An axis of size 1 broadcasts, and no loop cuts it up. Trees of such
arrays travel as `Parts`, by which of the last two axes they have; a loop cuts all of them at once.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from softmax_variants._typing import Array

# Scores of a block, of the queries of a block with all keys, and the fewest queries it has.
# Measured on a CPU with 4096 keys: see the command `experiments bench flash`.
_BLOCK_SCORES = 1 << 17
_ROW_SCORES = 1 << 20
_FEWEST_QUERIES = 16
_KEYS = 512


class Parts(NamedTuple):
    """Trees of arrays, by the axes that they have.

    Attributes:
      rows: [batch, heads, group, queries, any].
      keys: [batch, heads, 1, keys, any].
      pairs: [batch, heads, group, queries, keys].
    """

    rows: Any
    keys: Any
    pairs: Any


def together(*parts: Parts) -> Parts:
    """Parts whose trees are tuples of the trees given."""
    return Parts(*zip(*parts, strict=True))


def apart(parts: Parts) -> tuple[Parts, ...]:
    """The inverse of `together`."""
    return tuple(Parts(*trees) for trees in zip(*parts, strict=True))


# The axis of each of the trees that a loop over these runs along.
_BATCH, _HEADS, _QUERIES, _KEYS_AXIS = (0, 0, 0), (1, 1, 1), (3, None, 3), (None, 3, 4)


@dataclasses.dataclass(frozen=True)
class Layout:
    """The sizes of the blocks. The queries and keys are padded to whole blocks.

    Attributes:
      batch: batch entries of a block; they divide the batch.
      heads: key heads of a block, likewise.
      queries: queries of a block.
      keys: keys of a block.
    """

    batch: int
    heads: int
    queries: int
    keys: int

    @classmethod
    def of(cls, shape: tuple[int, ...], block: tuple[int, int] | None) -> "Layout":
        """The blocks for scores of the shape, chosen from it unless their sizes are given."""
        batch, heads, group, queries, keys = shape
        if block is None:
            most = max(_ROW_SCORES // max(group * keys, 1), _FEWEST_QUERIES)
            # Small heads share a block: one loop less, and products of matrices in one batch.
            together = max(_ROW_SCORES // max(group * queries * keys, 1), 1)
            size = (_even(queries, most), _even(keys, max(_KEYS, _BLOCK_SCORES // most)))
        else:
            together, size = 1, (min(block[0], max(queries, 1)), min(block[1], max(keys, 1)))
        heads_together = _divisor(heads, together)
        rest = together // heads if heads_together == heads else 1
        return cls(_divisor(batch, rest), heads_together, *size)

    def padded(self, parts: Parts, shape: tuple[int, ...]) -> Parts:
        """The parts with zeros after the queries and keys of `shape`, to whole blocks."""
        *_, queries, keys = shape
        more = {3: -queries % self.queries, 4: -keys % self.keys}

        def pad(array: Array, axes: dict[int, int]) -> Array:
            after = [axes[a] if a in axes and array.shape[a] > 1 else 0 for a in range(5)]
            if not any(after):
                return array
            return jnp.pad(array, [(0, n) for n in after])

        # One query or key is a block of its own and needs no zeros.
        return Parts(
            jax.tree.map(lambda a: pad(a, {3: more[3]}), parts.rows),
            jax.tree.map(lambda a: pad(a, {3: more[4]}), parts.keys),
            jax.tree.map(lambda a: pad(a, more), parts.pairs),
        )

    def over_batch(self, f: Callable[[Parts], Any], parts: Parts, size: int) -> Any:
        """`f` for each block of the batch, the results joined."""
        return _mapped(lambda part, _: f(part), parts, _BATCH, size, self.batch)

    def over_heads(self, f: Callable[[Parts], Any], parts: Parts, size: int) -> Any:
        """`f` for each block of key heads, the results joined."""
        return _mapped(lambda part, _: f(part), parts, _HEADS, size, self.heads)

    def over_queries(self, f: Callable[[Parts, Array], Any], parts: Parts, size: int) -> Any:
        """`f(part, number of its first query)` for each block of queries, the results joined."""
        return _mapped(f, parts, _QUERIES, size, self.queries)

    def over_keys(
        self,
        step: Callable[[Any, Parts, Array], tuple[Any, Any]],
        carry: Any,
        parts: Parts,
        size: int,
    ) -> tuple[Any, Any]:
        """`step(carry, part, number of its first key)` through the blocks of keys.

        The second results are stacked on a new first axis.
        """
        count = -(-size // self.keys)
        if count <= 1:
            carry, y = step(carry, parts, jnp.int32(0))
            return carry, jax.tree.map(lambda a: a[None], y)
        split, rest, join = _split(parts, _KEYS_AXIS, count)

        def body(carry: Any, x: tuple[Any, Array]) -> tuple[Any, Any]:
            return step(carry, join(x[0], rest), x[1])

        starts = self.keys * jnp.arange(count, dtype=jnp.int32)
        return lax.scan(body, carry, (split, starts))

    def cut_keys(self, array: Array, size: int) -> Array:
        """An array of `Parts.keys` as its blocks, on a new first axis."""
        return _blocks(array, 3, -(-size // self.keys))


def _mapped(
    f: Callable[[Parts, Array], Any],
    parts: Parts,
    axes: tuple[int | None, ...],
    size: int,
    block: int,
) -> Any:
    count = -(-size // block)
    if count <= 1:
        return f(parts, jnp.int32(0))
    split, rest, join = _split(parts, axes, count)
    starts = block * jnp.arange(count, dtype=jnp.int32)
    stacked = lax.map(lambda x: f(join(x[0], rest), x[1]), (split, starts))
    axis = axes[0]
    assert axis is not None

    def joined(array: Array) -> Array:
        moved = jnp.moveaxis(array, 0, axis)
        shape = (*moved.shape[:axis], -1, *moved.shape[axis + 2 :])
        return moved.reshape(shape)

    return jax.tree.map(joined, stacked)


def _split(
    parts: Parts, axes: tuple[int | None, ...], count: int
) -> tuple[list[Any], list[Any], Callable[[list[Any], list[Any]], Parts]]:
    """The arrays that a loop cuts up, the others, and what makes parts of one block of both."""
    leaves, treedef = jax.tree.flatten(parts)
    where = [axis for axis, tree in zip(axes, parts, strict=True) for _ in range(_leaves(tree))]
    cut = [a is not None and x.shape[a] > 1 for x, a in zip(leaves, where, strict=True)]
    split = [
        _blocks(x, a, count)
        for x, a, c in zip(leaves, where, cut, strict=True)
        if c and a is not None
    ]
    rest = [x for x, c in zip(leaves, cut, strict=True) if not c]

    def join(split: list[Any], rest: list[Any]) -> Parts:
        first, second = iter(split), iter(rest)
        return jax.tree.unflatten(treedef, [next(first if c else second) for c in cut])

    return split, rest, join


def _leaves(tree: Any) -> int:
    return len(jax.tree.leaves(tree))


def _blocks(array: Array, axis: int, count: int) -> Array:
    shape = (*array.shape[:axis], count, array.shape[axis] // count, *array.shape[axis + 1 :])
    return jnp.moveaxis(array.reshape(shape), axis, 0)


def _even(size: int, most: int) -> int:
    """The size of blocks of at most about `most` that `size` fills as evenly as it can."""
    count = max(-(-size // most), 1)
    return max(-(-size // count), 1)


def _divisor(size: int, most: int) -> int:
    """The largest divisor of `size` that is at most `most`."""
    return max((d for d in range(1, min(size, most) + 1) if size % d == 0), default=1)
