"""A text as ids of words: the most frequent words of its training part, and passages held out."""

import dataclasses
import hashlib
import itertools
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from experiments.errors import UserError
from experiments.run_directory import Record
from experiments.texts import source_of, text_files, texts
from experiments.words.config import WordsConfig

# Stands for every word that is not in the vocabulary. No word has these characters.
OTHERS = "<others>"
# A word is a run of letters, digits and underscores; identifiers stay whole.
_WORD = re.compile(r"\w+")
# Bands and tails of words need some words.
_FEWEST = 10


class Places(NamedTuple):
    """Positions in the text: where each begins its passage, and where the passage ends."""

    position: Int[np.ndarray, " places"]
    start: Int[np.ndarray, " places"]
    end: Int[np.ndarray, " places"]


@dataclasses.dataclass(frozen=True)
class Corpus:
    """A text in which words are ids by falling frequency.

    Attributes:
      words: The vocabulary; `words[id]`.
      ids: The whole text.
      counts: How often each word occurs in the training part, at least once.
      parts: The places of the training, the validation and the test part.
      distinct: How many different words the text has.
      source: Where the text is from, in words.
    """

    words: tuple[str, ...]
    ids: Int[np.ndarray, " words"]
    counts: Int[np.ndarray, " classes"]
    parts: dict[str, Places]
    distinct: int
    source: str

    @property
    def others(self) -> int:
        """The id that stands for all words outside of the vocabulary."""
        return self.words.index(OTHERS)

    @property
    def digest(self) -> str:
        """Tells texts, vocabularies and divisions apart."""
        hashed = hashlib.sha256("\n".join(self.words).encode())
        for array in (self.ids, self.counts, *(part.position for part in self.parts.values())):
            hashed.update(np.ascontiguousarray(array).tobytes())
        return hashed.hexdigest()[:16]

    def described(self) -> Record:
        """Returns what a run says of the text, and tells another one by."""
        return {
            "digest": self.digest,
            "source": self.source,
            "words": int(self.ids.size),
            "distinct": self.distinct,
            "vocabulary": len(self.words),
            "others_share": float(np.mean(self.ids == self.others)),
            "parts": {name: int(places.position.size) for name, places in self.parts.items()},
        }

    @classmethod
    def load(cls, config: WordsConfig) -> "Corpus":
        """Reads the text that a config names; what cannot be used is a UserError."""
        files = text_files(config.data_path)
        documents = [_WORD.findall(text) for text in texts(files)]
        documents = [document for document in documents if document]
        if not documents:
            raise UserError(f"data_path: expected words, found none in {len(files)} files")
        corpus = cls.of_documents(documents, config, source_of(config.data_path, files))
        if len(corpus.words) < _FEWEST:
            raise UserError(
                f"data_path: expected a text with at least {_FEWEST} words to choose from, got "
                f"{len(corpus.words)}; give more text, or a smaller min_count"
            )
        return corpus

    @classmethod
    def of_documents(
        cls, documents: Sequence[Sequence[str]], config: WordsConfig, source: str
    ) -> "Corpus":
        """Numbers the words and divides the passages."""
        parts = divided([len(document) for document in documents], config)
        for name, places in parts.items():
            if not places.position.size:
                raise UserError(
                    f"data_path: the text has {sum(map(len, documents))} words, which leaves none "
                    f"for the {name} part; give more text, or a smaller passage or held_out"
                )
        text = list(itertools.chain.from_iterable(documents))
        first_ids: dict[str, int] = {}
        raw = np.asarray([first_ids.setdefault(word, len(first_ids)) for word in text], np.int64)
        trained = np.bincount(raw[parts["training"].position], minlength=len(first_ids))
        words, table, counts = _vocabulary(tuple(first_ids), trained, config)
        return cls(words, table[raw], counts, parts, len(first_ids), source)


def divided(lengths: Sequence[int], config: WordsConfig) -> dict[str, Places]:
    """Cuts documents into passages, and holds one of every `held_out` out for each purpose."""
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    starts, ends = [], []
    for begin, end in itertools.pairwise(offsets.tolist()):
        cuts = [*range(begin, end, config.passage), end]
        starts += cuts[:-1]
        ends += cuts[1:]
    start, end = np.asarray(starts), np.asarray(ends)
    turn = np.arange(start.size) % config.held_out
    kinds = {
        "training": turn < config.held_out - 2,
        "validation": turn == config.held_out - 2,
        "test": turn == config.held_out - 1,
    }
    return {name: _places(start[chosen], end[chosen]) for name, chosen in kinds.items()}


def _places(start: np.ndarray, end: np.ndarray) -> Places:
    sizes = end - start
    first = np.concatenate([[0], np.cumsum(sizes)])[:-1]
    position = np.arange(sizes.sum()) + np.repeat(start - first, sizes)
    return Places(position, np.repeat(start, sizes), np.repeat(end, sizes))


def _vocabulary(
    words: Sequence[str], counts: np.ndarray, config: WordsConfig
) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """Returns the vocabulary, the new id of each old one, and how often the training part has it.

    Ids fall in frequency, ties by the alphabet; the mark for all others stands where it belongs.
    """
    kept = [i for i in range(len(words)) if counts[i] >= config.min_count]
    kept.sort(key=lambda i: (-counts[i], words[i]))
    kept = kept[: config.vocabulary - 1]
    # Whatever is rare or unseen in training has at least the frequency of one.
    rest = max(int(counts.sum() - counts[kept].sum()), 1)
    place = int(np.searchsorted(-counts[kept], -rest))
    order = [words[i] for i in kept]
    table = np.full(len(words), place, np.int32)
    table[kept] = np.arange(len(kept)) + (np.arange(len(kept)) >= place)
    total = np.insert(counts[kept], place, rest)
    return (*order[:place], OTHERS, *order[place:]), table, total
