"""The problems that the tests of blockwise attention share."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from tests.attention.flash_oracle import Case

B, T, S, N, K, H, D = 2, 21, 37, 4, 2, 8, 5
BLOCKS = (8, 16)  # neither divides T or S
QUERIES, KEYS = [21, 13], [37, 19]
WINDOW = (17, 5)
Bools = NDArray[np.bool_]


def grid(rng: np.random.Generator, *shape: int, step: float = 1 / 8) -> NDArray[np.float64]:
    """Numbers whose products and sums are exact in float32."""
    return np.round(rng.normal(size=shape) / step) * step


def case(rng: np.random.Generator, size: float = 1.0) -> Case:
    """Every input of its own for each head; the scale is a power of two, so scores are exact."""
    alpha = np.array([1.0, 1.25, 1.5, 2.0]).reshape(N, 1, 1)
    n = np.array([0.0, 0.5, 2.0, 3.0]).reshape(N, 1, 1)
    scale = np.array([0.5, 0.25, 0.5, 1.0]).reshape(N, 1, 1)
    return Case(
        grid(rng, B, T, N, H) * size,
        grid(rng, B, S, K, H),
        grid(rng, B, S, K, D, step=1 / 16),
        grid(rng, 1, N, T, S) - 1,
        scale,
        alpha,
        n,
    )


def plain_case(rng: np.random.Generator, alpha: float) -> Case:
    """Without bias and sinks, one scale and one alpha."""
    zero = np.zeros((1, 1, 1))
    return case(rng)._replace(bias=zero, scale=zero + 0.5, alpha=zero + alpha, n=zero)


def random_mask(rng: np.random.Generator) -> Bools:
    mask = rng.random((B, 1, T, S)) < 0.7
    mask[0, 0, 4] = False  # a query that sees nothing
    return mask


def visible(mask: Bools | None, *, lengths: bool, causal: bool, window: bool) -> Bools:
    kept = np.ones((B, 1, T, S), bool) if mask is None else mask.copy()
    t, s = np.arange(T)[:, None], np.arange(S)[None]
    if lengths:
        kept &= (t < np.reshape(QUERIES, (B, 1, 1, 1))) & (s < np.reshape(KEYS, (B, 1, 1, 1)))
    if causal:
        kept &= s <= t
    if window:
        kept &= (s >= t - WINDOW[0]) & (s <= t + WINDOW[1])
    return kept


def single(x: Any) -> Any:
    return jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), x)


def options(*, lengths: bool, causal: bool, window: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"is_causal": causal}
    if lengths:
        found["query_seq_lengths"] = jnp.asarray(QUERIES)
        found["key_value_seq_lengths"] = jnp.asarray(KEYS)
    if window:
        found["local_window_size"] = WINDOW
    return found


LENGTHS = {"lengths": True, "causal": False, "window": False}
CAUSAL = {"lengths": True, "causal": True, "window": False}
WINDOWED = {"lengths": False, "causal": True, "window": True}


def assert_close(ours: Any, exact: Any, tolerance: float, what: str = "") -> None:
    error = np.abs(np.asarray(ours, np.float64) - np.asarray(exact))
    allowed = tolerance * max(1.0, float(np.abs(exact).max()))
    assert error.max() <= allowed, (what, error.max(), allowed)
