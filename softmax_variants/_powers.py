"""Powers of numbers in (0, 1], written out in additions and products.

The threshold solvers spend their time in `u^q`. XLA computes a logarithm and an exponential once
and writes each to memory wherever two sums need it; these polynomials it fuses into the sums
themselves, and they skip the special cases that cannot occur here. Both are minimax fits with the
relative error noted, below half a unit of float32 in the last place.
"""

import jax.numpy as jnp
from jax import lax

from softmax_variants._typing import Array

# log2(1 + f) / f on [sqrt(1/2) - 1, sqrt(2) - 1]: 2.6e-8.
_LOG2 = (
    1.442695004,
    -0.7213473468,
    0.4809106429,
    -0.3607036827,
    0.2879162479,
    -0.2389448241,
    0.2157156111,
    -0.2072697286,
    0.1258369832,
)
# 2^g on [-1/2, 1/2]: 1.9e-9.
_EXP2 = (
    1,
    0.6931472057,
    0.2402264689,
    0.05550328777,
    0.009618488958,
    0.001339993122,
    0.0001534581178,
)
_SQRT_HALF = 0x3F3504F3  # the bits of sqrt(1/2)


def power(v: Array, base: Array, exponent: Array) -> Array:
    """`(base + v)^exponent` for base 0 or 1 and a sum in (0, 1]; exact near 1 where base is 1.

    Outside that range the result is finite but means nothing: callers select it away.
    """
    if v.dtype != jnp.float32:
        log_u = jnp.where(base == 1, jnp.log1p(v), jnp.log(v))
        return jnp.exp(exponent * log_u)
    bits = lax.bitcast_convert_type(base + v, jnp.int32)
    octave = (bits - _SQRT_HALF) >> 23
    mantissa = lax.bitcast_convert_type(bits - (octave << 23), jnp.float32)
    # In the octave around 1 the sum is not needed, and so its rounding does not enter.
    f = jnp.where(octave == 0, v + (base - 1), mantissa - 1)
    log2 = octave.astype(jnp.float32) + f * _horner(_LOG2, f)
    # Below the smallest normal number a float32 output counts as 0.
    exponent2 = jnp.clip(exponent * log2, -127, 127)
    whole = lax.round(exponent2, lax.RoundingMethod.TO_NEAREST_EVEN)
    fraction = lax.bitcast_convert_type(_horner(_EXP2, exponent2 - whole), jnp.int32)
    result = lax.bitcast_convert_type(fraction + (whole.astype(jnp.int32) << 23), jnp.float32)
    return jnp.where(exponent2 <= -126, 0, result)


def _horner(coefficients: tuple[float, ...], x: Array) -> Array:
    result = jnp.full_like(x, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        result = result * x + coefficient
    return result
