"""Work on the examples of one group after another, with shapes that no batch changes."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from softmax_variants._typing import Array

_MULTIPLE = 8  # of which a capacity is a multiple, so that products of matrices have no ragged edge


class Groups(NamedTuple):
    """The examples sorted by group.

    Attributes:
      order: the examples, [examples]; those of one group are neighbours.
      place: the inverse of it.
      start: where each group starts, [groups].
      count: how many examples each group has, [groups].
    """

    order: Array
    place: Array
    start: Array
    count: Array

    @classmethod
    def of(cls, group: Array, groups: int) -> "Groups":
        """Sorts examples by their group, a number from 0 on; -1 is no group."""
        order = jnp.argsort(group, stable=True).astype(jnp.int32)
        number = jnp.arange(group.shape[0], dtype=jnp.int32)
        place = jnp.zeros_like(number).at[order].set(number, unique_indices=True)
        member = group[None, :] == jnp.arange(groups, dtype=group.dtype)[:, None]
        count = jnp.sum(member, axis=-1, dtype=jnp.int32)
        start = jnp.sum(group == -1, dtype=jnp.int32) + jnp.cumsum(count) - count
        return cls(order, place, start, count)

    def apply(self, f: Callable[[Array, Array], Array], group: int, capacity: int) -> Array:
        """`f(examples, live)` for the examples of one group, `capacity` of them at a time.

        `f` answers with one value an example. Where `live` is False the example is none of the
        group's, and its value is never looked at. A batch that has more of the group than the
        capacity runs further rounds, as many as it needs.

        Returns:
          The values, [examples]; 0 for the examples of other groups.
        """
        examples = self.order.shape[0]
        start, count = self.start[group], self.count[group]
        padded = jnp.concatenate([self.order, jnp.zeros(capacity, jnp.int32)])
        steps = jnp.arange(capacity, dtype=jnp.int32)

        def chunk(number: Array) -> Array:
            first = number * capacity
            part = lax.dynamic_slice_in_dim(padded, start + first, capacity)
            return f(part, steps + first < count)

        values = chunk(jnp.int32(0))
        if capacity < examples:
            further = jnp.arange(1, -(-examples // capacity), dtype=jnp.int32)
            rest = _further(chunk, further, capacity, count, values)
            values = jnp.concatenate([values, rest.reshape(-1)])
        own = self.place - start
        inside = (own >= 0) & (own < count)
        return jnp.where(inside, values[jnp.where(inside, own, 0)], 0)


def _further(
    chunk: Callable[[Array], Array], numbers: Array, capacity: int, count: Array, like: Array
) -> Array:
    """The values of the chunks after the first, of which those without an example are skipped.

    A chunk is worked out afresh in the reverse pass: nothing is stored for those that are skipped.
    """
    again = jax.checkpoint(chunk, prevent_cse=False)

    def step(carry: None, number: Array) -> tuple[None, Array]:
        needed = number * capacity < count
        return None, lax.cond(needed, again, lambda _: jnp.zeros_like(like), number)

    def some() -> Array:
        return lax.scan(step, None, numbers)[1]

    def none() -> Array:
        return jnp.zeros((numbers.shape[0], *like.shape), like.dtype)

    return lax.cond(count > capacity, some, none)


def capacity_of(share: float, examples: int) -> int:
    """Rows that hold a group of this share of the examples, but for one batch in many thousands."""
    spread = math.sqrt(examples * share * (1 - share))
    wanted = math.ceil(examples * share + 4 * spread) + 1
    return max(min(-(-wanted // _MULTIPLE) * _MULTIPLE, examples), 1)


def zipf_shares(cutoffs: tuple[int, ...], classes: int) -> tuple[float, ...]:
    """The mass of the classes from each cutoff to the next under Zipf's law."""

    def harmonic(n: int) -> float:
        return math.log(n + 0.5) + 0.5772156649 if n else 0.0

    bounds = (*cutoffs, classes)
    total = harmonic(classes)
    return tuple(
        (harmonic(high) - harmonic(low)) / total
        for low, high in zip(bounds[:-1], bounds[1:], strict=True)
    )
