"""The task of every estimator: a categorical autoencoder on the digits, each pixel on or off."""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from experiments.digits import data
from experiments.engine.task import (
    Batch,
    Direction,
    Judgement,
    Parameters,
    Settings,
    Split,
    Task,
    Values,
)
from experiments.statistics import finite
from experiments.vae.config import VaeConfig
from experiments.vae.estimators import losses
from experiments.vae.model import all_codes, exact, initial_weights


class Images(NamedTuple):
    """The examples of a step.

    Attributes:
      pixels: Each of them 0 or 1.
      progress: How much of training is over, from 0 to 1: the same for all images of a step.
    """

    pixels: Float[np.ndarray, "images pixels"]
    progress: Float[np.ndarray, " images"]


class Judged(NamedTuple):
    """The images that a model is judged by.

    Attributes:
      held_out: Those that no step was trained on.
      trained: All those of the training part.
    """

    held_out: Float[np.ndarray, "images pixels"]
    trained: Float[np.ndarray, "trained pixels"]


class Predicted(NamedTuple):
    """Exact figures of single images; arrays of the code count lead with the images.

    Attributes:
      elbo: The evidence lower bound.
      log_likelihood: log p(x).
      code_probs: q(z | x) for every code.
      training_elbo: The evidence lower bound of the images of the training part.
    """

    elbo: Float[Array, " images"]
    log_likelihood: Float[Array, " images"]
    code_probs: Float[Array, "images codes"]
    training_elbo: Float[Array, " trained"]


class Autoencoder(Task):
    """`settings["method"]` names the estimator; a relaxation has `temperature` and `cooling`."""

    def __init__(self, config: VaeConfig) -> None:
        self.config = config
        self.codes = all_codes(config.latents, config.classes)
        # One test part for all seeds: what tuning chooses on is then no seed's test image.
        split = functools.partial(data.parts_of, _images()[1], config, test_seed=0)
        self._parts = functools.cache(split)

    @functools.cached_property
    def _pixels(self) -> Float[np.ndarray, "images pixels"]:
        return (_images()[0] >= self.config.threshold).astype(np.float32)

    @property
    def metrics(self) -> Mapping[str, Direction]:
        """Nats an image; codes: how many are in use, the perplexity of the mean q(z | x)."""
        return {"elbo": "higher", "log_likelihood": "higher", "codes": "neither"}

    def initial(self, seed: int, settings: Settings) -> Parameters:
        """Returns the weights of both networks, the same for every estimator."""
        return initial_weights(self.config, seed)

    def batch(self, seed: int, step: int) -> Images:
        """Returns the images of a step, and how far training is."""
        train = self._parts(seed).train
        rows = train[data.batch(self.config, train.size, seed, step)]
        progress = np.float32(step / max(self.config.steps - 1, 1))
        return Images(self._pixels[rows], np.full(rows.size, progress))

    def examples(self, seed: int, split: Split) -> Judged:
        """Returns the held-out images of a seed, and its training part."""
        pixels, parts = self._pixels, self._parts(seed)
        held_out = parts.validation if split == "validation" else parts.test
        return Judged(pixels[held_out], pixels[parts.train])

    def loss(
        self,
        params: Parameters,
        batch: Batch,
        key: PRNGKeyArray,
        settings: Settings,
        values: Values,
    ) -> Float[Array, " images"]:
        """Returns numbers whose gradients are the estimator's."""
        method, samples = settings["method"], self.config.samples
        temperature = None
        if "temperature" in values:
            temperature = values["temperature"] * values["cooling"] ** batch.progress
        return losses(method, samples, key, params, batch.pixels, self.codes, temperature)

    def predict(
        self, params: Parameters, examples: Batch, settings: Settings, values: Values
    ) -> Predicted:
        """Returns exact figures, whatever the model was trained with."""
        found = exact(params, examples.held_out, self.codes)
        return Predicted(*found, exact(params, examples.trained, self.codes).elbo)

    def judge(self, outputs: Any, examples: Batch) -> Judgement:
        """Returns the means; the codes in use are those of all images together."""
        found = {
            "elbo": float(np.mean(outputs.elbo, dtype=np.float64)),
            "log_likelihood": float(np.mean(outputs.log_likelihood, dtype=np.float64)),
            "codes": perplexity(np.mean(outputs.code_probs, axis=0, dtype=np.float64)),
        }
        trained = finite(np.mean(outputs.training_elbo, dtype=np.float64))
        return Judgement(found, {"training_elbo": trained})


def perplexity(probabilities: Any) -> float:
    """Returns how many equally likely codes would be as uncertain."""
    logs = np.log(np.where(probabilities > 0, probabilities, 1.0))
    return float(np.exp(-np.sum(probabilities * logs)))


@functools.cache
def _images() -> tuple[np.ndarray, np.ndarray]:
    return data.load_images()
