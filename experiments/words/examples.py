"""Examples of the two tasks: the words that a model sees, and the one that it predicts."""

import functools
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from experiments.errors import UserError
from experiments.randomness import generator
from experiments.words.config import TaskName, WordsConfig
from experiments.words.corpus import Corpus, Places


class Examples(NamedTuple):
    """What a model is given and asked: ids of words."""

    inputs: Int[np.ndarray, "*examples seen"]
    labels: Int[np.ndarray, "*examples"]


class Source:
    """The examples of one task, a function of the seed and the step alone.

    `skipgram` sees a word and predicts one of its neighbours, up to `window` words away; `ngram`
    sees `context` words and predicts the next. No example crosses the border of a passage.
    """

    def __init__(self, corpus: Corpus, config: WordsConfig, task: TaskName) -> None:
        self._corpus, self._config, self._task = corpus, config, task
        self._usable = {
            name: _usable(places, config, task) for name, places in corpus.parts.items()
        }
        training = self._usable["training"].position.size
        if training < config.batch_size:
            raise UserError(
                f"batch_size: expected at most the {training} training words of the task {task}, "
                f"got {config.batch_size}"
            )
        for name in ("validation", "test"):
            if not self._usable[name].position.size:
                raise UserError(
                    f"data_path: no {name} passage is long enough for the task {task}; give more "
                    "text, or a smaller context or window"
                )
        self._order = functools.lru_cache(maxsize=2)(self._permuted)

    @property
    def seen(self) -> int:
        """How many words a model is given."""
        return 1 if self._task == "skipgram" else self._config.context

    def batches(self, seed: int, first: int, count: int) -> Examples:
        """Returns the examples of `count` steps, [count, batch, ...].

        Each epoch is one permutation of the training words; its last, incomplete batch is left out.
        """
        size = self._config.batch_size
        per_epoch = self._usable["training"].position.size // size
        parts = []
        for step in range(first, first + count):
            epoch, position = divmod(step, per_epoch)
            rows = self._order(seed, epoch)[position * size : (position + 1) * size]
            parts.append(self._at("training", rows, generator(seed, "offsets", step)))
        return Examples(*(np.stack(arrays) for arrays in zip(*parts, strict=True)))

    def held_out(self, part: str, count: int) -> Examples:
        """Returns up to `count` examples of a part, the same for every seed and head."""
        available = self._usable[part].position.size
        rng = generator(0, "split", len(part))
        rows = np.sort(rng.permutation(available)[:count])
        return self._at(part, rows, rng)

    def _permuted(self, seed: int, epoch: int) -> Int[np.ndarray, " places"]:
        size = self._usable["training"].position.size
        return generator(seed, "order", epoch).permutation(size)

    def _at(self, part: str, rows: np.ndarray, rng: np.random.Generator) -> Examples:
        ids = self._corpus.ids
        position, start, end = (array[rows] for array in self._usable[part])
        if self._task == "ngram":
            back = np.arange(self._config.context, 0, -1)
            return Examples(ids[position[:, None] - back[None, :]], ids[position])
        window = self._config.window
        distance = rng.integers(1, window + 1, rows.size) * rng.choice([-1, 1], rows.size)
        outside = (position + distance < start) | (position + distance >= end)
        # At the border of a passage the neighbour on the other side stands in.
        distance = np.where(outside, -distance, distance)
        return Examples(ids[position][:, None], ids[position + distance])


def _usable(places: Places, config: WordsConfig, task: TaskName) -> Places:
    position, start, end = places
    if task == "ngram":
        kept = position - start >= config.context
    else:
        kept = end - start > 2 * config.window
    return Places(position[kept], start[kept], end[kept])
