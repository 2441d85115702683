"""The loss of alpha-ReLU, a sum over the classes: its threshold is given, not solved for."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from softmax_variants._numerics import masked, staged_sum
from softmax_variants._typing import Array
from softmax_variants.losses._targets import Target


class AlphaReluParameters(NamedTuple):
    """What the loss depends on besides the scores."""

    alpha: Array
    tau: Array


def _value(x: Array, t: Array, parameters: AlphaReluParameters) -> tuple[Array, Array]:
    """The loss of each row and the map's output.

    With `u = (alpha-1) x - tau`, a class adds `[u]_+^(alpha/(alpha-1)) / alpha
    + t^alpha / (alpha (alpha-1)) - t u / (alpha-1)`, which is at least 0.
    """
    alpha = _in_range(parameters.alpha)
    eps = alpha - 1
    u = _base(x, parameters)
    log_p = jnp.log(jnp.where(u <= 0, 1, u)) / eps
    p = jnp.where(u <= 0, 0, jnp.exp(log_p))
    primitive = jnp.where(u <= 0, 0, jnp.exp(alpha * log_p))
    at_target = jnp.where(t == 0, 0, jnp.exp(alpha * jnp.log(jnp.where(t == 0, 1, t))))
    # Where the score is infinite the first term outgrows the product.
    product = jnp.where((t == 0) | (u == jnp.inf), 0, t * u)
    # Over one denominator, so that a perfect row is exactly 0.
    loss = staged_sum(eps * primitive + at_target - alpha * product) / (alpha * eps)
    return jnp.where(loss < 0, 0, loss), p


def _in_range(alpha: Array) -> Array:
    """NaN for a traced alpha out of its range."""
    return alpha * jnp.where(alpha > 1, 1, jnp.nan)


def _base(x: Array, parameters: AlphaReluParameters) -> Array:
    """`u`, whose power the output is."""
    eps = _in_range(parameters.alpha) - 1
    # A masked score must not meet the derivative for alpha, which is the score itself.
    return jnp.where(masked(x), -jnp.inf, eps * jnp.where(masked(x), 0, x) - parameters.tau)


def _target_slope(x: Array, t: Array, parameters: AlphaReluParameters) -> Array:
    """The derivative for each target, `(t^(alpha-1) - u) / (alpha-1)`, also where that is 0."""
    eps, u = _in_range(parameters.alpha) - 1, _base(x, parameters)
    power = jnp.where(t == 0, 0, jnp.exp(eps * jnp.log(jnp.where(t == 0, 1, t))))
    return jnp.where(jnp.isinf(u), 0, (power - u) / eps)


@jax.custom_jvp
def alpha_relu_loss_rows(x: Array, target: Target, parameters: AlphaReluParameters) -> Array:
    """The loss of each row, `[..., 1]`."""
    return _value(x, target.dense(x), parameters)[0]


def _alpha_relu_loss_jvp(
    primals: tuple[Array, Target, AlphaReluParameters], tangents: tuple[Any, Any, Any]
) -> tuple[Array, Array]:
    (x, target, parameters), (dx, dtarget, dparameters) = primals, tangents
    loss = alpha_relu_loss_rows(x, target, parameters)
    t = target.dense(x)
    tangent = jnp.zeros_like(loss)
    if not isinstance(dx, SymbolicZero):
        _, p = _value(x, t, parameters)
        # A NaN spoils its whole row, as it does where a map is normalised.
        slope = jnp.where(jnp.isnan(loss), jnp.nan, p - t)
        tangent = tangent + staged_sum(jnp.where(masked(x), 0, slope * dx))
    dt = target.tangent(dtarget, x)
    if dt is not None:
        slope = jnp.where(masked(x), 0, _target_slope(x, t, parameters))
        tangent = tangent + staged_sum(slope * jnp.where(masked(x), 0, dt))
    if not all(isinstance(d, SymbolicZero) for d in dparameters):
        moves = AlphaReluParameters(
            *(
                jnp.zeros_like(value) if isinstance(d, SymbolicZero) else d
                for value, d in zip(parameters, dparameters, strict=True)
            )
        )
        _, rest = jax.jvp(lambda q: _value(x, t, q)[0], (parameters,), (moves,))
        tangent = tangent + rest
    return loss, tangent


alpha_relu_loss_rows.defjvp(_alpha_relu_loss_jvp, symbolic_zeros=True)
