"""Derivatives for the scores: first and second order, forward and reverse, against differences."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from softmax_variants.variants import VARIANTS, Variant
from tests.conformance.cases import admissible, close, double, every, having
from tests.gradients import points


@functools.cache
def derivatives(name: str) -> dict[str, Any]:
    """Every float32 derivative of the map at its smooth points, in one compiled call."""
    variant = VARIANTS[name]
    x = jnp.asarray(points.smooth_points(name), jnp.float32)
    w = jnp.asarray(points.weights(points.smooth_points(name)), jnp.float32)

    def score(row: jax.Array, weight: jax.Array) -> jax.Array:
        return jnp.sum(variant(row) * weight)

    def each(row: jax.Array, weight: jax.Array) -> dict[str, Any]:
        return {
            "forward": jax.jacfwd(variant.__call__)(row),
            "reverse": jax.jacrev(variant.__call__)(row),
            "hessian": jax.jacfwd(jax.grad(score))(row, weight),
        }

    return points.on_host(jax.jit(jax.vmap(each))(x, w))


@every
def test_jacobians_are_the_differences(variant: Variant) -> None:
    """Against float64: never silently zero, and exact to float32's rounding."""
    x = points.smooth_points(variant.name)
    expected = points.jacobian(variant, x)
    found = derivatives(variant.name)
    tolerance = 2e-6 * max(1, np.abs(expected).max())
    close(found["forward"], expected, atol=tolerance)
    close(found["reverse"], expected, atol=tolerance)


@every
def test_forward_and_reverse_agree(variant: Variant) -> None:
    found = derivatives(variant.name)
    scale = max(1, np.abs(found["forward"]).max())
    close(found["forward"], found["reverse"], atol=3e-7 * scale)


@having(lambda row: row.name != "hardmax")  # its derivative is 0 wherever there is one
def test_the_points_have_something_to_differentiate(variant: Variant) -> None:
    x = points.smooth_points(variant.name)
    support = np.count_nonzero(points.in_double(variant, x), axis=-1)
    assert (support > 1).all()
    # A chain fused from end to end does not move: most points are enough.
    moves = np.abs(derivatives(variant.name)["reverse"]).max(axis=(1, 2)) > 1e-3
    assert moves.mean() > 0.5


@having(lambda row: row.sparse)
def test_some_points_have_zeros_in_the_output(variant: Variant) -> None:
    rng = np.random.default_rng(0)
    anywhere = admissible(variant, rng.normal(size=(points.CANDIDATES, points.CLASSES)))
    if (points.in_double(variant, anywhere) != 0).all():
        pytest.skip("gives 0 to a score of exactly 0 only, where no random point lies")
    p = points.in_double(variant, points.smooth_points(variant.name))
    assert (p == 0).any()


@every
def test_hessians_are_finite_symmetric_and_the_differences(variant: Variant) -> None:
    """Zeros in the output included: a square root or a power at 0 makes these NaN elsewhere."""
    x = points.smooth_points(variant.name)
    w = points.weights(x)
    step = 2 * points.STEP / 3
    expected = np.empty((*x.shape, x.shape[-1]))
    for i, e in enumerate(np.eye(x.shape[-1])):
        for j, d in enumerate(np.eye(x.shape[-1])):
            corners = [
                s * t * points.in_double(variant, x + step * (s * e + t * d))
                for s in (1, -1)
                for t in (1, -1)
            ]
            expected[:, i, j] = (np.sum(corners, axis=0) * w).sum(-1) / (4 * step**2)
    hessian = derivatives(variant.name)["hessian"]
    assert np.isfinite(hessian).all()
    scale = max(1, np.abs(expected).max())
    close(hessian, np.swapaxes(hessian, -1, -2), atol=1e-5 * scale)
    close(hessian, expected, atol=1e-2 * scale)


@pytest.mark.slow
@every
def test_two_orders_both_modes_in_float64(variant: Variant) -> None:
    """Forward and reverse, and all four ways of doing one after the other."""
    x = points.smooth_points(variant.name)[:3]
    w, u, v = (points.weights(x, seed=seed) for seed in range(3))

    @jax.jit
    def orders(x: jax.Array) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        def score(x: jax.Array) -> jax.Array:
            return jnp.sum(variant(x) * w)

        def forward(f: Any, direction: Any) -> Any:
            return lambda x: jax.jvp(f, (x,), (direction,))[1]

        def reverse(f: Any, direction: Any) -> Any:
            return lambda x: jnp.vdot(jax.grad(f)(x), direction)

        modes = forward, reverse
        first = [mode(score, u) for mode in modes]
        return (
            tuple(f(x) for f in first),
            tuple(mode(f, v)(x) for f in first for mode in modes),
        )

    step = 1e-5
    with double():
        first, second = orders(x)
        ends = [(points.in_double(variant, x + s * step * u) * w).sum() for s in (1, -1)]
        slopes = [np.asarray(orders(x + s * step * v)[0]) for s in (1, -1)]
    close(first, np.full(2, (ends[0] - ends[1]) / (2 * step)), atol=2e-5, rtol=2e-5)
    close(second, np.repeat((slopes[0] - slopes[1]) / (2 * step), 2), atol=2e-5, rtol=2e-5)


@every
def test_a_zero_gradient_fails_these_comparisons(variant: Variant) -> None:
    """The tolerance is far below the size of what is compared."""
    if variant.name == "hardmax":
        pytest.skip("the derivative of hardmax is 0 wherever it exists")
    expected = points.jacobian(variant, points.smooth_points(variant.name))
    assert np.abs(expected).max() > 1e3 * 2e-6 * max(1, np.abs(expected).max())
