"""What each contender minimises, and the probabilities that it is judged by."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from experiments.contenders import REFERENCE, Program
from softmax_variants import log_softmax
from softmax_variants.variants import VARIANTS


def parameters_of(
    program: Program, fixed: Mapping[str, Array], raw: Mapping[str, Array]
) -> dict[str, Array]:
    """Returns the map's parameters: the fixed ones, and the learned ones through a sigmoid."""
    return {**fixed, **{name: 1.0 + jax.nn.sigmoid(raw[name]) for name in program.learned}}


def objective(
    program: Program,
    key: PRNGKeyArray,
    logits: Float[Array, "batch classes"],
    labels: Int[Array, " batch"],
    parameters: Mapping[str, Array],
    smoothing: float,
) -> Float[Array, " batch"]:
    """Returns the training loss of each example."""
    variant = VARIANTS[program.variant]
    match program.objective:
        case "loss":
            if variant.loss is None:
                raise ValueError(f"{variant.name} has no loss of its own")
            return variant.loss(logits, labels, **parameters)
        case "log_softmax":
            return -_of_label(log_softmax(logits, **parameters), labels)
        case "nll":
            if program.noisy:
                probabilities = variant.map(key, logits, **parameters)
            else:
                probabilities = variant.map(logits, **parameters)
            return _negative_log(_of_label(probabilities, labels), logits.shape[-1], smoothing)


def probabilities(
    program: Program, logits: Float[Array, "batch classes"], parameters: Mapping[str, Array]
) -> Float[Array, "batch classes"]:
    """Returns the map's output; a random map is judged by the softmax that it samples from."""
    if program.noisy:
        return VARIANTS[REFERENCE].map(logits)
    return VARIANTS[program.variant].map(logits, **parameters)


def _of_label(rows: Float[Array, "batch classes"], labels: Int[Array, " batch"]) -> Array:
    return jnp.take_along_axis(rows, labels[:, None], axis=-1)[:, 0]


def _negative_log(probability: Array, classes: int, smoothing: float) -> Array:
    return -jnp.log((1.0 - smoothing) * probability + smoothing / classes)
