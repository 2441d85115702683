"""Problems of attention and their answers in float64 NumPy, pair by pair, masks by deletion."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from numpy.typing import ArrayLike, NDArray

import softmax_variants as sv

Float64 = NDArray[np.float64]
Bool = NDArray[np.bool_]

# batch, queries, keys, heads, key heads, size of queries and keys, size of values
B, T, S, N, K, H, D = 2, 5, 6, 4, 2, 3, 2

RULES: dict[str, dict[str, Any]] = {
    "all": {},
    "mask": {"mask": np.random.default_rng(1).random((B, 1, T, S)) < 0.6},
    "mask of heads": {"mask": np.random.default_rng(2).random((N, T, S)) < 0.6},
    "causal": {"is_causal": True},
    "window": {"local_window_size": (1, 2)},
    "lengths": {
        "query_seq_lengths": np.array([5, 3], np.int32),
        "key_value_seq_lengths": np.array([0, 4], np.int32),
    },
    "all at once": {
        "mask": np.random.default_rng(3).random((B, N, T, S)) < 0.8,
        "is_causal": True,
        "local_window_size": 2,
        "query_seq_lengths": np.array([4, 5], np.int32),
        "key_value_seq_lengths": np.array([4, 3], np.int32),
    },
}

attend = jax.jit(
    sv.dot_product_attention,
    static_argnames=(
        "normalizer",
        "n",
        "is_causal",
        "local_window_size",
        "dropout_rate",
        "broadcast_dropout",
        "deterministic",
        "dtype",
    ),
)


def problem(
    rng: np.random.Generator, *, heads: int = N, key_heads: int = K
) -> tuple[Any, Any, Any]:
    """Query, key and value in float32."""
    shapes = (B, T, heads, H), (B, S, key_heads, H), (B, S, key_heads, D)
    query, key, value = (rng.normal(size=shape).astype(np.float32) for shape in shapes)
    return query, key, value


def sees(b: int, h: int, t: int, s: int, rule: dict[str, Any]) -> bool:
    """Whether query t of a head of an example sees key s, by each clause in words."""
    if "mask" in rule:
        mask = np.broadcast_to(rule["mask"], (B, N, T, S))
        if not mask[b, h, t, s]:
            return False
    if rule.get("is_causal") and s > t:
        return False
    if "local_window_size" in rule:
        size = rule["local_window_size"]
        left, right = size if isinstance(size, tuple) else (size, size)
        if not t - left <= s <= t + right:
            return False
    lengths = [("query_seq_lengths", t), ("key_value_seq_lengths", s)]
    return all(name not in rule or at < rule[name][b] for name, at in lengths)


def visible(rule: dict[str, Any]) -> Bool:
    """Every pair of every head and example, [B, N, T, S]."""
    pairs = np.ndindex(B, N, T, S)
    return np.array([sees(b, h, t, s, rule) for b, h, t, s in pairs]).reshape(B, N, T, S)


def attention(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    row: Callable[[Float64], Float64],
    seen: Bool,
    bias: ArrayLike = 0.0,
    scale: ArrayLike = H**-0.5,
) -> Float64:
    """Each query's sum of the values it sees, weighted by `row` of the scores it sees."""
    q, k, v = (np.asarray(x, np.float64) for x in (query, key, value))
    batch, queries, heads, _ = q.shape
    group = heads // k.shape[2]
    shape = (batch, heads, queries, k.shape[1])
    bias = np.broadcast_to(np.asarray(bias, np.float64), shape)
    scale = np.broadcast_to(np.asarray(scale, np.float64), (*shape[:-1], 1))
    out = np.zeros((batch, queries, heads, v.shape[-1]))
    for b, h, t in np.ndindex(batch, heads, queries):
        keys = np.flatnonzero(seen[b, h, t])
        if keys.size:
            scores = k[b, keys, h // group] @ q[b, t, h] * scale[b, h, t, 0] + bias[b, h, t, keys]
            out[b, t, h] = row(scores) @ v[b, keys, h // group]
    return out
