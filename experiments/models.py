"""A multilayer perceptron as a plain pytree."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

Layers = list[dict[str, Array]]


def init_layers(key: PRNGKeyArray, sizes: Sequence[int]) -> Layers:
    """Returns the weights of a perceptron: He's normal initialisation, and biases of zero.

    Args:
      key: A random key.
      sizes: Features of the input, of each hidden layer, and the number of classes.

    Returns:
      One `weight` [inputs, outputs] and one `bias` [outputs] for each layer.
    """
    layers = []
    pairs = list(zip(sizes[:-1], sizes[1:], strict=True))
    for layer_key, (inputs, outputs) in zip(jax.random.split(key, len(pairs)), pairs, strict=True):
        scale = (2.0 / inputs) ** 0.5
        weight = scale * jax.random.normal(layer_key, (inputs, outputs), jnp.float32)
        layers.append({"weight": weight, "bias": jnp.zeros((outputs,), jnp.float32)})
    return layers


def logits(layers: Layers, images: Float[Array, "batch features"]) -> Float[Array, "batch classes"]:
    """Returns the scores of the classes; without hidden layers, those of logistic regression."""
    *hidden, last = layers
    for layer in hidden:
        images = jax.nn.relu(_affine(layer, images))
    return _affine(last, images)


def _affine(layer: dict[str, Array], rows: Float[Array, "batch inputs"]) -> Array:
    return rows @ layer["weight"] + layer["bias"][None, :]
