"""Alias tables: draws from any distribution over n slots, at a cost that does not depend on n."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from softmax_variants._typing import Array


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
        where, which = jax.random.split(key)
        slot = jax.random.randint(where, (num,), 0, self.alias.size, jnp.int32)
        own = jax.random.bits(which, (num,), jnp.uint32) < self.threshold[slot]
        return jnp.where(own, slot, self.alias[slot])
