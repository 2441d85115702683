"""The polynomials behind every power against float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from softmax_variants._powers import power


@pytest.mark.parametrize("base", [0.0, 1.0])
def test_a_power_is_right_to_its_logarithms_rounding(base: float) -> None:
    u = np.concatenate([np.geomspace(1e-6, 1, 4001), 1 - np.geomspace(1e-7, 0.5, 4001)])
    v = (u - base).astype(np.float32)
    for exponent in (1.0, 2.0, 4.0, 20.0) if base else (0.5, 1.0, 2.0, 4.0):
        got = np.asarray(
            jax.jit(power)(jnp.asarray(v), jnp.float32(base), jnp.float32(exponent)), np.float64
        )
        # Where the sum leaves the octave around 1 it is rounded first, in the kernel's own dtype.
        exact = (np.float64(v) + base) ** exponent
        rounded = np.float64(np.float32(base) + v) ** exponent
        size = np.maximum(np.abs(np.log(np.maximum(exact, 1e-30))), 1)
        error = np.minimum(np.abs(got - exact), np.abs(got - rounded))
        assert (error <= 2.5e-7 * size * np.maximum(exact, rounded) + 1e-37).all()
