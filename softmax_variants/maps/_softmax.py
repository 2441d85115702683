"""Softmax and its logarithm, with temperature and base."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

from softmax_variants._numerics import (
    below_top,
    centered_product,
    masked,
    on_rows,
    row_max,
    row_sum,
    safe_divide,
    shift,
    zero_masked,
)
from softmax_variants._typing import Array, ArrayLike, Axis
from softmax_variants._validation import as_parameter


def softmax(
    logits: ArrayLike,
    axis: Axis = -1,
    where: ArrayLike | None = None,
    *,
    temperature: ArrayLike = 1.0,
    base: ArrayLike | None = None,
) -> Array:
    r"""Softmax with temperature and base.

    .. math:: p_i = b^{x_i / T} / \sum_j b^{x_j / T}

    Args:
      logits: scores of any shape; any real dtype, computed in at least float32.
      axis: class axis or axes.
      where: boolean mask that broadcasts to `logits`; False entries get probability 0.
      temperature: `T`, a scalar or an array with size 1 on `axis`. 0 is the limit (ties share),
        infinity is uniform over what is kept, a negative value favours the smallest logits.
      base: `b > 0`, like `temperature`; `None` means e. Below 1 it favours small logits, at 1 the
        result is uniform.

    Returns:
      Probabilities of the shape and floating dtype of `logits`; a row with nothing kept is 0.

    Raises:
      TypeError: complex logits, a mask that is not boolean.
      ValueError: an axis out of bounds, shapes that do not broadcast, a base that is not positive.

    Example:
      >>> import jax.numpy as jnp
      >>> import softmax_variants as sv
      >>> print(sv.softmax(jnp.array([0.0, 1.0, 2.0]), base=2.0))
      [0.14285715 0.2857143  0.5714286 ]

    References:
      Bridle, `Probabilistic interpretation of feedforward classification network outputs
      <https://doi.org/10.1007/978-3-642-76153-9_28>`_, 1990.
    """
    parameters = _parameters(temperature, base)
    kernel = _tempered_softmax if parameters else plain_softmax_rows
    return on_rows(kernel, logits, axis, where, parameters)


def log_softmax(
    logits: ArrayLike,
    axis: Axis = -1,
    where: ArrayLike | None = None,
    *,
    temperature: ArrayLike = 1.0,
    base: ArrayLike | None = None,
) -> Array:
    r"""Logarithm of `softmax`, without passing through it.

    .. math:: \log p_i = (x_i \ln b) / T - \log \sum_j \exp((x_j \ln b) / T)

    Args:
      logits: scores of any shape; any real dtype, computed in at least float32.
      axis: class axis or axes.
      where: boolean mask that broadcasts to `logits`; False entries get `-inf`, gradient 0.
      temperature: as in `softmax`.
      base: as in `softmax`.

    Returns:
      Log-probabilities of the shape and floating dtype of `logits`; a row with nothing kept is
      `-inf` throughout.

    Raises:
      TypeError: complex logits, a mask that is not boolean.
      ValueError: an axis out of bounds, shapes that do not broadcast, a base that is not positive.

    Example:
      >>> import jax.numpy as jnp
      >>> import softmax_variants as sv
      >>> print(sv.log_softmax(jnp.array([0.0, 0.0])))
      [-0.6931472 -0.6931472]

    References:
      Bridle, `Probabilistic interpretation of feedforward classification network outputs
      <https://doi.org/10.1007/978-3-642-76153-9_28>`_, 1990.
    """
    parameters = _parameters(temperature, base)
    kernel = _tempered_log_softmax if parameters else plain_log_softmax_rows
    return on_rows(kernel, logits, axis, where, parameters)


def _parameters(temperature: ArrayLike, base: ArrayLike | None) -> dict[str, Array]:
    if base is None and type(temperature) in (int, float) and temperature == 1:
        return {}
    parameters = {"temperature": as_parameter(temperature, "temperature")}
    if base is not None:
        parameters["base"] = as_parameter(base, "base", low=0, low_open=True)
    return parameters


def _tempered_softmax(x: Array, temperature: Array, base: Array | None = None) -> Array:
    return softmax_rows(x, sharpness(temperature, base))


def _tempered_log_softmax(x: Array, temperature: Array, base: Array | None = None) -> Array:
    return log_softmax_rows(x, sharpness(temperature, base))


@jax.custom_jvp
def plain_softmax_rows(x: Array) -> Array:
    """Softmax over the last axis, without a temperature, in fewer passes."""
    top = row_max(x)
    total = row_sum(jnp.exp(below_top(x, top)))
    inverse = safe_divide(jnp.ones_like(total), total)
    return zero_masked(x, jnp.exp(below_top(x, top, total)) * inverse)


@plain_softmax_rows.defjvp
def _plain_softmax_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    p = plain_softmax_rows(*primals)
    return p, centered_product(p, *tangents)


@jax.custom_jvp
def plain_log_softmax_rows(x: Array) -> Array:
    """Log-softmax over the last axis, without a temperature."""
    top = row_max(x)
    total = row_sum(jnp.exp(below_top(x, top)))
    log_total = jnp.log(jnp.where(total == 0, 1, total))
    return jnp.where(masked(x), -jnp.inf, shift(x, top) - log_total)


@plain_log_softmax_rows.defjvp
def _plain_log_softmax_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    log_p = plain_log_softmax_rows(*primals)
    return log_p, _less_mean(log_p, *tangents)


def sharpness(temperature: Array, base: Array | None = None) -> Array:
    """`ln(base) / temperature`; infinite at temperature 0, with a zero derivative there."""
    # Where 1 / T^2 leaves the range of the dtype the row is decided, and T no longer moves it.
    tiny = jnp.abs(temperature) < jnp.sqrt(jnp.finfo(temperature.dtype).tiny)
    temperature = jnp.where(tiny, lax.stop_gradient(temperature), temperature)
    zero = temperature == 0
    beta = jnp.where(zero, jnp.inf, 1 / jnp.where(zero, 1, temperature))
    if base is None:
        return beta
    # A traced base that is not positive is NaN, the derivative as well.
    log_base = jnp.log(base * jnp.where(base > 0, 1, jnp.nan))
    # Uniform (base 1) wins over the limit (temperature 0): no score is raised above another.
    return jnp.where(log_base == 0, log_base * jnp.where(zero, 0, beta), log_base * beta)


def exponents(x: Array, beta: Array) -> tuple[Array, Array]:
    """`(z, y)` with `z = beta * (x - reference) <= 0` and the signed difference `y` itself."""
    flip = beta < 0
    out = masked(x)
    favoured = jnp.where(out, -jnp.inf, jnp.where(flip, -x, x))
    y = shift(favoured)
    size = jnp.abs(beta)
    # 0 * inf is 0 on both sides: ties at infinite sharpness, anything kept at sharpness 0.
    still = (y == 0) | ((size == 0) & ~jnp.isnan(y))
    z = jnp.where(still, 0, jnp.where(still, 0, y) * size)
    z = jnp.where(jnp.isnan(beta), jnp.nan, z)
    return jnp.where(out, -jnp.inf, z), jnp.where(flip, -y, y)


@jax.custom_jvp
def softmax_rows(x: Array, beta: Array) -> Array:
    """Softmax of `beta * x` over the last axis."""
    z, _ = exponents(x, beta)
    weight = jnp.exp(z)
    return zero_masked(x, safe_divide(weight, row_sum(weight)))


def _softmax_jvp(primals: tuple[Array, Array], tangents: tuple[Any, Any]) -> tuple[Array, Array]:
    (x, beta), (dx, dbeta) = primals, tangents
    p = softmax_rows(x, beta)
    slope = jnp.where(jnp.isinf(beta), 0, beta)
    tangent = jnp.zeros_like(p)
    if not isinstance(dx, SymbolicZero):
        tangent = slope * centered_product(p, dx)
    if not isinstance(dbeta, SymbolicZero):
        tangent = tangent + centered_product(p, _bounded(x, beta)) * dbeta
    return p, tangent


softmax_rows.defjvp(_softmax_jvp, symbolic_zeros=True)


@jax.custom_jvp
def log_softmax_rows(x: Array, beta: Array) -> Array:
    """Log-softmax of `beta * x` over the last axis."""
    z, _ = exponents(x, beta)
    total = row_sum(jnp.exp(z))
    log_total = jnp.log(jnp.where(total == 0, 1, total))
    return jnp.where(masked(x), -jnp.inf, z - log_total)


def _log_softmax_jvp(
    primals: tuple[Array, Array], tangents: tuple[Any, Any]
) -> tuple[Array, Array]:
    (x, beta), (dx, dbeta) = primals, tangents
    log_p = log_softmax_rows(x, beta)
    slope = jnp.where(jnp.isinf(beta), 0, beta)
    tangent = jnp.zeros_like(log_p)
    if not isinstance(dx, SymbolicZero):
        tangent = slope * _less_mean(log_p, dx)
    if not isinstance(dbeta, SymbolicZero):
        tangent = tangent + _less_mean(log_p, _bounded(x, beta)) * dbeta
    return log_p, tangent


# As for `centered_product`: the log-probabilities are all that is stored.
@functools.partial(jax.checkpoint, prevent_cse=False)
def _less_mean(log_p: Array, v: Array) -> Array:
    """`v - <p, v>`, 0 where the log-probability is infinite."""
    kept = log_p != -jnp.inf
    v = jnp.where(kept, v, 0)
    p = jnp.where(kept, jnp.exp(jnp.where(kept, log_p, 0)), 0)
    return jnp.where(kept, v - row_sum(p * v), 0)


log_softmax_rows.defjvp(_log_softmax_jvp, symbolic_zeros=True)


def _bounded(x: Array, beta: Array) -> Array:
    """The difference to the favoured entry, 0 where it is infinite (no finite step reaches it)."""
    _, y = exponents(x, beta)
    return jnp.where(jnp.isinf(y) | jnp.isinf(beta), 0, y)
