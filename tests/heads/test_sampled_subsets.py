"""Losses over the batch and over a fixed subset; what all sampled losses refuse."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import softmax_variants as sv
from tests.heads.sampled_cases import (
    CLASSES,
    COUNTS,
    EXAMPLES,
    FEATURES,
    arrays,
    close,
    labels,
    oracle,
)


def test_a_batch_with_repeats_and_rows_left_out() -> None:
    h, w, b = arrays()
    y, mask = np.asarray(labels()), np.array([True, True, True, False, True])
    p = COUNTS / COUNTS.sum()
    log_prob = jnp.asarray(np.log(p[y]), jnp.float32)
    x = np.asarray(h, np.float64) @ np.asarray(w, np.float64).T + np.asarray(b, np.float64)
    spoiled = h.at[3].set(jnp.nan)

    def expected(correction: str, target: bool) -> list[float]:
        total = []
        for n in range(EXAMPLES):
            others = np.delete(y, [n, 3] if n != 3 else [n])
            total.append(oracle(others, y[n], x[n], p, correction, target, True) if mask[n] else 0)
        return total

    for correction, target in (
        ("inclusion", False),
        ("inclusion", True),
        ("expected_count", False),
    ):
        options: Any = {"correction": correction, "correct_target": target, "log_prob": log_prob}
        found = sv.in_batch_softmax_loss(spoiled, labels(), w, b, where=mask, **options)
        np.testing.assert_allclose(found, expected(correction, target), rtol=2e-6)
        items, biases = w[labels()], b[labels()]
        same = sv.in_batch_softmax_loss(
            spoiled, labels(), items=items, bias=biases, where=mask, **options
        )
        np.testing.assert_allclose(same, found, rtol=1e-6)
    with pytest.warns(UserWarning, match="not consistent"):
        sv.in_batch_softmax_loss(h, labels(), w, b, correction="none")
    # Alone in its batch an example has nothing against it.
    alone = sv.in_batch_softmax_loss(h[:1], labels()[:1], w, b, log_prob=log_prob[:1])
    assert alone[0] == 0


def test_a_subset_of_the_classes() -> None:
    h, w, b = arrays()
    parts = sv.target_partitions([3, 0, 0, 7, 10, 3, 3, 1], CLASSES, size=2)
    assert [(p.start, p.stop) for p in parts] == [(0, 3), (3, 5), (5, 8)]
    assert [p.subset.tolist() for p in parts] == [[0, 3], [7, 10], [1, 3]]
    subset = jnp.asarray([0, 3, 7, CLASSES, CLASSES], jnp.int32)

    def loss(h: jax.Array, w: jax.Array) -> jax.Array:
        mask = jnp.asarray([True, True, False, True, True])
        return sv.target_sampled_softmax_loss(h, labels(), w, b, subset=subset, where=mask)

    found, pull = jax.vjp(loss, h, w)
    scores = h @ w[subset[:3]].T + b[subset[:3]][None]
    right = -jax.nn.log_softmax(scores)[jnp.arange(5), jnp.asarray([1, 0, 0, 2, 0])]
    assert np.isnan(found).tolist() == [False] * 4 + [True]
    close(found[:4], right.at[2].set(0)[:4])
    dh, dw = pull(jnp.ones(5))
    assert np.isnan(dh).any(axis=-1).tolist() == [False] * 4 + [True]
    assert not np.any(np.delete(dw, subset[:3], axis=0)), "no other row is touched"
    uneven = np.random.default_rng(0).zipf(1.5, 5000) % 300
    start = 0
    for part in sv.target_partitions(uneven.reshape(-1, 2), 300, size=40):
        inside = np.unique(uneven.reshape(-1, 2)[part.start : part.stop])
        assert part.start == start
        assert part.subset.tolist() == [*inside, *[300] * (40 - inside.size)]
        more = np.unique(uneven.reshape(-1, 2)[part.start : part.stop + 1])
        assert more.size > 40 or part.stop == 2500
        start = part.stop
    assert start == 2500


WRONG_SUBSETS = {
    "repeated": ([1, 1, 3], r"got 1 at place 1 after 1$"),
    "falling": ([3, 1, 0], r"got 1 at place 1 after 3$"),
    "negative": ([-1, 1, 3], r"got -1 at place 0$"),
    "a class after none": ([1, CLASSES, 3], f"got 3 at place 2 after {CLASSES}$"),
}


def test_the_order_of_a_subset_is_checked_or_of_no_account() -> None:
    h, w, b = arrays()
    y = jnp.asarray([1, 3, 1, 3, 1], jnp.int32)

    def loss(w: jax.Array, subset: Any) -> jax.Array:
        return sv.target_sampled_softmax_loss(h, y, w, b, subset=subset)

    @jax.jit
    def derived(w: jax.Array, subset: jax.Array) -> Any:
        value, pull = jax.vjp(lambda w: loss(w, subset), w)
        return value, pull(jnp.ones(5))

    for ids, message in WRONG_SUBSETS.values():
        with pytest.raises(ValueError, match=f"subset must have distinct .* {message}"):
            loss(w, jnp.asarray(ids, jnp.int32))
        inside = np.unique([i for i in ids if 0 <= i < CLASSES])
        padded = [*inside, *[CLASSES] * (3 - inside.size)]
        assert np.isfinite(loss(w, jnp.asarray(padded, jnp.int32))).all()
        close(derived(w, jnp.asarray(ids)), derived(w, jnp.asarray(padded)), unit=1e-7)
        close(derived(w, jnp.asarray(ids))[0], loss(w, jnp.asarray(padded, jnp.int32)), unit=1e-7)


RIGHT: dict[str, Any] = {
    "key": jax.random.key(0),
    "hidden": jnp.zeros((EXAMPLES, FEATURES)),
    "labels": labels(),
    "weight": jnp.zeros((CLASSES, FEATURES)),
    "sampler": sv.UniformSampler(CLASSES),
    "num_sampled": 3,
}
WRONG: dict[str, tuple[type[Exception], dict[str, Any], str]] = {
    "transposed": (ValueError, {"weight": jnp.zeros((4, 11))}, "weight .*transpose"),
    "labels' shape": (ValueError, {"labels": jnp.zeros(4, int)}, r"labels .*\(5,\).*\(4,\)"),
    "labels' dtype": (TypeError, {"labels": jnp.zeros(5)}, "labels .*float32"),
    "no label": (ValueError, {"labels": jnp.zeros((5, 0), int)}, "at least one label"),
    "bias": (ValueError, {"bias": jnp.zeros(3)}, "bias"),
    "where": (TypeError, {"where": jnp.ones(5)}, "where"),
    "where's shape": (ValueError, {"where": jnp.ones(4, bool)}, "where"),
    "no key": (TypeError, {"key": None}, "key"),
    "no sampler": (TypeError, {"sampler": None}, "sampler must be a sampler"),
    "other sampler": (ValueError, {"sampler": sv.UniformSampler(3)}, "sampler must have 11"),
    "no number": (TypeError, {"num_sampled": None}, "num_sampled"),
    "label_weights": (ValueError, {"label_weights": jnp.ones(3)}, "label_weights"),
    "weights' dtype": (TypeError, {"label_weights": labels()}, "label_weights"),
    "correction": (ValueError, {"correction": "other"}, "correction must be one of"),
    "candidates": (TypeError, {"candidates": labels()}, "candidates must be a pair"),
    "ids' shape": (ValueError, {"candidates": (jnp.zeros((4, 2), int), 0.0)}, "candidates' ids"),
    "log_q": (ValueError, {"candidates": (labels(), jnp.zeros(4))}, "candidates' log_q"),
    "log_q's dtype": (TypeError, {"candidates": (labels(), labels())}, "candidates' log_q"),
    "log_q of labels": (
        ValueError,
        {"candidates": (labels(), 0.0), "correct_target": True},
        "correct_target needs a sampler",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_argument_is_named(case: str) -> None:
    error, wrong, message = WRONG[case]
    with pytest.raises(error, match=message):
        sv.sampled_softmax_loss(**{**RIGHT, **wrong})


def test_other_wrong_arguments_are_named() -> None:
    h, w, _ = arrays()
    with pytest.raises(ValueError, match="either weight or items"):
        sv.in_batch_softmax_loss(h, labels())
    with pytest.raises(ValueError, match="log_prob must be given"):
        sv.in_batch_softmax_loss(h, labels(), w)
    with pytest.raises(ValueError, match="size must be in"):
        sv.target_partitions([0, 1], 4, size=5)
    with pytest.raises(ValueError, match="labels must lie in"):
        sv.target_partitions([0, 4], 4, size=2)
    with pytest.raises(ValueError, match="size must be at least"):
        sv.target_partitions([[0, 1]], 4, size=1)
    with pytest.raises(ValueError, match="at most 11 distinct"):
        sv.target_sampled_softmax_loss(h, labels(), w, subset=jnp.arange(12))
