"""What blockwise attention computes, keeps, refuses, and how it is transformed."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import softmax_variants as sv
from softmax_variants.attention._parts import Layout
from tests.attention.flash_cases import (
    CAUSAL,
    KEYS,
    QUERIES,
    B,
    D,
    N,
    T,
    assert_close,
    grid,
    plain_case,
    single,
    visible,
)
from tests.attention.flash_oracle import Case, attention


@pytest.mark.slow
def test_blocks_by_default_and_numbers_for_alpha(rng: np.random.Generator) -> None:
    problem = plain_case(rng, 1.0)
    q, k, v = (single(x) for x in problem[:3])
    kept = np.ones((1, 1, 1, 1), bool)
    for alpha in (1.25, 2.0):
        number = sv.flash_attention(q, k, v, alpha=alpha, scale=0.5)
        array = sv.flash_attention(q, k, v, alpha=jnp.float32(alpha), scale=0.5)
        np.testing.assert_allclose(number, array, rtol=0, atol=2e-6)
        alphas = np.full((1, 1, 1), alpha)
        exact, _ = attention(problem._replace(alpha=alphas), kept, np.zeros((B, T, N, D)))
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
    """Lets a function count when it runs, not when it is traced.

    No other test has the shapes of those that count: what is compiled is not shared.
    """
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
    q = jnp.asarray(rng.normal(size=(1, 64, 1, 2)), jnp.float32)
    jax.block_until_ready(sv.flash_attention(q, q, q, alpha=alpha, block_size=16, **given))
    jax.effects_barrier()
    assert len(calls) == expected


def test_blocks_without_a_weight_have_no_sums(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    counted(monkeypatch, "softmax_variants.attention._sparse.sums_of", calls)
    q = jnp.asarray(rng.normal(size=(1, 64, 1, 2)), jnp.float32)
    block = jnp.arange(64) // 16
    # Each query's own block of keys has scores that are higher by 20.
    bias = jnp.where(block[:, None] == block[None], 20.0, 0.0)
    jax.block_until_ready(sv.flash_attention(q, q, q, bias, alpha=1.5, block_size=16))
    jax.effects_barrier()
    assert len(calls) == 4


def test_half_precision_is_the_rounded_answer(rng: np.random.Generator) -> None:
    """Sums in float32: the only rounding to bfloat16 is that of the results."""
    problem = plain_case(rng, 1.5)
    given = [jnp.asarray(x, jnp.bfloat16) for x in problem[:3]]
    cotangent = jnp.asarray(grid(rng, B, T, N, D), jnp.bfloat16)
    output, pull = jax.vjp(
        lambda q, k, v: sv.flash_attention(q, k, v, alpha=1.5, scale=0.5), *given
    )
    exact, slopes = attention(problem, np.ones((1, 1, 1, 1), bool), cotangent.astype(jnp.float32))
    for ours, theirs in zip((output, *pull(cotangent)), (exact, *slopes[:3]), strict=True):
        assert ours.dtype == jnp.bfloat16
        np.testing.assert_allclose(ours.astype(jnp.float32), theirs, rtol=2**-8, atol=1e-5)


@pytest.mark.slow
def test_the_result_under_vmap_and_remat(rng: np.random.Generator) -> None:
    problem = plain_case(rng, 1.5)
    cotangent = rng.normal(size=(B, T, N, D))
    exact, slopes = attention(problem, visible(None, **CAUSAL), cotangent)

    def run(q: jax.Array, k: jax.Array, v: jax.Array, t: jax.Array, s: jax.Array) -> jax.Array:
        lengths: dict[str, Any] = {"query_seq_lengths": t, "key_value_seq_lengths": s}
        return sv.flash_attention(q, k, v, alpha=1.5, scale=0.5, is_causal=True, **lengths)

    @jax.jit
    def pulled(*arrays: jax.Array) -> Any:
        output, pull = jax.vjp(jax.checkpoint(jax.vmap(run)), *arrays)
        return output, *pull(single(cotangent))[:3]

    found = pulled(*single(problem[:3]), jnp.asarray(QUERIES), jnp.asarray(KEYS))
    for ours, theirs in zip(found, (exact, *slopes[:3]), strict=True):
        assert_close(ours, theirs, 1e-5)


@pytest.mark.parametrize(("kind", "by_hand"), [(AxisType.Explicit, False), (AxisType.Auto, True)])
def test_arrays_that_are_split_over_devices(
    kind: AxisType, by_hand: bool, rng: np.random.Generator
) -> None:
    """By the compiler's choice, and by hand under `shard_map`."""
    problem = plain_case(rng, 1.5)
    cotangent = rng.normal(size=(B, T, N, D))
    exact, slopes = attention(
        problem, visible(None, lengths=False, causal=True, window=False), cotangent
    )
    mesh, spec = jax.make_mesh((2,), ("data",), axis_types=(kind,)), P("data")

    def run(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        return sv.flash_attention(q, k, v, alpha=1.5, scale=0.5, is_causal=True)

    @jax.jit
    def pulled(g: jax.Array, *arrays: jax.Array) -> Any:
        f = jax.shard_map(run, mesh=mesh, in_specs=(spec,) * 3, out_specs=spec) if by_hand else run
        output, pull = jax.vjp(f, *arrays)
        return output, *pull(g)

    with jax.set_mesh(mesh):
        arrays = (cotangent, *problem[:3])
        split = [jax.device_put(single(x), NamedSharding(mesh, spec)) for x in arrays]
        for ours, theirs in zip(pulled(*split), (exact, *slopes[:3]), strict=True):
            assert_close(ours, theirs, 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [None, 1.0])
def test_second_derivatives(alpha: float | None, rng: np.random.Generator) -> None:
    """Forward over reverse beside differences of the exact gradient in float64; at alpha 1 too."""
    with jax.enable_x64(True):
        problem = Case(
            query=rng.normal(size=(1, 4, 3, 3)),
            key=rng.normal(size=(1, 5, 1, 3)),
            value=rng.normal(size=(1, 5, 1, 2)),
            bias=rng.normal(size=(1, 4, 5)),
            scale=np.array([[[0.7]]]),
            alpha=np.array([1.0, 1.3, 1.8]).reshape(3, 1, 1),
            n=np.array([[[0.6]]]),
        )
        everything = np.ones((1, 1, 1, 1), bool)
        if alpha is not None:
            problem = problem._replace(alpha=np.full((1, 1, 1), alpha))

        def loss(x: Case) -> jax.Array:
            order = x.alpha if alpha is None else alpha
            block = None if alpha is None else (2, 3)
            output = sv.flash_attention(*x[:4], alpha=order, scale=x.scale, n=x.n, block_size=block)
            return jnp.sum(jnp.sin(output))

        def exact_gradient(x: Case) -> Case:
            output, _ = attention(x, everything, np.zeros((1, 4, 3, 2)))
            return attention(x, everything, np.cos(output))[1]

        direction = jax.tree.map(lambda x: rng.normal(size=x.shape), problem)
        if alpha is not None:
            direction = direction._replace(alpha=np.zeros((1, 1, 1)))
        after, before = (
            exact_gradient(jax.tree.map(lambda x, d, h=h: x + h * d, problem, direction))
            for h in (1e-5, -1e-5)
        )
        arrays, moved = jax.tree.map(jnp.asarray, (problem, direction))
        tangent = jax.jit(lambda x, d: jax.jvp(jax.grad(loss), (x,), (d,))[1])(arrays, moved)
        for name, ours, a, b in zip(Case._fields, tangent, after, before, strict=True):
            if name != "alpha" or alpha is None:
                np.testing.assert_allclose(ours, (a - b) / 2e-5, rtol=1e-5, atol=1e-7, err_msg=name)


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
