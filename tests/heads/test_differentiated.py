"""Differentiated softmax against a dense layer with a block-diagonal weight."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

import softmax_variants as sv

EXAMPLES, CLASSES, CUTOFFS, WIDTHS = 9, 21, (4, 11), (4, 2, 1)
FEATURES = sum(WIDTHS)
HEAD = sv.DifferentiatedSoftmax(features=FEATURES, classes=CLASSES, cutoffs=CUTOFFS, widths=WIDTHS)
PROJECTED = sv.DifferentiatedSoftmax(
    features=5, classes=CLASSES, cutoffs=CUTOFFS, widths=WIDTHS, projected=True
)
heads = pytest.mark.parametrize("head", [HEAD, PROJECTED], ids=["parts", "projected"])


def parameters(head: sv.DifferentiatedSoftmax) -> dict[str, jax.Array]:
    rng = np.random.default_rng(0)
    return {n: jnp.asarray(rng.normal(size=s), jnp.float32) for n, s in head.shapes.items()}


def examples(head: sv.DifferentiatedSoftmax) -> tuple[jax.Array, jax.Array]:
    rng = np.random.default_rng(1)
    h = jnp.asarray(rng.normal(size=(EXAMPLES, head.features)), jnp.float32)
    return h, jnp.asarray([0, 3, 4, 10, 11, 20, 15, 7, 1], jnp.int32)


def loss(head: sv.DifferentiatedSoftmax, p: Any, h: jax.Array, y: jax.Array, **o: Any) -> jax.Array:
    parts = range(len(WIDTHS))
    downs = [p[f"projection_{i}"] for i in parts] if head.projected else None
    weights = [p[f"weight_{i}"] for i in parts]
    return sv.differentiated_softmax_loss(
        h, y, weights, p["bias"], projections=downs, block_size=4, **o
    )


def dense(
    head: sv.DifferentiatedSoftmax, p: Any, h: jax.Array, y: jax.Array, **options: Any
) -> jax.Array:
    """One weight of all classes and features, zero off the blocks."""
    weights = [p[f"weight_{i}"] for i in range(len(WIDTHS))]
    if head.projected:
        rows = [w @ p[f"projection_{i}"] for i, w in enumerate(weights)]
        weight = jnp.concatenate(rows)
    else:
        weight = jax.scipy.linalg.block_diag(*weights)
    return sv.cross_entropy_loss(h @ weight.T + p["bias"][None], y, **options)


def close(found: Any, expected: Any, unit: float = 3e-6) -> None:
    for left, right in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        scale = max(1.0, float(np.max(np.abs(right), initial=0)))
        np.testing.assert_allclose(left, right, rtol=0, atol=unit * scale)


def test_the_loss_in_float64() -> None:
    p, (h, y) = parameters(HEAD), examples(HEAD)
    a = {n: np.asarray(x, np.float64) for n, x in p.items()}
    weight = scipy.linalg.block_diag(*[a[f"weight_{i}"] for i in range(len(WIDTHS))])
    x = np.asarray(h, np.float64) @ weight.T + a["bias"]
    log_p = x - np.log(np.exp(x).sum(axis=-1, keepdims=True))
    close(HEAD.log_probs(p, h), log_p)
    close(loss(HEAD, p, h, y), -np.take_along_axis(log_p, np.asarray(y)[:, None], -1)[:, 0])


@pytest.mark.slow
@heads
def test_it_is_the_dense_layer_with_all_its_derivatives(head: sv.DifferentiatedSoftmax) -> None:
    p, (h, y) = parameters(head), examples(head)
    c = jnp.arange(1.0, EXAMPLES + 1) - 4

    def derived(f: Any) -> Any:
        def total(p: Any, h: jax.Array) -> jax.Array:
            smoothed = f(head, p, h, y, label_smoothing=0.2)
            return jnp.sum(c * (smoothed + f(head, p, h, y)))

        def along(p: Any, h: jax.Array) -> jax.Array:
            gradient = jax.grad(total, (0, 1))(p, h)
            return jnp.sum(jnp.stack([jnp.sum(jnp.sin(g)) for g in jax.tree.leaves(gradient)]))

        return jax.jit(
            lambda p, h: (jax.value_and_grad(total, (0, 1))(p, h), jax.grad(along, (0, 1))(p, h))
        )(p, h)

    first, second = derived(loss)
    first_expected, second_expected = derived(dense)
    close(first, first_expected)
    close(second, second_expected, unit=3e-5)


@heads
def test_the_layer_evaluates_exactly(head: sv.DifferentiatedSoftmax) -> None:
    p, (h, y) = parameters(head), examples(head)
    log_p = head.log_probs(p, h)
    close(head.log_prob(p, h, y), -dense(head, p, h, y))
    close(
        np.take_along_axis(np.asarray(log_p), np.asarray(y)[:, None], -1)[:, 0],
        -dense(head, p, h, y),
    )
    for k in (3, CLASSES):
        values, ids = head.top_k(p, h.reshape(3, 3, -1), k)
        best, places = jax.lax.top_k(log_p, k)
        close(values.reshape(-1, k), best)
        assert (ids.reshape(-1, k) == places).all()


@pytest.mark.slow
def test_samples_follow_the_probabilities() -> None:
    p, (h, _) = parameters(HEAD), examples(HEAD)
    h, count = 0.5 * h[:1], 20_000
    ids = np.asarray(HEAD.sample(p, jnp.tile(h, (count, 1)), jax.random.key(0)))
    expected = count * np.exp(np.asarray(HEAD.log_probs(p, h))[0])
    statistic = ((np.bincount(ids, minlength=CLASSES) - expected) ** 2 / expected).sum()
    assert statistic < 53  # of 20 degrees of freedom: exceeded by chance once in ten thousand


def test_what_is_ignored_may_hold_anything_and_a_wrong_label_spoils_itself() -> None:
    p, (h, y) = parameters(HEAD), examples(HEAD)
    where = jnp.ones(EXAMPLES, bool).at[3].set(False)
    y = y.at[5].set(-7).at[6].set(CLASSES)
    h = h.at[jnp.asarray([3, 5])].set(jnp.nan)
    value, pull = jax.vjp(lambda h: loss(HEAD, p, h, y, where=where, ignore_index=-7), h)
    assert np.isnan(value).tolist() == [i == 6 for i in range(EXAMPLES)]
    assert not np.asarray(value)[[3, 5]].any()
    gradient = np.asarray(pull(jnp.ones(EXAMPLES))[0])
    assert np.isnan(gradient).any(axis=-1).tolist() == [i == 6 for i in range(EXAMPLES)]
    assert not gradient[[3, 5]].any()
    assert loss(HEAD, p, h[:0], y[:0]).shape == (0,)


WRONG: dict[str, tuple[type[Exception], dict[str, Any], str]] = {
    "widths": (ValueError, {"hidden": jnp.zeros((3, 6))}, r"widths that sum to the 6 .*\[3, 2\]"),
    "no parts": (ValueError, {"weights": []}, "weights must have at least one part"),
    "no width": (ValueError, {"weights": [jnp.zeros((2, 0))]}, r"weights\[0\] .*one feature"),
    "bias": (ValueError, {"bias": jnp.zeros(4)}, r"bias .*\(6,\).*\(4,\)"),
    "projections": (ValueError, {"projections": [jnp.zeros((3, 5))]}, "projections .* 2 parts"),
    "labels": (TypeError, {"labels": jnp.zeros(3)}, "labels .*integer"),
    "smoothing": (ValueError, {"label_smoothing": 2.0}, "label_smoothing"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_argument_is_named(case: str) -> None:
    error, wrong, message = WRONG[case]
    right = {
        "hidden": jnp.zeros((3, 5)),
        "labels": jnp.zeros(3, int),
        "weights": [jnp.zeros((2, 3)), jnp.zeros((4, 2))],
    }
    with pytest.raises(error, match=message):
        sv.differentiated_softmax_loss(**{**right, **wrong})


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"cutoffs": (9, 4)}, "cutoffs must rise"),
        ({"widths": (4, 2)}, "widths must have 3 numbers"),
        ({"widths": (4, 2, 2)}, "widths must sum to the 7 features"),
    ],
)
def test_a_wrong_layer_is_refused(wrong: dict[str, Any], message: str) -> None:
    right: dict[str, Any] = {"features": 7, "classes": 21, "cutoffs": (4, 11), "widths": (4, 2, 1)}
    with pytest.raises(ValueError, match=message):
        sv.DifferentiatedSoftmax(**{**right, **wrong})
