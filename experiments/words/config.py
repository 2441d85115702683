"""The configuration of the comparison of output layers on words."""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from experiments.engine.config import Blocks, EngineConfig

if TYPE_CHECKING:
    from experiments.engine.extras import Extra, Part
    from experiments.engine.task import Task, Variant

TaskName = Literal["ngram", "skipgram"]


@dataclasses.dataclass(frozen=True)
class WordsConfig(EngineConfig):
    """What one comparison of output layers does; equal configs give equal results.

    Attributes:
      variants: The output layers to train, by the names that `list` prints; empty means every one.
        full always takes part, because all differences are taken to it.
      data_path: Text files, or folders whose Python and text files are read. None: the Python files
        of the running interpreter's standard library, which need no download.
      task: What is predicted: the word after a few, or a word near another one.
      vocabulary: The most frequent words of the training part, the mark for all others included.
      min_count: A word that is rarer in the training part counts as one of the others.
      passage: Words in a passage; whole passages are held out.
      held_out: One passage of so many is for validation, and one for the test.
      validation_words: How many words of the validation part are predicted at each evaluation.
      test_words: How many words of the test part give the final figures.
      features: Size of the embeddings and of the hidden state.
      context: How many words the n-gram model sees before the one it predicts.
      window: How far away a word may be that the skip-gram model predicts.
      num_sampled: Classes that sampled softmax and NCE draw for a step.
      negatives: Classes that negative sampling draws for a step.
      quality: Part of full softmax's steps whose validation NLL is the quality to reach.
      scaling: Sizes of a synthetic vocabulary at which a step is timed; empty for none.
      scaling_logits: A head whose step works out more logits than this is left out of a size.
    """

    experiment: ClassVar[str] = "words"

    seeds: int = 3
    steps: int = 500
    evaluations: int = 5
    batch_size: int = 256
    optimizer: Literal["adam", "adamw", "adagrad", "sgd"] = "adagrad"
    schedule: Literal["constant", "cosine"] = "constant"
    trials: int = 3
    tuning_seeds: int = 1
    tuning_steps: int = 100
    learning_rate_low: float = 0.03
    learning_rate_high: float = 0.3
    speed_rounds: int = 5

    data_path: tuple[str, ...] = ()
    task: TaskName = "ngram"
    vocabulary: int = 20_000
    min_count: int = 1
    passage: int = 1000
    held_out: int = 20
    validation_words: int = 2048
    test_words: int = 8192
    features: int = 48
    context: int = 3
    window: int = 5
    num_sampled: int = 256
    negatives: int = 32
    quality: float = 0.5
    scaling: tuple[int, ...] = (10_000, 100_000, 1_000_000)
    scaling_logits: int = 50_000_000

    def make_task(self) -> "Task":
        """Returns the words, which are read when they are first needed."""
        from experiments.words.task import Words

        return Words(self)

    def make_variants(self) -> "Sequence[Variant]":
        """Returns every output layer, full softmax first."""
        from experiments.words.heads import all_contenders

        return [contender.variant for contender in all_contenders().values()]

    def extras(self) -> "Sequence[Extra]":
        """Returns the timing of steps over synthetic vocabularies, size by size."""
        from experiments.words.scaling import extras

        return extras(self)

    def parts(self, results: dict[str, Any], blocks: Blocks) -> "Sequence[Part]":
        """Returns the NLL by frequency, the time to a quality, and the steps over vocabularies."""
        from experiments.words.parts import parts

        return parts(results, blocks)

    def described_steps(self) -> str:
        """Says what training is."""
        schedule = "" if self.schedule == "constant" else f", {self.schedule} schedule"
        return f"{self.steps:,} steps of Adagrad on {self.batch_size:,} words{schedule}"

    def check_values(self) -> None:
        """Raises a UserError where a value is out of range."""
        super().check_values()
        counts = (
            *("min_count", "validation_words", "test_words", "features", "context", "window"),
            *("num_sampled", "negatives", "scaling_logits"),
        )
        for name in counts:
            self.expect(name, getattr(self, name) >= 1, "1 or more")
        # Other optimisers move rows that a step does not read.
        self.expect("optimizer", self.optimizer == "adagrad", "'adagrad', which moves read rows")
        self.expect("clip", self.clip == 0, "0: the gradients of rows are not clipped")
        self.expect("vocabulary", self.vocabulary >= 10, "at least 10 (sampling needs classes)")
        longest = max(self.context, 2 * self.window)
        self.expect("passage", self.passage > longest, f"more than {longest} (context, window)")
        self.expect("held_out", self.held_out >= 3, "at least 3 (a passage of 3 is trained on)")
        self.expect("num_sampled", self.num_sampled < self.vocabulary, "less than vocabulary")
        self.expect("quality", 0 < self.quality <= 1, "more than 0, at most 1")
        sizes = self.scaling
        rising = all(a < b for a, b in itertools.pairwise(sizes))
        good = rising and all(size > self.num_sampled for size in sizes)
        self.expect("scaling", good, f"rising sizes above num_sampled ({self.num_sampled})")
