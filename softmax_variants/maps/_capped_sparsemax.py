"""Sparsemax with a cap on every class and a budget other than 1."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

from softmax_variants._numerics import masked, on_rows, row_max, row_sum, safe_divide, zero_masked
from softmax_variants._selection import largest_threshold
from softmax_variants._typing import Array, ArrayLike, Axis
from softmax_variants._validation import as_parameter

_MAX_PASSES = 80  # every third halves the bracket, so that these settle a float32 whatever happens


def capped_sparsemax(
    logits: ArrayLike,
    axis: Axis = -1,
    where: ArrayLike | None = None,
    *,
    budget: ArrayLike = 1.0,
    upper: ArrayLike = 1.0,
) -> Array:
    r"""Sparsemax with a cap: the nearest point whose entries lie in [0, upper] and sum to a budget.

    .. math:: p = \arg\min \{ \|p - x\|^2 : 0 \le p_i \le u_i, \; \textstyle\sum_i p_i = b \},
              \qquad p_i = \min(\max(x_i - \tau, 0), u_i)

    With `upper=1` and an integer budget k it is the relaxed choice of k classes (k-subsets); with
    `budget=1` and an upper bound a class it is constrained sparsemax.

    Args:
      logits: scores of any shape; any real dtype, computed in at least float32.
      axis: class axis or axes.
      where: boolean mask that broadcasts to `logits`; False entries get 0.
      budget: `b >= 0`, what a row sums to: a scalar or an array with size 1 on `axis`,
        differentiable. Above the sum of the caps every class is at its cap. Traced values below 0
        give NaN.
      upper: `u >= 0`, the cap, which may differ from class to class: it broadcasts to `logits`.
        Infinity is no cap. Differentiable. Traced values below 0 give NaN.

    Returns:
      An array of the shape and floating dtype of `logits`; a row with nothing kept is 0.

    Raises:
      TypeError: complex logits, a mask that is not boolean.
      ValueError: a negative budget or cap, an axis out of bounds, shapes that do not broadcast.

    Example:
      >>> import jax.numpy as jnp
      >>> import softmax_variants as sv
      >>> print(sv.capped_sparsemax(jnp.array([3.0, 0.5, 0.25, -2.0]), budget=2.0))
      [1.    0.625 0.375 0.   ]

    References:
      Malaviya, Ferreira and Martins, `Sparse and Constrained Attention for Neural Machine
      Translation <https://arxiv.org/abs/1805.08241>`_, 2018; Amos, Koltun and Kolter, `The Limited
      Multi-Label Projection Layer <https://arxiv.org/abs/1906.08707>`_, 2019.
    """
    parameters = {
        "budget": as_parameter(budget, "budget", low=0),
        "upper": as_parameter(upper, "upper", low=0),
    }
    return on_rows(capped_sparsemax_rows, logits, axis, where, parameters, elementwise=("upper",))


@jax.custom_jvp
def capped_sparsemax_rows(x: Array, budget: Array, upper: Array) -> Array:
    """The projection over the last axis."""
    out = masked(x)
    upper = jnp.where(out, 0, upper)
    y = from_pivot(x, budget, upper)
    raised = y + settled_shift(y, budget, upper)
    p = jnp.clip(raised, 0, upper)
    wrong = row_sum((jnp.isnan(x) | ~(upper >= 0)).astype(x.dtype)) > 0
    return jnp.where(out, 0, jnp.where(wrong | ~(budget >= 0), jnp.nan, p))


def _capped_sparsemax_jvp(
    primals: tuple[Array, Array, Array], tangents: tuple[Any, Any, Any]
) -> tuple[Array, Array]:
    (x, budget, upper), (dx, dbudget, dupper) = primals, tangents
    p = capped_sparsemax_rows(x, budget, upper)
    full = (p > 0) & (p == upper)
    # NaN counts as inside, so that it reaches the derivative.
    inside = ~(p == 0) & ~full
    count = row_sum(jnp.where(inside, jnp.where(jnp.isnan(p), p, 1), 0))
    share = jnp.where(inside, safe_divide(jnp.ones_like(count), count), 0)
    tangent = jnp.zeros_like(p)
    if not isinstance(dx, SymbolicZero):
        v = jnp.where(inside, dx, 0)
        v = jnp.where(inside, v - row_sum(v) * share, 0)
        tangent = jnp.where(inside, v - row_sum(v) * share, 0)
    if not isinstance(dbudget, SymbolicZero):
        tangent = tangent + share * dbudget
    if not isinstance(dupper, SymbolicZero):
        at_cap = jnp.where(full, dupper, 0)
        tangent = tangent + at_cap - share * row_sum(at_cap)
    return p, zero_masked(x, tangent)


capped_sparsemax_rows.defjvp(_capped_sparsemax_jvp, symbolic_zeros=True)


def from_pivot(x: Array, budget: Array, upper: Array) -> Array:
    """Scores relative to the class at which the caps, filled from the top, reach the budget.

    The threshold lies below that score, by a cap or the budget at most, so that differences to it
    are small numbers: beside a class that is far above, and at its cap, no digit is lost. Where all
    the caps do not reach the budget every class is infinitely far above.
    """

    def reached(score: Array) -> Array:
        return row_sum(jnp.where(x >= score, upper, 0)) >= budget

    pivot = largest_threshold(reached, x)
    y = jnp.where(x == pivot, 0, x - pivot)
    return jnp.where(masked(x), -jnp.inf, y)


def settled_shift(y: Array, budget: Array, upper: Array) -> Array:
    """`s` with `sum(clip(y + s, 0, upper)) = budget`, by Newton's method inside a bracket.

    The sum is increasing and linear between breakpoints, neither convex nor concave. Once the
    classes strictly inside their bounds are known the shift is a mean over them.
    """
    tolerance = 2 * jnp.finfo(y.dtype).eps * jnp.maximum(budget, 1)
    high = jnp.minimum(jnp.maximum(row_max(upper), 0), budget)
    pivoted = row_max(jnp.where(y == 0, y, -jnp.inf)) == 0

    def unfinished(state: tuple[Array, Array, Array, Array, Array]) -> Array:
        return jnp.any(state[3]) & (state[4] < _MAX_PASSES)

    def advance(
        state: tuple[Array, Array, Array, Array, Array],
    ) -> tuple[Array, Array, Array, Array, Array]:
        s, low, high, pending, passes = state
        total, inside = sums(s)
        excess = total - budget
        low, high = jnp.where(excess < 0, s, low), jnp.where(excess > 0, s, high)
        pending = pending & (jnp.abs(excess) > tolerance)
        newton = s - safe_divide(excess, inside)
        middle = low + (high - low) / 2
        usable = (newton > low) & (newton < high) & (inside > 0) & (passes % 3 != 2)
        moved = jnp.where(usable, newton, middle)
        pending = pending & (moved != s)
        return jnp.where(pending, moved, s), low, high, pending, passes + 1

    def sums(s: Array) -> tuple[Array, Array]:
        raised = y + s
        inside = (raised > 0) & (raised < upper)
        return row_sum(jnp.clip(raised, 0, upper)), row_sum(inside.astype(y.dtype))

    state = (high, jnp.zeros_like(high), high, pivoted, jnp.int32(0))
    s = lax.while_loop(unfinished, advance, state)[0]
    total, inside = sums(s)
    # One last mean over the classes inside, which is exact once they no longer change.
    return s + jnp.where(pivoted, safe_divide(budget - total, inside), 0)
