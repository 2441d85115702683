"""The task that every contender is trained on: a perceptron on the digits of each seed's split."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from experiments import models
from experiments.digits import data
from experiments.digits.config import DigitsConfig
from experiments.digits.objectives import objective, parameters_of, probabilities
from experiments.engine.classification import Classification, judge
from experiments.engine.task import Batch, Judgement, Parameters, Settings, Split, Values
from experiments.randomness import generator


class Digits(Classification):
    """The 1,797 handwritten digits; `settings["program"]` is a contender's `Program`."""

    def __init__(self, config: DigitsConfig) -> None:
        self.config = config

    def initial(self, seed: int, settings: Settings) -> Parameters:
        """Returns the layers, and zeros for what the map learns."""
        sizes = (_images()[0].shape[1], *self.config.hidden, data.CLASSES)
        layers = models.init_layers(generator(seed, "weights"), sizes)
        return {
            "layers": layers,
            "raw": {name: jnp.zeros(()) for name in settings["program"].learned},
        }

    def batch(self, seed: int, step: int) -> Batch:
        """Returns the images and labels of a step."""
        images, labels = _images()
        train = _parts(self.config, seed).train
        rows = train[data.batch(self.config, train.size, seed, step)]
        return images[rows], labels[rows]

    def examples(self, seed: int, split: Split) -> Batch:
        """Returns the held-out images and labels of a seed."""
        images, labels = _images()
        parts = _parts(self.config, seed)
        rows = parts.validation if split == "validation" else parts.test
        return images[rows], labels[rows]

    def scores(self, params: Parameters, inputs: Any) -> Array:
        """Returns the perceptron's scores."""
        return models.logits(params["layers"], inputs)

    def loss(
        self,
        params: Parameters,
        batch: Batch,
        key: PRNGKeyArray,
        settings: Settings,
        values: Values,
    ) -> Array:
        """Returns what the contender minimises."""
        program = settings["program"]
        parameters = parameters_of(program, values, params["raw"])
        scores = self.scores(params, batch[0])
        return objective(program, key, scores, batch[1], parameters, self.config.smoothing)

    def predict(
        self, params: Parameters, examples: Batch, settings: Settings, values: Values
    ) -> Array:
        """Returns the map's output; of a random map, the softmax that it samples from."""
        program = settings["program"]
        parameters = parameters_of(program, values, params["raw"])
        return probabilities(program, self.scores(params, examples[0]), parameters)

    def judge(self, outputs: Any, examples: Batch) -> Judgement:
        """Returns the metrics, with the config's smoothing of the NLL."""
        return judge(outputs, examples[1], self.config.smoothing)

    def learned(self, params: Parameters, settings: Settings) -> dict[str, jax.Array]:
        """Returns the learned parameters of the map."""
        return parameters_of(settings["program"], {}, params["raw"])


@functools.cache
def _images() -> tuple[np.ndarray, np.ndarray]:
    return data.load_images()


@functools.cache
def _parts(config: DigitsConfig, seed: int) -> data.Parts:
    # One test part for all seeds: what tuning chooses on is then no seed's test image.
    return data.parts_of(_images()[1], config, seed, test_seed=0)
