"""The configuration of the language model, for one model and for a comparison."""

import dataclasses
import math
from typing import ClassVar, Literal

from experiments.base_config import BaseConfig
from experiments.errors import UserError

AttentionName = Literal[
    "softmax", "entmax15", "learned_alpha", "sparsemax", "softmax_n", "softpick", "ssmax"
]
LossName = Literal["cross_entropy", "entmax15", "fused"]


@dataclasses.dataclass(frozen=True)
class ShakespeareConfig(BaseConfig):
    """What a language model is and how it is trained; equal configs give equal results.

    Attributes:
      data_path: Text files, or folders whose Python and text files are read. None: the Python files
        of the running interpreter's standard library, which need no download.
      data_tokens: What a token is: a character, or a word; between words every character is one.
      data_characters: At most so many characters are read, from the start; 0 reads all.
      vocabulary: The most frequent tokens. A rarer word is spelt in characters; all rarer
        characters are one token.
      attention: Normalisers of the attention. `train` takes one, softmax unless told; `compare`
        takes all unless told.
      losses: Losses of the output. `train` takes one, cross-entropy unless told; `compare` takes
        all unless told, each with every normaliser. Softmax with cross-entropy always takes part.
      layers: Blocks of attention and multilayer perceptron.
      heads: Attention heads in a layer.
      width: Size of the hidden state; heads divide it.
      context: How many tokens the model sees at most.
      first_weights: Deviation of the layers' first weights: 1 / sqrt(inputs), or nanoGPT's 0.02,
        with which a small model learns more slowly. Where outputs add to the hidden state it is
        smaller by sqrt(2 layers) in both.
      dropout: Part of the embeddings, attention weights and outputs that is dropped in training.
      batch_size: Windows of context tokens in a step.
      steps: Optimiser steps of `train`.
      evaluations: How often `train` evaluates and saves, evenly spaced.
      learning_rate: AdamW's rate after the warm-up.
      min_learning_rate: The rate at the last step, reached by half a cosine.
      warmup: Steps in which the rate rises; in a comparison at most a tenth of its steps.
      beta1: AdamW's decay of the mean gradient.
      beta2: AdamW's decay of the mean squared gradient.
      weight_decay: AdamW's, on matrices only.
      clip: Gradients of a larger norm are scaled down to it.
      seed: The seed of `train`, and the first one of `compare`.
      seeds: How many independent repetitions `compare` makes.
      compare_steps: Optimiser steps for every model of `compare`.
      compare_evaluations: How often `compare` evaluates during training, evenly spaced.
      epsilon: What is added to every probability for the smoothed log-likelihood, which is finite
        for sparse outputs too.
      sample_tokens: Tokens of the sample that is written at the end.
      confidence: Level of all intervals.
      speed_rounds: Interleaved rounds in which steps are timed.
    """

    experiment: ClassVar[str] = "shakespeare"

    data_path: tuple[str, ...] = ()
    data_tokens: Literal["char", "word"] = "char"
    data_characters: int = 2_000_000
    vocabulary: int = 4096
    attention: tuple[AttentionName, ...] = ()
    losses: tuple[LossName, ...] = ()
    layers: int = 4
    heads: int = 4
    width: int = 128
    context: int = 64
    first_weights: Literal["fan_in", "nanogpt"] = "fan_in"
    dropout: float = 0.0
    batch_size: int = 12
    steps: int = 2000
    evaluations: int = 8
    learning_rate: float = 1e-3
    min_learning_rate: float = 1e-4
    warmup: int = 100
    beta1: float = 0.9
    beta2: float = 0.99
    weight_decay: float = 0.1
    clip: float = 1.0
    seed: int = 0
    seeds: int = 3
    compare_steps: int = 400
    compare_evaluations: int = 2
    epsilon: float = 1e-4
    sample_tokens: int = 300
    confidence: float = 0.95
    speed_rounds: int = 5

    @property
    def chunk(self) -> int:
        """Steps between two evaluations."""
        return self.steps // self.evaluations

    def check_values(self) -> None:
        """Raises a UserError where a value is out of range."""
        counts = (
            *("layers", "heads", "width", "context", "batch_size", "steps", "evaluations"),
            *("compare_steps", "compare_evaluations", "sample_tokens", "speed_rounds"),
        )
        for name in counts:
            self.expect(name, getattr(self, name) >= 1, "1 or more")
        for name in ("data_characters", "warmup", "seed"):
            self.expect(name, getattr(self, name) >= 0, "0 or more")
        self.expect("vocabulary", self.vocabulary >= 2, "at least 2")
        for name in ("attention", "losses"):
            chosen = getattr(self, name)
            self.expect(name, len(set(chosen)) == len(chosen), "different names")
        divides = self.width % self.heads == 0
        self.expect("heads", divides, f"a divisor of width ({self.width})")
        self.expect("dropout", 0 <= self.dropout < 1, "0 or more, less than 1")
        for name in ("learning_rate", "min_learning_rate", "clip"):
            self.expect(name, 0 < getattr(self, name) < math.inf, "a positive number")
        at_most = f"at most learning_rate ({self.learning_rate:g})"
        self.expect("min_learning_rate", self.min_learning_rate <= self.learning_rate, at_most)
        self.expect("warmup", self.warmup < self.steps, f"less than steps ({self.steps})")
        for name in ("beta1", "beta2"):
            self.expect(name, 0 <= getattr(self, name) < 1, "0 or more, less than 1")
        self.expect("weight_decay", 0 <= self.weight_decay < math.inf, "0 or more")
        self.expect("seeds", self.seeds >= 2, "at least 2 (an interval needs two repetitions)")
        self.expect("epsilon", 0 < self.epsilon < 1, "between 0 and 1")
        self.expect("confidence", 0 < self.confidence < 1, "between 0 and 1")
        for evaluations, steps in (
            ("evaluations", "steps"),
            ("compare_evaluations", "compare_steps"),
        ):
            if getattr(self, steps) % getattr(self, evaluations):
                raise UserError(
                    f"{evaluations}: expected a divisor of {steps} ({getattr(self, steps)}), got "
                    f"{getattr(self, evaluations)}"
                )

    def of_comparison(self) -> "ShakespeareConfig":
        """Returns the config of one model of a comparison."""
        return dataclasses.replace(
            self,
            steps=self.compare_steps,
            evaluations=self.compare_evaluations,
            warmup=min(self.warmup, self.compare_steps // 10),
        )


@dataclasses.dataclass(frozen=True)
class ModelConfig(ShakespeareConfig):
    """One model of `train`: one normaliser, one loss, and nothing that only `compare` reads."""

    experiment: ClassVar[str] = "shakespeare-model"

    def check_values(self) -> None:
        """Raises a UserError where a value is out of range."""
        super().check_values()
        for name in ("attention", "losses"):
            given = len(getattr(self, name))
            self.expect(name, given == 1, "one name for `train`")

    @classmethod
    def of(cls, config: ShakespeareConfig) -> "ModelConfig":
        """Returns the config of `train` for a config file."""
        fields = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
        fields["attention"] = config.attention or ("softmax",)
        fields["losses"] = config.losses or ("cross_entropy",)
        unread = (*("seeds", "compare_steps", "compare_evaluations", "confidence", "speed_rounds"),)
        for name in unread:
            fields[name] = cls.__dataclass_fields__[name].default
        return cls(**fields)


@dataclasses.dataclass(frozen=True)
class SampleConfig(BaseConfig):
    """How text is made.

    Attributes:
      temperature: Divides the logits; 0 takes the most probable token.
      top_k: Only so many tokens are kept; 0 keeps all.
      top_p: The most probable tokens are kept that first reach this probability together.
      min_p: Tokens are kept that have this part of the largest probability.
      alpha: Of the entmax that makes probabilities, 1 is softmax; 0 is that of the model's loss.
      tokens: How many are made.
      prompt: The text that is continued; none is a new line.
      seed: Of the random numbers.
    """

    experiment: ClassVar[str] = "sample"

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    alpha: float = 0.0
    tokens: int = 500
    prompt: str = ""
    seed: int = 0

    def check_values(self) -> None:
        """Raises a UserError where a value is out of range."""
        for name in ("temperature", "alpha"):
            self.expect(name, 0 <= getattr(self, name) < math.inf, "0 or more")
        for name in ("top_k", "seed"):
            self.expect(name, getattr(self, name) >= 0, "0 or more")
        self.expect("top_p", 0 < self.top_p <= 1, "more than 0, at most 1")
        self.expect("min_p", 0 <= self.min_p <= 1, "0 to 1")
        self.expect("tokens", self.tokens >= 1, "1 or more")
