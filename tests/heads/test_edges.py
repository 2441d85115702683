"""What all output layers have in common at the edges: labels that are no class, no example."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import softmax_variants as sv
from softmax_variants import rows

CLASSES, FEATURES = 9, 4
SIZES: dict[str, Any] = {"classes": CLASSES, "features": FEATURES}
DRAWN: dict[str, Any] = {**SIZES, "sampler": sv.LogUniformSampler(CLASSES), "num_sampled": 4}
HEADS: dict[str, Callable[[], Any]] = {
    "softmax": lambda: sv.FullSoftmax(**SIZES),
    "entmax": lambda: sv.LinearEntmax(**SIZES),
    "sampled": lambda: sv.SampledSoftmax(**DRAWN),
    "target corrected": lambda: sv.SampledSoftmax(**DRAWN, correct_target=True),
    "nce": lambda: sv.NCE(**DRAWN),
    "negative": lambda: sv.NegativeSampling(**DRAWN),
    "importance": lambda: sv.ImportanceSampled(**DRAWN),
    "in batch": lambda: sv.InBatchSoftmax(**SIZES, sampler=sv.LogUniformSampler(CLASSES)),
    "hierarchical": lambda: sv.HierarchicalSoftmax(
        tree=sv.huffman_tree(np.arange(1, CLASSES + 1)), features=FEATURES
    ),
    "adaptive": lambda: sv.AdaptiveSoftmax(**SIZES, cutoffs=(3, 6), div_value=2.0),
    "differentiated": lambda: sv.DifferentiatedSoftmax(**SIZES, cutoffs=(3,), widths=(3, 1)),
}
heads = pytest.mark.parametrize("name", HEADS)


def nudged(params: Any) -> Any:
    """No parameter is 0."""
    return jax.tree.map(lambda x: x + 0.1 * jnp.cos(jnp.arange(x.size).reshape(x.shape)), params)


@pytest.mark.slow
@heads
def test_a_label_that_is_no_class_spoils_what_its_loss_counts_for(name: str) -> None:
    """NaN in its example, and in the tables: but nothing where the example's cotangent is 0."""
    head, key = HEADS[name](), jax.random.key(0)
    params = nudged(head.init(key))
    hidden = jnp.asarray(np.random.default_rng(0).normal(size=(5, FEATURES)), jnp.float32)
    labels = jnp.asarray([3, -1, 8, CLASSES, 0], jnp.int32)
    good = np.array([True, False, True, False, True])

    @jax.jit
    def gradients(where: jax.Array, cotangent: jax.Array) -> Any:
        def loss(params: Any, hidden: jax.Array) -> jax.Array:
            return head.loss(params, hidden, labels, key=key, where=where)

        value, pull = jax.vjp(loss, params, hidden)
        return value, pull(cotangent)

    # Losses of good examples alone, as where they alone are the batch.
    ones, some = jnp.ones(5), jnp.asarray(good, jnp.float32)
    expected = gradients(jnp.asarray(good), some)
    value, uncounted = gradients(jnp.ones(5, bool), some)
    np.testing.assert_array_equal(np.isnan(value), ~good)
    np.testing.assert_allclose(value[good], expected[0][good], rtol=1e-6)
    for left, right in zip(jax.tree.leaves(uncounted), jax.tree.leaves(expected[1]), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-7)
    _, (tables, to_hidden) = gradients(jnp.ones(5, bool), ones)
    np.testing.assert_array_equal(np.isnan(to_hidden).all(axis=-1), ~good)
    np.testing.assert_array_equal(np.isnan(to_hidden).any(axis=-1), ~good)
    assert any(np.isnan(table).any() for table in tables.values())
    if hasattr(head, "plan"):
        of_rows = rows.value_and_grad(head, params, hidden, labels, key=key)[2]
        assert all(np.isnan(gradient.values).any() for gradient in of_rows.values())
        of_rows = rows.value_and_grad(head, params, hidden, labels, key=key, cotangent=some)[2]
        assert all(np.isfinite(gradient.values).all() for gradient in of_rows.values())


def test_a_label_that_is_never_drawn_has_no_corrected_loss(key: jax.Array) -> None:
    """Less the logarithm of 0 its score would be infinite, and its loss 0 or the noise's alone."""
    sampler = sv.UnigramSampler([0.0, 1.0, 1.0, 1.0])
    hidden, weight, labels = jnp.ones((3, 2)), jnp.ones((4, 2)), jnp.asarray([0, 1, 0], jnp.int32)
    counts = jnp.asarray([1.0, 1.0, 0.0])
    common: dict[str, Any] = {"sampler": sampler, "num_sampled": 3}
    shown = jnp.asarray([True, True, False])

    def losses(weight: jax.Array, where: jax.Array) -> tuple[jax.Array, ...]:
        layer = (hidden, labels, weight)
        logs = sampler.log_prob(labels)
        return (
            sv.sampled_softmax_loss(key, *layer, **common, correct_target=True, where=where),
            sv.nce_loss(key, *layer, **common, where=where),
            sv.in_batch_softmax_loss(*layer, log_prob=logs, correct_target=True, where=where),
            sv.sampled_softmax_loss(key, *layer, **common, where=where),
        )

    *corrected, plain = jax.jit(losses)(weight, shown)
    for loss in corrected:
        assert np.isnan(loss).tolist() == [True, False, False]
        assert loss[2] == 0
    assert np.isfinite(plain).all()

    @jax.jit
    def gradients(weight: jax.Array) -> list[jax.Array]:
        return [
            jax.grad(lambda w, i=i: jnp.vdot(counts[::-1], losses(w, shown)[i]))(weight)
            for i in range(2)
        ]

    assert all(np.isfinite(gradient).all() for gradient in gradients(weight))


@heads
def test_no_example_and_no_feature(name: str) -> None:
    head, key = HEADS[name](), jax.random.key(0)
    params = head.init(key)
    for shape in ((0, FEATURES), (2, 0, FEATURES)):
        hidden, labels = jnp.zeros(shape), jnp.zeros(shape[:-1], jnp.int32)

        @jax.jit
        def everything(params: Any, hidden: jax.Array, labels: jax.Array = labels) -> Any:
            def loss(params: Any, hidden: jax.Array) -> jax.Array:
                return head.loss(params, hidden, labels, key=key)

            value, pull = jax.vjp(loss, params, hidden)
            return (
                pull(value),
                (value, head.log_prob(params, hidden, labels), head.sample(params, hidden, key)),
                (head.log_probs(params, hidden), *head.top_k(params, hidden, 2)),
            )

        (tables, to_hidden), one, several = everything(params, hidden)
        assert not any(np.any(table) for table in jax.tree.leaves(tables))
        assert to_hidden.shape == shape
        assert [x.shape for x in one] == [shape[:-1]] * 3
        assert [x.shape for x in several] == [(*shape[:-1], n) for n in (CLASSES, 2, 2)]


def test_no_feature_leaves_the_bias() -> None:
    hidden, weight, labels = jnp.zeros((2, 0)), jnp.zeros((4, 0)), jnp.asarray([1, 3], jnp.int32)
    logs = jnp.log(jnp.full(2, 0.5))
    losses = [
        sv.linear_cross_entropy(hidden, labels, weight),
        sv.linear_entmax_loss(hidden, labels, weight, alpha=1.0),
        sv.sampled_softmax_loss(
            None, hidden, labels, weight, candidates=(jnp.arange(4), jnp.zeros(4))
        ),
        sv.target_sampled_softmax_loss(hidden, labels, weight, subset=jnp.arange(4)),
    ]
    for loss in losses:
        np.testing.assert_allclose(loss, np.log(4), rtol=1e-6)
    assert sv.in_batch_softmax_loss(hidden, labels, weight, log_prob=logs).shape == (2,)
    assert sv.target_partitions(np.zeros(0, np.int32), classes=4, size=2) == ()
    assert sv.target_partitions([], classes=4, size=2) == ()


LOSSES: dict[str, tuple[Callable[..., jax.Array], Callable[..., jax.Array]]] = {
    "cross_entropy": (sv.linear_cross_entropy, sv.cross_entropy_loss),
    "entmax": (sv.linear_entmax_loss, sv.entmax_loss),
}
losses = pytest.mark.parametrize("name", LOSSES)


@losses
@pytest.mark.parametrize("several", [False, True], ids=["one infinity", "two"])
def test_a_score_of_infinity_is_that_of_the_plain_loss(name: str, several: bool) -> None:
    scores = jnp.asarray([0.0, jnp.inf, -1.0, jnp.inf if several else 2.0, -jnp.inf])
    h, w, y = jnp.zeros((5, 1)), jnp.zeros((5, 1)), jnp.arange(5, dtype=jnp.int32)
    target = jnp.eye(5) * 0.75 + jnp.roll(jnp.eye(5), 1, axis=0) * 0.25
    blockwise, plain = LOSSES[name]
    x = jnp.broadcast_to(scores, (5, 5))

    @jax.jit
    def both(b: jax.Array) -> Any:
        found = [
            blockwise(h, y, w, b, block_size=2),
            blockwise(h, y, w, b, label_smoothing=0.1, block_size=2),
            blockwise(h, target, w, b, block_size=2),
        ]
        return found, [plain(x, y), plain(x, y, label_smoothing=0.1), plain(x, target)]

    found, expected = both(scores)
    for left, right in zip(found, expected, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-6)
    assert np.isinf(found[0]).tolist() == [True, False, True, not several, True]


def test_evaluation_with_a_score_of_infinity() -> None:
    h, y = jnp.zeros((2, 1)), jnp.asarray([0, 1], jnp.int32)
    params = {"weight": jnp.zeros((4, 1)), "bias": jnp.asarray([0.0, jnp.inf, 1.0, 0.0])}
    for head in (sv.FullSoftmax(4, 1), sv.LinearEntmax(4, 1)):
        assert head.log_prob(params, h, y).tolist() == [-np.inf, 0]
        logs, ids = head.top_k(params, h, 2)
        assert logs.tolist() == [[0, -np.inf]] * 2
        assert ids[0, 0] == 1
    _, log_normalizer = sv.linear_cross_entropy(
        h, y, params["weight"], params["bias"], return_log_normalizer=True
    )
    assert np.isposinf(log_normalizer).all()
    parts = [params["weight"][:2], params["weight"][2:]]
    h = jnp.zeros((4, 2))
    found = sv.differentiated_softmax_loss(h, jnp.arange(4), parts, params["bias"])
    assert found.tolist() == [np.inf, 0, np.inf, np.inf]
    tails = [(jnp.zeros((1, 2)), jnp.zeros((2, 1)))]
    head_weight, head_bias = jnp.zeros((3, 2)), jnp.asarray([0.0, jnp.inf, 0.0])
    found = sv.adaptive_softmax_loss(h, jnp.arange(4), head_weight, head_bias, tails=tails)
    assert found.tolist() == [np.inf, 0, np.inf, np.inf]


@losses
def test_a_label_without_mass_may_be_left_out(name: str) -> None:
    """With all mass smoothed away the loss is that of the uniform distribution."""
    h, w, y = jnp.zeros((2, 1)), jnp.zeros((4, 1)), jnp.asarray([0, 1], jnp.int32)
    where, b = jnp.asarray([False, True, True, True]), jnp.asarray([5.0, 0.0, 1.0, 2.0])
    blockwise, plain = LOSSES[name]
    x = jnp.broadcast_to(b, (2, 4))

    @jax.jit
    def both(smoothing: jax.Array, b: jax.Array) -> Any:
        def found(b: jax.Array) -> jax.Array:
            return blockwise(h, y, w, b, where=where, label_smoothing=smoothing)

        value, pull = jax.vjp(found, b)
        return value, pull(jnp.ones(2)), plain(x, y, where=where, label_smoothing=smoothing)

    for smoothing in (1.0, 0.5):
        value, gradient, expected = both(jnp.float32(smoothing), b)
        np.testing.assert_allclose(value, expected, rtol=1e-6)
        assert np.isfinite(value).tolist() == [smoothing == 1, True]
        assert np.isfinite(gradient).all()


def test_a_distributions_tangent_where_a_score_is_minus_infinity() -> None:
    h, w, b = jnp.zeros((1, 1)), jnp.zeros((3, 1)), jnp.asarray([0.0, -jnp.inf, 1.0])
    target = jnp.asarray([[0.5, 0.0, 0.5]])

    def loss(t: jax.Array) -> jax.Array:
        return sv.linear_cross_entropy(h, t, w, b).sum()

    gradient = jax.grad(loss)(target)
    _, moved = jax.jvp(loss, (target,), (jnp.ones((1, 3)),))
    assert np.isfinite(gradient).all()
    np.testing.assert_allclose(moved, gradient.sum(), rtol=1e-6)


@losses
def test_bounds_of_the_options(name: str) -> None:
    loss = LOSSES[name][0]
    h, w, y = jnp.ones((2, 1)), jnp.zeros((3, 1)), jnp.asarray([0, 1], jnp.int32)
    with pytest.raises(ValueError, match=r"softcap must lie in \(0, inf\), got inf"):
        loss(h, y, w, softcap=jnp.inf)
    weights = jnp.asarray([1.0, -2.0, 1.0])
    with pytest.raises(ValueError, match=r"class_weights must lie in \[0, inf\], got -2"):
        loss(h, y, w, class_weights=weights)
    found = jax.jit(lambda c: loss(h, y, w, class_weights=c))(weights)
    assert np.isnan(found).tolist() == [False, True]


def test_a_tree_head_counts_its_features_when_it_is_made() -> None:
    tree = sv.balanced_tree(3)
    with pytest.raises(TypeError, match="features must be a static Python integer, got float"):
        sv.HierarchicalSoftmax(tree=tree, features=2.5)  # type: ignore[arg-type] # refused on purpose
    with pytest.raises(ValueError, match="features must be at least 1"):
        sv.HierarchicalSoftmax(tree=tree, features=0)
    with pytest.raises(TypeError, match="use_bias must be a bool"):
        sv.HierarchicalSoftmax(tree=tree, features=2, use_bias=1)  # type: ignore[arg-type] # refused on purpose
