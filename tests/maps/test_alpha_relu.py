"""Alpha-ReLU and its three gradients, also where alpha is next to 1."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

import softmax_variants as sv
from tests.maps import checks
from tests.oracles import Mpf


def reference(row: checks.Float64, alpha: float = 1.5, tau: float = 0.0) -> checks.Float64:
    return np.maximum((alpha - 1) * row - tau, 0) ** (1 / (alpha - 1))


@pytest.mark.parametrize(("alpha", "tau"), [(1.25, -0.4), (1.5, 0.3), (2.0, 0.0), (4.0, 1.0)])
def test_values_and_gradients(rng: np.random.Generator, alpha: float, tau: float) -> None:
    alpha, tau = float(np.float32(alpha)), float(np.float32(tau))
    x, where = checks.rows(rng), checks.mask(rng)
    x = np.clip(x, -6, 6)
    p = np.asarray(sv.alpha_relu(x, -1, where, alpha=alpha, tau=tau))
    expected = np.where(where, reference(x.astype(np.float64), alpha, tau), 0)
    np.testing.assert_allclose(p, expected, rtol=1e-6, atol=1e-7)
    # Off the kink, where a step of the difference would change the support.
    off = np.abs((alpha - 1) * x - tau) > 0.02
    values = {"alpha": alpha, "tau": tau}
    checks.check_gradients(sv.alpha_relu, reference, x, where & off, values, atol=1e-6)


@pytest.mark.parametrize("alpha", [1.0009765625, 1.03125, 1.125])
def test_next_to_1_it_is_nearly_the_exponential(alpha: float) -> None:
    """Values and the derivative for alpha, in float32, against 50 digits."""
    x = np.array([-2.0, -0.3, 0.0, 0.7, 3.0], np.float32)
    eps, step = mpmath.mpf(alpha) - 1, mpmath.mpf(10) ** -12

    def power(value: float, eps: Mpf) -> Mpf:
        return (eps * mpmath.mpf(value) + 1) ** (1 / eps)

    with mpmath.workdps(50):
        expected = [float(power(float(v), eps)) for v in x]
        slope = [
            float((power(float(v), eps + step) - power(float(v), eps - step)) / (2 * step))
            for v in x
        ]
    p, dalpha = jax.jvp(
        lambda alpha: sv.alpha_relu(jnp.asarray(x), alpha=alpha, tau=-1.0),
        (jnp.float32(alpha),),
        (jnp.float32(1),),
    )
    np.testing.assert_allclose(p, expected, rtol=1e-6)
    np.testing.assert_allclose(dalpha, slope, rtol=2e-5, atol=1e-7)


def test_parameters_of_each_class_and_out_of_range() -> None:
    x = jnp.array([[1.0, 2.0, 3.0]])
    p = np.asarray(sv.alpha_relu(x, alpha=jnp.array([1.5, 2.0, 3.0]), tau=jnp.array([0, 1.0, 2])))
    np.testing.assert_allclose(p, [[0.25, 1, 2]], rtol=1e-6)
    for alpha in (1.0, np.inf):
        with pytest.raises(ValueError, match="alpha must lie in"):
            sv.alpha_relu(x, alpha=alpha)
        with pytest.raises(ValueError, match="alpha must lie in"):
            sv.alpha_relu_loss(x, jnp.array([0]), alpha=alpha)
    assert np.isnan(jax.jit(lambda alpha: sv.alpha_relu(x, alpha=alpha))(1.0)).all()


def test_infinite_scores_are_infinite_with_a_zero_gradient() -> None:
    p, gradient = checks.value_and_gradient(
        sv.alpha_relu, [[np.inf, 1.0, -np.inf]], np.ones((1, 3))
    )
    assert p.tolist() == [[np.inf, 0.25, 0]]
    assert gradient.tolist() == [[0, 0.5, 0]]


def test_the_loss_of_an_infinite_score_is_infinite() -> None:
    """Also where it is the label's: no output is too large for the sum to forgive it."""
    x = jnp.array([np.inf, 1.0, 2.0])
    for label in (0, 1):
        loss, gradient = jax.value_and_grad(sv.alpha_relu_loss)(x, jnp.array(label))
        assert loss == np.inf
        assert not np.isnan(gradient).any()


def test_the_loss_has_the_derivative_for_a_target_of_0() -> None:
    """`(t^(alpha-1) - u) / (alpha-1)`, which a target of 0 must not lose."""
    x, target = jnp.array([0.0, 3.0, -4.0]), jnp.array([0.25, 0.75, 0.0])
    gradient = jax.grad(lambda t: sv.alpha_relu_loss(x, t, alpha=1.5))(target)
    np.testing.assert_allclose(gradient, [1, 2 * 0.75**0.5 - 3, 4], rtol=1e-6)
