"""Output tables that devices share by classes: the same run as on one device."""

from pathlib import Path

import jax
import pytest
from jax.sharding import PartitionSpec

from experiments.engine import comparison
from experiments.progress import Display
from experiments.words.config import WordsConfig
from tests.experiments.engine.same_run import assert_same, measured
from tests.experiments.words.text import write_text

NAMES = ("full", "fused", "sampled", "negative", "huffman")


def config_on(text: Path, seeds: int, classes: int) -> WordsConfig:
    return WordsConfig(
        data_path=(str(text),),
        variants=NAMES,
        vocabulary=60,
        passage=100,
        held_out=5,
        features=8,
        context=1,
        seeds=2,
        steps=20,
        batch_size=32,
        evaluations=2,
        trials=1,
        learning_rate_low=0.3,
        num_sampled=10,
        negatives=5,
        validation_words=64,
        test_words=64,
        speed_rounds=0,
        scaling=(),
        mesh_seeds=seeds,
        mesh_classes=classes,
    )


def test_tables_of_one_row_a_word_are_split_and_others_are_whole(tmp_path: Path) -> None:
    task = config_on(write_text(tmp_path / "text.txt"), 1, 1).make_task()
    for name in NAMES:
        params = task.initial(0, {"head": name})
        split = task.partition(params)
        jax.tree.map(lambda leaf, spec: None, params, split)  # the same structure
        specs = set(jax.tree.leaves(split.head))
        assert specs == ({PartitionSpec()} if name == "huffman" else {PartitionSpec("classes")})
        assert set(jax.tree.leaves((split.table, split.dense))) == {PartitionSpec()}


@pytest.mark.slow
def test_eight_devices_give_what_one_gives(tmp_path: Path) -> None:
    text = write_text(tmp_path / "text.txt")
    for name, sizes in (("one", (1, 1)), ("eight", (2, 4))):
        assert comparison.compare(config_on(text, *sizes), tmp_path / name, Display())
    expected = measured(tmp_path / "one")
    assert len(expected) == len(NAMES) * 2 * 3
    assert_same(measured(tmp_path / "eight"), expected)
    for name in NAMES:  # training moves them far further than the devices may differ
        assert abs(expected[name, 0, 20]["nll"] - expected[name, 0, 10]["nll"]) > 1e-2
