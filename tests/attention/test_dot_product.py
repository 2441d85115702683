"""Attention with any normalizer against float64 answers, jax's own and the maps themselves."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import softmax_variants as sv
from softmax_variants.attention._dot_product import takes_key
from softmax_variants.variants import VARIANTS, Variant
from tests import oracles
from tests.attention.cases import RULES, B, H, K, N, S, T, attend, attention, problem, visible

ROWS: dict[str, tuple[Any, Any]] = {
    "softmax": (sv.softmax, lambda x: oracles.entmax(x, 1.0)),
    "entmax15": (sv.entmax15, lambda x: oracles.entmax(x, 1.5)),
    "sparsemax": (sv.sparsemax, oracles.simplex_projection),
}


@pytest.mark.parametrize(
    ("rule", "normalizer"),
    [*((rule, "softmax") for rule in RULES), ("mask", "entmax15"), ("all at once", "sparsemax")],
)
def test_the_float64_answer_with_the_masked_keys_deleted(
    rule: str, normalizer: str, rng: np.random.Generator
) -> None:
    arrays = problem(rng)
    bias = rng.normal(size=(1, N, T, S)).astype(np.float32)
    f, row = ROWS[normalizer]
    found = attend(*arrays, bias, normalizer=f, **RULES[rule])
    want = attention(*arrays, row, visible(RULES[rule]), bias)
    np.testing.assert_allclose(found, want, atol=1e-6)
    # A query that sees nothing gets exactly 0, not a mean of all values.
    nothing = ~np.any(visible(RULES[rule]).swapaxes(1, 2), axis=-1)
    assert (np.asarray(found)[nothing] == 0).all()


def test_softmax_is_jaxs_attention(rng: np.random.Generator) -> None:
    query, key, _ = map(jnp.asarray, problem(rng))
    arrays = query, key, key + 1  # jax wants values of the size of keys
    mask = jnp.asarray(RULES["mask"]["mask"]).at[..., 0].set(True)  # its own answer to no key
    bias = jnp.asarray(rng.normal(size=(1, N, T, S)), jnp.float32)

    def total(f: Any, *arrays: jax.Array) -> tuple[jax.Array, jax.Array]:
        out = f(*arrays, bias, mask, is_causal=True, local_window_size=(9, 0), scale=0.7)
        return jnp.sum(jnp.sin(out)), out

    ours, jaxs = (
        jax.jit(jax.grad(functools.partial(total, f), argnums=(0, 1, 2), has_aux=True))(*arrays)
        for f in (sv.dot_product_attention, jax.nn.dot_product_attention)
    )
    for mine, theirs in zip(jax.tree.leaves(ours), jax.tree.leaves(jaxs), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_any_map_of_the_table_is_a_normalizer(
    variant: Variant, rng: np.random.Generator, key: jax.Array
) -> None:
    query, keys, value = (np.abs(x) for x in problem(rng))
    mask = RULES["mask"]["mask"]
    grouped = np.repeat(keys, N // K, axis=2)
    scores = np.einsum("bthx,bshx->bhts", query.astype(np.float64), grouped) * H**-0.5
    arguments = (
        (key, scores.astype(np.float32)) if variant.stochastic else (scores.astype(np.float32),)
    )
    weights = np.asarray(variant(*arguments, axis=-1, where=mask), np.float64)
    want = np.einsum("bhts,bshx->bthx", weights, np.repeat(value, N // K, axis=2))
    found = sv.dot_product_attention(query, keys, value, mask=mask, normalizer=variant, rng=key)
    np.testing.assert_allclose(found, want, atol=2e-5)
    assert takes_key(variant.map) == variant.stochastic
    if variant.stochastic:
        with pytest.raises(ValueError, match="rng must be a random key"):
            sv.dot_product_attention(query, keys, value, normalizer=variant)


def test_parameters_reach_the_normalizer_by_keyword_and_by_partial(
    rng: np.random.Generator,
) -> None:
    arrays = problem(rng)
    alpha = jnp.array([1.0, 1.3, 1.5, 2.0]).reshape(N, 1, 1)

    def by_keyword(alpha: jax.Array) -> jax.Array:
        return sv.dot_product_attention(
            *arrays, normalizer=sv.entmax, normalizer_parameters={"alpha": alpha}
        )

    def by_partial(alpha: jax.Array) -> jax.Array:
        normalizer = functools.partial(sv.entmax, alpha=alpha)
        return sv.dot_product_attention(*arrays, normalizer=normalizer)

    @jax.jit
    def both(alpha: jax.Array) -> Any:
        return jax.jvp(by_keyword, (alpha,), (jnp.ones_like(alpha),)), by_partial(alpha)

    (out, tangent), same = both(alpha)
    np.testing.assert_array_equal(out, same)
    seen, step = np.ones((B, N, T, S), bool), 1e-4
    for head, value in enumerate([1.0, 1.3, 1.5, 2.0]):
        before, want, after = (
            attention(*arrays, functools.partial(oracles.entmax, alpha=value + change), seen)
            for change in (-step, 0, step)
        )
        np.testing.assert_allclose(out[:, :, head], want[:, :, head], atol=1e-6)
        slope = (after - before)[:, :, head] / (2 * step)
        np.testing.assert_allclose(tangent[:, :, head], slope, atol=1e-4)


def test_derivatives_of_first_and_second_order(rng: np.random.Generator) -> None:
    query, keys, value = problem(rng)
    bias = rng.normal(size=(N, T, 1)).astype(np.float32)
    scale = np.full((N, 1, 1), 0.5, np.float32)

    def total(arrays: tuple[jax.Array, ...]) -> jax.Array:
        *others, scale = arrays
        out = sv.dot_product_attention(*others, scale=scale, **RULES["all at once"])
        return jnp.sum(jnp.sin(out))

    with jax.enable_x64(True):
        arrays = tuple(jnp.asarray(x, jnp.float64) for x in (query, keys, value, bias, scale))
        along = tuple(jnp.asarray(rng.normal(size=x.shape)) for x in arrays)
        both = jax.jit(jax.value_and_grad(total))

        def moved(step: float) -> Any:
            return both(tuple(x + step * y for x, y in zip(arrays, along, strict=True)))

        (_, gradient), (slope, curvature) = jax.jit(lambda a, b: jax.jvp(both, (a,), (b,)))(
            arrays, along
        )
        (after, above), (before, below) = moved(1e-5), moved(-1e-5)
    numbers = (np.asarray(x) for x in (after, before))
    np.testing.assert_allclose(slope, np.subtract(*numbers) / 2e-5, rtol=1e-6)
    by_reverse = sum(np.vdot(g, v) for g, v in zip(gradient, along, strict=True))
    np.testing.assert_allclose(by_reverse, slope, rtol=1e-9)
    for found, high, low in zip(curvature, above, below, strict=True):
        np.testing.assert_allclose(found, (np.asarray(high) - np.asarray(low)) / 2e-5, atol=1e-6)


def test_a_query_that_sees_nothing_has_no_gradient(rng: np.random.Generator) -> None:
    arrays: Any = tuple(map(jnp.asarray, problem(rng)))
    mask = jnp.ones((B, 1, T, S), bool).at[:, :, 2].set(False)

    def total(normalizer: Any, query: Any, key: Any, value: Any) -> jax.Array:
        out = sv.dot_product_attention(query, key, value, mask=mask, normalizer=normalizer)
        return jnp.sum(out**2)

    # jax's softmax stands for a normalizer that is less careful with an empty row.
    for normalizer in (sv.softmax, jax.nn.softmax):
        gradient = jax.jit(jax.grad(functools.partial(total, normalizer), argnums=(0, 1, 2)))
        query, *others = gradient(*arrays)
        assert (query[:, 2] == 0).all()
        assert all(jnp.isfinite(x).all() and (x != 0).any() for x in (query, *others))


@pytest.mark.parametrize("normalizer", [sv.softmax, sv.entmax15])
def test_nothing_leaks_from_a_masked_position(normalizer: Any, rng: np.random.Generator) -> None:
    """A loss of the first queries, which see the first keys: nothing later changes it."""
    query, keys, value = (jnp.asarray(x) for x in problem(rng))
    seen = 3

    def loss(*arrays: jax.Array) -> jax.Array:
        out = sv.dot_product_attention(*arrays, normalizer=normalizer, is_causal=True)
        return jnp.sum(jnp.sin(out[:, :seen]))

    gradient = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2, 3)))
    bias = jnp.asarray(rng.normal(size=(T, S)), jnp.float32)
    want, wanted = gradient(query, keys, value, bias)
    hidden = jnp.triu(jnp.ones((T, S), bool), 1)
    for filling in (np.nan, np.inf, -np.inf, 3e38):
        spoiled = [x.at[:, seen + 1 :].set(filling) for x in (query, keys, value)]
        found, gradients = gradient(*spoiled, jnp.where(hidden, filling, bias))
        np.testing.assert_allclose(found, want, rtol=1e-6)
        for mine, theirs in zip(gradients[:3], wanted[:3], strict=True):
            np.testing.assert_allclose(mine[:, :seen], theirs[:, :seen], atol=1e-6)
            assert (mine[:, seen:] == 0).all()
        np.testing.assert_allclose(gradients[3], wanted[3], atol=1e-6)
        assert (gradients[3][hidden] == 0).all()


def test_nothing_leaks_through_a_normalizer_that_forgets_the_mask(
    rng: np.random.Generator,
) -> None:
    queries, keys, values = map(jnp.asarray, problem(rng))
    mask = jnp.asarray(RULES["mask"]["mask"])
    bias = jnp.where(mask, 0, jnp.nan)

    def total(query: jax.Array, bias: jax.Array) -> jax.Array:
        out = sv.dot_product_attention(
            query, keys, values, bias, mask, normalizer=lambda x, axis, where: jax.nn.sigmoid(x)
        )
        return jnp.sum(out)

    found, gradients = jax.jit(jax.value_and_grad(total, argnums=(0, 1)))(queries, bias)
    seen = visible(RULES["mask"])
    want = attention(queries, keys, values, lambda x: 1 / (1 + np.exp(-x)), seen)
    np.testing.assert_allclose(found, want.sum(), rtol=1e-5)
    assert all(jnp.isfinite(x).all() for x in gradients)


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_nan_spoils_the_queries_that_see_it_and_no_other(
    which: int, rng: np.random.Generator
) -> None:
    arrays: Any = [jnp.asarray(x) for x in problem(rng)]
    arrays[which] = arrays[which].at[0, 3, 1].set(jnp.nan)

    def loss(*arrays: jax.Array) -> tuple[jax.Array, jax.Array]:
        out = attend(*arrays, is_causal=True)
        return jnp.sum(out), out

    # A head of keys serves two of queries.
    heads = slice(1, 2) if which == 0 else slice(2, 4)
    queries = slice(3, 4) if which == 0 else slice(3, None)
    expected = np.zeros((B, T, N), bool)
    expected[0, queries, heads] = True
    (of_query, _, _), out = jax.jit(jax.grad(loss, argnums=(0, 1, 2), has_aux=True))(*arrays)
    np.testing.assert_array_equal(np.isnan(out).all(-1), expected)
    np.testing.assert_array_equal(np.isnan(out).any(-1), expected)
    # The gradient does not hide the failure either, and is no other query's.
    failed = ~np.isfinite(of_query).all(-1)
    assert not failed[~expected].any()
    if which:
        assert failed[expected].all()


def test_half_precision_is_summed_in_float32(rng: np.random.Generator) -> None:
    arrays = [jnp.asarray(x).astype(jnp.bfloat16) for x in problem(rng)]
    wide = [x.astype(jnp.float32) for x in arrays]
    both = jax.jit(lambda narrow, wide: [sv.dot_product_attention(*x) for x in (narrow, wide)])
    found, want = both(arrays, wide)
    assert found.dtype == jnp.bfloat16
    # The weights and the output are rounded, and nothing between.
    bound = 2**-8 * float(jnp.max(jnp.abs(wide[2])))
    np.testing.assert_allclose(found.astype(jnp.float32), want, atol=bound)
    shape = jax.eval_shape(lambda x: sv.dot_product_attention(*x, dtype=jnp.bfloat16), wide)
    assert shape.dtype == jnp.bfloat16
    # Of a thousand equal keys each gets a weight below bfloat16's step beside their sum.
    many = jnp.zeros((1, 1000, 1, 1), jnp.bfloat16)
    np.testing.assert_allclose(
        attend(many[:, :1], many, many + 1).astype(jnp.float32), 1, rtol=1e-2
    )
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(attend(*x).astype(jnp.float32))))(arrays)
    assert {x.dtype for x in gradient} == {jnp.dtype(jnp.bfloat16)}
    assert all(jnp.isfinite(x).all() for x in gradient)


def test_sinks_are_further_scores_of_zero(rng: np.random.Generator) -> None:
    arrays = problem(rng)
    seen = visible(RULES["mask"])
    mask = RULES["mask"]["mask"]
    for name in ("softmax", "entmax15"):
        normalizer, row = ROWS[name]
        found = attend(*arrays, mask=mask, normalizer=normalizer, n=2)

        def longer(x: Any, row: Any = row) -> Any:
            return row(np.append(x, [0.0, 0.0]))[:-2]

        beside = attention(*arrays, longer, seen)
        np.testing.assert_allclose(found, beside, atol=1e-6, err_msg=name)
    n = jnp.array([0.0, 0.5, 1.0, 3.5]).reshape(N, 1, 1)
    found = sv.dot_product_attention(*arrays, mask=mask, n=n)
    for head, count in enumerate([0.0, 0.5, 1.0, 3.5]):

        def row(x: Any, count: float = count) -> Any:
            return np.exp(x) / (count + np.exp(x).sum())

        np.testing.assert_allclose(
            found[:, :, head], attention(*arrays, row, seen)[:, :, head], atol=1e-6
        )


def test_under_vmap_scan_and_remat(rng: np.random.Generator) -> None:
    arrays: Any = [jnp.asarray(x) for x in problem(rng)]
    rule: dict[str, Any] = {"is_causal": True, "mask": jnp.asarray(RULES["mask of heads"]["mask"])}

    def one(query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
        return sv.dot_product_attention(query, key, value, **rule)

    @jax.jit
    def all_ways(arrays: Any) -> Any:
        _, scanned = jax.lax.scan(
            lambda carry, x: (carry, jax.checkpoint(one)(*x)), None, tuple(arrays)
        )
        return one(*arrays), jax.vmap(one)(*arrays), scanned

    want, mapped, scanned = all_ways(arrays)
    np.testing.assert_allclose(mapped, want, atol=1e-6)
    np.testing.assert_allclose(scanned, want, atol=1e-6)


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
def test_batch_and_heads_may_be_split_over_devices(
    kind: AxisType, rng: np.random.Generator
) -> None:
    mesh = jax.make_mesh((2, 2), ("data", "model"), axis_types=(kind, kind))
    arrays = [jnp.asarray(x) for x in problem(rng, key_heads=N)]
    want = attend(*arrays, is_causal=True)
    sharding = NamedSharding(mesh, P("data", None, "model"))
    with jax.set_mesh(mesh):
        split = [jax.device_put(x, sharding) for x in arrays]
        found = attend(*split, is_causal=True)
    np.testing.assert_allclose(found, want, atol=1e-6)
