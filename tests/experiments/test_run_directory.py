"""A run directory loses at most an unfinished block, and never serves two masters."""

import json
from pathlib import Path

import pytest

from experiments.base_config import BaseConfig, to_json
from experiments.config_files import from_json
from experiments.digits.config import DigitsConfig
from experiments.errors import UserError
from experiments.run_directory import METRICS, RunDirectory, read_blocks, read_run
from experiments.words.config import WordsConfig

CONFIG = DigitsConfig(seeds=2)
ONE, TWO = [{"kind": "test", "value": 0.1}], [{"kind": "test", "value": 0.2}]


@pytest.mark.parametrize("config", [CONFIG, WordsConfig(tasks=("ngram",), steps=5)])
def test_config_reads_back_as_it_was(config: BaseConfig) -> None:
    assert from_json(json.loads(json.dumps(to_json(config)))) == config


def test_config_without_the_name_of_its_experiment_is_one_of_digits() -> None:
    fields = to_json(CONFIG)
    del fields["experiment"]
    assert from_json(fields) == CONFIG


def test_run_of_another_experiment_is_refused(tmp_path: Path) -> None:
    RunDirectory.open(tmp_path, CONFIG).close()
    with pytest.raises(UserError, match=r"experiment \(digits there, words here\)"):
        RunDirectory.open(tmp_path, WordsConfig())
    with pytest.raises(UserError, match="a run on digits, expected words"):
        read_run(tmp_path, WordsConfig)


def test_blocks_read_back_and_a_later_one_wins(tmp_path: Path) -> None:
    run = RunDirectory.open(tmp_path, CONFIG)
    run.append("a", ONE)
    run.append("b", ONE)
    run.append("a", TWO)
    run.close()
    config, blocks, _ = read_run(tmp_path, DigitsConfig)
    assert config == CONFIG
    assert blocks == {"a": TWO, "b": ONE}


@pytest.mark.parametrize("cut", [1, 5, 30, 70])
def test_a_block_that_was_cut_off_is_dropped_and_the_rest_is_kept(tmp_path: Path, cut: int) -> None:
    run = RunDirectory.open(tmp_path, CONFIG)
    run.append("a", ONE)
    whole = (tmp_path / METRICS).read_bytes()
    run.append("b", TWO)
    run.close()
    both = (tmp_path / METRICS).read_bytes()
    assert cut < len(both) - len(whole)
    (tmp_path / METRICS).write_bytes(both[:-cut])

    again = RunDirectory.open(tmp_path, CONFIG)
    assert again.blocks == {"a": ONE}
    assert again.dropped > 0
    assert (tmp_path / METRICS).read_bytes() == whole
    again.append("b", TWO)
    again.close()
    assert (tmp_path / METRICS).read_bytes() == both


def test_another_config_is_refused_by_the_fields_that_differ(tmp_path: Path) -> None:
    RunDirectory.open(tmp_path, CONFIG).close()
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(UserError, match=r"seeds \(2 there, 3 here\), hidden"):
        RunDirectory.open(tmp_path, DigitsConfig(seeds=3, hidden=()))
    assert before == {path: path.read_bytes() for path in tmp_path.iterdir()}


def test_a_directory_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("important")
    with pytest.raises(UserError, match="not empty"):
        RunDirectory.open(tmp_path, CONFIG)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_second_writer_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    run = RunDirectory.open(tmp_path, CONFIG)
    with pytest.raises(UserError, match="another process"):
        RunDirectory.open(tmp_path, CONFIG)
    run.close()
    RunDirectory.open(tmp_path, CONFIG).close()


def test_numbers_that_json_lacks_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    run = RunDirectory.open(tmp_path, CONFIG)
    with pytest.raises(ValueError, match="JSON compliant"):
        run.append("a", [{"kind": "test", "value": float("nan")}])
    run.close()
    assert read_blocks(tmp_path / METRICS) == ({}, 0, 0)


def test_a_damaged_config_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"seeds": ')
    with pytest.raises(UserError, match=r"config\.json is damaged"):
        RunDirectory.open(tmp_path, CONFIG)
