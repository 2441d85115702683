"""Blockwise attention against float64, and what a mask keeps out."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import softmax_variants as sv
from tests.attention.flash_cases import (
    BLOCKS,
    CAUSAL,
    KEYS,
    LENGTHS,
    QUERIES,
    WINDOWED,
    B,
    Bools,
    D,
    K,
    N,
    S,
    T,
    assert_close,
    case,
    options,
    random_mask,
    single,
    visible,
)
from tests.attention.flash_oracle import Case, attention


@functools.cache
def program(alpha: float | None, sinks: bool, lengths: bool, causal: bool, window: bool) -> Any:
    """Outputs and gradients, compiled once for all the tests that share it."""

    def loss(given: Case, mask: jax.Array, cotangent: jax.Array) -> Any:
        output = sv.flash_attention(
            given.query,
            given.key,
            given.value,
            given.bias,
            mask,
            alpha=given.alpha if alpha is None else alpha,
            scale=given.scale,
            n=given.n if sinks else None,
            block_size=BLOCKS,
            **options(lengths=lengths, causal=causal, window=window),
        )
        return jnp.sum(output * cotangent), output

    return jax.jit(jax.grad(loss, has_aux=True))


def check(
    problem: Case,
    mask: Bools,
    kept: Bools,
    alpha: float | None,
    sinks: bool,
    rng: np.random.Generator,
    **given: bool,
) -> None:
    if alpha is not None:
        problem = problem._replace(alpha=np.full((N, 1, 1), alpha))
    if not sinks:
        problem = problem._replace(n=np.zeros((1, 1, 1)))
    cotangent = rng.normal(size=(B, T, N, D))
    gradients, output = program(alpha, sinks, **given)(
        single(problem), jnp.asarray(mask), single(cotangent)
    )
    exact, slopes = attention(problem, kept, cotangent)
    assert_close(output, exact, 1e-5, "output")
    for name, ours, theirs in zip(Case._fields, gradients, slopes, strict=True):
        if (name == "alpha" and alpha is not None) or (name == "n" and not sinks):
            continue
        assert_close(ours, theirs, 2e-5, name)


@pytest.mark.parametrize(
    ("alpha", "sinks", "given"),
    [(None, True, LENGTHS), (1.0, True, CAUSAL), (1.5, False, WINDOWED)],
)
def test_outputs_and_gradients_equal_float64(
    alpha: float | None, sinks: bool, given: dict[str, bool], rng: np.random.Generator
) -> None:
    """Odd blocks, random masks, ragged lengths, grouped heads; alpha, scale, sinks per head."""
    mask = random_mask(rng)
    for size in (1.0, 6.0):
        check(case(rng, size), mask, visible(mask, **given), alpha, sinks, rng, **given)


@pytest.mark.parametrize("alphas", [(1.0, 1.25, 1.5, 2.0), (3.0, 2.5, 1.75, 4.0)])
@pytest.mark.parametrize("size", [1.0, 3000.0])
def test_any_alpha_per_head_and_scores_to_ten_thousand(
    alphas: tuple[float, ...], size: float, rng: np.random.Generator
) -> None:
    problem = case(rng, size)._replace(alpha=np.reshape(alphas, (N, 1, 1)))
    mask = random_mask(rng)
    kept = visible(mask, **LENGTHS)
    cotangent = np.ones((B, T, N, D))
    gradients, output = program(None, True, **LENGTHS)(
        single(problem), jnp.asarray(mask), single(cotangent)
    )
    exact, _ = attention(problem, kept, cotangent)
    if size > 1:
        keys = np.repeat(problem.key, N // K, axis=2)
        scores = np.einsum("btnh,bsnh->bnts", problem.query, keys) * problem.scale
        assert np.abs(scores).max() > 1e4
    assert_close(output, exact, 1e-5)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradients))


def test_what_is_masked_reaches_nothing(rng: np.random.Generator) -> None:
    """NaN and infinities in masked keys, values, biases and queries; rows that see nothing."""
    problem, mask = case(rng), random_mask(rng)
    kept = visible(mask, **LENGTHS)
    dirty = jax.tree.map(np.array, problem)
    for b, bad in enumerate((np.nan, np.inf)):
        dirty.key[b, KEYS[b] :] = bad
        dirty.value[b, KEYS[b] :] = -bad
        dirty.query[b, QUERIES[b] :] = bad
    dirty.query[0, 4] = np.nan
    dirty.bias[0][:, ~kept.any(axis=(0, 1))] = np.nan
    cotangent = single(rng.normal(size=(B, T, N, D)))
    for alpha, given in ((None, LENGTHS), (1.0, CAUSAL)):
        run = program(alpha, True, **given)
        clean_gradients, clean_output = run(single(problem), jnp.asarray(mask), cotangent)
        gradients, output = run(single(dirty), jnp.asarray(mask), cotangent)
        np.testing.assert_array_equal(output, clean_output)
        assert not np.asarray(output)[0, 4].any()
        for name, ours, theirs in zip(Case._fields, gradients, clean_gradients, strict=True):
            np.testing.assert_array_equal(ours, theirs, err_msg=name)
        assert not np.asarray(gradients.query)[0, 4].any()
        assert not np.asarray(gradients.key)[1, KEYS[1] :].any()


def test_a_nan_reaches_the_queries_that_see_it_alone(rng: np.random.Generator) -> None:
    problem, mask = case(rng), random_mask(rng)
    dirty = jax.tree.map(np.array, problem)
    dirty.value[0, 3, 0, 2] = np.nan
    dirty.key[1, 6, 1, 0] = np.inf
    dirty.bias[0, 2, 9, 8] = np.nan
    for alpha, given in ((None, LENGTHS), (1.0, CAUSAL)):
        kept = np.broadcast_to(visible(mask, **given), (B, N, T, S))
        spoiled = np.zeros((B, T, N), bool)
        spoiled[0, :, :2] |= kept[0, :2, :, 3].T
        spoiled[1, :, 2:] |= kept[1, 2:, :, 6].T
        spoiled[:, 9, 2] |= kept[:, 2, 9, 8]
        assert 5 < spoiled.sum() < spoiled.size / 2
        # A loss that leaves these queries out keeps its gradient, but for the bias' NaN itself.
        cotangent = np.where(spoiled[..., None], 0, rng.normal(size=(B, T, N, D)))
        gradients, output = program(alpha, True, **given)(
            single(dirty), jnp.asarray(mask), single(cotangent)
        )
        nan = np.isnan(np.asarray(output))
        np.testing.assert_array_equal(nan.all(axis=-1), spoiled)
        np.testing.assert_array_equal(nan.any(axis=-1), spoiled)
        assert np.isfinite(gradients.query[~spoiled]).all()


def test_an_alpha_or_n_out_of_range_at_run_time_is_nan_in_its_head(
    rng: np.random.Generator,
) -> None:
    problem, mask = case(rng), np.ones((B, 1, T, S), bool)
    run = program(None, True, **LENGTHS)
    cotangent = single(np.ones((B, T, N, D)))
    _, good = run(single(problem), jnp.asarray(mask), cotangent)
    alpha, n = np.array(problem.alpha), np.array(problem.n)
    alpha[1], n[2] = 0.5, -1.0
    _, output = run(single(problem._replace(alpha=alpha, n=n)), jnp.asarray(mask), cotangent)
    assert np.isnan(np.asarray(output)[:, :13, 1:3]).all()
    np.testing.assert_array_equal(output[:, :, ::3], good[:, :, ::3])
