"""The configuration of the comparison on words."""

import dataclasses
import itertools
import math
from typing import ClassVar, Literal

from experiments.base_config import BaseConfig
from experiments.errors import UserError

TaskName = Literal["skipgram", "ngram"]


@dataclasses.dataclass(frozen=True)
class WordsConfig(BaseConfig):
    """What one comparison of output layers does; equal configs give equal results.

    Attributes:
      data_path: Text files, or folders whose Python and text files are read. None: the Python files
        of the running interpreter's standard library, which need no download.
      tasks: What is predicted: a word near another one, or the word after a few.
      heads: The output layers to train; empty means every one. `full` always takes part, because
        all differences are taken to it.
      vocabulary: The most frequent words of the training part, the mark for all others included.
      min_count: A word that is rarer in the training part counts as one of the others.
      passage: Words in a passage; whole passages are held out.
      held_out: One passage of so many is for validation, and one for the test.
      validation_words: How many words of the validation part are predicted at each evaluation.
      test_words: How many words of the test part give the final figures.
      features: Size of the embeddings and of the hidden state.
      context: How many words the n-gram model sees before the one it predicts.
      window: How far away a word may be that the skip-gram model predicts.
      seeds: How many independent repetitions; each has its own initial weights and order of data.
      first_seed: The seed of the first repetition; the others follow it.
      steps: Optimiser steps for every model.
      batch_size: Words that a step predicts.
      evaluations: How often a model is evaluated during training, evenly spaced.
      learning_rates: Adagrad's rates that every head may choose from, on the validation part.
      pilot: Part of the steps after which the first seed chooses the rate for all.
      num_sampled: Classes that sampled softmax and NCE draw for a step.
      negatives: Classes that negative sampling draws for a step.
      quality: Part of full softmax's steps whose validation NLL is the quality to reach.
      confidence: Level of all intervals.
      speed_rounds: Interleaved rounds in which steps are timed.
      scaling: Sizes of a synthetic vocabulary at which a step is timed; empty for none.
      scaling_logits: A head whose step works out more logits than this is left out of a size.
    """

    experiment: ClassVar[str] = "words"

    data_path: tuple[str, ...] = ()
    tasks: tuple[TaskName, ...] = ("skipgram", "ngram")
    heads: tuple[str, ...] = ()
    vocabulary: int = 20_000
    min_count: int = 1
    passage: int = 1000
    held_out: int = 20
    validation_words: int = 2048
    test_words: int = 8192
    features: int = 48
    context: int = 3
    window: int = 5
    seeds: int = 3
    first_seed: int = 0
    steps: int = 500
    batch_size: int = 256
    evaluations: int = 5
    learning_rates: tuple[float, ...] = (0.03, 0.1)
    pilot: float = 0.2
    num_sampled: int = 256
    negatives: int = 32
    quality: float = 0.5
    confidence: float = 0.95
    speed_rounds: int = 5
    scaling: tuple[int, ...] = (10_000, 100_000, 1_000_000)
    scaling_logits: int = 50_000_000

    @property
    def chunk(self) -> int:
        """Steps between two evaluations."""
        return self.steps // self.evaluations

    @property
    def pilot_steps(self) -> int:
        """Steps of a pilot run: a whole number of chunks, at least one."""
        return max(1, round(self.pilot * self.evaluations)) * self.chunk

    def check_values(self) -> None:
        """Raises a UserError where a value is out of range."""
        counts = (
            *("min_count", "validation_words", "test_words", "features", "context", "window"),
            *("steps", "batch_size", "num_sampled", "negatives", "speed_rounds", "scaling_logits"),
        )
        for name in counts:
            self.expect(name, getattr(self, name) >= 1, "1 or more")
        self.expect("tasks", 0 < len(self.tasks) == len(set(self.tasks)), "different tasks")
        self.expect("vocabulary", self.vocabulary >= 10, "at least 10 (sampling needs classes)")
        longest = max(self.context, 2 * self.window)
        self.expect("passage", self.passage > longest, f"more than {longest} (context, window)")
        self.expect("held_out", self.held_out >= 3, "at least 3 (a passage of 3 is trained on)")
        self.expect("seeds", self.seeds >= 2, "at least 2 (an interval needs two repetitions)")
        self.expect("first_seed", self.first_seed >= 0, "0 or more")
        self.expect("num_sampled", self.num_sampled < self.vocabulary, "less than vocabulary")
        at_most = f"1 to steps ({self.steps})"
        self.expect("evaluations", 1 <= self.evaluations <= self.steps, at_most)
        if self.steps % self.evaluations:
            raise UserError(
                f"evaluations: expected a divisor of steps ({self.steps}), got {self.evaluations}"
            )
        rates = self.learning_rates
        good = len(rates) > 0 and all(0 < rate < math.inf for rate in rates)
        different = "different positive numbers"
        self.expect("learning_rates", good and len(set(rates)) == len(rates), different)
        self.expect("pilot", 0 < self.pilot <= 1, "more than 0, at most 1")
        self.expect("quality", 0 < self.quality <= 1, "more than 0, at most 1")
        self.expect("confidence", 0 < self.confidence < 1, "between 0 and 1")
        sizes = self.scaling
        rising = all(a < b for a, b in itertools.pairwise(sizes))
        good = rising and all(size > self.num_sampled for size in sizes)
        self.expect("scaling", good, f"rising sizes above num_sampled ({self.num_sampled})")
