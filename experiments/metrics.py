"""Metrics of predicted probabilities in plain NumPy; a row that sums to less than 1 abstains."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

BINS = 15
Probabilities = Float[np.ndarray, "*batch examples classes"]
Labels = Int[np.ndarray, "*batch examples"]


class Bins(NamedTuple):
    """Predictions by their confidence, in 15 equal-width bins: the reliability diagram."""

    size: np.ndarray
    confidence: np.ndarray
    correct: np.ndarray


def at_most_one(outputs: Probabilities) -> Probabilities:
    """Returns outputs in which a row that sums to more than 1 is divided by its sum.

    Some maps do not normalise. A sum below 1 stays as it is: what is missing is an answer withheld.
    """
    outputs = outputs.astype(np.float64)
    # An infinite output becomes NaN, and is reported as such: no warning is needed.
    with np.errstate(invalid="ignore"):
        return outputs / np.maximum(outputs.sum(axis=-1, keepdims=True), 1.0)


def hits(probabilities: Probabilities, labels: Labels) -> Float[np.ndarray, "*batch examples"]:
    """Returns 1 where the true class is the most probable; classes that tie share the 1."""
    top = probabilities == probabilities.max(axis=-1, keepdims=True)
    return _of_label(top, labels) / np.maximum(top.sum(axis=-1), 1)


def accuracy(probabilities: Probabilities, labels: Labels) -> Float[np.ndarray, "*batch"]:
    """Returns the share of examples whose most probable class is the true one."""
    return _nan_like(probabilities, hits(probabilities, labels).mean(axis=-1))


def nll(
    probabilities: Probabilities, labels: Labels, smoothing: float
) -> Float[np.ndarray, "*batch"]:
    """Returns the mean of -log((1 - s) p_y + s / n), which is finite where p_y is 0."""
    classes = probabilities.shape[-1]
    smoothed = (1.0 - smoothing) * _of_label(probabilities, labels) + smoothing / classes
    return -np.log(smoothed).mean(axis=-1)


def missed(probabilities: Probabilities, labels: Labels) -> Float[np.ndarray, "*batch"]:
    """Returns the share of examples whose true class has probability 0: their NLL is infinite."""
    return _nan_like(probabilities, (_of_label(probabilities, labels) == 0.0).mean(axis=-1))


def brier(probabilities: Probabilities, labels: Labels) -> Float[np.ndarray, "*batch"]:
    """Returns the mean squared distance to the one-hot label, from 0 to 2."""
    target = np.arange(probabilities.shape[-1]) == labels[..., None]
    return ((probabilities - target) ** 2).sum(axis=-1).mean(axis=-1)


def support(probabilities: Probabilities) -> Float[np.ndarray, "*batch"]:
    """Returns the mean number of classes with a probability above 0."""
    return _nan_like(probabilities, (probabilities > 0.0).sum(axis=-1).mean(axis=-1))


def mass(outputs: Probabilities) -> Float[np.ndarray, "*batch"]:
    """Returns the mean sum of the outputs as the map gives them."""
    return outputs.sum(axis=-1, dtype=np.float64).mean(axis=-1)


def reliability(
    probabilities: Float[np.ndarray, "examples classes"], labels: Int[np.ndarray, " examples"]
) -> Bins:
    """Returns size, summed confidence and summed hits of each bin; 1.0 falls into the last."""
    confidence = probabilities.max(axis=-1)
    index = np.clip((confidence * BINS).astype(int), 0, BINS - 1)
    sums = [
        np.bincount(index, weights=values, minlength=BINS)
        for values in (np.ones_like(confidence), confidence, hits(probabilities, labels))
    ]
    return Bins(*sums)


def ece(bins: Bins) -> float:
    """Returns the expected calibration error: |hits - confidence| by bin, weighted by size."""
    return float(np.abs(bins.correct - bins.confidence).sum() / bins.size.sum())


def _of_label(rows: np.ndarray, labels: Labels) -> np.ndarray:
    return np.take_along_axis(rows, labels[..., None], axis=-1)[..., 0]


def _nan_like(probabilities: Probabilities, values: np.ndarray) -> np.ndarray:
    """Marks what was computed from NaN: a comparison with NaN is quietly false."""
    return np.where(np.isnan(probabilities).any(axis=(-2, -1)), np.nan, values)
