"""Alias tables: draws from any distribution over n slots, at a cost that does not depend on n."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from softmax_variants._typing import Array

WORDS = 3  # random words for a draw


class AliasTable(NamedTuple):
    """A slot keeps its own id with a probability, and gives another id with the rest.

    Attributes:
      threshold: the probability of its own id in units of 2^-32, uint32 [n].
      alias: the other id, int32 [n].
    """

    threshold: Array
    alias: Array

    @classmethod
    def of(cls, weights: "np.ndarray[Any, Any]") -> "AliasTable":
        """The table of non-negative weights, float64; a weight of 0 is never drawn.

        Slots that have less than their share are filled, one after another, from those that have
        more. Which one fills which follows from where the running sums of what is missing and of
        what is left over meet: two binary searches, no loop over the classes.
        """
        share = weights / weights.mean()
        own, alias = np.ones_like(share), np.arange(share.size)
        # The largest gives in any case: rounding must not leave slots with nobody to fill them.
        full = share >= 1
        full[np.argmax(share)] = True
        poor, rich = np.flatnonzero(~full), np.flatnonzero(full)
        if poor.size:
            missing = np.cumsum(1 - share[poor])
            extra = np.cumsum(np.maximum(share[rich] - 1, 0))
            before = np.concatenate([[0.0], missing[:-1]])
            giver = np.searchsorted(extra, before, side="right")
            own[poor] = share[poor]
            alias[poor] = rich[np.minimum(giver, rich.size - 1)]
            # The slot on which a giver runs out leaves it short itself: the next giver fills it.
            last = np.searchsorted(missing, extra[:-1], side="right")
            at = np.minimum(last, poor.size - 1)
            # A giver may also run out just where a slot is full.
            ends = (last < poor.size) & (before[at] < extra[:-1])
            short = missing[at] - extra[:-1]
            own[rich[:-1]] = np.where(ends, 1 - np.clip(short, 0, 1), 1)
            alias[rich[:-1]] = np.where(ends, rich[1:], rich[:-1])
        # A slot that keeps all is its own alias: 2^32 need not be written.
        units = np.minimum(np.rint(own * 2.0**32), 2.0**32 - 1).astype(np.uint32)
        return cls(jnp.asarray(units), jnp.asarray(alias, jnp.int32))

    def draw(self, key: Array, num: int) -> Array:
        """`num` ids, int32, with replacement."""
        return self.choose(*jax.random.bits(key, (WORDS, num), jnp.uint32))

    def choose(self, high: Array, low: Array, which: Array) -> Array:
        """An id for each triple of random words."""
        slot = below(high, low, self.alias.size)
        return jnp.where(which < self.threshold[slot], slot, self.alias[slot])


def below(high: Array, low: Array, bound: int) -> Array:
    """An integer from 0 to `bound - 1` as likely as any other to one part in 2^64 / bound.

    It is the whole part of `bound * (high + low / 2^32) / 2^32`. One call for all random words of a
    draw, instead of `jax.random.randint` with keys of its own, halves the time of a draw.
    """
    upper, lower = _product(high, bound)
    carried = lower + _product(low, bound)[0]
    return (upper + (carried < lower).astype(jnp.uint32)).astype(jnp.int32)


def _product(word: Array, factor: int) -> tuple[Array, Array]:
    """The upper and the lower word of a product, from products of halves."""
    half = jnp.uint32(0xFFFF)
    b, a = word & half, word >> 16
    d, c = jnp.uint32(factor & 0xFFFF), jnp.uint32(factor >> 16)
    bd, ad, bc = b * d, a * d, b * c
    middle = (bd >> 16) + (ad & half) + (bc & half)
    upper = a * c + (ad >> 16) + (bc >> 16) + (middle >> 16)
    return upper, (middle << 16) | (bd & half)
