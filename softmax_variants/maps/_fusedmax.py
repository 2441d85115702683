"""Fusedmax: sparsemax that gives neighbouring classes the same probability where it can."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

from softmax_variants._numerics import masked, on_rows, row_max, shift
from softmax_variants._sharding import over_devices
from softmax_variants._typing import Array, ArrayLike, Axis
from softmax_variants._validation import as_parameter
from softmax_variants.maps._sparsemax import sparsemax_rows


def fusedmax(
    logits: ArrayLike,
    axis: Axis = -1,
    where: ArrayLike | None = None,
    *,
    strength: ArrayLike = 1.0,
) -> Array:
    r"""Fusedmax: the point of the simplex nearest to the logits, with a price on every jump.

    .. math:: p = \arg\min_{p \in \Delta} \tfrac12 \|p - x\|^2 + \lambda \sum_i |p_{i+1} - p_i|
              = \mathrm{sparsemax}(\mathrm{prox}_{\lambda \mathrm{TV}}(x))

    The order of the classes matters: runs of neighbours share one probability. It is solved
    exactly, by a pass along the classes and one back; a class axis that is split over devices is
    therefore gathered.

    Args:
      logits: scores of any shape; any real dtype, computed in at least float32.
      axis: class axis or axes; several are one chain in the order given, the last the fastest.
      where: boolean mask that broadcasts to `logits`; False entries get probability 0, and their
        neighbours on both sides become neighbours of each other.
      strength: the price of a jump, at least 0: a scalar or an array with size 1 on `axis`. 0 is
        sparsemax, infinity uniform. Differentiable. Traced values below 0 give NaN.

    Returns:
      Probabilities of the shape and floating dtype of `logits`; a row with nothing kept is 0.

    Raises:
      TypeError: complex logits, a mask that is not boolean.
      ValueError: a negative strength, an axis out of bounds, shapes that do not broadcast.

    Example:
      >>> import jax.numpy as jnp
      >>> import softmax_variants as sv
      >>> print(sv.fusedmax(jnp.array([0.5, 0.75, -1.0, 0.25]), strength=0.25))
      [0.5 0.5 0.  0. ]

    References:
      Niculae and Blondel, `A Regularized Framework for Sparse and Structured Neural Attention
      <https://arxiv.org/abs/1705.07704>`_, 2017; Johnson, `A Dynamic Programming Algorithm for the
      Fused Lasso and L0-Segmentation <https://doi.org/10.1080/10618600.2012.681238>`_, 2013.
    """
    strength = as_parameter(strength, "strength", low=0)
    return on_rows(fusedmax_rows, logits, axis, where, {"strength": strength})


def fusedmax_rows(x: Array, strength: Array) -> Array:
    """Fusedmax over the last axis."""
    if x.shape[-1] == 0:
        return x
    # A pass along the classes has no rule for explicit mesh axes.
    found: Array = over_devices(_fusedmax, x, strength, split=jax.typeof(x).sharding.spec)
    return found


def _fusedmax(x: Array, strength: Array) -> Array:
    return sparsemax_rows(fused_rows(x, strength))


@jax.custom_jvp
def fused_rows(x: Array, strength: Array) -> Array:
    """The proximal point of total variation, less the largest score; `-inf` where masked.

    What sparsemax makes of it is invariant to that shift, so it is differentiated as without.
    """
    y = bounded(x, strength)
    chain = Chain.of(y, masked(x), strength)
    # A chain that is all one group has no jumps: there infinity times 0 is 0.
    pull = jnp.where(chain.pull == 0, 0, chain.pull * strength)
    value = chain.mean(jnp.where(masked(x), 0, y)) + pull
    spoiled = jnp.isnan(row_max(x)) | ~(strength >= 0)
    return jnp.where(masked(x), -jnp.inf, jnp.where(spoiled, jnp.nan, value))


def _fused_jvp(primals: tuple[Array, Array], tangents: tuple[Any, Any]) -> tuple[Array, Array]:
    (x, strength), (dx, dstrength) = primals, tangents
    out = masked(x)
    chain = Chain.of(*lax.stop_gradient((bounded(x, strength), out, strength)))
    tangent = jnp.zeros_like(x)
    if not isinstance(dx, SymbolicZero):
        tangent = chain.mean(jnp.where(out, 0, dx))
    if not isinstance(dstrength, SymbolicZero):
        tangent = tangent + chain.pull * dstrength
    return fused_rows(x, strength), jnp.where(out, 0, tangent)


fused_rows.defjvp(_fused_jvp, symbolic_zeros=True)


def bounded(x: Array, strength: Array) -> Array:
    """Scores less their maximum, bounded where they no longer matter, so that sums stay exact.

    Fusing moves a value by 2 strengths at most (Condat 2013): whatever is more than 4 strengths
    and 1 below the maximum is not fused with what ends above the threshold, and ends at 0.
    """
    largest = float(jnp.finfo(x.dtype).max) ** 0.75
    return jnp.maximum(shift(x), -jnp.minimum(8 * strength + 4, largest))


class Chain(NamedTuple):
    """Which classes of each row are fused.

    Attributes:
      group: the number of the group that a class belongs to, counted along the row.
      inverse: one over the number of classes in it.
      pull: what the group's value gains as the strength grows by 1: the signs of the jumps at its
        ends, over its size.
    """

    group: Array
    inverse: Array
    pull: Array

    @classmethod
    def of(cls, y: Array, out: Array, strength: Array) -> "Chain":
        n = y.shape[-1]
        # With this strength a row is one group already.
        enough = (n + 1) * row_max(jnp.where(out, 0, -y))
        strength = jnp.minimum(strength, enough)
        flat = (y.reshape(-1, n), out.reshape(-1, n))
        each = jnp.broadcast_to(strength, (*y.shape[:-1], 1)).reshape(-1)
        path = jax.vmap(fused_path)(*flat, each).reshape(y.shape)
        # A masked class repeats its right neighbour's value, and so never ends a group.
        before = jnp.concatenate([path[..., :1], path[..., :-1]], axis=-1)
        jump = jnp.sign(path - before)
        jump = jnp.where(jnp.isnan(jump), 0, jump)
        group = jnp.cumsum((jump != 0).astype(jnp.int32), axis=-1)
        after = jnp.concatenate([jump[..., 1:], jnp.zeros_like(jump[..., :1])], axis=-1)
        kept = (~out).astype(y.dtype)
        size = grouped_sum(kept, group)
        inverse = 1 / jnp.maximum(size, 1)
        return cls(group, inverse, grouped_sum(after - jump, group) * inverse)

    def mean(self, v: Array) -> Array:
        """The mean over each group, given to each of its classes; masked classes hold 0."""
        return grouped_sum(v, self.group) * self.inverse


def grouped_sum(v: Array, group: Array) -> Array:
    """The sum over each group of each row, given to all of its entries."""
    n = v.shape[-1]
    first = n * jnp.arange(v.size // n, dtype=jnp.int32)[:, None]
    index = (group.reshape(-1, n) + first).reshape(-1)
    sums = jax.ops.segment_sum(v.reshape(-1), index, num_segments=v.size)
    return sums[index].reshape(v.shape)


class Message(NamedTuple):
    """The slope of the best cost so far as a function of the last value `b`: piecewise linear.

    It is `-bound` left of the first knot and `bound` right of the last. A knot is where it is, and
    what the line's slope and intercept change by there: [places, 3]. Those in use are `first` to
    `last`.
    """

    knots: Array
    first: Array
    last: Array
    bound: Array


def fused_path(y: Array, out: Array, strength: Array) -> Array:
    """The values along one row, by dynamic programming: a pass forwards and one back."""
    n = y.shape[0]
    middle = jnp.int32(n + 1)
    empty = jnp.zeros((2 * n + 3, 3), y.dtype)
    start = Message(empty, middle, middle - 1, jnp.zeros_like(strength))

    def forward(message: Message, score: tuple[Array, Array]) -> tuple[Message, Any]:
        y, out = score
        new, low, high = passed_on(message, y, out, strength)
        return new, (jnp.where(out, -jnp.inf, low), jnp.where(out, jnp.inf, high))

    message, bounds = lax.scan(forward, start, (y, out))
    slope, intercept, _ = popped(message, jnp.zeros_like(strength), -message.bound, 0.0, 1)
    # No price on jumps leaves no slope either: the bounds are then the answer.
    last = jnp.where(slope == 0, 0, -intercept / jnp.where(slope == 0, 1, slope))

    def backward(value: Array, bound: tuple[Array, Array]) -> tuple[Array, Array]:
        value = jnp.clip(value, *bound)
        return value, value

    return lax.scan(backward, last, bounds, reverse=True)[1]


def passed_on(
    message: Message, y: Array, out: Array, strength: Array
) -> tuple[Message, Array, Array]:
    """The message after one more score, and the bounds that the price of a jump allows.

    Adding the score's own cost adds the line `b - y`; paying for jumps clips the slope. A masked
    score writes beside the knots in use, and leaves these alone: no step copies them.
    """
    one = jnp.ones_like(y)
    a, b, first = popped(message, one, -message.bound - y, -strength, 1)
    rest = message._replace(first=first)
    c, d, last = popped(rest, one, message.bound - y, strength, -1)
    low, high = (-strength - b) / a, (strength - d) / c
    first = jnp.where(out, message.first, first)
    last = jnp.where(out, message.last, last)
    left, right = jnp.stack([low, a, b + strength]), jnp.stack([high, -c, strength - d])
    knots = message.knots.at[jnp.stack([first - 1, last + 1])].set(jnp.stack([left, right]))
    used = jnp.where(out, 0, 1)
    bound = jnp.where(out, message.bound, strength)
    return Message(knots, first - used, last + used, bound), low, high


def popped(
    message: Message, slope: Array, intercept: Array, level: Array | float, side: int
) -> tuple[Array, Array, Array]:
    """The line at which the message crosses a level, coming from the left (1) or right (-1).

    Returns its slope and intercept, and the first knot on that side which is not passed.
    """

    def passing(state: tuple[Array, Array, Array]) -> Array:
        slope, intercept, at = state
        value = slope * message.knots[at, 0] + intercept
        inside = (at >= message.first) & (at <= message.last)
        return inside & (side * value <= side * level)

    def move(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        slope, intercept, at = state
        return (
            slope + side * message.knots[at, 1],
            intercept + side * message.knots[at, 2],
            at + side,
        )

    start = message.first if side == 1 else message.last
    return lax.while_loop(passing, move, (slope, intercept, start))
