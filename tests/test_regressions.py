"""One test for each class of defect that has been confirmed in published packages.

Every title says what went wrong there. The answers come from 50-digit arithmetic, brute force or
arithmetic in the test; no other package is run.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import softmax_variants as sv
from softmax_variants.variants import VARIANTS, Variant
from tests import oracles
from tests.conformance.cases import DETERMINISTIC, Floats, close, over, probabilities
from tests.conformance.loss_cases import every_loss, loss_of

INF, NAN = np.inf, np.nan
SPARSE = ("sparsemax", "entmax15", "entmax")
sparse = pytest.mark.parametrize("name", SPARSE)
ALPHA = {"sparsemax": 2.0, "entmax15": 1.5, "entmax": 1.5}


def expected(name: str, x: Floats) -> Floats:
    return oracles.by_row(lambda row: oracles.entmax(row, ALPHA[name]), x)


@sparse
def test_one_bad_row_does_not_stop_the_batch(name: str) -> None:
    """Elsewhere a row of -inf, +inf or NaN raises an index error for the whole batch."""
    good = [[0.3, 0.1, -0.5, 0.2], [1.0, 0.9, 0.8, -3.0]]
    bad = [[-INF] * 4, [INF, 0, 0, 0], [NAN, 0, 0, 0]]
    x = np.array([good[0], *bad, good[1]], np.float32)
    p = probabilities(VARIANTS[name], x)
    close(p[[0, 4]], expected(name, x[[0, 4]]), atol=3e-7)
    assert (p[1] == 0).all()
    close(p[2], [1, 0, 0, 0], atol=0)
    assert np.isnan(p[3]).all()


@over([row for row in DETERMINISTIC if row.static or row.name in SPARSE])
def test_a_count_and_a_negative_axis_go_together(variant: Variant) -> None:
    """Elsewhere `axis=-2` together with `k` computes the wrong axis and raises."""
    x = np.random.default_rng(0).normal(size=(3, 6, 2)).astype(np.float32)
    p = np.moveaxis(np.asarray(variant(x, -2)), -2, -1)
    close(p, np.asarray(variant(np.moveaxis(x, -2, -1))), atol=1.2e-7)


def test_integer_scores_and_an_integer_alpha_are_not_truncated() -> None:
    """Elsewhere `[1, 2, 3]` gives a uniform answer: alpha is cast to the scores' integer type."""
    close(
        sv.entmax(jnp.array([1, 2, 3]), alpha=1.5), expected("entmax", np.arange(1, 4)), atol=3e-7
    )
    close(sv.entmax(jnp.array([1, 2, 3]), alpha=2), [0, 0, 1], atol=0)
    close(sv.sparsemax(jnp.array([0, 0, -3])), [0.5, 0.5, 0], atol=0)


@sparse
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_large_scores_keep_their_differences(name: str, dtype: Any) -> None:
    """Elsewhere: NaN from 1e8 on, in bf16 near -1,000 and in f16 near 60,000; 1e-3 off at 1e4."""
    base = np.array([0, 0, -8, -64, 0, -4096], np.float32)
    offsets = np.array([-1000, 4096, 6e4, 1e4], np.float32)
    rows = jnp.asarray(base + offsets[:, None]).astype(dtype)
    exact = expected(name, np.asarray(rows.astype(jnp.float32)))
    found = np.asarray(VARIANTS[name](rows).astype(jnp.float32))
    close(found, np.asarray(jnp.asarray(exact, jnp.float32).astype(dtype), np.float64), atol=3e-7)


@sparse
def test_scores_beyond_1e8(name: str) -> None:
    x = np.array([[1e8, 1e8, 0, -1e8], [3e8, 1e8, 1e8, 1e8], [-1e9, -1e9, -1e9, -2e9]], np.float32)
    third = 1 / 3
    close(
        probabilities(VARIANTS[name], x),
        [[0.5, 0.5, 0, 0], [1, 0, 0, 0], [third, third, third, 0]],
        atol=6e-8,
    )


@sparse
def test_second_derivatives_survive_a_zero_in_the_output(name: str) -> None:
    """Elsewhere the Hessian is all NaN as soon as one output is 0 (a power or a root at 0)."""
    x = np.array([0.4, 0.1, 0.0, -9.0], np.float32)
    assert probabilities(VARIANTS[name], x)[3] == 0
    hessian = jax.jit(jax.hessian(lambda x: jnp.sum(VARIANTS[name](x) ** 2)))(x)
    step, alpha = 1e-4, ALPHA[name]
    exact = np.empty((4, 4))
    for i, e in enumerate(np.eye(4) * step):
        for j, d in enumerate(np.eye(4) * step):
            corner = [
                s * t * (oracles.entmax(x + s * e + t * d, alpha) ** 2).sum()
                for s in (1, -1)
                for t in (1, -1)
            ]
            exact[i, j] = sum(corner) / (4 * step**2)
    close(hessian, exact, atol=1e-4)


@every_loss
def test_a_minus_infinite_score_costs_nothing(variant: Variant) -> None:
    """Elsewhere a loss is NaN if any score is -inf (0 * -inf), and its tangent is NaN."""
    x = np.array([0.5, 0.25, -INF, -1.0], np.float32)
    kept = np.array([0, 1, 3])

    @jax.jit
    def derivatives(x: jax.Array) -> tuple[Any, ...]:
        def loss(x: jax.Array) -> jax.Array:
            return loss_of(variant, x, 1)

        hessian = jax.jacfwd(jax.grad(loss))(x)
        return loss(x), loss(x[kept]), jax.jacfwd(loss)(x), jax.grad(loss)(x[kept]), hessian

    value, without, tangent, gradient, hessian = map(np.asarray, derivatives(x))
    close(value, without, atol=1e-6)
    assert np.isfinite(tangent).all()
    close(tangent[kept], gradient, atol=3e-7)
    close(hessian[2], np.zeros(4), atol=0)


@every_loss
def test_ignored_labels(variant: Variant) -> None:
    """Elsewhere the default of -100 crashes and a batch of ignored examples is NaN."""
    x = np.ones((2, 4), np.float32)
    for index in (-100, -1):
        labels = np.full(2, index, np.int32)
        loss = loss_of(variant, x, labels, ignore_index=index)
        assert isinstance(loss, jax.Array)
        assert (np.asarray(loss) == 0).all()


def test_alpha_is_learned() -> None:
    """Elsewhere the gradient for alpha is silently 0, or 1,000 times too large near 1."""
    x = np.array([1.0, 0.4, 0.0, -0.7], np.float32)
    slope = jax.jit(jax.jacfwd(lambda a: sv.entmax(x, alpha=a)))
    for alpha in (1.0, 1.0 + 2**-17, 1.01, 1.5, 2.0):
        found = slope(jnp.float32(alpha))
        exact = oracles.alpha_derivative(x, float(np.float32(alpha)))
        assert np.abs(exact).max() > 0.01
        close(found, exact, atol=2e-6)


def test_the_loss_is_finite_while_alpha_crosses_one() -> None:
    """Elsewhere the loss is NaN when a learned alpha reaches 1."""
    x = np.array([1.0, 0.4, 0.0, -0.7], np.float32)
    both = jax.jit(jax.value_and_grad(lambda a: sv.entmax_loss(x, 1, alpha=a)))
    for alpha in (0.9, 1 - 2**-20, 1.0, 1 + 2**-20, 1.1):
        value, slope = both(jnp.float32(alpha))
        rounded = float(np.float32(alpha))
        close(value, oracles.entmax_loss(x, 1, rounded), atol=1e-6)
        close(slope, oracles.loss_alpha_derivative(x, 1, rounded), atol=2e-6)


def test_alpha_that_leaves_its_interval_is_not_silent() -> None:
    x = np.array([1.0, 0.0], np.float32)
    with pytest.raises(ValueError, match="alpha must lie in"):
        sv.entmax(x, alpha=-0.5)
    assert np.isnan(jax.jit(lambda a: sv.entmax(x, alpha=a))(-0.5)).all()


def test_alpha_below_one_is_dense() -> None:
    close(
        sv.entmax(jnp.array([0.0, 1.0, 2.0]), alpha=0.5), [0.178424, 0.286762, 0.534814], atol=1e-6
    )


def test_a_threshold_at_the_end_of_its_bracket() -> None:
    """Elsewhere alpha = 3 on widely spread scores is NaN; alpha = 10 is unstable."""
    x = (1000 * np.random.default_rng(0).normal(size=(8, 100))).astype(np.float32)
    close(sv.entmax(x, alpha=3.0), oracles.by_row(lambda r: oracles.entmax(r, 3.0), x), atol=3e-7)
    near = np.random.default_rng(1).normal(size=(8, 100)).astype(np.float32)
    p = np.asarray(sv.entmax(near, alpha=10.0))
    close(p.sum(axis=-1), np.ones(8), atol=5e-7)
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(sv.entmax(x, alpha=10.0)[:, 0])))(near)
    assert np.isfinite(gradient).all()


@sparse
def test_rows_sum_to_one_at_a_large_offset(name: str) -> None:
    """Elsewhere: sums of 15 at an offset of 1e4, of 5.2 in bf16 at -1,000, off by 3e-3."""
    x = np.random.default_rng(0).normal(size=(4, 1000)).astype(np.float32)
    p = probabilities(VARIANTS[name], x + np.float32(1e4)).astype(np.float64)
    close(p.sum(axis=-1), np.ones(4), atol=5e-7)
    row = jnp.linspace(-1008, -1000, 100).astype(jnp.bfloat16)
    narrow = np.asarray(VARIANTS[name](row).astype(jnp.float32), np.float64)
    close(narrow.sum(), 1, atol=4e-3)


@sparse
def test_constants_and_pairs_of_huge_scores(name: str) -> None:
    """Elsewhere 1e7 thrice gives [1, 1, 1], and two of 3e38 beside a small one [1, 1, 0]."""
    x = np.array([[1e7, 1e7, 1e7], [1e30, 1e30, 0], [3e38, 3e38, -3e38]], np.float32)
    close(probabilities(VARIANTS[name], x), [[1 / 3] * 3, [0.5, 0.5, 0], [0.5, 0.5, 0]], atol=6e-8)


@sparse
def test_a_bfloat16_gradient_is_bfloat16(name: str) -> None:
    """Elsewhere the forward pass is promoted silently and the backward pass raises."""
    x = jnp.array([0.5, 0.25, -3.0], jnp.bfloat16)
    gradient = jax.jit(jax.grad(lambda x: VARIANTS[name](x)[0].astype(jnp.float32)))(x)
    assert gradient.dtype == jnp.bfloat16
    assert np.abs(gradient.astype(np.float32)).max() > 0.1


@sparse
def test_nan_does_not_hide_in_a_zero_gradient(name: str) -> None:
    """Elsewhere NaN goes in, NaN comes out, and the gradient is 0."""
    x = np.array([NAN, 1.0, 0.5], np.float32)
    assert np.isnan(jax.jit(jax.grad(lambda x: VARIANTS[name](x)[1]))(x)).all()


def test_the_tail_of_softmax_has_the_gradient_of_its_head() -> None:
    """Elsewhere the gradient of softmax([20, 0])[0] is [0, -2.06e-9]."""
    tail = np.exp(-20.0) / (1 + np.exp(-20.0)) ** 2
    gradient = jax.grad(lambda x: sv.softmax(x)[0])(jnp.array([20.0, 0.0]))
    np.testing.assert_allclose(gradient, [tail, -tail], rtol=1e-6)


def test_the_sum_of_half_precision_log_probabilities_has_a_finite_gradient() -> None:
    """Elsewhere the sum of its cotangents overflows f16 at 70,000 classes."""
    x = jnp.zeros(70_000, jnp.float16)
    gradient = jax.grad(lambda x: jnp.sum(sv.log_softmax(x).astype(jnp.float32)))(x)
    assert np.isfinite(gradient).all()
    close(gradient, np.zeros(70_000), atol=1e-3)


def test_sparsemax_subtracts_one_threshold() -> None:
    """Elsewhere all partial sums are added: [0, .5, 1] gives [0, 0, .25], and ones give zeros."""
    close(sv.sparsemax(jnp.array([0.0, 0.5, 1.0])), [0, 0.25, 0.75], atol=0)
    close(sv.sparsemax(jnp.ones(3)), [1 / 3] * 3, atol=6e-8)


@sparse
@pytest.mark.parametrize("scale", [0.1, 1.0])
def test_no_row_is_left_unfinished(name: str, scale: float) -> None:
    """Elsewhere a fixed number of passes leaves sums off by 0.35 (0.44 at alpha = 3)."""
    x = (scale * np.random.default_rng(0).normal(size=(2, 50_000))).astype(np.float32)
    p = probabilities(VARIANTS[name], x)
    close(p.astype(np.float64).sum(axis=-1), [1, 1], atol=5e-7)
    close(p, expected(name, x), atol=3e-7)
    p = np.asarray(sv.entmax(x[:, :1000], alpha=3.0), np.float64)
    close(p.sum(axis=-1), [1, 1], atol=5e-7)


@sparse
def test_a_row_far_below_a_fixed_mask_value(name: str) -> None:
    """Elsewhere the running maximum starts at -1e3 and masked entries are -1e4."""
    x = np.array([-5e4, -5e4 + 0.5, -5e4 - 1, 7.0], np.float32)
    where = np.array([True, True, True, False])
    p = probabilities(VARIANTS[name], x, where)
    close(p[:3], expected(name, np.array([0, 0.5, -1.0])), atol=3e-7)
    assert p[3] == 0


def test_the_mean_of_a_constant_row_lies_above_none_of_its_entries() -> None:
    """Elsewhere 67 of the lengths below 200 give NaN: the mean of 0.1 rounds above 0.1."""
    lengths = np.arange(1, 200)
    where = np.arange(199) < lengths[:, None]
    x = np.full(where.shape, 0.1, np.float32)
    p = np.asarray(sv.ev_softmax(x, -1, where))
    close(p, where / lengths[:, None], atol=1.2e-7)


def test_scalable_softmax_counts_the_keys_that_a_row_may_see() -> None:
    """Elsewhere the count is the length of the buffer, not of what the mask keeps."""
    x = np.random.default_rng(0).normal(size=(6, 6)).astype(np.float32)
    causal = np.tril(np.ones((6, 6), np.bool_))
    p = np.asarray(sv.scalable_softmax(x, -1, causal, scale=0.8))
    for row in range(6):
        scaled = 0.8 * np.log(row + 1) * x[row, : row + 1].astype(np.float64)
        close(p[row, : row + 1], oracles.softmax(scaled), atol=3e-7)


def test_the_loss_of_sparsemax_is_its_published_formula() -> None:
    """Elsewhere the loss that was added later was another function."""
    x = np.array([0.7, 0.4, -0.2, -3.0], np.float32)
    p = oracles.simplex_projection(x)
    support = p > 0
    tau = float((x[support].astype(np.float64).sum() - 1) / support.sum())
    for label in range(4):
        value = 0.5 * ((x[support].astype(np.float64) ** 2 - tau**2).sum() + 1) - x[label]
        close(sv.sparsemax_loss(x, label), value, atol=6e-7)
