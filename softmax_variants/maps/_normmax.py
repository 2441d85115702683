"""Normmax: the regulariser is a norm of the probabilities, alpha = infinity to alpha = 1."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from softmax_variants._numerics import on_rows, row_max, row_sum, safe_divide, zero_masked
from softmax_variants._threshold import Rows, solve
from softmax_variants._typing import Array, ArrayLike, Axis
from softmax_variants._validation import as_parameter

_STEEPEST = 2.0**40  # the exponent at alpha = 1: the hard maximum to rounding in any dtype


def normmax(
    logits: ArrayLike,
    axis: Axis = -1,
    where: ArrayLike | None = None,
    *,
    alpha: ArrayLike = 2.0,
) -> Array:
    r"""Normmax: the maximiser of the expected score less the alpha-norm of the probabilities.

    .. math::
        p = \arg\max_{p \in \Delta} \langle x, p \rangle - \|p\|_\alpha, \qquad
        p_i \propto \max(x_i - \tau, 0)^{1 / (\alpha - 1)}

    At alpha = infinity the classes of the support share equally; towards alpha = 1 it becomes the
    hard maximum. The support is at most all within 1 of the maximum.

    Args:
      logits: scores of any shape; any real dtype, computed in at least float32.
      axis: class axis or axes.
      where: boolean mask that broadcasts to `logits`; False entries get probability 0.
      alpha: in [1, infinity], a scalar or an array with size 1 on `axis`. Differentiable, with
        derivative 0 at both ends. A traced alpha outside the interval gives NaN.

    Returns:
      Probabilities of the shape and floating dtype of `logits`; a row with nothing kept is 0.

    Raises:
      TypeError: complex logits, a mask that is not boolean.
      ValueError: alpha below 1, an axis out of bounds, shapes that do not broadcast.

    Example:
      >>> import jax.numpy as jnp
      >>> import softmax_variants as sv
      >>> print(sv.normmax(jnp.array([1.0, 0.8, -1.0]), alpha=2.0))
      [0.5714286 0.4285714 0.       ]

    References:
      Blondel, Martins and Niculae, `Learning with Fenchel-Young Losses
      <https://arxiv.org/abs/1901.02324>`_, 2020; Santos, Niculae, McNamee and Martins, `Sparse and
      Structured Hopfield Networks <https://arxiv.org/abs/2402.13725>`_, 2024.
    """
    alpha = as_parameter(alpha, "alpha", low=1)
    return on_rows(normmax_rows, logits, axis, where, {"alpha": alpha})


@jax.custom_jvp
def normmax_rows(x: Array, alpha: Array) -> Array:
    """Normmax over the last axis."""
    p = weights(log_excess_rows(x, alpha), exponent(alpha))
    return zero_masked(x, jnp.where(alpha >= 1, p, jnp.nan))


def _normmax_jvp(primals: tuple[Array, Array], tangents: tuple[Any, Any]) -> tuple[Array, Array]:
    (x, alpha), (dx, dalpha) = primals, tangents
    log_u = log_excess_rows(x, alpha)
    rho = exponent(alpha)
    p = normmax_rows(x, alpha)
    tangent = jnp.zeros_like(p)
    if not isinstance(dx, SymbolicZero):
        tangent = _along_scores(log_u, p, rho, dx)
    if not isinstance(dalpha, SymbolicZero):
        tangent = tangent + _along_alpha(log_u, p, rho, dalpha)
    return p, tangent


# Only the outputs and the logarithms are stored for the reverse pass.
@functools.partial(jax.checkpoint, prevent_cse=False)
def _along_scores(log_u: Array, p: Array, rho: Array, dx: Array) -> Array:
    """`A^T diag(rho p / u) A dx`, `A v = v - <p, v>`: the same program forwards and backwards."""
    off, logs = _inside(log_u, rho)
    inverse = jnp.where(off, 0, jnp.exp(-logs))
    centered = jnp.where(off, 0, dx) - row_sum(jnp.where(off, 0, p * dx))
    moved = jnp.where(off, 0, rho * p * inverse * centered)
    return moved - jnp.where(off, 0, p) * row_sum(moved)


@functools.partial(jax.checkpoint, prevent_cse=False)
def _along_alpha(log_u: Array, p: Array, rho: Array, dalpha: Array) -> Array:
    off, logs = _inside(log_u, rho)
    inverse = jnp.where(off, 0, jnp.exp(-logs))
    direction = logs - rho * inverse * threshold_slope(logs, p, rho)
    moved = jnp.where(off, 0, p * direction)
    moved = moved - jnp.where(off, 0, p) * row_sum(moved)
    return -moved * (jnp.where(rho >= _STEEPEST, 0, rho) ** 2 * dalpha)


def _inside(log_u: Array, rho: Array) -> tuple[Array, Array]:
    """Where nothing moves, off the support or at the steepest exponent, and the logarithms."""
    off = (log_u == -jnp.inf) | (rho >= _STEEPEST)
    return off, jnp.where(off, 0, log_u)


normmax_rows.defjvp(_normmax_jvp, symbolic_zeros=True)


@jax.custom_jvp
def log_excess_rows(x: Array, alpha: Array) -> Array:
    """`log(x - tau)` where it is positive, `-inf` elsewhere."""
    rows = Rows.of(x)
    # Where the exponent is large tau is near -1, and only `log1p` keeps the digits that count.
    rho = exponent(alpha)
    base = (rho > 4).astype(x.dtype)
    live = rows.live()
    start = jnp.where(live, 1 - base, 0)
    offset = solve(NormPower(rho, base), rows, start, live).unknown
    return log_excess(rows.gap(offset), offset, base)


def _log_excess_jvp(primals: tuple[Array, Array], tangents: tuple[Any, Any]) -> tuple[Array, Array]:
    (x, alpha), (dx, dalpha) = primals, tangents
    log_u = log_excess_rows(x, alpha)
    rho = exponent(alpha)
    off, logs = _inside(log_u, rho)
    p = weights(log_u, rho)
    direction = jnp.zeros_like(p)
    if not isinstance(dx, SymbolicZero):
        direction = jnp.where(off, 0, dx) - row_sum(jnp.where(off, 0, p * dx))
    if not isinstance(dalpha, SymbolicZero):
        slope = jnp.where(rho >= _STEEPEST, 0, rho) ** 2 * dalpha
        direction = direction + threshold_slope(logs, p, rho) * slope
    return log_u, jnp.where(off, 0, jnp.exp(-logs) * direction)


log_excess_rows.defjvp(_log_excess_jvp, symbolic_zeros=True)


def exponent(alpha: Array) -> Array:
    """`1 / (alpha - 1)`, bounded; its derivative is `-1 / (alpha - 1)^2`."""
    gap = jnp.maximum(alpha - 1, 1 / _STEEPEST)
    return 1 / gap


def weights(log_u: Array, rho: Array) -> Array:
    """`u^rho / sum(u^rho)` over the support."""
    off = log_u == -jnp.inf
    log_weight = rho * jnp.where(off, 0, log_u)
    # Relative to the largest weight, which is below 1 / n where the support is dense.
    top = row_max(jnp.where(off, -jnp.inf, log_weight))
    top = jax.lax.stop_gradient(jnp.where(jnp.isfinite(top), top, 0))
    weight = jnp.where(off, 0, jnp.exp(log_weight - top))
    return safe_divide(weight, row_sum(weight))


def threshold_slope(logs: Array, p: Array, rho: Array) -> Array:
    """`d tau / d rho`: `sum u^(1 + rho) log u / ((1 + rho) sum u^rho)`."""
    return row_sum(p * jnp.exp(logs) * logs) / (1 + rho)


def log_excess(y: Array, offset: Array, base: Array) -> Array:
    """`log(base + y + offset)` with what the sum has lost; `-inf` off the support."""
    v = y + offset
    u = base + v
    # NaN is inside, so that it comes out again; a masked entry never is.
    inside = ~(u <= 0) & (y != -jnp.inf)
    u = jnp.where(inside, u, 1)
    lost = jnp.where(inside, v, 1 - base) - (u - base)
    return jnp.where(inside, jnp.log(u) + lost / u, -jnp.inf)


class NormPower(NamedTuple):
    """`sum u^(1 + rho) = 1`, on the scale of the norm: convex and decreasing in tau."""

    rho: Array
    base: Array

    @property
    def keeps(self) -> bool:
        return True

    def output(self, y: Array, offset: Array) -> Array:
        log_u = log_excess(y, offset, self.base)
        off = log_u == -jnp.inf
        return jnp.where(off, 0, jnp.exp((1 + self.rho) * jnp.where(off, 0, log_u)))

    def slope(self, y: Array, offset: Array, output: Array) -> Array:
        return row_sum(safe_divide(output, self.base + (y + offset)))

    def step(self, total: Array, slope: Array) -> Array:
        total = jnp.where(total == 0, 1, total)
        # (norm - 1) / norm, in which the norm itself cancels from the derivative.
        return safe_divide(total * jnp.expm1(-jnp.log(total) / (1 + self.rho)), slope)

    def tolerance(self, dtype: Any) -> Array:
        unit = float(jnp.finfo(dtype).eps)
        # A power of 1 + rho magnifies the rounding of its argument as much.
        return jnp.clip(4 * unit * (1 + self.rho), 4 * unit, unit**0.5 / 3)
