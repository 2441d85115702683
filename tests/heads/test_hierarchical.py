"""Hierarchical softmax against a walk down the tree in float64 and against brute force."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import softmax_variants as sv
from softmax_variants.heads import _decisions
from softmax_variants.heads import _hierarchical as core
from softmax_variants.heads._head import RowHead

Floats = np.ndarray[Any, Any]
CLASSES, FEATURES, EXAMPLES = 13, 4, 5
TREES: dict[str, Callable[[int], sv.Tree]] = {
    "huffman": lambda n: sv.huffman_tree(np.arange(1, n + 1) ** 3),
    "balanced": sv.balanced_tree,
    "groups": lambda n: sv.class_tree(np.arange(n) % 3),
    "clustered": lambda n: sv.clustered_tree(np.sin(np.arange(2.0 * n)).reshape(n, 2)),
}


def walk(tree: sv.Tree, scores: Floats) -> Floats:
    """Log-probabilities of all classes from the scores of the nodes, one example, in float64."""
    children = np.asarray(tree.children)
    found = np.full(tree.classes, np.nan)
    waiting = [(tree.classes if tree.nodes else 0, 0.0)]
    while waiting:
        vertex, total = waiting.pop()
        if vertex < tree.classes:
            found[vertex] = total
            continue
        z = float(scores[vertex - tree.classes])
        left, right = children[vertex - tree.classes]
        waiting += [(left, total - np.logaddexp(0, -z)), (right, total - np.logaddexp(0, z))]
    return found


def layer(
    tree: sv.Tree, rng: np.random.Generator, dtype: Any = jnp.float32, scale: float = 1.0
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array, Floats]:
    """Hidden states, labels, weights, a bias, and the log-probabilities in float64."""
    h, w, b = (
        jnp.asarray(scale * rng.normal(size=shape), dtype)
        for shape in ((EXAMPLES, FEATURES), (tree.nodes, FEATURES), (tree.nodes,))
    )
    y = jnp.asarray(rng.integers(0, tree.classes, size=EXAMPLES), jnp.int32)
    scores = np.asarray(h, np.float64) @ np.asarray(w, np.float64).T + np.asarray(b, np.float64)
    return h, y, w, b, np.stack([walk(tree, z) for z in scores])


@pytest.mark.parametrize("classes", [1, 2, CLASSES])
@pytest.mark.parametrize("name", TREES)
def test_all_answers_agree_with_the_walk(name: str, classes: int, rng: np.random.Generator) -> None:
    if classes != CLASSES and name != "huffman":
        return
    tree = TREES[name](classes)
    h, y, w, b, expected = layer(tree, rng)
    at = expected[np.arange(EXAMPLES), y]
    np.testing.assert_allclose(
        sv.hierarchical_softmax_loss(h, y, w, b, tree=tree), -at, rtol=2e-6, atol=1e-6
    )
    found = sv.hierarchical_log_probs(h, w, b, tree=tree)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, expected, rtol=2e-6, atol=1e-6)
    np.testing.assert_allclose(np.exp(np.asarray(found, np.float64)).sum(-1), 1, atol=1e-6)
    k = min(3, classes)
    values, ids = sv.hierarchical_top_k(h, w, b, k=k, tree=tree)
    best = np.argsort(-expected, axis=1, kind="stable")[:, :k]
    assert np.array_equal(ids, best)
    np.testing.assert_allclose(values, np.take_along_axis(expected, best, 1), rtol=2e-6, atol=1e-6)


def test_half_precision_is_accumulated_in_float32(rng: np.random.Generator) -> None:
    tree = TREES["huffman"](CLASSES)
    h, y, w, b, expected = layer(tree, rng, jnp.bfloat16)
    at = expected[np.arange(EXAMPLES), y]
    loss = sv.hierarchical_softmax_loss(h, y, w, b, tree=tree)
    assert loss.dtype == jnp.float32
    np.testing.assert_allclose(loss, -at, rtol=2e-6, atol=1e-6)
    mixed = sv.hierarchical_log_probs(h, w.astype(jnp.float32), b, tree=tree)
    np.testing.assert_allclose(mixed, expected, rtol=2e-6, atol=1e-6)


@pytest.mark.slow
def test_a_tree_deeper_than_its_levels(rng: np.random.Generator) -> None:
    """A chain of 100 nodes, and bushes of two levels below the first 70 of another."""
    chain = sv.huffman_tree(2.0 ** np.arange(101))
    assert chain.depth == 100
    n = 70  # a spine of 70 nodes, each with a bush of 3 classes (2 nodes) on the left
    classes = 3 * n + 1
    spine = [[classes + n + 2 * i, classes + i + 1 if i < n - 1 else 3 * n] for i in range(n)]
    bushes = [
        pair
        for i in range(n)
        for pair in ([3 * i, classes + n + 2 * i + 1], [3 * i + 1, 3 * i + 2])
    ]
    for tree in (chain, sv.Tree.from_children([*spine, *bushes])):
        h, y, w, b, expected = layer(tree, rng, scale=0.5)
        found = sv.hierarchical_log_probs(h, w, b, tree=tree)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
        loss = sv.hierarchical_softmax_loss(h, y, w, b, tree=tree)
        np.testing.assert_allclose(loss, -expected[np.arange(EXAMPLES), y], rtol=1e-5, atol=1e-5)


def test_the_most_probable_class_is_found_where_a_beam_goes_wrong() -> None:
    """0.6 = 0.3 + 0.3 on the left, one class of 0.4 on the right."""
    tree = sv.Tree.from_children([[4, 2], [0, 1]])
    weight = jnp.asarray([[np.log(0.6 / 0.4)], [0.0]], jnp.float32)
    values, ids = sv.hierarchical_top_k(jnp.ones(1), weight, k=3, tree=tree)
    # Equals are in the order of their ids.
    assert ids.tolist() == [2, 0, 1]
    np.testing.assert_allclose(np.exp(values), [0.4, 0.3, 0.3], rtol=1e-6)


def test_large_scores_stay_finite_and_exact() -> None:
    tree = sv.balanced_tree(4)
    h = jnp.ones((1, 1))
    for sign in (1.0, -1.0):
        w = jnp.full((3, 1), sign * 1e4)

        def loss(w: jax.Array, y: int) -> jax.Array:
            return sv.hierarchical_softmax_loss(h, jnp.asarray([y]), w, tree=tree)[0]

        found = [jax.value_and_grad(loss)(w, y) for y in range(4)]
        losses = [float(value) for value, _ in found]
        assert losses == ([0, 1e4, 1e4, 2e4] if sign > 0 else [2e4, 1e4, 1e4, 0])
        log_probs = sv.hierarchical_log_probs(h, w, tree=tree)
        assert (-log_probs[0]).tolist() == losses
        gradient = found[3 if sign > 0 else 0][1][:, 0]
        # Both nodes of the path are wrong for certain, the third is not on it.
        assert sorted(np.abs(gradient).tolist()) == [0, 1, 1]


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_the_decisions_are_accurate_to_the_last_digits(dtype: Any) -> None:
    with jax.enable_x64(dtype == jnp.float64):
        x = np.concatenate([np.linspace(-30, 30, 4001), [0.0, 1e-30, -80, 90]]).astype(dtype)
        exact = np.logaddexp(0, x.astype(np.longdouble))
        np.testing.assert_allclose(
            jax.jit(_decisions.softplus)(x), exact, rtol=3 * np.finfo(dtype).eps, atol=0
        )
        left, right = jax.jit(_decisions.log_sigmoids)(x)
        np.testing.assert_allclose(right, -exact, rtol=3 * np.finfo(dtype).eps, atol=0)
        assert np.array_equal(left, jax.jit(_decisions.log_sigmoids)(-x)[1])


# One function of all arguments and its derivatives; both forms of the loss have to have the same.
def by_function(tree: sv.Tree, y: jax.Array, keep: jax.Array) -> Callable[..., jax.Array]:
    return lambda h, w, b: sv.hierarchical_softmax_loss(h, y, w, b, tree=tree, where=keep)


def by_classes(tree: sv.Tree, y: jax.Array, keep: jax.Array) -> Callable[..., jax.Array]:
    def loss(h: jax.Array, w: jax.Array, b: jax.Array) -> jax.Array:
        log_probs = sv.hierarchical_log_probs(h, w, b, tree=tree)
        return jnp.where(keep, -jnp.take_along_axis(log_probs, y[:, None], axis=1)[:, 0], 0)

    return loss


def by_rows(tree: sv.Tree, y: jax.Array, keep: jax.Array) -> Callable[..., jax.Array]:
    def loss(h: jax.Array, w: jax.Array, b: jax.Array) -> jax.Array:
        head: RowHead = sv.HierarchicalSoftmax(tree=tree, features=FEATURES)
        plan = head.plan(y)
        params = {"node_weight": w, "node_bias": b}
        # Rows of padding are whatever the caller has there.
        rows = {
            name: params[name].at[ids].get(mode="fill", fill_value=jnp.nan)
            for name, ids in plan.ids.items()
        }
        return head.loss_of_rows(rows, plan, h, y, where=keep)

    return loss


@pytest.mark.slow
def test_all_forms_have_the_same_derivatives(rng: np.random.Generator) -> None:
    tree = TREES["huffman"](CLASSES)
    h, y, w, b, _ = layer(tree, rng)
    keep = jnp.asarray([True, True, False, True, True])
    weights = jnp.asarray([1.0, -2.0, 0.5, 3.0, 0.25])
    direction = jax.tree.map(jnp.cos, (h, w, b))

    def derived(form: Any) -> Any:
        def total(a: Any) -> jax.Array:
            return jnp.sum(weights * form(tree, y, keep)(*a))

        def all_of(a: Any) -> Any:
            first = jax.value_and_grad(total)
            second = jax.jvp(jax.grad(total), (a,), (direction,))[1]
            mapped = jax.vmap(lambda k: jax.grad(total)((a[0] * k, *a[1:])))(jnp.arange(2.0))

            def step(carry: jax.Array, k: jax.Array) -> tuple[jax.Array, None]:
                return carry + jax.checkpoint(total)((h * k, *a[1:])), None

            scanned = jax.grad(lambda a: jax.lax.scan(step, jnp.float32(0), jnp.arange(2.0))[0])(a)
            return first(a), second, mapped, scanned

        return jax.jit(all_of)((h, w, b))

    expected = jax.tree.leaves(derived(by_classes))
    for form in (by_function, by_rows):
        for found, want in zip(jax.tree.leaves(derived(form)), expected, strict=True):
            np.testing.assert_allclose(found, want, rtol=1e-5, atol=3e-6)
    loss = jax.jit(by_function(tree, y, keep))
    check_grads(loss, (h, w, b), order=2, modes=("fwd", "rev"), eps=1e-2, atol=2e-2, rtol=2e-2)


def test_scores_of_zero_have_second_derivatives() -> None:
    """Weights begin at 0; there the sigmoid's slope is a quarter."""
    tree = sv.balanced_tree(2)

    def loss(w: jax.Array) -> jax.Array:
        return sv.hierarchical_softmax_loss(jnp.ones(1), jnp.asarray(0), w, tree=tree)

    assert jax.grad(loss)(jnp.zeros((1, 1))).item() == -0.5
    assert jax.hessian(loss)(jnp.zeros((1, 1))).item() == 0.25


def test_a_label_out_of_range_spoils_its_own_example_alone(rng: np.random.Generator) -> None:
    tree = TREES["huffman"](CLASSES)
    h, y, w, b, _ = layer(tree, rng)
    wrong = y.at[1].set(-1).at[3].set(CLASSES)
    kept = np.array([True, False, True, False, True])

    @jax.jit
    def both(y: jax.Array) -> Any:
        loss = by_function(tree, y, jnp.ones(EXAMPLES, bool))
        value, pull = jax.vjp(loss, h, w, b)
        return value, pull(jnp.asarray(kept, jnp.float32)), pull(jnp.ones(EXAMPLES))

    losses, gradients, spoiled = both(wrong)
    np.testing.assert_array_equal(np.isnan(losses), ~kept)
    value, clean, _ = both(y)
    np.testing.assert_array_equal(losses[kept], value[kept])
    assert not np.any(gradients[0][~kept])
    np.testing.assert_allclose(gradients[1], clean[1], rtol=1e-6, atol=1e-6)
    head = sv.HierarchicalSoftmax(tree=tree, features=FEATURES)
    assert head.plan(wrong).ids["node_weight"][1].tolist() == [0] + [tree.nodes] * (tree.depth - 1)
    np.testing.assert_array_equal(np.isnan(spoiled[0]).any(axis=-1), ~kept)
    assert np.isnan(spoiled[1]).any(axis=-1).tolist() == [True] + [False] * (tree.nodes - 1)
    params = {"node_weight": w, "node_bias": b}
    np.testing.assert_array_equal(head.log_prob(params, h, wrong), -losses)


def test_what_is_left_out_may_hold_anything(rng: np.random.Generator) -> None:
    tree = TREES["huffman"](CLASSES)
    h, y, w, b, _ = layer(tree, rng)
    keep = jnp.asarray([True, True, False, True, True])

    def total(h: jax.Array, w: jax.Array, y: jax.Array) -> jax.Array:
        return sv.hierarchical_softmax_loss(h, y, w, b, tree=tree, where=keep).sum()

    derived = jax.jit(jax.value_and_grad(total, (0, 1)))
    found = derived(h.at[2].set(jnp.nan), w, y.at[2].set(99))
    for left, right in zip(jax.tree.leaves(found), jax.tree.leaves(derived(h, w, y)), strict=True):
        np.testing.assert_array_equal(left, right)
    assert not np.any(found[1][0][2])


@pytest.mark.parametrize("name", ["huffman", "balanced"])
def test_samples_have_the_classes_frequencies(
    name: str, key: jax.Array, rng: np.random.Generator
) -> None:
    tree = TREES[name](CLASSES)
    h, _, w, b, expected = layer(tree, rng, scale=0.7)
    draws = 20_000
    many = jnp.broadcast_to(h[:2, None], (2, draws, FEATURES))
    ids = sv.hierarchical_sample(key, many, w, b, tree=tree)
    assert ids.dtype == jnp.int32
    assert ids.shape == (2, draws)
    for row in range(2):
        p = np.exp(expected[row])
        seen = np.bincount(ids[row], minlength=CLASSES) / draws
        assert np.all(np.abs(seen - p) <= 4.5 * np.sqrt(p * (1 - p) / draws) + 1 / draws)
    derivative = jax.grad(
        lambda h: sv.hierarchical_sample(key, h, w, b, tree=tree).astype(jnp.float32).sum()
    )(h)
    assert not np.any(derivative)


def test_the_head_is_its_functions(key: jax.Array, rng: np.random.Generator) -> None:
    tree = TREES["balanced"](CLASSES)
    h, y, w, b, expected = layer(tree, rng)
    head = sv.HierarchicalSoftmax(tree=tree, features=FEATURES)
    params = {"node_weight": w, "node_bias": b}
    new = head.init(key)
    assert {n: (v.shape, v.dtype) for n, v in new.items()} == {
        n: (v.shape, v.dtype) for n, v in params.items()
    }
    shaped = h.reshape(EXAMPLES, 1, FEATURES)

    @jax.jit
    def answers(head: sv.HierarchicalSoftmax, params: Any, h: jax.Array, y: jax.Array) -> Any:
        return (
            head.loss(params, h, y),
            head.log_prob(params, h, y),
            head.log_probs(params, h),
            head.top_k(params, h, 2),
            head.sample(params, h, key),
        )

    loss, log_prob, log_probs, (values, ids), drawn = answers(head, params, shaped, y[:, None])
    np.testing.assert_allclose(log_probs[:, 0], expected, rtol=2e-6, atol=1e-6)
    np.testing.assert_array_equal(loss, -log_prob)
    assert ids.shape == values.shape == (EXAMPLES, 1, 2)
    assert loss.shape == drawn.shape == (EXAMPLES, 1)
    bare = sv.HierarchicalSoftmax(tree=tree, features=FEATURES, use_bias=False)
    assert set(bare.init(key)) == set(bare.plan(y).ids) == {"node_weight"}
    np.testing.assert_allclose(
        bare.loss({"node_weight": w}, h, y),
        sv.hierarchical_softmax_loss(h, y, w, tree=tree),
        rtol=1e-6,
    )
    # The leaves of the head are the tree's: neither of its numbers is traced.
    assert len(jax.tree.leaves(head)) == 2


def test_examples_are_taken_in_chunks(
    monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    """Seven examples, two at a time, and one left over; no other test compiles this shape."""
    tree = TREES["huffman"](CLASSES)
    h, y, w, b, expected = layer(tree, rng)
    h, y = (jnp.concatenate([x, x[:2]]) for x in (h, y))
    expected = np.concatenate([expected, expected[:2]])
    monkeypatch.setattr(core, "_CHUNK", 2 * CLASSES)
    found = sv.hierarchical_log_probs(h, w, b, tree=tree)
    np.testing.assert_allclose(found, expected, rtol=2e-6, atol=1e-6)
    _, ids = sv.hierarchical_top_k(h, w, b, k=3, tree=tree)
    assert np.array_equal(ids, np.argsort(-expected, axis=1)[:, :3])
    head = sv.HierarchicalSoftmax(tree=tree, features=FEATURES)
    at = head.log_prob({"node_weight": w, "node_bias": b}, h, y)
    np.testing.assert_allclose(at, expected[np.arange(7), y], rtol=2e-6, atol=1e-6)


def test_memory_does_not_grow_with_the_examples() -> None:
    """The best of 4096 classes for 16384 examples would be 256 MiB of log-probabilities."""
    tree = sv.balanced_tree(4096)
    arguments = (jnp.zeros((16384, 2)), jnp.zeros((4095, 2)), None, tree)
    program = core._top_k.lower(*arguments, k=3).compile()
    analysis: Any = program.memory_analysis()
    # A chunk is 64 MiB, and the tree's sums are several times that.
    assert analysis.temp_size_in_bytes < 6 * 4 * core._CHUNK


def test_an_empty_batch() -> None:
    tree = sv.balanced_tree(4)
    h, w = jnp.zeros((0, 2)), jnp.zeros((3, 2))
    assert sv.hierarchical_softmax_loss(h, jnp.zeros(0, int), w, tree=tree).shape == (0,)
    assert sv.hierarchical_log_probs(h, w, tree=tree).shape == (0, 4)
    assert sv.hierarchical_top_k(h, w, k=2, tree=tree)[1].shape == (0, 2)
    assert sv.hierarchical_sample(jax.random.key(0), h, w, tree=tree).shape == (0,)
