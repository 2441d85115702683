"""The Tsallis logarithm of a float32 number to more digits than float32 has.

The loss of entmax near alpha = 1 over many classes is about `log(classes)`, and half a unit in its
last place is most of the error that is allowed: what it is the sum of has to be more exact.
"""

import math

import jax.numpy as jnp
from jax import lax

from softmax_variants._typing import Array

# log(2) as a number of 16 bits, whose product with an exponent is exact, and the rest of it.
_LOG2_HIGH = 0.693145751953125
_LOG2_LOW = math.log(2) - _LOG2_HIGH
_SQRT_HALF = 0x3F3504F3  # the bits of sqrt(1/2)
_UPPER_HALF = -(1 << 12)  # the bits of half the digits
_TERMS = 11


def mean_slope(u: Array) -> Array:
    """`(exp(u) - 1) / u`; near 0 by its series, where the difference cancels."""
    near = jnp.abs(u) < 0.3
    far = jnp.where(near, 1, u)
    return jnp.where(near, _series(jnp.where(near, u, 0), 1, 9), (jnp.exp(far) - 1) / far)


def negated_log(x: Array, eps: Array) -> tuple[Array, Array]:
    """`(1 - x^eps) / eps`, which is `-log(x)` for eps -> 0, as a sum of two numbers.

    For float32 x in (0, 1] it is exact to about 1e-7, whatever its size, if `eps * log(x)` is
    above -1; elsewhere it is not large enough to need that, and the second number is 0.
    """
    if x.dtype != jnp.float32:
        log_x = jnp.log(x)
        return -log_x * mean_slope(eps * log_x), jnp.zeros_like(log_x)
    high, low = _log(x)
    u = eps * (high + low)
    near = jnp.abs(u) < 1
    # -log(x) (1 + u/2 + u^2/6 + ...): all of the first term, nearly all of the second.
    small = jnp.where(near, u, 0)
    square, error = _product(high, high)
    half, rest = _product(square, eps / 2)
    rest = rest + (error + 2 * high * low) * (eps / 2)
    higher = -high * jnp.square(small) * _series(small, 3, _TERMS)
    total, first = _sum(-high, -half)
    total, second = _sum(total, higher)
    rest = first + second - low - rest
    far = jnp.where(near, 1, u)
    closed = (1 - jnp.exp(far)) / jnp.where(near, 1, eps)
    return jnp.where(near, total, closed), jnp.where(near, rest, 0)


def _series(u: Array, start: int, terms: int) -> Array:
    """`sum_k u^k / (k + start)!`."""
    total = jnp.zeros_like(u)
    for k in reversed(range(terms)):
        total = total * u + 1 / math.factorial(k + start)
    return total


def _log(x: Array) -> tuple[Array, Array]:
    """The logarithm as a sum of two numbers."""
    # A number below the smallest normal one has no exponent of its own to read.
    bits = lax.bitcast_convert_type(jnp.maximum(x, jnp.finfo(x.dtype).tiny), jnp.int32)
    octave = (bits - _SQRT_HALF) >> 23
    mantissa = lax.bitcast_convert_type(bits - (octave << 23), jnp.float32)
    count = octave.astype(jnp.float32)
    return _sum(count * _LOG2_HIGH, count * _LOG2_LOW + jnp.log(mantissa))


def _sum(a: Array, b: Array) -> tuple[Array, Array]:
    """The rounded sum and its error (Knuth)."""
    total = a + b
    share = total - a
    return total, (a - (total - share)) + (b - share)


def _product(a: Array, b: Array) -> tuple[Array, Array]:
    """The rounded product and its error (Dekker), with halves that a compiler cannot merge."""
    total = a * b
    a_high, b_high = _upper_half(a), _upper_half(b)
    a_low, b_low = a - a_high, b - b_high
    return total, ((a_high * b_high - total) + a_high * b_low + a_low * b_high) + a_low * b_low


def _upper_half(x: Array) -> Array:
    return lax.bitcast_convert_type(
        lax.bitcast_convert_type(x, jnp.int32) & jnp.int32(_UPPER_HALF), jnp.float32
    )
