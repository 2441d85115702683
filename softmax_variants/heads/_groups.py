"""Work on the examples of one group after another, with shapes that no batch changes."""

import functools
import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_derivatives import SymbolicZero

from softmax_variants._numerics import compute_dtype
from softmax_variants._typing import Array
from softmax_variants.heads._sums import with_transpose

_MULTIPLE = 8  # of which a capacity is a multiple, so that products of matrices have no ragged edge

# `f(parameters, data, examples, live, memo) -> (values, memo)`: one value an example, and what the
# reverse pass is handed as the memo, which is none before: a pytree of one entry an example each.
OfExamples = Callable[[Any, Any, Array, Array, Any], tuple[Array, Any]]


class Groups(NamedTuple):
    """The examples sorted by group.

    Attributes:
      order: the examples, [examples]; those of one group are neighbours.
      place: the inverse of it.
      start: where each group starts, [groups].
      size: how many examples each group has, [groups].
    """

    order: Array
    place: Array
    start: Array
    size: Array

    @classmethod
    def of(cls, group: Array, groups: int) -> "Groups":
        """Sorts examples by their group, a number from 0 on; -1 is no group."""
        order = jnp.argsort(group, stable=True).astype(jnp.int32)
        number = jnp.arange(group.shape[0], dtype=jnp.int32)
        place = jnp.zeros_like(number).at[order].set(number, unique_indices=True)
        member = group[None, :] == jnp.arange(groups, dtype=group.dtype)[:, None]
        size = jnp.sum(member, axis=-1, dtype=jnp.int32)
        start = jnp.sum(group == -1, dtype=jnp.int32) + jnp.cumsum(size) - size
        return cls(order, place, start, size)

    def apply(
        self, f: OfExamples, group: int, capacity: int, parameters: Any, data: Any = ()
    ) -> Array:
        """`f(parameters, data, examples, live, memo)` for one group, `capacity` examples at a time.

        `f` answers with one value an example and a memo, which has no derivative. Where `live` is
        False the example is none of the group's, and its value is never looked at. It runs as often
        as the batch needs. Its derivative in reverse is taken with the memo in hand, so that what
        the memo holds need not be worked out again.

        Args:
          f: a function that closes over no array.
          group: which group.
          capacity: how many examples `f` sees at once.
          parameters: what is differentiated, a pytree.
          data: what is not, a pytree.

        Returns:
          The values, [examples]; 0 for the examples of other groups.
        """
        if self.order.shape[0] == 0:
            empty = jnp.zeros(0, jnp.int32)
            return f(parameters, data, empty, empty == 0, None)[0]
        start, size = self.start[group], self.size[group]
        own = self.place - start
        inside = (own >= 0) & (own < size)
        part = _Part(self.order, start, size, data)
        values, _ = _values(f, capacity, parameters, part)
        return jnp.where(inside, values[jnp.where(inside, own, 0)], 0)


class _Part(NamedTuple):
    """One group and what else a chunk of it is worked out from, none of it differentiated."""

    order: Array
    start: Array
    size: Array
    data: Any

    def chunk(
        self, f: OfExamples, capacity: int, parameters: Any, number: Array, memo: Any = None
    ) -> tuple[Array, Any]:
        """The values of the chunk with this number, and its memo."""
        first = number * capacity
        padded = jnp.concatenate([self.order, jnp.zeros(capacity, jnp.int32)])
        examples = lax.dynamic_slice_in_dim(padded, self.start + first, capacity)
        live = jnp.arange(capacity, dtype=jnp.int32) + first < self.size
        return f(parameters, self.data, examples, live, memo)

    def chunks(self, capacity: int) -> int:
        """How many chunks there may be."""
        return max(-(-self.order.shape[0] // capacity), 1)

    def needed(self, capacity: int) -> Array:
        """How many chunks there are."""
        return (self.size + (capacity - 1)) // capacity


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _values(f: OfExamples, capacity: int, parameters: Any, part: _Part) -> tuple[Array, Any]:
    """The values of a group in its own order, and the memos; the loop ends where the group does.

    No derivative in reverse follows from such a loop: the tangent is a linear function of the
    parameters' with a loop of its own for its transpose.
    """

    def step(number: Array, found: tuple[Array, Any]) -> tuple[Array, Any]:
        def put(all_: Array, new: Array) -> Array:
            return lax.dynamic_update_slice_in_dim(all_, new, number * capacity, 0)

        return jax.tree.map(put, found, part.chunk(f, capacity, parameters, number))

    like = jax.eval_shape(lambda: part.chunk(f, capacity, parameters, jnp.int32(0)))
    length = part.chunks(capacity) * capacity
    start = jax.tree.map(
        lambda x: jnp.zeros_like(part.size, x.dtype, shape=(length, *x.shape[1:])), like
    )
    found: tuple[Array, Any] = lax.fori_loop(0, part.needed(capacity), step, start)
    return found


def _values_jvp(
    f: OfExamples, capacity: int, primals: tuple[Any, _Part], tangents: tuple[Any, Any]
) -> tuple[tuple[Array, Any], tuple[Array, Any]]:
    parameters, part = primals
    leaves, tree = jax.tree.flatten(parameters)
    moved = [None if isinstance(t, SymbolicZero) else t for t in jax.tree.leaves(tangents[0])]
    which = [i for i, t in enumerate(moved) if t is not None]
    values, memos = _values(f, capacity, parameters, part)

    def chunk(number: Array, some: list[Array], memo: Any = None) -> Array:
        full = list(leaves)
        for i, leaf in zip(which, some, strict=True):
            full[i] = leaf
        return part.chunk(f, capacity, jax.tree.unflatten(tree, full), number, memo)[0]

    some = [leaves[i] for i in which]

    def forward(change: list[Array]) -> Array:
        # What second derivatives go through: a loop of static length that skips.
        @functools.partial(jax.checkpoint, prevent_cse=False)
        def tangent(number: Array) -> Array:
            def there() -> Array:
                return jax.jvp(lambda s: chunk(number, s), (some,), (change,))[1]

            return lax.cond(
                number < part.needed(capacity), there, lambda: jnp.zeros_like(values[:capacity])
            )

        numbers = jnp.arange(part.chunks(capacity), dtype=jnp.int32)
        return lax.scan(lambda _, n: (None, tangent(n)), None, numbers)[1].reshape(-1)

    def backward(cotangent: Array) -> list[Array]:
        def step(number: Array, total: list[Array]) -> list[Array]:
            own, memo = jax.tree.map(
                lambda x: lax.dynamic_slice_in_dim(x, number * capacity, capacity),
                (cotangent, memos),
            )
            (new,) = jax.vjp(lambda s: chunk(number, s, memo), some)[1](own)
            return [a + x.astype(a.dtype) for a, x in zip(total, new, strict=True)]

        # The chunks add up in at least float32.
        start = [jnp.zeros_like(x, compute_dtype(x.dtype)) for x in some]
        total = lax.fori_loop(0, part.needed(capacity), step, start)
        return [a.astype(x.dtype) for a, x in zip(total, some, strict=True)]

    change = [moved[i] for i in which]
    moved_values = with_transpose(forward, backward, change, jnp.zeros_like(values), some)
    return (values, memos), (moved_values, jax.tree.map(_no_tangent, memos))


_values.defjvp(_values_jvp, symbolic_zeros=True)


def _no_tangent(memo: Array) -> Any:
    if jnp.issubdtype(memo.dtype, jnp.floating):
        return jnp.zeros_like(memo)
    return np.zeros(memo.shape, jax.dtypes.float0)


def capacity_of(share: float, examples: int) -> int:
    """Rows that hold a group of this share in most batches; the others take a second chunk."""
    spread = math.sqrt(examples * share * (1 - share))
    wanted = math.ceil(examples * share + 2 * spread)
    return max(min(-(-wanted // _MULTIPLE) * _MULTIPLE, examples), 1)


def zipf_shares(cutoffs: tuple[int, ...], classes: int) -> tuple[float, ...]:
    """The mass of the classes from each cutoff to the next under Zipf's law."""

    def harmonic(n: int) -> float:
        return math.log(n + 0.5) + 0.5772156649 if n else 0.0

    bounds = (*cutoffs, classes)
    total = harmonic(classes)
    return tuple(
        (harmonic(high) - harmonic(low)) / total for low, high in itertools.pairwise(bounds)
    )
