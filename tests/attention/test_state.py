"""States of softmax attention: merging is associative and commutative, with an identity."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

import softmax_variants as sv
from tests.attention.flash_oracle import Case, attention

T, S, N, H, D = 6, 24, 2, 4, 3
PARTS = 4
State = sv.AttentionState
Arrays = tuple[jax.Array, ...]


@pytest.fixture
def problem(rng: np.random.Generator) -> Arrays:
    """Queries, keys, values, and a mask that hides whole parts of the keys from some queries."""
    q, k, v = (rng.normal(size=s) for s in ((T, N, H), (S, N, H), (S, N, D)))
    mask = rng.random((1, T, S)) < 0.6
    mask[:, 1, : S // PARTS] = False
    mask[:, 2] = False
    k[5] *= 300
    return (*(jnp.asarray(x, jnp.float32) for x in (q, k, v)), jnp.asarray(mask))


def exact(problem: Arrays, n: float = 0.0) -> np.ndarray:
    q, k, v, mask = (np.asarray(x)[None] for x in problem)
    fixed = (np.full((1, 1, 1), x) for x in (0.0, H**-0.5, 1.0, n))
    return attention(Case(q, k, v, *fixed), mask, np.zeros((1, T, N, D)))[0][0]


@jax.jit
def states(q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array) -> State:
    """The states of the parts of the keys, stacked."""
    parts = [jnp.split(x, PARTS, axis=axis) for x, axis in ((k, 0), (v, 0), (mask, -1))]
    found = [sv.attention_state(q, k, v, mask=m) for k, v, m in zip(*parts, strict=True)]
    return jax.tree.map(lambda *x: jnp.stack(x), *found)


def listed(stacked: State) -> list[State]:
    return [jax.tree.map(lambda x, i=i: x[i], stacked) for i in range(PARTS)]


def assert_same(a: State, b: State) -> None:
    np.testing.assert_array_equal(a.max, b.max)
    for x, y in zip(a[1:], b[1:], strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-6, atol=1e-6)


def test_merging_is_associative_and_commutative_with_an_identity(problem: Arrays) -> None:
    merge = sv.merge_attention_states
    a, b, c, _ = listed(states(*problem))
    assert np.isneginf(a.max[1]).all(), "a part that a query does not see"
    assert_same(merge(merge(a, b), c), merge(a, merge(b, c)))
    assert_same(merge(a, b), merge(b, a))
    nothing = State(jnp.full_like(a.max, -jnp.inf), 0 * a.sum, 0 * a.value)
    for state in (a, nothing):
        assert_same(merge(nothing, state), state)
        assert_same(merge(state, nothing), state)


def test_states_of_infinite_scores_tie() -> None:
    one = jnp.ones((1, 1, 1))
    bias = jnp.array([[[jnp.inf]]])
    a, b = (sv.attention_state(one, one, value * one, bias) for value in (1.0, 3.0))
    low = sv.attention_state(one, one, 100 * one)
    merged = functools.reduce(sv.merge_attention_states, (low, a, b))
    np.testing.assert_allclose(sv.attention_output(merged)[0, 0], [2.0])


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (2, 3, 0, 1)])
def test_the_merged_state_gives_the_attention_over_all_keys(
    problem: Arrays, order: tuple[int, ...]
) -> None:
    found = listed(states(*problem))
    state = functools.reduce(sv.merge_attention_states, [found[i] for i in order])
    np.testing.assert_allclose(sv.attention_output(state), exact(problem), rtol=0, atol=2e-6)
    for n in (0.0, 0.3, 2.0):
        output = sv.attention_output(state, n=n)
        np.testing.assert_allclose(output, exact(problem, n), rtol=0, atol=2e-6)
    assert not sv.attention_output(state)[2].any(), "a query that sees nothing"


def test_an_associative_scan_gives_the_attention_over_each_prefix(problem: Arrays) -> None:
    scanned = jax.lax.associative_scan(sv.merge_attention_states, states(*problem))
    for i, state in enumerate(listed(scanned)):
        q, k, v, mask = problem
        end = (i + 1) * S // PARTS
        prefix = exact((q, k[:end], v[:end], mask[..., :end]))
        np.testing.assert_allclose(sv.attention_output(state), prefix, rtol=0, atol=2e-6)


def test_keys_split_over_devices(problem: Arrays) -> None:
    mesh = jax.make_mesh((PARTS,), ("keys",), axis_types=(AxisType.Auto,))

    def local(q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array) -> jax.Array:
        state = sv.attention_state(q, k, v, mask=mask)
        everywhere = listed(jax.lax.all_gather(state, "keys"))
        return sv.attention_output(functools.reduce(sv.merge_attention_states, everywhere))[None]

    split = jax.shard_map(
        local,
        mesh=mesh,
        in_specs=(P(), P("keys"), P("keys"), P(None, None, "keys")),
        out_specs=P("keys"),
    )
    for output in jax.jit(split)(*problem):
        np.testing.assert_allclose(output, exact(problem), rtol=0, atol=2e-6)


def test_gradients_through_the_states_are_those_of_attention(problem: Arrays) -> None:
    q, k, v, mask = problem

    def by_states(q: jax.Array, k: jax.Array, v: jax.Array, n: jax.Array) -> jax.Array:
        merged = functools.reduce(sv.merge_attention_states, listed(states(q, k, v, mask)))
        return jnp.sum(jnp.sin(sv.attention_output(merged, n=n)))

    def whole(q: jax.Array, k: jax.Array, v: jax.Array, n: jax.Array) -> jax.Array:
        return jnp.sum(jnp.sin(sv.flash_attention(q, k, v, mask=mask, n=n)))

    n = jnp.full((N, 1), 0.7)
    ours = jax.jit(jax.grad(by_states, argnums=(0, 1, 2, 3)))(q, k, v, n)
    theirs = jax.jit(jax.grad(whole, argnums=(0, 1, 2, 3)))(q, k, v, n[..., None])
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b.reshape(a.shape), rtol=1e-5, atol=1e-5)


def test_errors_name_the_argument(problem: Arrays) -> None:
    state = listed(states(*problem))[0]
    with pytest.raises(ValueError, match="a and b must have max of one shape"):
        sv.merge_attention_states(state, jax.tree.map(lambda x: x[:2], state))
    with pytest.raises(ValueError, match=r"n must lie in \[0, inf\), got -1"):
        sv.attention_output(state, n=-1.0)
    with pytest.raises(ValueError, match="n must broadcast to shape"):
        sv.attention_output(state, n=jnp.ones((3, 1)))
