"""Dropout of attention weights, as in Flax."""

import jax
import jax.numpy as jnp

from softmax_variants._typing import Array
from softmax_variants._validation import as_key


def dropped(
    weights: Array, key: Array | None, rate: float, broadcast: bool, deterministic: bool
) -> Array:
    """Weights [..., N, T, S] without a random part of them, the others larger to make up for it.

    The same key drops the same weights as in Flax.
    """
    if isinstance(rate, bool) or not isinstance(rate, int | float):
        raise TypeError(f"dropout_rate must be a Python number, got {type(rate).__name__}")
    if not 0 <= rate < 1:
        raise ValueError(f"dropout_rate must lie in [0, 1), got {rate:g}")
    if deterministic or rate == 0:
        return weights
    if key is None:
        raise ValueError(
            "dropout_rng must be a random key if dropout_rate > 0 and not deterministic"
        )
    lead = (1,) * (weights.ndim - 2) if broadcast else weights.shape[:-2]
    kept = jax.random.bernoulli(as_key(key, "dropout_rng"), 1 - rate, (*lead, *weights.shape[-2:]))
    return jnp.where(kept, weights / (1 - rate), 0)
