"""Properties that hold for every row of scores, searched with hypothesis.

All examples have one shape, so each map compiles once; the conditions are checked in float64.
"""

import functools
from collections.abc import Callable
from typing import Any

import hypothesis.extra.numpy as hnp
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import softmax_variants as sv
from softmax_variants.variants import VARIANTS, Variant
from tests.conformance.cases import DETERMINISTIC, Floats, admissible, having, over
from tests.conformance.loss_cases import WITH_LOSS, loss_of

SHAPE = (3, 7)
few = settings(max_examples=40)

entries = st.one_of(
    st.floats(-4, 4, width=32),
    st.floats(-300, 300, width=32),
    st.sampled_from([0.0, 0.5, 1.0, -1.0, 1e4, -1e4]),
)
rows = hnp.arrays(np.float32, SHAPE, elements=entries)
ALPHAS = (1.0, 1.25, 1.5, 1.75, 2.0, 3.0)


@functools.cache
def compiled(name: str) -> Callable[..., jax.Array]:
    variant = VARIANTS[name]
    return jax.jit(lambda x: variant(x))


@functools.cache
def entmax_of(traced: bool = True) -> Callable[..., jax.Array]:
    del traced
    return jax.jit(lambda x, alpha: sv.entmax(x, alpha=alpha))


def output(variant: Variant, x: Floats) -> Floats:
    return np.asarray(compiled(variant.name)(admissible(variant, x)), np.float64)


@pytest.mark.slow
@having(lambda row: row.total is not None)
@few
@given(x=rows)
def test_every_row_lies_on_the_simplex(variant: Variant, x: Floats) -> None:
    p = output(variant, x)
    assert variant.total is not None
    assert (p >= 0).all()
    np.testing.assert_allclose(p.sum(axis=-1), variant.total, atol=6e-7 * max(1, variant.total))


@having(lambda row: row.monotone)
@few
@given(x=rows)
def test_order_is_preserved(variant: Variant, x: Floats) -> None:
    x = np.sort(admissible(variant, x), axis=-1)
    p = np.asarray(compiled(variant.name)(x), np.float64)
    assert (np.diff(p, axis=-1) >= -1.2e-7 * p[:, 1:]).all()


def tsallis_optimality(x: Floats, p: Floats, alpha: float) -> None:
    """The KKT conditions of `max <p, x> + H_alpha(p)` on the simplex, in float64.

    With `s = (p^(alpha-1) - 1) / (alpha-1)` (the logarithm at 1), `x - s` is one number tau on the
    support, and off it no score exceeds tau + 1 / (alpha-1) ... by more than p's rounding explains.
    """
    y = x.astype(np.float64) - x.max(axis=-1, keepdims=True)
    for row, share in zip(y, p, strict=True):
        on = share > 1e-3  # below, the rounding of p to float32 is magnified too much
        eps = alpha - 1
        s = np.log(share[on]) if eps == 0 else np.expm1(eps * np.log(share[on])) / eps
        tau = row[on] - s
        # ds = p^(alpha-2) dp with dp one part in 2^23 of the largest entry.
        slack = 4e-7 * (share[on] ** (alpha - 2)).max() + 4e-7
        assert np.ptp(tau) <= 2 * slack
        if eps > 0:
            # An entry is 0 exactly where its score does not reach the threshold.
            reach = row - (tau.mean() - 1 / eps)
            assert (reach[share == 0] <= 2 * slack).all()
            assert (share[reach > (1e-3**eps) / eps + 2 * slack] > 0).all()


@pytest.mark.parametrize("alpha", ALPHAS)
@few
@given(x=rows)
def test_entmax_satisfies_its_conditions_of_optimality(alpha: float, x: Floats) -> None:
    p = np.asarray(entmax_of()(x, jnp.float32(alpha)), np.float64)
    tsallis_optimality(x, p, alpha)


@pytest.mark.parametrize(("name", "alpha"), [("sparsemax", 2.0), ("entmax15", 1.5)])
@few
@given(x=rows)
def test_closed_forms_satisfy_their_conditions(name: str, alpha: float, x: Floats) -> None:
    tsallis_optimality(x, output(VARIANTS[name], x), alpha)


@few
@given(x=rows)
def test_sparsemax_is_a_projection(x: Floats) -> None:
    """Projecting twice changes nothing, and no vertex is nearer."""
    p = output(VARIANTS["sparsemax"], x)
    again = output(VARIANTS["sparsemax"], p.astype(np.float32))
    np.testing.assert_allclose(again, p, atol=2.4e-7)
    y = x.astype(np.float64)
    for vertex in np.eye(SHAPE[-1]):
        # The angle at the projection is obtuse: <y - p, v - p> <= 0 for every point v.
        angle = ((y - p) * (vertex - p)).sum(axis=-1)
        assert (angle <= 3e-6 * (1 + np.abs(y).max(axis=-1))).all()


@few
@given(x=rows)
def test_the_support_shrinks_as_alpha_grows(x: Floats) -> None:
    sizes = [
        np.count_nonzero(np.asarray(entmax_of()(x, jnp.float32(alpha))), axis=-1)
        for alpha in (1.25, 1.5, 2.0, 3.0)
    ]
    assert (np.diff(sizes, axis=0) <= 0).all()


@functools.cache
def compiled_loss(name: str) -> Callable[..., Any]:
    variant = VARIANTS[name]

    def both(x: jax.Array, targets: jax.Array) -> Any:
        loss, pull = jax.vjp(lambda x: loss_of(variant, x, targets), x)
        return loss, pull(jnp.ones_like(loss))[0]

    return jax.jit(both)


weights = hnp.arrays(np.float32, SHAPE, elements=st.sampled_from([0.0, 0.25, 0.5, 1.0, 3.0]))


@over([row for row in WITH_LOSS if row.normalized])
@few
@given(x=rows, other=rows, weight=weights)
def test_fenchel_young_inequalities(
    variant: Variant, x: Floats, other: Floats, weight: Floats
) -> None:
    """`L >= 0`, and L is convex: it lies above each of its tangents."""
    weight[:, 0] += 0.25
    target = weight / weight.sum(axis=-1, keepdims=True)
    loss, gradient = compiled_loss(variant.name)(x, target)
    loss, gradient = np.asarray(loss, np.float64), np.asarray(gradient, np.float64)
    assert (loss >= 0).all()
    there = np.asarray(compiled_loss(variant.name)(other, target)[0], np.float64)
    step = other.astype(np.float64) - x
    below = loss + (gradient * step).sum(axis=-1)
    rounding = 2e-6 * (1 + np.ptp(x, axis=-1) + np.ptp(other, axis=-1) + np.abs(step).max(axis=-1))
    assert (there >= below - rounding).all()


@functools.cache
def masked(name: str) -> Callable[..., jax.Array]:
    variant = VARIANTS[name]
    return jax.jit(lambda x, where: variant(x, -1, where))


@pytest.mark.slow
@over(DETERMINISTIC)
@few
@given(x=rows, column=st.sampled_from([np.nan, np.inf, 1e38, 0.0, 5.0]))
def test_a_masked_column_changes_nothing(variant: Variant, x: Floats, column: float) -> None:
    x = admissible(variant, x)
    wider = np.concatenate([np.full((SHAPE[0], 1), column, np.float32), x], axis=-1)
    where = np.arange(SHAPE[-1] + 1) > 0
    p = np.asarray(masked(variant.name)(wider, where))
    alone = np.asarray(compiled(variant.name)(x))
    assert (p[:, 0] == 0).all()
    np.testing.assert_allclose(p[:, 1:], alone, atol=2.4e-7, rtol=2.4e-7)
