"""What each contender minimises, and the probabilities that it is judged by."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from experiments.digits.contenders import REFERENCE, Program
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
    scores = _input(program, logits)
    match program.objective:
        case "loss":
            if variant.loss is None:
                raise ValueError(f"{variant.name} has no loss of its own")
            losses: Array = variant.loss(scores, labels, **parameters)
            return losses
        case "log_softmax":
            return -_of_label(log_softmax(scores, -1, None, **parameters), labels)
        case "nll":
            keys = (key,) if program.noisy else ()
            outputs = variant(*keys, scores, **parameters)
            s = smoothing if program.sparse else 0.0
            mixed = (1.0 - s) * _of_label(outputs, labels) + s / scores.shape[-1]
            # A probability that float32 cannot hold has no gradient, rather than a NaN.
            return -jnp.log(jnp.maximum(mixed, jnp.finfo(mixed.dtype).tiny))


def probabilities(
    program: Program, logits: Float[Array, "batch classes"], parameters: Mapping[str, Array]
) -> Float[Array, "batch classes"]:
    """Returns the map's output; a random map is judged by the softmax that it samples from."""
    name = REFERENCE if program.noisy else program.variant
    outputs: Array = VARIANTS[name](
        _input(program, logits), **({} if program.noisy else parameters)
    )
    return outputs


def _input(program: Program, logits: Float[Array, "batch classes"]) -> Array:
    """Returns what the map is given: where it takes no negative score, a softplus stands before."""
    return jax.nn.softplus(logits) if VARIANTS[program.variant].nonnegative_input else logits


def _of_label(rows: Float[Array, "batch classes"], labels: Int[Array, " batch"]) -> Array:
    return jnp.take_along_axis(rows, labels[:, None], axis=-1)[:, 0]
