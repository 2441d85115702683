"""Blockwise attention against float64, and what is masked, skipped, refused and transformed."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from numpy.typing import NDArray

import softmax_variants as sv
from softmax_variants.attention._parts import Layout
from tests.attention.flash_oracle import Case, attention

B, T, S, N, K, H, D = 2, 21, 37, 4, 2, 8, 5
BLOCKS = (8, 16)  # neither divides T or S
QUERIES, KEYS = [21, 13], [37, 19]
WINDOW = (17, 5)
Bools = NDArray[np.bool_]


def grid(rng: np.random.Generator, *shape: int, step: float = 1 / 8) -> NDArray[np.float64]:
    """Numbers whose products and sums are exact in float32."""
    return np.round(rng.normal(size=shape) / step) * step


def case(rng: np.random.Generator, size: float = 1.0) -> Case:
    """Every input of its own for each head; the scale is a power of two, so scores are exact."""
    alpha = np.array([1.0, 1.25, 1.5, 2.0]).reshape(N, 1, 1)
    n = np.array([0.0, 0.5, 2.0, 3.0]).reshape(N, 1, 1)
    scale = np.array([0.5, 0.25, 0.5, 1.0]).reshape(N, 1, 1)
    return Case(
        grid(rng, B, T, N, H) * size,
        grid(rng, B, S, K, H),
        grid(rng, B, S, K, D, step=1 / 16),
        grid(rng, 1, N, T, S) - 1,
        scale,
        alpha,
        n,
    )


def random_mask(rng: np.random.Generator) -> Bools:
    mask = rng.random((B, 1, T, S)) < 0.7
    mask[0, 0, 4] = False  # a query that sees nothing
    return mask


def visible(mask: Bools | None, *, lengths: bool, causal: bool, window: bool) -> Bools:
    kept = np.ones((B, 1, T, S), bool) if mask is None else mask.copy()
    t, s = np.arange(T)[:, None], np.arange(S)[None]
    if lengths:
        kept &= (t < np.reshape(QUERIES, (B, 1, 1, 1))) & (s < np.reshape(KEYS, (B, 1, 1, 1)))
    if causal:
        kept &= s <= t
    if window:
        kept &= (s >= t - WINDOW[0]) & (s <= t + WINDOW[1])
    return kept


def single(x: Any) -> Any:
    return jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), x)


def options(*, lengths: bool, causal: bool, window: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"is_causal": causal}
    if lengths:
        found["query_seq_lengths"] = jnp.asarray(QUERIES)
        found["key_value_seq_lengths"] = jnp.asarray(KEYS)
    if window:
        found["local_window_size"] = WINDOW
    return found


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


def assert_close(ours: Any, exact: Any, tolerance: float, what: str = "") -> None:
    error = np.abs(np.asarray(ours, np.float64) - np.asarray(exact))
    allowed = tolerance * max(1.0, float(np.abs(exact).max()))
    assert error.max() <= allowed, (what, error.max(), allowed)


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
        problem = problem._replace(alpha=np.full((1, 1, 1), alpha))
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


LENGTHS = {"lengths": True, "causal": False, "window": False}
CAUSAL = {"lengths": True, "causal": True, "window": False}
WINDOWED = {"lengths": False, "causal": True, "window": True}


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


def test_blocks_by_default_and_numbers_for_alpha(rng: np.random.Generator) -> None:
    problem = case(rng)._replace(bias=np.zeros((1, 1, 1)), scale=np.full((1, 1, 1), 0.5))
    problem = problem._replace(n=np.zeros((1, 1, 1)))
    q, k, v = (single(x) for x in problem[:3])
    kept = np.ones((1, 1, 1, 1), bool)
    for alpha in (1.25, 2.0, 2.5):
        number = sv.flash_attention(q, k, v, alpha=alpha, scale=0.5)
        array = sv.flash_attention(q, k, v, alpha=jnp.float32(alpha), scale=0.5)
        np.testing.assert_allclose(number, array, rtol=0, atol=2e-6)
        exact, _ = attention(
            problem._replace(alpha=np.full((1, 1, 1), alpha)), kept, np.zeros((B, T, N, D))
        )
        assert_close(number, exact, 2e-6)


@pytest.mark.parametrize("shape", [(1, 4, 1, 4096, 4096), (6, 2, 3, 100, 7), (64, 8, 1, 1, 9001)])
def test_blocks_cover_the_scores_and_stay_small(shape: tuple[int, ...]) -> None:
    layout = Layout.of(shape, None)
    batch, heads, group, queries, keys = shape
    assert batch % layout.batch == 0
    assert heads % layout.heads == 0
    assert 1 <= layout.queries <= queries
    assert 1 <= layout.keys <= keys
    together = layout.batch * layout.heads * group * layout.queries * keys
    assert together <= max(1 << 20, 32 * group * keys)


def counted(monkeypatch: pytest.MonkeyPatch, where: str, calls: list[int]) -> None:
    """Lets a function count when it runs, not when it is traced."""
    module, name = where.rsplit(".", 1)
    target = __import__(module, fromlist=[name])
    original: Callable[..., jax.Array] = getattr(target, name)

    def counting(*args: jax.Array) -> jax.Array:
        jax.debug.callback(lambda: calls.append(1))
        return original(*args)

    monkeypatch.setattr(target, name, counting)


BLOCK_DIAGONAL = jnp.arange(64)[None] // 16 == jnp.arange(64)[:, None] // 16


@pytest.mark.parametrize(
    ("alpha", "given", "expected"),
    [
        (1.0, {"is_causal": True}, 10),
        (1.5, {"is_causal": True}, 10),
        (1.0, {"local_window_size": (8, 0)}, 7),
        (1.0, {"mask": BLOCK_DIAGONAL, "key_value_seq_lengths": jnp.array([33])}, 3),
    ],
)
def test_blocks_that_nothing_sees_are_not_computed(
    alpha: float,
    given: dict[str, Any],
    expected: int,
    rng: np.random.Generator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[int] = []
    counted(monkeypatch, "softmax_variants.attention._blocks.pairs_of", calls)
    jax.clear_caches()  # traced without the counter elsewhere
    q = jnp.asarray(rng.normal(size=(1, 64, 1, 2)), jnp.float32)
    jax.block_until_ready(sv.flash_attention(q, q, q, alpha=alpha, block_size=16, **given))
    jax.effects_barrier()
    jax.clear_caches()
    assert len(calls) == expected


def test_blocks_without_a_weight_have_no_sums(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    counted(monkeypatch, "softmax_variants.attention._sparse.sums_of", calls)
    jax.clear_caches()
    q = jnp.asarray(rng.normal(size=(1, 64, 1, 2)), jnp.float32)
    block = jnp.arange(64) // 16
    # Each query's own block of keys has scores that are higher by 20.
    bias = jnp.where(block[:, None] == block[None], 20.0, 0.0)
    jax.block_until_ready(sv.flash_attention(q, q, q, bias, alpha=1.5, block_size=16))
    jax.effects_barrier()
    jax.clear_caches()
    assert len(calls) == 4


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


def test_half_precision_is_the_rounded_answer(rng: np.random.Generator) -> None:
    """Sums in float32: the only rounding to bfloat16 is that of the results."""
    problem = case(rng)._replace(
        bias=np.zeros((1, 1, 1)),
        scale=np.full((1, 1, 1), 0.5),
        alpha=np.full((1, 1, 1), 1.5),
        n=np.zeros((1, 1, 1)),
    )
    given = [jnp.asarray(x, jnp.bfloat16) for x in problem[:3]]
    cotangent = jnp.asarray(grid(rng, B, T, N, D), jnp.bfloat16)
    output, pull = jax.vjp(
        lambda q, k, v: sv.flash_attention(q, k, v, alpha=1.5, scale=0.5), *given
    )
    exact, slopes = attention(problem, np.ones((1, 1, 1, 1), bool), cotangent.astype(jnp.float32))
    for ours, theirs in zip((output, *pull(cotangent)), (exact, *slopes[:3]), strict=True):
        assert ours.dtype == jnp.bfloat16
        np.testing.assert_allclose(ours.astype(jnp.float32), theirs, rtol=2**-8, atol=1e-5)


def test_the_result_under_vmap_and_remat(rng: np.random.Generator) -> None:
    q, k, v = (single(x) for x in case(rng)[:3])

    def run(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        return sv.flash_attention(q, k, v, alpha=1.5, is_causal=True)

    plain, pull = jax.vjp(run, q, k, v)
    mapped, mapped_pull = jax.vjp(jax.checkpoint(jax.vmap(run)), q, k, v)
    np.testing.assert_allclose(mapped, plain, rtol=0, atol=1e-6)
    for a, b in zip(pull(plain), mapped_pull(plain), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit], ids=lambda kind: kind.name)
def test_arrays_that_are_split_over_devices(kind: AxisType, rng: np.random.Generator) -> None:
    """By the compiler's choice under both kinds of mesh axis, and by hand under `shard_map`."""
    mesh = jax.make_mesh((2,), ("data",), axis_types=(kind,))
    spec = P("data")
    arrays = [single(x) for x in case(rng)[:3]]

    def run(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        return sv.flash_attention(q, k, v, alpha=1.5, is_causal=True, block_size=(8, 37))

    def pulled(f: Callable[..., jax.Array], *arrays: jax.Array) -> Any:
        output, pull = jax.vjp(f, *arrays)
        return output, pull(output)

    expected = jax.jit(functools.partial(pulled, run))(*arrays)
    with jax.set_mesh(mesh):
        split = [jax.device_put(x, NamedSharding(mesh, spec)) for x in arrays]
        by_hand = jax.shard_map(run, mesh=mesh, in_specs=(spec,) * 3, out_specs=spec)
        for f in (run, by_hand):
            found = jax.jit(functools.partial(pulled, f))(*split)
            for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
                np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)


@pytest.mark.parametrize("alpha", [None, 1.0])
def test_second_derivatives(alpha: float | None, rng: np.random.Generator) -> None:
    """Forward over reverse against differences of the gradient, in float64."""
    with jax.enable_x64(True):
        problem = Case(
            query=rng.normal(size=(1, 4, 2, 3)),
            key=rng.normal(size=(1, 5, 1, 3)),
            value=rng.normal(size=(1, 5, 1, 2)),
            bias=rng.normal(size=(1, 4, 5)),
            scale=np.array([[[0.7]]]),
            alpha=np.array([1.3, 1.8]).reshape(2, 1, 1),
            n=np.array([[[0.6]]]),
        )
        arrays = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), problem)

        def loss(x: Case) -> jax.Array:
            order = x.alpha if alpha is None else alpha
            return jnp.sum(
                jnp.sin(
                    sv.flash_attention(
                        *x[:4],
                        alpha=order,
                        scale=x.scale,
                        n=x.n,
                        block_size=None if alpha is None else (2, 3),
                    )
                )
            )

        gradient = jax.jit(jax.grad(loss))
        direction = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape)), problem)

        def moved(step: float) -> Case:
            return gradient(jax.tree.map(lambda x, d: x + step * d, arrays, direction))

        tangent = jax.jit(lambda x, d: jax.jvp(jax.grad(loss), (x,), (d,))[1])(arrays, direction)
        numeric = jax.tree.map(lambda a, b: (a - b) / 2e-5, moved(1e-5), moved(-1e-5))
        for name, ours, theirs in zip(Case._fields, tangent, numeric, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-8, err_msg=name)


def test_memory_is_a_fraction_of_one_array_of_scores() -> None:
    like = jax.ShapeDtypeStruct((1, 1024, 4, 16), jnp.float32)

    def loss(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        return jnp.sum(sv.flash_attention(q, k, v, alpha=1.5, block_size=(64, 256)))

    compiled = jax.jit(jax.grad(loss, argnums=(0, 1, 2))).lower(like, like, like).compile()
    analysis: Any = compiled.memory_analysis()
    assert analysis.temp_size_in_bytes < 4 * 1024 * 1024 * 4 / 4


def test_empty_and_single() -> None:
    ones = jnp.ones((2, 3, 2, 4))
    assert sv.flash_attention(ones[:, :0], ones, ones).shape == (2, 0, 2, 4)
    assert not sv.flash_attention(ones, ones[:, :0], ones[:, :0], alpha=1.5).any()
    one = sv.flash_attention(ones[:, :1], ones[:, :1], ones[:, :1] * 2, alpha=2.0)
    np.testing.assert_array_equal(one, np.full((2, 1, 2, 4), 2.0))


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"alpha": 0.5}, ValueError, r"alpha must lie in \[1, inf\), got 0.5"),
        ({"alpha": float("inf")}, ValueError, r"alpha must lie in \[1, inf\), got inf"),
        ({"alpha": jnp.ones((3, 1, 1))}, ValueError, "alpha must broadcast to shape"),
        ({"n": -1.0}, ValueError, r"n must lie in \[0, inf\), got -1"),
        ({"key": jnp.ones((1, 5, 3, 2))}, ValueError, "multiple of key's heads"),
        ({"block_size": 0}, ValueError, "block_size must be at least 1"),
        ({"block_size": (1, 2, 3)}, ValueError, "block_size must be a count or a pair"),
        ({"implementation": "triton"}, NotImplementedError, "'triton' has no kernel"),
        ({"implementation": "cudnn"}, ValueError, "implementation must be None"),
        ({"mask": jnp.full((4, 5), 2.0)}, TypeError, "mask must be boolean"),
    ],
)
def test_errors_name_the_argument(
    given: dict[str, Any], error: type[Exception], message: str
) -> None:
    arguments = {
        "query": jnp.ones((1, 4, 2, 2)),
        "key": jnp.ones((1, 5, 2, 2)),
        "value": jnp.ones((1, 5, 2, 2)),
    }
    arguments |= {"value": given["key"]} if "key" in given else {}
    with pytest.raises(error, match=message):
        sv.flash_attention(**(arguments | given))
