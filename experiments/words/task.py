"""Words and what they are predicted from, as the engine trains and tests heads on them."""

import functools
import math
import threading
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import PartitionSpec
from jaxtyping import Array, PRNGKeyArray

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
from experiments.mesh import CLASSES
from experiments.words.buckets import by_bucket
from experiments.words.config import WordsConfig
from experiments.words.corpus import Corpus
from experiments.words.examples import Examples, Source
from experiments.words.heads import Setting, all_contenders
from experiments.words.model import Weights, hidden_of, initial_weights
from experiments.words.neighbours import neighbour_vectors
from experiments.words.rule import RowsAdagrad
from softmax_variants import rows

# Words whose exact probabilities are worked out together: logits of all classes for each.
_TOGETHER = 512


class Words(Task):
    """One of the two tasks on a text; `settings["head"]` is the name of the output layer."""

    def __init__(self, config: WordsConfig) -> None:
        self.config = config
        # Programs are compiled in two threads, and a clustered tree takes seconds.
        self._making = threading.Lock()
        self._heads: dict[str, Any] = {}

    @functools.cached_property
    def corpus(self) -> Corpus:
        """The text."""
        return Corpus.load(self.config)

    @functools.cached_property
    def source(self) -> Source:
        """The examples."""
        return Source(self.corpus, self.config)

    @property
    def metrics(self) -> Mapping[str, Direction]:
        """The exact NLL, whatever the training loss is, and its exponential."""
        return {"nll": "lower", "perplexity": "lower"}

    def data(self) -> dict[str, Any]:
        """Returns what the text is."""
        return self.corpus.described()

    def head(self, name: str) -> Any:
        """Returns an output layer for the words; its tree or sampler is made once."""
        corpus = self.corpus
        with self._making:
            if name not in self._heads:
                vectors = functools.partial(neighbour_vectors, corpus)
                setting = Setting.of(corpus.counts, self.config, vectors)
                self._heads[name] = all_contenders()[name].make(setting)
            return self._heads[name]

    def initial(self, seed: int, settings: Settings) -> Parameters:
        """Returns the first weights; the body is the same for every head."""
        head = self.head(settings["head"])
        return initial_weights(self.config, head, self.corpus.counts, seed)

    def batch(self, seed: int, step: int) -> Batch:
        """Returns the words of a step: those that are seen, and those that are predicted."""
        return self.source.batch(seed, step)

    def examples(self, seed: int, split: Split) -> Batch:
        """Returns held-out words, the same for every seed."""
        del seed
        count = self.config.validation_words if split == "validation" else self.config.test_words
        return self.source.held_out(split, count)

    def rule(self, settings: Settings) -> RowsAdagrad:
        """Returns Adagrad on the rows of a step."""
        name = settings["head"]
        return RowsAdagrad(self.head(name), all_contenders()[name].by_rows)

    def partition(self, params: Parameters) -> Weights:
        """Returns that an output table with one row a word lies on the axis of the classes.

        Trees have a row less than words, and bands a table each: those lie whole.
        """
        whole: Weights = super().partition(params)
        if "weight" not in params.head:
            return whole
        return whole._replace(head=dict.fromkeys(params.head, PartitionSpec(CLASSES)))

    def loss(
        self,
        params: Parameters,
        batch: Batch,
        key: PRNGKeyArray,
        settings: Settings,
        values: Values,
    ) -> Array:
        """Returns the head's training loss, which may be that of a sample of the classes."""
        del values
        inputs, labels = batch
        losses: Array = self.head(settings["head"]).loss(
            params.head, _hidden(params, inputs), labels, key=key
        )
        return losses

    def predict(
        self, params: Parameters, examples: Batch, settings: Settings, values: Values
    ) -> Array:
        """Returns the exact negative log-probability of every word."""
        del values
        head = self.head(settings["head"])

        def some(examples: Examples) -> Array:
            inputs, labels = examples
            found: Array = head.log_prob(params.head, _hidden(params, inputs), labels)
            return -found

        count = examples[1].shape[0]
        size = min(_TOGETHER, count)
        # The last part is filled up with the first examples, which are then dropped.
        places = np.arange(math.ceil(count / size) * size) % count
        parts = jax.tree.map(
            lambda leaf: leaf[places].reshape(-1, size, *leaf.shape[1:]), Examples(*examples)
        )
        return jax.lax.map(some, parts).reshape(-1)[:count]

    def judge(self, outputs: Any, examples: Batch) -> Judgement:
        """Returns the mean NLL, its exponential, and the NLL by the frequency of the word."""
        losses = np.asarray(outputs, np.float64)
        nll = float(losses.mean())
        # A model that is far off has an infinite perplexity.
        with np.errstate(over="ignore"):
            metrics = {"nll": nll, "perplexity": float(np.exp(nll))}
        return Judgement(metrics, {"buckets": by_bucket(self.corpus, losses, examples[1])})


def _hidden(params: Weights, inputs: Any) -> Array:
    return hidden_of(params.dense, rows.take(params.table, inputs))
