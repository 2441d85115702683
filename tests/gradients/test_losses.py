"""Derivatives of the losses: second order for the scores, first order for everything else."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import softmax_variants as sv
from softmax_variants.variants import Variant
from tests.conformance.cases import close, double, traced
from tests.conformance.loss_cases import WITH_LOSS, every_loss, loss_of
from tests.gradients import points

# A map's temperature, say, is no parameter of its loss: the table lists those that are.
LEARNED = [
    pytest.param(row, name, id=f"{row.name}-{name}")
    for row in WITH_LOSS
    for name in row.parameters
    if traced(row, name) is not None
]
LABELS = np.arange(points.COUNT, dtype=np.int32) % points.CLASSES


def soft_targets() -> points.Floats:
    weight = np.random.default_rng(3).random((points.COUNT, points.CLASSES)) + 0.1
    return weight / weight.sum(axis=-1, keepdims=True)


@pytest.mark.slow
@every_loss
def test_two_orders_both_modes_in_float64(variant: Variant) -> None:
    x = points.smooth_points(variant.name)[:3]
    with double():
        check_grads(
            jax.jit(lambda x: loss_of(variant, x, LABELS[:3])),
            (x,),
            order=2,
            modes=("fwd", "rev"),
            atol=2e-5,
            rtol=2e-5,
            eps=1e-5,
        )


@every_loss
def test_the_hessian_is_the_maps_jacobian(variant: Variant) -> None:
    x = points.smooth_points(variant.name)
    expected = points.jacobian(variant, x)
    hessian = jax.jit(jax.vmap(jax.hessian(lambda row, label: loss_of(variant, row, label))))
    found = np.asarray(hessian(x.astype(np.float32), LABELS))
    assert np.isfinite(found).all()
    close(found, expected, atol=3e-6 * max(1, np.abs(expected).max()))


@pytest.mark.slow
@pytest.mark.parametrize(("variant", "name"), LEARNED)
def test_each_parameter_has_the_derivative_of_the_differences(variant: Variant, name: str) -> None:
    x = points.smooth_points(variant.name)
    value = float(np.float32(traced(variant, name)))
    soft = soft_targets()
    narrow = x.astype(np.float32)
    for labels, wide in ((LABELS, LABELS), (soft.astype(np.float32), soft)):
        in_double = jax.jit(
            lambda v, labels=wide: loss_of(variant, x, labels, **{name: v})  # used here
        )

        def at(t: float, f: Callable[..., jax.Array] = in_double) -> points.Floats:
            with double():
                return np.asarray(f(value + t))

        expected = points.difference(at)

        @jax.jit
        def moved(v: jax.Array, labels: points.Labels = labels) -> jax.Array:
            return loss_of(variant, narrow, labels, **{name: v})

        _, forward = jax.jvp(moved, (jnp.float32(value),), (jnp.float32(1),))
        scale = max(1, np.abs(expected).max())
        assert np.abs(expected).max() > 1e-2
        close(forward, expected, atol=5e-6 * scale)


@pytest.mark.slow
@every_loss
def test_soft_targets_and_smoothing_have_derivatives(variant: Variant) -> None:
    """Along the simplex: a derivative for targets that do not sum to 1 has no meaning here."""
    x = points.smooth_points(variant.name)[:3]
    soft = soft_targets()[:3]
    with double():
        check_grads(
            jax.jit(lambda z: loss_of(variant, x, jax.nn.softmax(z))),
            (np.log(soft),),
            order=1,
            modes=("fwd", "rev"),
            atol=2e-5,
            rtol=2e-5,
            eps=1e-5,
        )
        check_grads(
            jax.jit(lambda s: loss_of(variant, x, LABELS[:3], label_smoothing=s)),
            (np.float64(0.2),),
            order=1,
            modes=("fwd", "rev"),
            atol=2e-5,
            rtol=2e-5,
            eps=1e-5,
        )


TARGETS = {"ids": np.int32(0), "soft": np.array([0.2, 0.3, 0.5, 0.0])}


@pytest.mark.parametrize("labels", TARGETS.values(), ids=TARGETS)
def test_entmax_loss_has_two_derivatives_for_alpha_through_1(labels: points.Labels) -> None:
    """Forward over reverse and reverse over reverse: at exactly 1 nothing drops out."""
    x = np.array([0.0, 3.0, 1.0, -4.0])
    with double():

        def slope(alpha: jax.Array) -> jax.Array:
            return jax.grad(lambda alpha: sv.entmax_loss(x, labels, alpha=alpha))(alpha)

        @jax.jit
        def found(alpha: jax.Array) -> tuple[jax.Array, ...]:
            return slope(alpha), jax.jacfwd(slope)(alpha), jax.grad(slope)(alpha)

        @jax.jit
        def value(alpha: jax.Array) -> jax.Array:
            return sv.entmax_loss(x, labels, alpha=alpha)

        def around(at: float, f: Callable[[jax.Array], jax.Array]) -> points.Floats:
            return points.difference(lambda t: np.asarray(f(jnp.float64(at + t))))

        for at in (1.0, 1.3):
            first, forward, reverse = found(jnp.float64(at))
            close(first, around(at, value), atol=1e-7)
            expected = around(at, lambda alpha: found(alpha)[0])
            assert abs(expected) > 0.1
            close((forward, reverse), (expected, expected), atol=1e-7)


def test_entmax_loss_at_1_mixes_the_derivatives_for_target_and_alpha() -> None:
    """`d/dt d/dalpha` of the entropy is `log(t)^2 / 2` at 1, but for a constant."""
    t = np.array([0.2, 0.3, 0.5], np.float32)
    mixed = jax.jit(
        jax.jacfwd(jax.grad(lambda t, a: sv.entmax_loss(jnp.zeros(3), t, alpha=a)), argnums=1)
    )
    found = np.asarray(mixed(t, jnp.float32(1)))
    close(found, np.log(t) ** 2 / 2, atol=1e-6)
