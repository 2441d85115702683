"""A small layer, its labels and a sampler, and the sampled loss in float64."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import softmax_variants as sv

Floats = np.ndarray[Any, Any]
EXAMPLES, FEATURES, CLASSES, SAMPLES = 5, 4, 11, 8
COUNTS = 60 / np.arange(1.0, CLASSES + 1)
FIRST, SECOND = 3, 7


def arrays(dtype: Any = jnp.float32) -> tuple[jax.Array, jax.Array, jax.Array]:
    rng = np.random.default_rng(0)
    shapes = ((EXAMPLES, FEATURES), (CLASSES, FEATURES), (CLASSES,))
    hidden, weight, bias = (jnp.asarray(rng.normal(size=s), dtype) for s in shapes)
    return hidden, weight, bias


def labels() -> jax.Array:
    return jnp.asarray([FIRST, 0, 0, SECOND, CLASSES - 1], jnp.int32)


def several() -> tuple[jax.Array, jax.Array]:
    """Three labels an example: a repeated one, padding, and plain ones; with their weights."""
    ids = jnp.asarray([[3, 3, 1], [0, -1, 2], [0, 5, 6], [7, CLASSES, 7], [10, 9, 10]], jnp.int32)
    weights = [[0.2, 0.3, 0.5], [0.25, 0, 0.75], [0.1, 0.2, 0.7], [0.6, 0, 0.4], [0.5, 0, 0.5]]
    return ids, jnp.asarray(weights, jnp.float32)


def sampler() -> sv.Sampler:
    return sv.UnigramSampler(COUNTS)


def close(found: Any, expected: Any, unit: float = 2e-6) -> None:
    for left, right in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        scale = max(1.0, float(np.max(np.abs(right))))
        np.testing.assert_allclose(left, right, rtol=0, atol=unit * scale)


def oracle(
    ids: Floats, y: int, x: Floats, p: Floats, correction: str, target: bool, hits: bool
) -> float:
    """The loss of one example in float64, from the draws."""
    num = len(ids)
    if correction == "inclusion":
        ids, q = np.unique(ids), 1 - (1 - p) ** num
    else:
        q = num * p if correction == "expected_count" else np.ones_like(p)
    ids = ids[ids != y] if hits else ids
    true = x[y] - (np.log(q[y]) if target else 0)
    return float(np.log(np.exp(true) + np.sum(np.exp(x[ids]) / q[ids])) - true)
