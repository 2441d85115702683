"""Taylor softmax of every order against 50-digit polynomials."""

import functools

import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

import softmax_variants as sv
from tests.maps import checks
from tests.oracles import mp_row


def reference(row: checks.Float64, order: int = 2) -> checks.Float64:
    powers = [1 / mpmath.factorial(k) for k in range(order + 1)]
    weights = [mpmath.fsum(a * value**k for k, a in enumerate(powers)) for value in mp_row(row)]
    total = mpmath.fsum(weights)
    return np.array([float(weight / total) for weight in weights])


@pytest.mark.parametrize("order", [2, 6, 20])
def test_values_and_gradients(rng: np.random.Generator, order: int) -> None:
    where = checks.mask(rng)

    f = functools.partial(sv.taylor_softmax, order=order)

    def exact(row: checks.Float64) -> checks.Float64:
        return reference(row, order)

    # Rows around -order / 4 are where the sum of powers cancels.
    for offset in (0.0, -order / 4, 1e4):
        assert checks.error(f, exact, checks.rows(rng, offset), where) < 1e-6
    checks.check_gradients(f, exact, checks.rows(rng)[1:3], where[1:3])


def test_no_power_overflows() -> None:
    x = np.array([[1e38, -1e38, 0, 5e37], [3e38, 3e38, 3e38, 3e38], [-1e30, 1e10, 1e20, 0]])
    p, gradient = checks.value_and_gradient(sv.taylor_softmax, x, np.eye(3, 4))
    np.testing.assert_allclose(p[0], np.array([4, 4, 0, 1]) / 9, rtol=1e-6)
    np.testing.assert_allclose(p[1], 0.25, rtol=1e-6)
    np.testing.assert_allclose(p[2], [1, 0, 0, 0], atol=1e-7)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("order", [3, 1, 0, -2, 22])
def test_orders_that_are_refused(order: int) -> None:
    with pytest.raises(ValueError, match="order must be"):
        sv.taylor_softmax(jnp.zeros(2), order=order)


def test_the_order_is_static() -> None:
    with pytest.raises(TypeError, match="static Python integer"):
        sv.taylor_softmax(jnp.zeros(2), order=2.0)  # type: ignore[arg-type] # refused on purpose
