"""The configuration of the language model, for one model and for a comparison."""

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from experiments.base_config import BaseConfig
from experiments.engine.config import Blocks, EngineConfig
from experiments.errors import UserError

if TYPE_CHECKING:
    from experiments.engine.extras import Part
    from experiments.engine.task import Variant
    from experiments.shakespeare.task import LanguageModel

AttentionName = Literal[
    "softmax", "entmax15", "learned_alpha", "sparsemax", "softmax_n", "softpick", "ssmax"
]
LossName = Literal["cross_entropy", "entmax15", "fused"]
# What `train` reads in place of the fields of the same names without the first word.
_OF_TRAIN = ("train_steps", "train_evaluations", "train_learning_rate")


@dataclasses.dataclass(frozen=True)
class ShakespeareConfig(EngineConfig):
    """What a language model is and how it is trained; equal configs give equal results.

    Attributes:
      variants: Models to train, a normaliser of the attention and a loss of the output joined by a
        dot, as in `entmax15.cross_entropy`; empty means every pair. softmax.cross_entropy always
        takes part in `compare`, because all differences are taken to it.
      data_path: Text files, or folders whose Python and text files are read. None: the Python files
        of the running interpreter's standard library, which need no download.
      data_tokens: What a token is: a character, or a word; between words every character is one.
      data_characters: At most so many characters are read, from the start; 0 reads all.
      vocabulary: The most frequent tokens. A rarer word is spelt in characters; all rarer
        characters are one token.
      tuning_part: The last part of the training text that `compare` does not train on: rates are
        tuned and curves are drawn on it. `train` trains on all, with curves of the test part.
      tuning_windows: Windows of that part that are read, evenly spaced; 0 means all.
      layers: Blocks of attention and multilayer perceptron.
      heads: Attention heads in a layer.
      width: Size of the hidden state; heads divide it.
      context: How many tokens the model sees at most.
      first_weights: Deviation of the layers' first weights: 1 / sqrt(inputs), or nanoGPT's 0.02,
        with which a small model learns more slowly. Where outputs add to the hidden state it is
        smaller by sqrt(2 layers) in both.
      dropout: Part of the embeddings, attention weights and outputs that is dropped in training.
      batch_size: Windows of context tokens in a step.
      train_steps: Optimiser steps of `train`, of which as large a part warms up as in `compare`.
      train_evaluations: How often `train` evaluates and saves, evenly spaced.
      train_learning_rate: The learning rate of `train` after the warm-up.
      epsilon: What is added to every probability for the smoothed log-likelihood, which is finite
        for sparse outputs too.
      sample_tokens: Tokens of the sample that is written at the end; 0 writes none.
    """

    experiment: ClassVar[str] = "shakespeare"

    data_path: tuple[str, ...] = ()
    data_tokens: Literal["char", "word"] = "char"
    data_characters: int = 2_000_000
    vocabulary: int = 4096
    tuning_part: float = 0.1
    tuning_windows: int = 320
    layers: int = 4
    heads: int = 4
    width: int = 128
    context: int = 64
    first_weights: Literal["fan_in", "nanogpt"] = "fan_in"
    dropout: float = 0.0
    batch_size: int = 12
    optimizer: Literal["adam", "adamw", "adagrad", "sgd"] = "adamw"
    final_rate: float = 0.1
    beta2: float = 0.99
    weight_decay: float = 0.1
    clip: float = 1.0
    seeds: int = 3
    steps: int = 300
    warmup: int = 15
    evaluations: int = 5
    trials: int = 3
    tuning_seeds: int = 1
    tuning_steps: int = 100
    learning_rate_low: float = 1.5e-3
    learning_rate_high: float = 6e-3
    speed_rounds: int = 4
    models_at_once: int = 1
    train_steps: int = 2000
    train_evaluations: int = 8
    train_learning_rate: float = 1e-3
    epsilon: float = 1e-4
    sample_tokens: int = 300

    def make_task(self) -> "LanguageModel":
        """Returns the language model on its text."""
        from experiments.shakespeare.task import LanguageModel

        return LanguageModel(self)

    def make_variants(self) -> "Sequence[Variant]":
        """Returns every normaliser with every loss, softmax with cross-entropy first."""
        from experiments.shakespeare.variants import all_variants

        return all_variants()

    def parts(self, results: dict[str, Any], blocks: Blocks) -> "Sequence[Part]":
        """Returns what the report shows of text, attention, throughput and samples."""
        from experiments.shakespeare.parts import parts

        return parts(results, blocks)

    def of_one(self, variant: str, **changes: Any) -> "EngineConfig":
        """Returns the config of `train`: more steps, on all of the training part."""
        given = {name: changes.get(name, getattr(self, name)) for name in _OF_TRAIN}
        # What is wrong with one of them is said under its own name.
        dataclasses.replace(self, **given)
        steps = changes.get("steps", given["train_steps"])
        of_train = {
            "steps": steps,
            "evaluations": given["train_evaluations"],
            "warmup": self.warmup * steps // self.steps,
            "learning_rate_low": given["train_learning_rate"],
            "learning_rate_high": given["train_learning_rate"],
            "tuning_part": 0.0,
            "tuning_windows": 0,
        }
        return super().of_one(variant, **{**of_train, **changes})

    def described_steps(self) -> str:
        """Says what a step reads."""
        tokens = "characters" if self.data_tokens == "char" else "words and characters"
        return (
            f"{self.steps:,} {self.optimizer} steps of {self.batch_size} windows of {self.context} "
            f"{tokens}, {self.schedule} schedule"
        )

    def check_values(self) -> None:
        """Raises a UserError where a value is out of range."""
        super().check_values()
        counts = ("layers", "heads", "width", "context", "train_steps", "train_evaluations")
        for name in counts:
            self.expect(name, getattr(self, name) >= 1, "1 or more")
        for name in ("data_characters", "tuning_windows", "sample_tokens"):
            self.expect(name, getattr(self, name) >= 0, "0 or more")
        self.expect("vocabulary", self.vocabulary >= 2, "at least 2")
        self.expect("tuning_part", 0 <= self.tuning_part < 1, "0 or more, less than 1")
        if self.trials > 1:
            chosen_on = "more than 0 where rates are tuned (trials), not on the test part"
            self.expect("tuning_part", self.tuning_part > 0, chosen_on)
        divides = self.width % self.heads == 0
        self.expect("heads", divides, f"a divisor of width ({self.width})")
        self.expect("dropout", 0 <= self.dropout < 1, "0 or more, less than 1")
        rate = self.train_learning_rate
        self.expect("train_learning_rate", 0 < rate < math.inf, "a positive number")
        self.expect("epsilon", 0 < self.epsilon < 1, "between 0 and 1")
        if self.train_steps % self.train_evaluations:
            raise UserError(
                f"train_evaluations: expected a divisor of train_steps ({self.train_steps}), got "
                f"{self.train_evaluations}"
            )


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
