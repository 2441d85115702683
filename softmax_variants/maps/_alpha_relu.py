"""Alpha-ReLU: entmax's power with a fixed threshold, which no row has to be searched for."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from softmax_variants._numerics import masked, on_rows, row_sum, zero_masked
from softmax_variants._typing import Array, ArrayLike, Axis
from softmax_variants._validation import as_parameter
from softmax_variants.maps._entmax import phi


def alpha_relu(
    logits: ArrayLike,
    axis: Axis = -1,
    where: ArrayLike | None = None,
    *,
    alpha: ArrayLike = 1.5,
    tau: ArrayLike = 0.0,
) -> Array:
    r"""Alpha-ReLU: entmax with a threshold that is given, not solved for.

    .. math:: p_i = \max((\alpha - 1) x_i - \tau, 0)^{1 / (\alpha - 1)}

    It acts on every entry alone, but for a NaN, which spoils its row as in the other maps. It is
    not normalised: trained with its own loss, the outputs learn to sum to about 1 at the cost of a
    ReLU. With tau = -1 it tends to `exp(x)` as alpha tends to 1.
    A result beyond the range of the dtype is infinite, as is that of an infinite logit (whose
    derivative is zero).

    Args:
      logits: scores of any shape; any real dtype, computed in at least float32.
      axis: class axis or axes; it changes nothing here, and stands for the family's sake.
      where: boolean mask that broadcasts to `logits`; False entries get 0.
      alpha: in (1, infinity), any shape that broadcasts to `logits`. Differentiable. A traced alpha
        outside the interval gives NaN.
      tau: the threshold, any real number, any shape that broadcasts to `logits`. Differentiable.

    Returns:
      Non-negative weights of the shape and floating dtype of `logits`.

    Raises:
      TypeError: complex logits, a mask that is not boolean.
      ValueError: alpha not above 1, an axis out of bounds, shapes that do not broadcast.

    Example:
      >>> import jax.numpy as jnp
      >>> import softmax_variants as sv
      >>> print(sv.alpha_relu(jnp.array([2.0, 1.0, -1.0]), alpha=1.5, tau=0.25))
      [0.5625 0.0625 0.    ]

    References:
      Tezekbayev, Nikoulina, Galle and Assylbekov, `Speeding Up Entmax
      <https://arxiv.org/abs/2111.06832>`_, 2021.
    """
    parameters = {
        "alpha": as_parameter(alpha, "alpha", low=1, low_open=True, high_open=True),
        "tau": as_parameter(tau, "tau"),
    }
    return on_rows(alpha_relu_rows, logits, axis, where, parameters, elementwise=("alpha", "tau"))


@jax.custom_jvp
def alpha_relu_rows(x: Array, alpha: Array, tau: Array) -> Array:
    """Alpha-ReLU of every entry; a row with a NaN is NaN."""
    inside, log_base = _log_base(x, alpha, tau)
    p = jnp.where(inside, jnp.exp(log_base / (alpha - 1)), 0)
    p = jnp.where(masked(x), 0, jnp.where(alpha > 1, p, jnp.nan))
    # No output is negative: their sum is NaN where one of them is, and only there.
    return zero_masked(x, jnp.where(jnp.isnan(row_sum(p)), jnp.nan, p))


def _alpha_relu_jvp(
    primals: tuple[Array, Array, Array], tangents: tuple[Any, Any, Any]
) -> tuple[Array, Array]:
    (x, alpha, tau), (dx, dalpha, dtau) = primals, tangents
    p = alpha_relu_rows(x, alpha, tau)
    inside, log_base = _log_base(x, alpha, tau)
    inside = inside & ~jnp.isposinf(x)
    eps = alpha - 1
    # p^(2 - alpha), from the base itself: p may have underflowed where this has not.
    slope = jnp.where(inside, jnp.exp(log_base * (1 - eps) / eps), 0)
    slope = jnp.where(jnp.isnan(p), jnp.nan, slope)  # in the whole row, as the output
    tangent = jnp.zeros_like(p)
    if not isinstance(dx, SymbolicZero):
        tangent = slope * jnp.where(masked(x), 0, dx)
    if not isinstance(dtau, SymbolicZero):
        tangent = tangent - slope / eps * dtau
    if not isinstance(dalpha, SymbolicZero):
        turn = slope * (1 + tau) + jnp.where(inside, p, 0) * _bend(log_base)
        tangent = tangent + turn / jnp.square(eps) * dalpha
    return p, jnp.where(masked(x) | (p == jnp.inf) & (x == jnp.inf), 0, tangent)


alpha_relu_rows.defjvp(_alpha_relu_jvp, symbolic_zeros=True)


def _log_base(x: Array, alpha: Array, tau: Array) -> tuple[Array, Array]:
    """`(inside, log u)` with `u = (alpha - 1) x - tau`; the logarithm is 0 outside the support."""
    scaled = (alpha - 1) * jnp.where(masked(x), 0, x)
    base = scaled - tau
    # A NaN is inside, so that it comes out again.
    inside = ~(base <= 0) & ~masked(x)
    base = jnp.where(inside, base, 1)
    # The power multiplies the logarithm's error by 1 / (alpha - 1), so near 1 it is taken of the
    # difference to 1, where tau near -1 cancels against 1 before the small product is added.
    near = inside & (jnp.abs(base - 1) < 0.5)
    excess = jnp.where(near, scaled - (1 + tau), 0)
    return inside, jnp.where(near, jnp.log1p(excess), jnp.log(jnp.where(near, 1, base)))


def _bend(log_base: Array) -> Array:
    """`1 - 1 / u - log u`, by its series near `u = 1`, where the difference cancels."""
    near = jnp.abs(log_base) < 0.3
    small = jnp.where(near, log_base, 0)
    series = jnp.square(small) * phi(small) * jnp.exp(-small)
    large = jnp.where(near, 1, log_base)
    return jnp.where(near, series, -jnp.expm1(-large) - large)
