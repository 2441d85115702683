"""Derivatives for the real-valued parameters, against float64 differences and 50-digit answers."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import softmax_variants as sv
from softmax_variants.variants import VARIANTS, Variant
from tests import oracles
from tests.conformance.cases import close, scalar_parameters, traced
from tests.gradients import points


@functools.cache
def parameter_derivatives(variant: str, name: str) -> tuple[np.ndarray[Any, Any], ...]:
    """`dp/dparameter` forward, and the gradient of `sum(p w)` a row in reverse."""
    row = VARIANTS[variant]
    x = jnp.asarray(points.smooth_points(variant), jnp.float32)
    w = jnp.asarray(points.weights(points.smooth_points(variant)), jnp.float32)
    value = traced(row, name)
    assert value is not None
    values = jnp.full((points.COUNT, 1), value, jnp.float32)

    @jax.jit
    def derivatives(values: jax.Array) -> tuple[jax.Array, ...]:
        f = lambda values: row(x, **{name: values})  # noqa: E731 # named by what it is
        _, forward = jax.jvp(f, (values,), (jnp.ones_like(values),))
        _, pull = jax.vjp(f, values)
        return forward, pull(w)[0]

    return tuple(np.asarray(out) for out in derivatives(values))


@pytest.mark.slow
@scalar_parameters()
def test_each_parameter_has_the_derivative_of_the_differences(variant: Variant, name: str) -> None:
    x = points.smooth_points(variant.name)
    value = float(np.float32(traced(variant, name)))
    expected = points.difference(
        lambda t: points.in_double(variant, x, **{name: np.float64(value + t)})
    )
    forward, reverse = parameter_derivatives(variant.name, name)
    scale = max(1, np.abs(expected).max())
    close(forward, expected, atol=3e-6 * scale)
    close(reverse[:, 0], (expected * points.weights(x)).sum(-1), atol=1e-5 * scale)


ROW = (1.0, 0.6, 0.4, -0.3, -1.1, -6.0)
ALPHAS = (0.75, 1 - 1e-5, 1.0, 1 + 1e-5, 1.01, 1.25, 1.5, 1.75, 2.0, 2.5)


@functools.cache
def alpha_derivative_of_entmax() -> dict[float, np.ndarray[Any, Any]]:
    x = jnp.broadcast_to(jnp.array(ROW, jnp.float32), (len(ALPHAS), len(ROW)))
    alpha = jnp.array(ALPHAS, jnp.float32)[:, None]
    _, tangent = jax.jvp(lambda a: sv.entmax(x, alpha=a), (alpha,), (jnp.ones_like(alpha),))
    return dict(zip(ALPHAS, np.asarray(tangent), strict=True))


@pytest.mark.parametrize("alpha", ALPHAS)
def test_entmax_has_the_derivative_for_alpha_of_50_digits(alpha: float) -> None:
    """Through 1 exactly, where a published implementation is off by up to 1,000."""
    rounded = float(np.float32(alpha))
    x = oracles.mp_row(np.array(ROW, np.float32))
    expected = oracles.mp_derivative(lambda a: oracles.mp_entmax(x, a), rounded)
    assert np.abs(expected).max() > 0.01
    close(alpha_derivative_of_entmax()[alpha], expected, atol=2e-6)


def test_alpha_learned_for_each_head() -> None:
    """`[batch, heads, queries, keys]` scores with one alpha a head: gradients add up per head."""
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
    alphas = np.array([1.25, 1.5, 1.75], np.float32)

    def entropy(alphas: jax.Array) -> jax.Array:
        p = sv.entmax(x, alpha=alphas[None, :, None, None])
        return jnp.sum(jnp.square(p))

    found = np.asarray(jax.grad(entropy)(jnp.asarray(alphas)))
    entmax = VARIANTS["entmax"]
    for head, alpha in enumerate(alphas.astype(np.float64)):
        expected = points.difference(
            lambda t, a=alpha, h=head: np.square(  # type: ignore[misc] # bound now
                points.in_double(entmax, x[:, h].astype(np.float64), alpha=np.float64(a + t))
            ).sum()
        )
        close(found[head], expected, atol=3e-5)
