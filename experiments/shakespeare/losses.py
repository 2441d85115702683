"""Losses of the output, and what is measured of the probabilities that they train."""

from typing import NamedTuple, get_args

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

import softmax_variants as sv
from experiments.shakespeare.config import LossName

LOSSES: tuple[LossName, ...] = get_args(LossName)
FORMULAS: dict[LossName, str] = {
    "cross_entropy": "cross_entropy_loss(logits, labels)",
    "entmax15": "entmax15_loss(logits, labels), whose probabilities are entmax, alpha 1.5",
    "fused": "linear_cross_entropy(hidden, labels, table): cross-entropy without all logits",
}


class Measured(NamedTuple):
    """What one prediction is like; all have the labels' shape.

    Attributes:
      nll: The negative log-probability of the label; infinite where that is 0.
      smoothed: The same of `(p + epsilon) / (1 + epsilon classes)`, which is never infinite.
      correct: Whether the most probable token is the label.
      support: How many tokens have more than probability 0.
    """

    nll: Float[Array, "..."]
    smoothed: Float[Array, "..."]
    correct: Array
    support: Int[Array, "..."]


def objective(
    name: LossName,
    hidden: Float[Array, "*batch width"],
    table: Float[Array, "classes width"],
    labels: Int[Array, "*batch"],
) -> Float[Array, "*batch"]:
    """Returns the loss of every label."""
    match name:
        case "cross_entropy":
            return sv.cross_entropy_loss(hidden @ table.T, labels)
        case "entmax15":
            return sv.entmax15_loss(hidden @ table.T, labels)
        case "fused":
            return sv.linear_cross_entropy(hidden, labels, table)
    raise NotImplementedError(f"no loss {name!r}")


def measured(
    name: LossName,
    hidden: Float[Array, "*batch width"],
    table: Float[Array, "classes width"],
    labels: Int[Array, "*batch"],
    epsilon: float,
) -> Measured:
    """Returns what the predictions of a model trained on this loss are like."""
    logits = hidden @ table.T
    at_label = labels[..., None]
    correct = jnp.argmax(logits, axis=-1) == labels
    if name == "entmax15":
        probabilities = sv.entmax15(logits)
        log_probabilities = jnp.log(probabilities)
    else:
        log_probabilities = sv.log_softmax(logits)
        probabilities = jnp.exp(log_probabilities)
    log_probability = jnp.take_along_axis(log_probabilities, at_label, axis=-1)[..., 0]
    of_label = jnp.take_along_axis(probabilities, at_label, axis=-1)[..., 0]
    smoothed = jnp.log1p(epsilon * logits.shape[-1]) - jnp.log(of_label + epsilon)
    support = jnp.sum(probabilities > 0, axis=-1)
    return Measured(-log_probability, smoothed, correct, support)
