"""Words become ids by falling frequency; whole passages are held out; bad files get one line."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from experiments.errors import UserError
from experiments.texts import text_files
from experiments.words.config import WordsConfig
from experiments.words.corpus import OTHERS, Corpus, divided

CONFIG = WordsConfig(vocabulary=10, passage=50, held_out=4, context=2, window=2, num_sampled=5)


def documents(rng: np.random.Generator) -> list[list[str]]:
    return [[f"w{i}" for i in rng.zipf(1.5, size) if i < 40] for size in (500, 900, 333)]


def test_passages_divide_every_document_without_overlap() -> None:
    lengths = [500, 7, 900]
    parts = divided(lengths, CONFIG)
    positions = np.concatenate([places.position for places in parts.values()])
    np.testing.assert_array_equal(np.sort(positions), np.arange(sum(lengths)))
    borders = {0, 500, 507, 1407}
    for places in parts.values():
        assert (places.start <= places.position).all()
        assert (places.position < places.end).all()
        assert (places.end - places.start <= 50).all()
        for start, end in zip(places.start, places.end, strict=True):
            assert not any(start < border < end for border in borders)
    # 10 + 1 + 18 passages, of which one in four is for each purpose.
    counts = {name: np.unique(places.start).size for name, places in parts.items()}
    assert counts == {"training": 15, "validation": 7, "test": 7}


def test_ids_fall_in_frequency_and_counts_are_those_of_training(rng: np.random.Generator) -> None:
    texts = documents(rng)
    corpus = Corpus.of_documents(texts, CONFIG, "test")
    flat = [word for text in texts for word in text]
    trained = Counter(flat[i] for i in corpus.parts["training"].position)
    assert len(corpus.words) == 10
    assert (np.diff(corpus.counts) <= 0).all()
    known = [word for word in corpus.words if word != OTHERS]
    rest = sum(trained.values()) - sum(trained[word] for word in known)
    expected = [rest if word == OTHERS else trained[word] for word in corpus.words]
    np.testing.assert_array_equal(corpus.counts, expected)
    assert min(trained[w] for w in known) >= max(n for w, n in trained.items() if w not in known)
    back = [corpus.words[i] for i in corpus.ids]
    assert back == [word if word in known else OTHERS for word in flat]


def test_rare_words_and_words_unseen_in_training_are_others() -> None:
    text = ["a"] * 60 + ["b", "b"] + ["a"] * 8 + ["c"] * 10
    config = WordsConfig(passage=20, held_out=4, context=2, window=2, min_count=3)
    corpus = Corpus.of_documents([text], config, "test")
    # Of the four passages the third and the fourth are held out, the latter with b and c.
    assert corpus.words == ("a", OTHERS)
    np.testing.assert_array_equal(corpus.counts, [40, 1])
    assert corpus.distinct == 3


def test_standard_library_is_read_in_a_fixed_order_without_other_packages() -> None:
    files = text_files(())
    assert len(files) > 500
    assert files == text_files(())
    assert not any({"site-packages", "dist-packages"} & {*file.parts} for file in files)


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (None, ["data_path", "no file or folder"]),
        ("", ["data_path", "found none"]),
        ("!!! ???", ["data_path", "found none"]),
        ("one two three", ["data_path", "3 words", "validation"]),
    ],
)
def test_missing_or_empty_text_is_one_clear_error(
    content: str | None, parts: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "text.txt"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError) as raised:
        Corpus.load(WordsConfig(data_path=(str(path),)))
    assert "\n" not in str(raised.value)
    for part in parts:
        assert part in str(raised.value)


def test_folder_without_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no files that end in"):
        text_files((str(tmp_path),))
