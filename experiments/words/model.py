"""The model: embeddings of the words seen, one hidden state, and a head's parameters."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from experiments.randomness import generator
from experiments.words.config import WordsConfig
from experiments.words.frequencies import frequency_biases


class Weights(NamedTuple):
    """All that is trained.

    Attributes:
      table: Embeddings of the words, [classes, features].
      dense: For the task `ngram` a layer: `weight` [seen * features, features], `bias` [features].
      head: The output layer's parameters.
    """

    table: Any
    dense: dict[str, Any]
    head: dict[str, Any]


def initial_weights(config: WordsConfig, head: Any, counts: np.ndarray, seed: int) -> Weights:
    """Returns the first weights: those below the head depend on the seed, and not on the head."""
    table, dense = initial_body(config, counts.size, seed)
    return Weights(table, dense, {**head.init(_key(seed)), **frequency_biases(head, counts)})


def initial_body(
    config: WordsConfig, classes: int, seed: int
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Returns the first embeddings and the first layer."""
    rng, size = generator(seed, "weights"), config.features
    table = rng.standard_normal((classes, size), np.float32) / np.float32(size**0.5)
    if config.task == "skipgram":
        return table, {}
    wide = config.context * size
    weight = rng.standard_normal((wide, size), np.float32) * np.float32((size / wide) ** 0.5)
    return table, {"weight": weight, "bias": np.zeros(size, np.float32)}


def hidden_of(
    dense: dict[str, Array], read: Float[Array, "batch seen features"]
) -> Float[Array, "batch features"]:
    """Returns the hidden state: the one embedding, or a layer of tanh over those that were read."""
    if not dense:
        return read[:, 0, :]
    flat = read.reshape(read.shape[0], -1)
    return jnp.tanh(flat @ dense["weight"] + dense["bias"][None, :])


def _key(seed: int) -> Array:
    """Returns the key of a head's first parameters."""
    data = generator(seed, "weights", 1).integers(2**32, size=2, dtype=np.uint32)
    return jax.random.wrap_key_data(jnp.asarray(data))
