"""A text becomes ids of characters or words and back; the last tenth tests."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from experiments.errors import UserError
from experiments.shakespeare.config import ShakespeareConfig
from experiments.shakespeare.corpus import OTHERS, Corpus
from tests.experiments.shakespeare.tiny import CONFIG, LINE, write_text

WHOLE = dataclasses.replace(CONFIG, trials=1, tuning_part=0.0)
WORDS = dataclasses.replace(WHOLE, data_tokens="word", context=4)


def of_text(text: str, config: ShakespeareConfig = WHOLE) -> Corpus:
    return Corpus.of_text(text, config, "a test")


def test_characters_are_sorted_and_the_last_tenth_of_the_text_tests() -> None:
    text = "hello world\n" * 20
    corpus = of_text(text)
    assert corpus.vocabulary.tokens == tuple(sorted(set(text)))
    cut = int(0.9 * len(text))
    decode = corpus.vocabulary.decode
    assert decode(corpus.training.tolist()) == text[:cut]
    assert decode(corpus.test.tolist()) == text[cut:]
    assert corpus.others_share == 0.0
    assert corpus.tuning.size == 0
    held_out = of_text(text, CONFIG)
    assert held_out.tuning.size == int(0.1 * cut)
    assert decode([*held_out.training, *held_out.tuning]) == text[:cut]
    np.testing.assert_array_equal(held_out.test, corpus.test)


def test_words_are_whole_where_frequent_and_spelt_elsewhere() -> None:
    text = "to be or not to be, that is the question\n" * 20 + "whether 'tis nobler\n"
    corpus = of_text(text, WORDS)
    known = set(corpus.vocabulary.tokens)
    assert {"to", "question", ",", " "} <= known
    assert "nobler" not in known
    assert corpus.vocabulary.decode(corpus.vocabulary.encode(text).tolist()) == text


def test_words_are_counted_in_the_training_part_only() -> None:
    text = "aa bb " * 30 + "zz " * 20
    small = dataclasses.replace(WORDS, vocabulary=7)
    # a, b, z and the space take four places, and the training part has most of aa and bb.
    assert set(of_text(text, small).vocabulary.tokens) == {" ", "a", "b", "z", "aa", "bb", "zz"}
    smaller = dataclasses.replace(WORDS, vocabulary=6)
    assert "zz" not in of_text(text, smaller).vocabulary.tokens


def test_rare_characters_are_one_token() -> None:
    text = "ab" * 100 + "xyz" + "ab" * 10
    corpus = of_text(text, dataclasses.replace(WHOLE, vocabulary=3))
    assert corpus.vocabulary.tokens == ("a", "b", OTHERS)
    assert corpus.vocabulary.decode(corpus.vocabulary.encode("axb").tolist()) == f"a{OTHERS}b"
    assert corpus.others_share == pytest.approx(3 / len(text))


def test_a_character_that_the_model_has_never_seen_is_named() -> None:
    with pytest.raises(UserError, match=r"'Q', which the model has never seen"):
        of_text("hello " * 30).vocabulary.encode("Quote")


def test_a_text_that_is_too_short_is_named() -> None:
    with pytest.raises(
        UserError, match=r"has 7 tokens to train on, 0 to tune on .* more than context \(8\)"
    ):
        of_text("abcdefgh")


def test_the_limit_cuts_the_text_and_files_follow_each_other(tmp_path: Path) -> None:
    one, two = write_text(tmp_path / "one.txt", 20), write_text(tmp_path / "two.txt", 20)
    paths = (str(one), str(two))
    whole = Corpus.load(dataclasses.replace(WHOLE, data_path=paths, data_characters=0))
    size = whole.training.size + whole.test.size
    assert size == 40 * len(LINE)
    cut = Corpus.load(dataclasses.replace(WHOLE, data_path=paths, data_characters=300))
    assert cut.training.size + cut.test.size == 300
    np.testing.assert_array_equal(cut.training, whole.training[: cut.training.size])
    assert whole.digest != cut.digest


def test_the_standard_library_is_the_default_text() -> None:
    corpus = Corpus.load(dataclasses.replace(WHOLE, data_characters=20_000))
    assert corpus.source.startswith("the standard library of Python")
    assert corpus.training.size == 18_000
