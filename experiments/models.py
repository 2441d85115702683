"""A multilayer perceptron as a plain pytree."""

import itertools
from collections.abc import Sequence

import jax
import numpy as np
from jaxtyping import Array, Float

Layers = list[dict[str, Array]]


def init_layers(rng: np.random.Generator, sizes: Sequence[int]) -> list[dict[str, np.ndarray]]:
    """Returns the weights of a perceptron: He's normal initialisation, and biases of zero.

    Args:
      rng: The source of the weights.
      sizes: Features of the input, of each hidden layer, and the number of classes.

    Returns:
      One `weight` [inputs, outputs] and one `bias` [outputs] for each layer.
    """
    layers = []
    for inputs, outputs in itertools.pairwise(sizes):
        weight = (2.0 / inputs) ** 0.5 * rng.standard_normal((inputs, outputs))
        bias = np.zeros(outputs, np.float32)
        layers.append({"weight": weight.astype(np.float32), "bias": bias})
    return layers


def logits(layers: Layers, images: Float[Array, "batch features"]) -> Float[Array, "batch classes"]:
    """Returns the scores of the classes; without hidden layers, those of logistic regression."""
    *hidden, last = layers
    for layer in hidden:
        images = jax.nn.relu(_affine(layer, images))
    return _affine(last, images)


def _affine(layer: dict[str, Array], rows: Float[Array, "batch inputs"]) -> Array:
    return rows @ layer["weight"] + layer["bias"][None, :]
