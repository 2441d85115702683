"""The weights of attention from scores and from what is known of each query: a block at a time.

A query's weights are one function of its scores less a threshold; that and its largest score are
all a block needs to know of the other blocks.
"""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from softmax_variants._numerics import safe_divide
from softmax_variants._threshold import Power
from softmax_variants._typing import Array
from softmax_variants.maps._entmax import phi

# The exponents 1 / (alpha - 1) of the alphas that powers by products serve.
EXPONENTS = {2.0: 1, 1.5: 2, 1.25: 4}


@dataclasses.dataclass(frozen=True)
class Kind:
    """Which formula the weights have, known at trace time.

    Attributes:
      exponent: 0 for softmax; 1 / (alpha - 1) for the alphas of `EXPONENTS`; None for any alpha,
        which is then an array.
    """

    exponent: int | None

    @property
    def is_softmax(self) -> bool:
        return self.exponent == 0

    @property
    def has_zeros(self) -> bool:
        """Whether a score that is seen may get no weight."""
        return self.exponent != 0

    def eps(self, alpha: Array | None) -> Array | float:
        """`alpha - 1`, which alpha moves at exactly 1 as well."""
        if self.exponent is None:
            assert alpha is not None
            return alpha - 1
        return 1 / self.exponent if self.exponent else 0.0


class Row(NamedTuple):
    """What is known of each query: [batch, heads, group, queries, 1] each.

    Attributes:
      top: what is subtracted from its scores, finite; a constant to all derivatives.
      highest: its largest score below that: 0 unless alpha is above 2; likewise.
      threshold: its threshold below that, which carries the derivatives; for softmax the logarithm
        of the sum.
      offset: the same in the unknown of the solver; a constant to all derivatives.
      floor: the difference to `top` below which a score has no weight whatever the formula says;
        a constant to all derivatives.
      scale: the inverse of the sum of the weights, 1 up to rounding, and 0 for a query that sees
        no key; a constant likewise.
    """

    top: Array
    highest: Array
    threshold: Array
    offset: Array
    floor: Array
    scale: Array


class Weights(NamedTuple):
    """The weights `p` and their derivatives for the score less the threshold, `p^(2 - alpha)`."""

    weight: Array
    slope: Array


@jax.custom_jvp
def gap(scores: Array, row: Row) -> Array:
    """`scores - row.top`, at most `row.highest`.

    Above that are a score of infinity, and the largest score where a fused multiply-add rounds it
    otherwise than it was rounded for `top`. Only the first has no derivative.
    """
    return jnp.minimum(scores - row.top, row.highest)


@gap.defjvp
def _gap_jvp(primals: tuple[Array, Row], tangents: tuple[Array, Row]) -> tuple[Array, Array]:
    (scores, row), (dscores, _) = primals, tangents
    return gap(scores, row), jnp.where(scores == jnp.inf, 0, dscores)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def weights(kind: Kind, gap: Array, row: Row, alpha: Array | None) -> Weights:
    """The weights for `scores - row.top`; those of the sinks have the scores 0."""
    if kind.exponent == 0:
        p = jnp.exp(gap - row.threshold)
        return Weights(p, p)
    if kind.exponent is not None:
        excess = jnp.maximum(gap / kind.exponent - row.offset, 0)
        slope = (
            jnp.sign(excess) if kind.exponent == 1 else lax.integer_pow(excess, kind.exponent - 1)
        )
        return Weights(lax.integer_pow(excess, kind.exponent) * row.scale, slope)
    assert alpha is not None
    power = Power.of(alpha)
    inside = jnp.where(gap < row.floor, -jnp.inf, gap)
    p = power.output(inside, row.offset)
    base = power.base + (power.eps * inside + row.offset)
    size = jnp.finfo(p.dtype)
    slope = jnp.minimum(p / jnp.maximum(base, size.tiny), size.max**0.5)
    return Weights(p * row.scale, jnp.where(p == 0, 0, slope))


@weights.defjvp
def _weights_jvp(
    kind: Kind,
    primals: tuple[Array, Row, Array | None],
    tangents: tuple[Array, Row, Array | None],
) -> tuple[Weights, Weights]:
    (gap, row, alpha), (dgap, drow, dalpha) = primals, tangents
    p, s = weights(kind, gap, row, alpha)
    moved = jnp.where(s == 0, 0, dgap - drow.threshold)
    log_p = jnp.log(jnp.where(p == 0, 1, p))
    if dalpha is not None:
        moved = moved + jnp.where(s == 0, 0, alpha_direction(kind, p, alpha)) * dalpha
    # d log p = p^(1 - alpha) moved, and s = p^(2 - alpha).
    eps = kind.eps(alpha)
    relative = safe_divide(s, p) * moved
    ds = s * (1 - eps) * relative
    if dalpha is not None:
        ds = ds - s * log_p * dalpha
    return Weights(p, s), Weights(s * moved, ds)


def alpha_direction(kind: Kind, p: Array, alpha: Array | None) -> Array:
    """What alpha does to a weight, as if it were a change of its score; 0 where that is 0."""
    log_p = jnp.log(jnp.where(p == 0, 1, p))
    return jnp.square(log_p) * phi(kind.eps(alpha) * log_p)
