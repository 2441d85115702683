"""Examples are functions of seed and step, see what they should, and cross no border."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from experiments.errors import UserError
from experiments.words.config import TaskName, WordsConfig
from experiments.words.corpus import Corpus
from experiments.words.examples import Examples, Source

CONFIG = WordsConfig(
    vocabulary=5000,
    passage=30,
    held_out=4,
    context=3,
    window=4,
    batch_size=16,
    num_sampled=5,
)


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    """Every word occurs once, so that an id tells its place; in training, at least."""
    names = [[f"w{i:04}" for i in range(start, start + 500)] for start in (0, 500, 1000, 1500)]
    return Corpus.of_documents(names, dataclasses.replace(CONFIG, min_count=1), "test")


@pytest.fixture(scope="module")
def place(corpus: Corpus) -> dict[int, int]:
    """From the id of a training word to its position."""
    return {int(corpus.ids[i]): int(i) for i in corpus.parts["training"].position}


def source_of(corpus: Corpus, task: TaskName) -> Source:
    return Source(corpus, dataclasses.replace(CONFIG, task=task))


def batches(source: Source, seed: int, steps: range) -> Examples:
    found = [source.batch(seed, step) for step in steps]
    return Examples(*(np.stack(arrays) for arrays in zip(*found, strict=True)))


def passage(corpus: Corpus, position: int) -> tuple[int, int]:
    places = corpus.parts["training"]
    index = int(np.flatnonzero(places.position == position)[0])
    return int(places.start[index]), int(places.end[index])


def test_ngram_sees_the_words_before_the_one_it_predicts(
    corpus: Corpus, place: dict[int, int]
) -> None:
    batch = batches(source_of(corpus, "ngram"), 0, range(2))
    assert batch.inputs.shape == (2, 16, 3)
    for seen, label in zip(batch.inputs.reshape(-1, 3), batch.labels.reshape(-1), strict=True):
        at = place[int(label)]
        assert [place[int(word)] for word in seen] == [at - 3, at - 2, at - 1]
        assert passage(corpus, at) == passage(corpus, at - 3)


def test_skipgram_predicts_a_neighbour_on_either_side(
    corpus: Corpus, place: dict[int, int]
) -> None:
    batch = batches(source_of(corpus, "skipgram"), 0, range(40))
    assert batch.inputs.shape == (40, 16, 1)
    distances = []
    for seen, label in zip(batch.inputs.reshape(-1), batch.labels.reshape(-1), strict=True):
        one, other = place[int(seen)], place[int(label)]
        distances.append(other - one)
        assert passage(corpus, one) == passage(corpus, other)
    assert set(distances) == {-4, -3, -2, -1, 1, 2, 3, 4}


@pytest.mark.parametrize("task", ["skipgram", "ngram"])
def test_batches_are_a_function_of_seed_and_step(corpus: Corpus, task: TaskName) -> None:
    source = source_of(corpus, task)
    whole = batches(source, 3, range(6))
    later = batches(source_of(corpus, task), 3, range(4, 6))
    np.testing.assert_array_equal(whole.inputs[4:], later.inputs)
    np.testing.assert_array_equal(whole.labels[4:], later.labels)
    assert not np.array_equal(whole.labels, batches(source, 4, range(6)).labels)


def test_an_epoch_predicts_each_word_at_most_once(corpus: Corpus) -> None:
    source = source_of(corpus, "ngram")
    per_epoch = sum(1 for _ in corpus.parts["training"].position) * 27 // 30 // 16 - 4
    labels = batches(source, 0, range(per_epoch)).labels.reshape(-1)
    assert np.unique(labels).size == labels.size


def test_held_out_words_come_from_their_own_part(corpus: Corpus) -> None:
    source = source_of(corpus, "ngram")
    test = source.held_out("test", 50)
    assert test.inputs.shape == (50, 3)
    np.testing.assert_array_equal(test.inputs, source.held_out("test", 50).inputs)
    # Words of the other parts are not in the vocabulary: nothing of the training part is seen.
    assert set(test.labels.tolist()) == {corpus.others}


def test_text_too_short_for_a_batch_is_named(corpus: Corpus) -> None:
    with pytest.raises(UserError, match=r"batch_size: expected at most the \d+ training words"):
        Source(corpus, dataclasses.replace(CONFIG, batch_size=5000))


def test_reads_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("the cat sat on the mat when a dog lay under an old table " * 100)
    config = dataclasses.replace(CONFIG, data_path=(str(path),))
    batch = Source(Corpus.load(config), config).batch(0, 0)
    assert batch.labels.max() < 14
