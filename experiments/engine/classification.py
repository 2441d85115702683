"""Tasks whose model gives scores of classes: a variant is a map of scores, and what trains it."""

import abc
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from experiments import metrics
from experiments.engine.task import Batch, Direction, Judgement, Parameters, Settings, Task, Values

# The negative log-likelihood is of (1 - s) p + s / n, which is finite where p is 0.
SMOOTHING = 0.01
METRICS: dict[str, Direction] = {
    "brier": "lower",
    "accuracy": "higher",
    "nll": "lower",
    "ece": "lower",
    "support": "neither",
    "mass": "neither",
    "missed": "lower",
}


class Classification(Task):
    """A task of batches (inputs, labels), with scores of classes.

    The settings of a variant are `map`, from scores [examples, classes] to probabilities, and
    `loss`, of scores and labels [examples]; without one, the smoothed negative log-likelihood of
    the map's output is trained. Both take the variant's values by name.
    """

    @property
    def metrics(self) -> Mapping[str, Direction]:
        """The Brier score is proper, and finite where a probability is 0: it chooses."""
        return METRICS

    @abc.abstractmethod
    def scores(self, params: Parameters, inputs: Any) -> Float[Array, "examples classes"]:
        """Returns the scores of the classes."""

    def loss(
        self,
        params: Parameters,
        batch: Batch,
        key: PRNGKeyArray,
        settings: Settings,
        values: Values,
    ) -> Float[Array, " examples"]:
        """Returns the variant's loss of each example."""
        del key
        inputs, labels = batch
        scores = self.scores(params, inputs)
        if settings.get("loss") is not None:
            losses: Array = settings["loss"](scores, labels, **values)
            return losses
        return smoothed_nll(settings["map"](scores, **values), labels, SMOOTHING)

    def predict(
        self, params: Parameters, examples: Batch, settings: Settings, values: Values
    ) -> Float[Array, "examples classes"]:
        """Returns the map's output."""
        outputs: Array = settings["map"](self.scores(params, examples[0]), **values)
        return outputs

    def judge(self, outputs: Any, examples: Batch) -> Judgement:
        """Returns the metrics, and the bins of the reliability diagram."""
        return judge(outputs, np.asarray(examples[1]))


def smoothed_nll(
    outputs: Float[Array, "examples classes"], labels: Int[Array, " examples"], smoothing: float
) -> Float[Array, " examples"]:
    """Returns `-log((1 - s) p_y + s / n)`; s = 0 is the plain negative log-likelihood."""
    of_label = jnp.take_along_axis(outputs, labels[:, None], axis=-1)[:, 0]
    mixed = (1.0 - smoothing) * of_label + smoothing / outputs.shape[-1]
    # A probability that float32 cannot hold has no gradient, rather than a NaN.
    return -jnp.log(jnp.maximum(mixed, jnp.finfo(mixed.dtype).tiny))


def judge(
    outputs: Float[np.ndarray, "examples classes"],
    labels: Int[np.ndarray, " examples"],
    smoothing: float = SMOOTHING,
) -> Judgement:
    """Returns the metrics of outputs; all are NaN, and there are no bins, where one is."""
    probabilities = metrics.at_most_one(np.asarray(outputs))
    if not np.isfinite(probabilities).all():
        return Judgement(dict.fromkeys(METRICS, float("nan")), {"bins": None})
    bins = metrics.reliability(probabilities, labels)
    found = {
        "brier": float(metrics.brier(probabilities, labels)),
        "accuracy": float(metrics.accuracy(probabilities, labels)),
        "nll": float(metrics.nll(probabilities, labels, smoothing)),
        "ece": metrics.ece(bins),
        "support": float(metrics.support(probabilities)),
        "mass": float(metrics.mass(np.asarray(outputs))),
        "missed": float(metrics.missed(probabilities, labels)),
    }
    named = {"count": bins.size, "confidence": bins.confidence, "hits": bins.correct}
    return Judgement(found, {"bins": {name: values.tolist() for name, values in named.items()}})
