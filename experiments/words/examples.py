"""Examples of the two tasks: the words that a model sees, and the one that it predicts."""

import functools
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from experiments.errors import UserError
from experiments.randomness import generator
from experiments.words.config import WordsConfig
from experiments.words.corpus import Corpus, Places


class Examples(NamedTuple):
    """What a model is given and asked: ids of words."""

    inputs: Int[np.ndarray, "*examples seen"]
    labels: Int[np.ndarray, "*examples"]


class Source:
    """The examples of the config's task, a function of the seed and the step alone.

    `skipgram` sees a word and predicts one of its neighbours, up to `window` words away; `ngram`
    sees `context` words and predicts the next. No example crosses the border of a passage.
    """

    def __init__(self, corpus: Corpus, config: WordsConfig) -> None:
        self._corpus, self._config = corpus, config
        self._usable = {name: _usable(places, config) for name, places in corpus.parts.items()}
        training = self._usable["training"].position.size
        if training < config.batch_size:
            raise UserError(
                f"batch_size: expected at most the {training} training words of the task "
                f"{config.task}, got {config.batch_size}"
            )
        for name in ("validation", "test"):
            if not self._usable[name].position.size:
                raise UserError(
                    f"data_path: no {name} passage is long enough for the task {config.task}; give "
                    "more text, or a smaller context or window"
                )
        # The seeds are trained together, and a block of steps may begin the next epoch.
        self._order = functools.lru_cache(maxsize=2 * config.seeds)(self._permuted)

    def batch(self, seed: int, step: int) -> Examples:
        """Returns the examples of a step.

        Each epoch is one permutation of the training words; its last, incomplete batch is left out.
        """
        size = self._config.batch_size
        epoch, position = divmod(step, self._usable["training"].position.size // size)
        rows = self._order(seed, epoch)[position * size : (position + 1) * size]
        return self._at("training", rows, generator(seed, "offsets", step))

    def held_out(self, part: str, count: int) -> Examples:
        """Returns up to `count` examples of a part, the same for every seed and head."""
        available = self._usable[part].position.size
        rng = generator(0, "split", len(part))
        rows = np.sort(rng.permutation(available)[:count])
        return self._at(part, rows, rng)

    def _permuted(self, seed: int, epoch: int) -> Int[np.ndarray, " places"]:
        places = np.arange(self._usable["training"].position.size, dtype=np.int32)
        return generator(seed, "order", epoch).permutation(places)

    def _at(self, part: str, rows: np.ndarray, rng: np.random.Generator) -> Examples:
        ids = self._corpus.ids
        position, start, end = (array[rows] for array in self._usable[part])
        if self._config.task == "ngram":
            back = np.arange(self._config.context, 0, -1)
            return Examples(ids[position[:, None] - back[None, :]], ids[position])
        window = self._config.window
        distance = rng.integers(1, window + 1, rows.size) * rng.choice([-1, 1], rows.size)
        outside = (position + distance < start) | (position + distance >= end)
        # At the border of a passage the neighbour on the other side stands in.
        distance = np.where(outside, -distance, distance)
        return Examples(ids[position][:, None], ids[position + distance])


def _usable(places: Places, config: WordsConfig) -> Places:
    position, start, end = places
    if config.task == "ngram":
        kept = position - start >= config.context
    else:
        kept = end - start > 2 * config.window
    return Places(position[kept], start[kept], end[kept])
