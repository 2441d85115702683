"""How frequent ids are in a stream of batches, in a table of fixed size."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from softmax_variants._typing import Array, ArrayLike
from softmax_variants._validation import as_count, as_parameter


class FrequencyState(NamedTuple):
    """What `StreamingFrequency` has seen.

    Attributes:
      last: the number of draws up to and including each slot's last step, uint32 [hashes, slots].
      gap: the estimated number of draws from one occurrence to the next, float32 [hashes, slots].
      draws: how many draws there were, uint32, modulo 2^32.
    """

    last: Array
    gap: Array
    draws: Array


@dataclasses.dataclass(frozen=True)
class StreamingFrequency:
    r"""Estimates how probable ids are in a stream of batches, without a list of the ids.

    .. math:: B \leftarrow (1 - \beta) B + \beta \frac{t - A}{c}, \quad A \leftarrow t,
              \qquad \hat p = 1 / \max_m B_m, \qquad \beta = 1 - (1 - \alpha)^c

    A is when an id was seen last and B the mean gap between its occurrences, in slots that several
    hashes of the id point to; ids that collide look more frequent than they are, so that the
    largest gap counts. Time is counted in draws: an id that occurs c times in a step of N draws has
    had c gaps, whose mean is (t - A) / c. For steps of one id this is the published algorithm, and
    for batches it estimates the probability of one draw, which all corrections start from, and not
    that of being in a batch.

    Args:
      slots: how many slots each hash has; more than there are ids is best.
      hashes: how many hashes there are.
      rate: the weight alpha of a new gap, in (0, 1].
      initial_gap: the gap of an id that was never seen, at least 1; by default `slots`.

    Raises:
      TypeError: a size that is no integer.
      ValueError: a size below 1, a rate or a gap out of range.

    Example:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> import softmax_variants as sv
      >>> frequency = sv.StreamingFrequency(1000, rate=0.1)
      >>> state = frequency.init()
      >>> for _ in range(100):
      ...     state = frequency.update(state, jnp.array([7, 7, 7, 5]))
      >>> print(jnp.round(jnp.exp(frequency.log_prob(state, jnp.array([7, 5]))), 2))
      [0.75 0.25]

    References:
      Yi et al., `Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations
      <https://doi.org/10.1145/3298689.3346996>`_, 2019, algorithms 2 and 3.
    """

    slots: int
    hashes: int = 2
    rate: float = 0.01
    initial_gap: float | None = None

    def __post_init__(self) -> None:
        as_count(self.slots, "slots", high=2**31 - 2)
        as_count(self.hashes, "hashes", high=64)
        as_parameter(self.rate, "rate", low=0, low_open=True, high=1)
        if self.initial_gap is not None:
            as_parameter(self.initial_gap, "initial_gap", low=1)

    def init(self) -> FrequencyState:
        """The state before anything was seen."""
        shape = (self.hashes, self.slots)
        gap = float(self.slots if self.initial_gap is None else self.initial_gap)
        return FrequencyState(
            jnp.zeros(shape, jnp.uint32), jnp.full(shape, gap, jnp.float32), jnp.uint32(0)
        )

    def update(self, state: FrequencyState, ids: ArrayLike) -> FrequencyState:
        """The state after a step; ids of any shape, negative ones ignored (padding)."""
        flat = self._as_ids(ids).reshape(-1)
        kept = flat >= 0
        # Unsigned numbers wrap: a gap is right as long as it is itself below 2^32.
        now = state.draws + jnp.sum(kept, dtype=jnp.uint32)
        slots = jnp.where(kept[None], self._slots(flat), self.slots)

        def row(last: Array, gap: Array, slot: Array) -> tuple[Array, Array]:
            ordered = jnp.sort(slot)
            count = jnp.searchsorted(ordered, slot, side="right") - jnp.searchsorted(ordered, slot)
            times = count.astype(jnp.float32)
            inside = jnp.minimum(slot, self.slots - 1)
            since = (now - last[inside]).astype(jnp.float32) / times
            weight = -jnp.expm1(times * jnp.log1p(-jnp.float32(self.rate)))
            new = gap[inside] + weight * (since - gap[inside])
            # Equal ids write equal numbers, so that their order does not matter.
            return last.at[slot].set(now, mode="drop"), gap.at[slot].set(new, mode="drop")

        last, gap = jax.vmap(row)(state.last, state.gap, slots)
        return FrequencyState(last, gap, now)

    def log_prob(self, state: FrequencyState, ids: ArrayLike) -> Array:
        """The estimated log-probability of each id in one draw; `-inf` for a negative id."""
        array = self._as_ids(ids)
        slots = self._slots(array.reshape(-1))
        gaps = jnp.take_along_axis(state.gap, slots, axis=1)
        logs = -jnp.log(jnp.maximum(jnp.max(gaps, axis=0), 1)).reshape(array.shape)
        return jnp.where(array >= 0, logs, -jnp.inf)

    def _as_ids(self, ids: ArrayLike) -> Array:
        array = jnp.asarray(ids)
        if not jnp.issubdtype(array.dtype, jnp.integer):
            raise TypeError(f"ids must have an integer dtype, got dtype {array.dtype}")
        return array

    def _slots(self, ids: Array) -> Array:
        """The slots of ids [n] under each hash, int32 [hashes, n]: murmur's mixing of 32 bits."""
        seeds = jnp.arange(1, self.hashes + 1, dtype=jnp.uint32) * jnp.uint32(0x9E3779B9)
        x = ids.astype(jnp.uint32)[None, :] + seeds[:, None]
        for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
            x = (x ^ (x >> shift)) * jnp.uint32(factor)
        x = x ^ (x >> 16)
        return (x % jnp.uint32(self.slots)).astype(jnp.int32)


jax.tree_util.register_static(StreamingFrequency)
