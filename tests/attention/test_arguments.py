"""What attention refuses, which masks it takes, and what dropout drops."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import softmax_variants as sv
from tests.attention.cases import RULES, B, D, H, K, N, S, T, attend, problem


def test_dropout_drops_what_flax_drops(rng: np.random.Generator) -> None:
    linen = pytest.importorskip("flax.linen")
    arrays: Any = tuple(map(jnp.asarray, problem(rng, key_heads=N)))

    @jax.jit
    def dropped(key: jax.Array) -> list[list[jax.Array]]:
        keywords: dict[str, Any] = {"dropout_rng": key, "dropout_rate": 0.4}
        return [
            [f(*arrays, **keywords, broadcast_dropout=broadcast) for broadcast in (False, True)]
            for f in (sv.dot_product_attention, linen.dot_product_attention)
        ]

    ours, theirs = dropped(jax.random.key(3))
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_dropout_keeps_the_mean_and_repeats() -> None:
    # One key with weight 1 and value 1: the output is what dropout made of the weight.
    ones = jnp.ones((64, 64, 4, 1))
    query, one = ones, ones[:, :1]
    drop = functools.partial(attend, query, one, one, dropout_rate=0.25, broadcast_dropout=False)
    out = drop(dropout_rng=jax.random.key(0))
    np.testing.assert_allclose(np.unique(out), [0, 1 / 0.75], rtol=1e-6)
    deviation = (0.25 / 0.75 / out.size) ** 0.5
    assert abs(float(jnp.mean(out)) - 1) < 4 * deviation
    np.testing.assert_array_equal(out, drop(dropout_rng=jax.random.key(0)))
    assert (out != drop(dropout_rng=jax.random.key(1))).any()
    assert (drop(deterministic=True) == 1).all()
    shared = attend(query, one, one, dropout_rate=0.25, dropout_rng=jax.random.key(0))
    assert (shared == shared[:1, :, :1]).all()
    with pytest.raises(ValueError, match="dropout_rng must be a random key"):
        drop()
    with pytest.raises(ValueError, match=r"dropout_rate must lie in \[0, 1\)"):
        attend(query, one, one, dropout_rate=1.0)


def test_a_mask_of_the_numbers_0_and_1_serves_and_another_does_not(
    rng: np.random.Generator,
) -> None:
    """Flax makes its masks of numbers; an additive mask read as one of truth would be inverted."""
    arrays: Any = tuple(map(jnp.asarray, problem(rng)))
    mask: Any = jnp.asarray(RULES["mask"]["mask"])
    want = attend(*arrays, mask=mask)
    np.testing.assert_array_equal(attend(*arrays, mask=mask.astype(jnp.float32)), want)
    additive = jnp.where(mask, 0, -1e9)
    query, keys, value = arrays
    with pytest.raises(TypeError, match=r"mask must be boolean.*pass what is added"):
        sv.dot_product_attention(query, keys, value, mask=additive)
    found = attend(*arrays, mask=additive)
    read = np.any(np.asarray(~mask)[:, 0], axis=-1)  # a query all of whose pairs are 0 sees nothing
    np.testing.assert_array_equal(np.isnan(found).all((-1, -2)), read)


BAD: dict[str, tuple[type[Exception], str, dict[str, Any]]] = {
    "rank": (ValueError, "query must have shape", {"query": np.zeros((N, H), np.float32)}),
    "sizes": (ValueError, "key must have query's", {"key": np.zeros((B, S, K, 7), np.float32)}),
    "batch": (ValueError, "key must have query's", {"key": np.zeros((3, S, K, H), np.float32)}),
    "values": (ValueError, "value must have key's", {"value": np.zeros((B, 9, K, D), np.float32)}),
    "heads": (ValueError, "query must have a mul", {"query": np.zeros((B, T, 3, H), np.float32)}),
    "mask": (ValueError, "mask must broadcast", {"mask": np.ones((T, S + 1), bool)}),
    "additive": (TypeError, "mask must be boolean", {"mask": np.full((T, S), -1e9, np.float32)}),
    "bias": (ValueError, "bias must broadcast", {"bias": np.ones((7, T, S), np.float32)}),
    "scale": (ValueError, "scale must broadcast", {"scale": np.ones((T, S), np.float32)}),
    "lengths": (TypeError, "lengths must have an integer", {"query_seq_lengths": np.ones(B)}),
    "length": (ValueError, "lengths must br", {"key_value_seq_lengths": np.ones(5, np.int32)}),
    "window": (ValueError, "local_window_size must be", {"local_window_size": (1, 2, 3)}),
    "side": (ValueError, "local_window_size must be at least", {"local_window_size": -1}),
    "causal": (TypeError, "is_causal must be", {"is_causal": np.ones(2)}),
    "normalizer": (TypeError, "normalizer must be a map", {"normalizer": "softmax"}),
    "shape": (ValueError, "normalizer must", {"normalizer": lambda x, axis, where: x[..., :1]}),
    "n": (TypeError, "n must be a Python integer", {"normalizer": sv.sparsemax, "n": 0.5}),
    "negative n": (ValueError, "n must be at least 0", {"normalizer": sv.sparsemax, "n": -1}),
    "rng": (TypeError, "rng must be one key", {"normalizer": sv.gumbel_softmax, "rng": 3}),
    "dtype": (TypeError, "dtype must be a floating", {"dtype": np.int32}),
    "einsum": (ValueError, "must be given together", {"qk_attn_weights_einsum": np.einsum}),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_an_error_names_the_argument(case: str, rng: np.random.Generator) -> None:
    error, text, changed = BAD[case]
    arguments = dict(zip(("query", "key", "value"), problem(rng), strict=True))
    with pytest.raises(error, match=text):
        sv.dot_product_attention(**{**arguments, **changed})
