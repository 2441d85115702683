"""R-softmax: softmax with a given fraction of the scores cut to zero."""

import jax
import jax.numpy as jnp
from jax import lax

from softmax_variants._numerics import (
    masked,
    on_rows,
    row_max,
    row_sum,
    safe_divide,
    unit_of,
    zero_masked,
)
from softmax_variants._selection import kth_largest
from softmax_variants._typing import Array, ArrayLike, Axis
from softmax_variants._validation import as_parameter


def r_softmax(
    logits: ArrayLike,
    axis: Axis = -1,
    where: ArrayLike | None = None,
    *,
    r: ArrayLike = 0.5,
) -> Array:
    r"""R-softmax: softmax weighted by how far each score exceeds the r-quantile of its row.

    .. math::
      p_i = w_i e^{x_i} / \sum_j w_j e^{x_j}, \qquad w_i = \max(x_i - q_r(x), 0)

    About the fraction r of the classes gets exactly 0. The quantile is that of the kept entries,
    interpolated linearly between the two nearest (as `jnp.quantile` does). Where no entry exceeds
    it (r = 1, a constant row, many ties at the maximum) the result is the limit: the largest
    entries share.

    The derivative goes through the quantile: its two entries carry it, those that tie with them in
    equal parts, and at a rank that is a whole number only the lower entry. r is differentiable.
    The limit is constant, so its derivative is zero.

    Args:
      logits: scores of any shape; any real dtype, computed in at least float32.
      axis: class axis or axes.
      where: boolean mask that broadcasts to `logits`; False entries get probability 0.
      r: fraction of zeros in [0, 1], a scalar or an array with size 1 on `axis`. A traced r outside
        the interval gives NaN.

    Returns:
      Probabilities of the shape and floating dtype of `logits`; a row with nothing kept is 0.

    Raises:
      TypeError: complex logits, a mask that is not boolean.
      ValueError: r outside [0, 1], an axis out of bounds, shapes that do not broadcast.

    Example:
      >>> import jax.numpy as jnp
      >>> import softmax_variants as sv
      >>> print((1000 * sv.r_softmax(jnp.array([0.0, 1.0, 2.0, 3.0, 4.0]), r=0.5)).round())
      [  0.   0.   0. 155. 845.]

    References:
      Balazy, Struski, Smieja and Tabor, `r-softmax: Generalized Softmax with Controllable Sparsity
      Rate <https://arxiv.org/abs/2304.05243>`_, 2023.
    """
    r = as_parameter(r, "r", low=0, high=1)
    return on_rows(r_softmax_rows, logits, axis, where, {"r": r})


@jax.custom_jvp
def r_softmax_rows(x: Array, r: Array) -> Array:
    """R-softmax over the last axis."""
    weight, share = _weight(x, r), _share(x)
    p = safe_divide(weight * share, row_sum(weight * share))
    largest = (x == row_max(x)).astype(x.dtype)
    p = jnp.where(row_max(weight) == 0, safe_divide(largest, row_sum(largest)), p)
    return zero_masked(x, jnp.where((r >= 0) & (r <= 1), p, jnp.nan))


@r_softmax_rows.defjvp
def _r_softmax_jvp(
    primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    x = primals[0]
    v = jnp.where(masked(x), 0, tangents[0])
    p, share = r_softmax_rows(*primals), _share(x)
    weight, rise = jax.jvp(_weight, primals, (v, tangents[1]))
    # Divided by the sum first: weights may be as small as the scores' differences.
    share = safe_divide(share, row_sum(weight * share))
    change = jnp.where(weight == 0, 0, share * (rise + weight * v))
    # In the limit, where no weight is left, all of this is 0.
    return p, zero_masked(x, change - p * row_sum(change))


def _share(x: Array) -> Array:
    """`exp(x)` up to a factor a row, which the quotients it is used in do not depend on."""
    top = lax.stop_gradient(row_max(x))
    infinite = jnp.isinf(top)
    exponent = jnp.where(infinite, 0, x) - jnp.where(infinite, 0, top)
    return jnp.where(masked(x) | infinite, 0, jnp.exp(exponent))


def _weight(x: Array, r: Array) -> Array:
    """`max(x - quantile, 0)` up to a factor a row; 0 throughout where infinite scores share."""
    out = masked(x)
    x = jnp.where(row_max(x) == jnp.inf, 0, x)
    # Differences of the largest floats overflow, so such rows are taken in a smaller unit.
    size = lax.stop_gradient(row_max(jnp.where(out, 0, jnp.abs(x))))
    x = jnp.where(out, 0, x * unit_of(size))
    kept = jnp.sum(~out, axis=-1, keepdims=True, dtype=jnp.int32)
    rank = r * jnp.maximum(kept - 1, 0).astype(x.dtype)
    below = jnp.floor(rank)
    low, high = _neighbours(jnp.where(out, -jnp.inf, x), below.astype(jnp.int32), kept)
    low, high = _entry(x, out, low), _entry(x, out, high)
    # Measured from an entry, so that an offset of the row costs no digits.
    weight = (x - low) - (rank - below) * (high - low)
    return jnp.where(out | (weight <= 0), 0, weight)


def _neighbours(x: Array, below: Array, kept: Array) -> tuple[Array, Array]:
    """The entries with `below` and with `below + 1` others under them; twice the largest one."""
    x = lax.stop_gradient(x)
    low = kth_largest(x, jnp.maximum(kept - below, 1))
    low = jnp.where(kept == 0, 0, low)
    reached = jnp.sum((x <= low) & ~masked(x), axis=-1, keepdims=True, dtype=jnp.int32)
    above = jnp.min(jnp.where(x > low, x, jnp.inf), axis=-1, keepdims=True, initial=jnp.inf)
    return low, jnp.where((reached > below + 1) | (above == jnp.inf), low, above)


@jax.custom_jvp
def _entry(x: Array, out: Array, value: Array) -> Array:
    """`value`, an entry of the row, moving as the entries that equal it do on average."""
    return value


@_entry.defjvp
def _entry_jvp(
    primals: tuple[Array, Array, Array], tangents: tuple[Array, Array, Array]
) -> tuple[Array, Array]:
    x, out, value = primals
    there = ((x == value) & ~out).astype(x.dtype)
    # Itself again, and not `value`: the rule's own result is what a second derivative goes through.
    return _entry(x, out, value), safe_divide(row_sum(there * tangents[0]), row_sum(there))
