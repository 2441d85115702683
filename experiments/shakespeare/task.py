"""The language model as the engine trains it: windows of a text, and a loss for every token."""

import functools
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray

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
from experiments.randomness import generator
from experiments.shakespeare.attention import Weights
from experiments.shakespeare.config import SampleConfig, ShakespeareConfig
from experiments.shakespeare.corpus import Corpus, described
from experiments.shakespeare.losses import measured, objective
from experiments.shakespeare.model import GPT, graph_of, initial
from experiments.shakespeare.sample import written

# Tokens that are predicted at once: more of them take memory, and are not faster.
_TOKENS = 4096
METRICS: dict[str, Direction] = {
    "smoothed_bits": "lower",
    "bits": "lower",
    "nll": "lower",
    "accuracy": "higher",
    "support": "neither",
    "missed": "lower",
}


class LanguageModel(Task):
    """A GPT on a text.

    The settings of a variant are `attention`, the normaliser of the attention, and `loss`, that of
    the output. Examples are windows of `context` tokens, each with the token that follows it.

    Args:
      config: What the model is.
      corpus: Its text; that of the config unless given.
    """

    def __init__(self, config: ShakespeareConfig, corpus: Corpus | None = None) -> None:
        self.config, self._given = config, corpus

    @functools.cached_property
    def corpus(self) -> Corpus:
        """The text, read when it is needed: a config is described without it."""
        return self._given or Corpus.load(self.config)

    @property
    def metrics(self) -> Mapping[str, Direction]:
        """Smoothed bits a character are finite for sparse outputs too: they choose."""
        return METRICS

    def data(self) -> dict[str, Any]:
        """Returns what tells texts apart, and the tokens, which a sample is written in."""
        return described(self.corpus)

    def initial(self, seed: int, settings: Settings) -> Parameters:
        """Returns the first weights of a model."""
        return initial(self.config, settings["attention"], self._vocabulary, seed)[1]

    def batch(self, seed: int, step: int) -> Batch:
        """Returns windows from random places of the training part, and one more token of each."""
        text, context = self.corpus.training, self.config.context
        size = self.config.batch_size
        starts = generator(seed, "order", step).integers(text.size - context, size=size)
        return text[starts[:, None] + np.arange(context + 1)]

    def examples(self, seed: int, split: Split) -> Batch:
        """Returns a part of the text in windows that do not overlap: inputs, labels, `seen`.

        Every token but the first is predicted exactly once, from those before it in its window:
        the first of a window from one token, the last from `context`. What fills the last windows
        up is not `seen`.
        """
        del seed
        corpus = self.corpus
        held_out = split == "validation" and corpus.tuning.size > 0
        part = corpus.tuning if held_out else corpus.test
        context, count = self.config.context, part.size - 1
        windows = math.ceil(count / context)
        padded = np.zeros(windows * context + 1, np.int32)
        padded[: part.size] = part
        inputs, labels = (padded[i : i + windows * context].reshape(-1, context) for i in (0, 1))
        seen = (np.arange(windows * context) < count).reshape(-1, context)
        few = self.config.tuning_windows
        chosen = np.arange(windows)
        if held_out and 0 < few < windows:
            chosen = np.arange(few) * windows // few
        at_once = self._windows_at_once(chosen.size)
        filled = math.ceil(chosen.size / at_once) * at_once - chosen.size
        return tuple(
            np.pad(array[chosen], ((0, filled), (0, 0))) for array in (inputs, labels, seen)
        )

    def loss(
        self,
        params: Parameters,
        batch: Batch,
        key: PRNGKeyArray,
        settings: Settings,
        values: Values,
    ) -> Float[Array, " windows"]:
        """Returns the mean loss of the tokens of each window."""
        del values
        model = self._model(params, settings)
        hidden = model(batch[:, :-1], key if self.config.dropout else None)
        losses = objective(settings["loss"], hidden, model.table, batch[:, 1:])
        return jnp.mean(losses, axis=-1)

    def predict(
        self, params: Parameters, examples: Batch, settings: Settings, values: Values
    ) -> dict[str, Array]:
        """Returns what every prediction is like, and the zeros of the attention of each window.

        `zeros` [windows, layers] counts, over all heads, the visible keys whose weight is 0.
        """
        del values
        model, config = self._model(params, settings), self.config
        visible = jnp.tril(jnp.ones((config.context, config.context), bool))

        def group(part: tuple[Array, Array, Array]) -> dict[str, Array]:
            inputs, labels, seen = part
            weights = Weights()
            hidden = model(inputs, weights=weights)
            found = measured(settings["loss"], hidden, model.table, labels, config.epsilon)
            pairs = seen[:, None, :, None] & visible[None, None]
            zeros = [jnp.sum((w == 0) & pairs, axis=(1, 2, 3)) for w in weights.layers]
            return {**found._asdict(), "zeros": jnp.stack(zeros, axis=-1)}

        at_once = self._windows_at_once(examples[0].shape[0])
        groups = jax.tree.map(lambda leaf: leaf.reshape(-1, at_once, leaf.shape[-1]), examples)
        found = jax.lax.map(group, groups)
        return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), found)

    def judge(self, outputs: Any, examples: Batch) -> Judgement:
        """Returns the means over the tokens; bits are those of a character."""
        _, labels, seen = examples
        values = {
            name: np.asarray(array, np.float64)[seen]
            for name, array in outputs.items()
            if name != "zeros"
        }
        lengths = np.asarray([len(token) for token in self.corpus.vocabulary.tokens])
        # Nats a token in bits a character.
        bits = labels[seen].size / lengths[labels[seen]].sum() / math.log(2.0)
        nll, smoothed = values["nll"].mean(), values["smoothed"].mean()
        places = np.arange(1, self.config.context + 1)
        visible = self.config.heads * (seen * places).sum()
        return Judgement(
            metrics={
                "smoothed_bits": float(smoothed * bits),
                "bits": float(nll * bits),
                "nll": float(nll),
                "accuracy": float(values["correct"].mean()),
                "support": float(values["support"].mean()),
                "missed": float(np.isinf(values["nll"]).mean()),
            },
            details={"attention_zeros": (outputs["zeros"].sum(axis=0) / visible).tolist()},
        )

    def learned(self, params: Parameters, settings: Settings) -> dict[str, Array]:
        """Returns the learned alpha, or SSMax's learned scale, of every head in every layer."""
        layers = [block.attention for block in self._model(params, settings).blocks]
        match settings["attention"]:
            case "learned_alpha":
                return {f"alpha {i}": layer.alphas() for i, layer in enumerate(layers, 1)}
            case "ssmax":
                return {f"scale {i}": layer.scale[...] for i, layer in enumerate(layers, 1)}
        return {}

    def shown(self, params: Parameters, settings: Settings, values: Values) -> dict[str, Any]:
        """Returns a sample of text, drawn from the model's own probabilities."""
        del values
        if not self.config.sample_tokens:
            return {}
        vocabulary = self.corpus.vocabulary
        graph = graph_of(self.config, settings["attention"], self._vocabulary)
        request = SampleConfig(tokens=self.config.sample_tokens, seed=self.config.first_seed)
        prompt = vocabulary.encode(vocabulary.beginning)
        text = written(self.config, settings["loss"], graph, params, prompt, request)
        return {"sample": vocabulary.decode(text)}

    @property
    def _vocabulary(self) -> int:
        return len(self.corpus.vocabulary.tokens)

    def _model(self, params: Parameters, settings: Settings) -> GPT:
        graph = graph_of(self.config, settings["attention"], self._vocabulary)
        model: GPT = nnx.merge(graph, params)
        return model

    def _windows_at_once(self, windows: int) -> int:
        return min(windows, max(1, _TOKENS // self.config.context))
