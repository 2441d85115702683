"""Numbers and losses of entmax near alpha = 1 that need more digits than float32 has."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

import softmax_variants as sv
from experiments import references
from softmax_variants.losses._deformed_log import negated_log


@pytest.mark.parametrize("eps", [2.0**-40, 1e-4, 0.01, 0.05, 0.25, 1.0, -0.5, 9.0])
def test_the_deformed_logarithm_is_the_sum_of_two_numbers(eps: float) -> None:
    x = np.array([1, 0.999, 0.7, 0.3, 1e-3, 3e-6, 1e-9, 1e-30], np.float32)
    high, low = jax.jit(negated_log)(x, jnp.full(x.shape, eps, jnp.float32))
    with mpmath.workdps(40):
        power = mpmath.mpf(float(np.float32(eps)))
        exact = [(1 - mpmath.mpf(float(v)) ** power) / power for v in x]
        near = [abs(power * mpmath.log(mpmath.mpf(float(v)))) < 1 for v in x]
        got = [mpmath.mpf(float(h)) + mpmath.mpf(float(r)) for h, r in zip(high, low, strict=True)]
    for value, wanted, second in zip(got, exact, near, strict=True):
        error = abs(value - wanted)
        # Where the second number is kept the sum is exact beyond a unit of the first.
        assert error <= (2e-7 if second else 5e-7 * max(1, abs(wanted)))


@pytest.mark.parametrize("alpha", [1.0, 1.0001, 1.01, 1.05, 1.1])
def test_losses_near_alpha_one_are_rounded_about_once(alpha: float) -> None:
    """Half a unit in the last place of a loss of 4 to 7, and two thirds as much for the rest."""
    rows = np.random.default_rng(3).normal(size=(8, 1000)) * 0.01
    x = rows.astype(np.float32)
    labels = x.argmax(-1).astype(np.int32)
    power = float(np.float32(alpha))
    exact = np.array(
        [
            references.entmax_loss_at(references.solve(r, power).p, r, int(y), power)
            for r, y in zip(x.astype(np.float64), labels, strict=True)
        ]
    )
    got = np.asarray(sv.entmax_loss(x, labels, alpha=jnp.float32(alpha)), np.float64)
    assert np.max(np.abs(got - exact)) <= 4e-7
