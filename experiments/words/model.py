"""The body that all heads share: embeddings of the words seen, and one hidden state."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from experiments.randomness import generator
from experiments.words.config import TaskName, WordsConfig


class Body(NamedTuple):
    """The parameters below the head.

    Attributes:
      table: Embeddings of the words, [classes, features].
      dense: For the task `ngram` a layer: `weight` [seen * features, features], `bias` [features].
    """

    table: Array
    dense: dict[str, Array]


def initial_body(config: WordsConfig, task: TaskName, classes: int, seed: int) -> Body:
    """Returns the first parameters: they depend on the seed, and not on the head."""
    rng, size = generator(seed, "weights"), config.features
    table = rng.standard_normal((classes, size), np.float32) / np.float32(size**0.5)
    if task == "skipgram":
        return Body(jnp.asarray(table), {})
    wide = config.context * size
    weight = rng.standard_normal((wide, size), np.float32) * np.float32((size / wide) ** 0.5)
    return Body(
        jnp.asarray(table), {"weight": jnp.asarray(weight), "bias": jnp.zeros(size, jnp.float32)}
    )


def body_shapes(config: WordsConfig, task: TaskName, classes: int) -> Any:
    """Returns the shapes of the first parameters."""
    floats = functools.partial(jax.ShapeDtypeStruct, dtype=jnp.float32)
    size = config.features
    layer = {"weight": floats((config.context * size, size)), "bias": floats((size,))}
    return Body(floats((classes, size)), {} if task == "skipgram" else layer)  # type: ignore[arg-type] # NumPy


def hidden_of(
    dense: dict[str, Array], read: Float[Array, "batch seen features"]
) -> Float[Array, "batch features"]:
    """Returns the hidden state: the one embedding, or a layer of tanh over those that were read."""
    if not dense:
        return read[:, 0, :]
    flat = read.reshape(read.shape[0], -1)
    return jnp.tanh(flat @ dense["weight"] + dense["bias"][None, :])


def initial_key(seed: int) -> Array:
    """Returns the key of a head's first parameters."""
    data = generator(seed, "weights", 1).integers(2**32, size=2, dtype=np.uint32)
    return jax.random.wrap_key_data(jnp.asarray(data))
