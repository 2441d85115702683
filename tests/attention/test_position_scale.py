"""The number of keys a query sees, and the scales that follow from it."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import softmax_variants as sv
from tests.attention.cases import RULES, B, H, N, S, T, problem, visible


def unchecked(x: object) -> Any:
    """`x`, whatever type checkers would say to it here."""
    return x


@pytest.mark.parametrize("rule", RULES)
def test_the_counts_are_those_of_the_pairs(rule: str) -> None:
    found = sv.visible_counts(T, S, **RULES[rule])
    assert found.dtype == jnp.int32
    want = visible(RULES[rule]).sum(-1, keepdims=True)
    np.testing.assert_array_equal(np.broadcast_to(found, want.shape), want)


def test_a_mask_of_queries_or_keys_alone_counts() -> None:
    queries = np.arange(T)[:, None] < 3
    found = sv.visible_counts(T, S, queries, is_causal=True)
    np.testing.assert_array_equal(found[..., 0], [[1, 2, 3, 0, 0]])
    keys = np.arange(S) < 4
    np.testing.assert_array_equal(sv.visible_counts(T, S, keys[None])[..., 0], [[4] * T])


def test_the_counts_without_a_mask_make_nothing_of_the_size_of_the_pairs() -> None:
    length = 1 << 20  # pairs would be a terabyte
    lengths = jnp.array([length, 7])
    counts = sv.visible_counts(length, length, is_causal=True, key_value_seq_lengths=lengths)
    assert counts.shape == (2, 1, length, 1)
    np.testing.assert_array_equal(counts[:, 0, -1, 0], [length, 7])


def test_the_scale_of_ssmax_is_scalable_softmax(rng: np.random.Generator) -> None:
    arrays, rule = problem(rng), RULES["all at once"]
    s = jnp.array([0.3, 0.5, 1.0, 2.0]).reshape(N, 1, 1)

    def by_scale(s: jax.Array) -> jax.Array:
        scale = sv.scalable_softmax_scale(sv.visible_counts(T, S, **rule), s, head_size=H)
        return sv.dot_product_attention(*arrays, scale=scale, **rule)

    def by_map(s: jax.Array) -> jax.Array:
        return sv.dot_product_attention(
            *arrays,
            normalizer=sv.scalable_softmax,
            normalizer_parameters={"scale": s},
            **rule,
        )

    found, want = (jax.jvp(f, (s,), (jnp.ones_like(s),)) for f in (by_scale, by_map))
    np.testing.assert_allclose(found, want, atol=1e-6)


def test_the_scale_of_asentmax() -> None:
    counts = np.array([0, 1, 2, 10, 1000]).reshape(-1, 1)
    parameters = (0.5, np.array([1.0, 2.0]).reshape(2, 1, 1), -0.7)
    found = sv.asentmax_scale(counts, *parameters, head_size=9)
    n = np.maximum(counts, 2).astype(np.float64)
    want = (0.5 + parameters[1] * np.log(n) ** -0.7) / 3
    np.testing.assert_allclose(found, want, rtol=1e-6)
    s = sv.asentmax_scale(counts[2:], 0.0, 0.4, 1.0, head_size=9)
    np.testing.assert_allclose(
        s, sv.scalable_softmax_scale(counts[2:], 0.4, head_size=9), rtol=1e-6
    )
    for argument in range(3):
        slope = jax.grad(
            lambda *p: jnp.sum(sv.asentmax_scale(counts, *p, head_size=9)), argnums=argument
        )
        assert jnp.isfinite(slope(0.5, 1.0, -0.7))


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: sv.visible_counts(unchecked(2.0), 3), TypeError, "query_length must be"),
        (lambda: sv.visible_counts(2, 3, np.ones((2, 4), bool)), ValueError, "mask must broadcast"),
        (
            lambda: sv.visible_counts(
                2, 3, np.ones((3, 1, 2, 3), bool), query_seq_lengths=np.ones(B, np.int32)
            ),
            ValueError,
            "mask must have the batch dimensions",
        ),
        (
            lambda: sv.scalable_softmax_scale(3, unchecked("s"), head_size=2),
            TypeError,
            "s must be a real",
        ),
        (lambda: sv.scalable_softmax_scale(3, head_size=0), ValueError, "head_size must be"),
        (
            lambda: sv.asentmax_scale(np.ones((4, 1)), beta=np.ones((3, 1)), head_size=2),
            ValueError,
            "beta must broadcast",
        ),
        (lambda: sv.asentmax_scale(-1, head_size=2), ValueError, "counts must lie"),
    ],
)
def test_an_error_names_the_argument(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()
