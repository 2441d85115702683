"""A text as ids of characters or words: the first nine tenths to train, the last to test."""

import dataclasses
import hashlib
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
from jaxtyping import Int

from experiments.errors import UserError
from experiments.shakespeare.config import ShakespeareConfig
from experiments.texts import source_of, text_files, texts

# Stands for every character outside of the vocabulary.
OTHERS = "\N{REPLACEMENT CHARACTER}"
# A word is a run of letters, digits and underscores; everything else is a token by itself.
_TOKEN = re.compile(r"\w+|\W", re.DOTALL)
_TRAINING = 0.9


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """The tokens of a model, by their ids.

    Attributes:
      tokens: `tokens[id]`, sorted; joined without anything between them they are the text.
      kind: "char" or "word".
    """

    tokens: tuple[str, ...]
    kind: str

    def encode(self, text: str) -> Int[np.ndarray, " tokens"]:
        """Returns the ids of a text; a character that is not known is a UserError."""
        ids = {token: i for i, token in enumerate(self.tokens)}
        others = ids.get(OTHERS)

        def of_character(character: str) -> int:
            found = ids.get(character, others)
            if found is None:
                raise UserError(f"the text has {character!r}, which the model has never seen")
            return found

        if self.kind == "char":
            return np.asarray([of_character(c) for c in text], np.int32)
        found: list[int] = []
        for token in _TOKEN.findall(text):
            # A word that is not in the vocabulary is spelt.
            known = ids.get(token)
            found += [known] if known is not None else [of_character(c) for c in token]
        return np.asarray(found, np.int32)

    def decode(self, ids: Iterable[int]) -> str:
        """Returns the text of some ids."""
        return "".join(self.tokens[i] for i in ids)

    @property
    def beginning(self) -> str:
        """What text is made from that has no other beginning: a new line, where there is one."""
        return "\n" if "\n" in self.tokens else self.tokens[0]

    @classmethod
    def of(cls, text: str, training: str, config: ShakespeareConfig) -> "Vocabulary":
        """Takes the most frequent tokens; ties by the alphabet.

        Characters are counted in the whole text, as is usual for this task, words in its training
        part.
        """
        characters = _most_frequent(Counter(text), config.vocabulary)
        if len(characters) < len(set(text)):
            characters = sorted({*characters[: config.vocabulary - 1], OTHERS})
        words: list[str] = []
        if config.data_tokens == "word":
            counts = Counter(t for t in _TOKEN.findall(training) if len(t) > 1)
            words = _most_frequent(counts, max(config.vocabulary - len(characters), 0))
        return cls(tuple(sorted([*characters, *words])), config.data_tokens)


def _most_frequent(counts: Counter[str], size: int) -> list[str]:
    return sorted(counts, key=lambda token: (-counts[token], token))[:size]


@dataclasses.dataclass(frozen=True)
class Corpus:
    """A text in ids.

    Attributes:
      vocabulary: Its tokens.
      training: The first nine tenths, without what is tuned on.
      tuning: What is tuned on: the last part of the first nine tenths; it may be empty.
      test: The rest.
      others_share: The part of the tokens that stands for rarer characters.
      source: Where the text is from, in words.
    """

    vocabulary: Vocabulary
    training: Int[np.ndarray, " tokens"]
    tuning: Int[np.ndarray, " tokens"]
    test: Int[np.ndarray, " tokens"]
    others_share: float
    source: str

    @property
    def digest(self) -> str:
        """Tells texts and vocabularies apart."""
        hashed = hashlib.sha256("\0".join(self.vocabulary.tokens).encode("utf-8", "replace"))
        for array in (self.training, self.tuning, self.test):
            hashed.update(np.ascontiguousarray(array).tobytes())
        return hashed.hexdigest()[:16]

    @classmethod
    def load(cls, config: ShakespeareConfig) -> "Corpus":
        """Reads the text that a config names; what cannot be used is a UserError."""
        files = text_files(config.data_path)
        text = _joined(texts(files), config.data_characters)
        return cls.of_text(text, config, source_of(config.data_path, files))

    @classmethod
    def of_text(cls, text: str, config: ShakespeareConfig, source: str) -> "Corpus":
        """Numbers the tokens and divides the text."""
        cut = int(_TRAINING * len(text))
        vocabulary = Vocabulary.of(text, text[:cut], config)
        first, test = vocabulary.encode(text[:cut]), vocabulary.encode(text[cut:])
        training, tuning = np.split(first, [first.size - int(config.tuning_part * first.size)])
        if training.size <= config.context or test.size < 2 or tuning.size == 1:
            raise UserError(
                f"data_path: the text has {training.size:,} tokens to train on, {tuning.size:,} to "
                f"tune on and {test.size:,} to test, expected more than context "
                f"({config.context}), 0 or at least 2, and at least 2; give more text"
            )
        tokens = vocabulary.tokens
        others = tokens.index(OTHERS) if OTHERS in tokens else -1
        share = float(np.mean(np.concatenate([first, test]) == others))
        return cls(vocabulary, training, tuning, test, share, source)


def _joined(parts: Iterable[str], limit: int) -> str:
    """Returns the texts one after the other, up to so many characters; 0 is no limit."""
    found: list[str] = []
    size = 0
    for part in parts:
        found.append(part)
        size += len(part)
        if limit and size >= limit:
            break
    joined = "".join(found)
    return joined[:limit] if limit else joined


def described(corpus: Corpus) -> dict[str, Any]:
    """Returns what a run notes about its text."""
    return {
        "digest": corpus.digest,
        "source": corpus.source,
        "parts": {
            "training": int(corpus.training.size),
            "tuning": int(corpus.tuning.size),
            "test": int(corpus.test.size),
        },
        "others_share": corpus.others_share,
        "tokens": list(corpus.vocabulary.tokens),
    }
