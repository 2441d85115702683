"""A run directory loses at most an unfinished block, and never serves two masters."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.base_config import BaseConfig, to_json
from experiments.config_files import from_json
from experiments.digits.config import DigitsConfig
from experiments.errors import UserError
from experiments.run_directory import METRICS, RunDirectory, read_blocks, read_run, write_json
from experiments.words.config import WordsConfig
from tests.experiments.disk import fill

CONFIG = DigitsConfig(seeds=2)
ONE, TWO = [{"kind": "test", "value": 0.1}], [{"kind": "test", "value": 0.2}]


@pytest.mark.parametrize("config", [CONFIG, WordsConfig(task="skipgram", steps=5)])
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


# Opens a run as soon as there is a file `go`, says how it went, and keeps it open until told.
CONTENDER = """
import sys
import time
from pathlib import Path
from experiments.errors import UserError
from experiments.run_directory import RunDirectory
from experiments.words.config import WordsConfig
go, run = map(Path, sys.argv[1:])
print("ready", flush=True)
while not go.exists():
    time.sleep(0.0005)
try:
    opened = RunDirectory.open(run, WordsConfig())
    print("opened", flush=True)
except UserError as error:
    print(error, flush=True)
sys.stdin.read()
"""


@pytest.mark.slow
def test_one_of_many_processes_opens_a_new_run(tmp_path: Path) -> None:
    for turn in range(2):
        go, run = tmp_path / f"go {turn}", tmp_path / f"run {turn}"
        command = [sys.executable, "-c", CONTENDER, str(go), str(run)]
        pipe = subprocess.PIPE
        processes = [
            subprocess.Popen(command, text=True, stdin=pipe, stdout=pipe) for _ in range(3)
        ]
        assert [_line(process) for process in processes] == ["ready"] * 3
        go.touch()
        said = sorted(_line(process) for process in processes)
        assert said == [f"{run} is being written by another process"] * 2 + ["opened"]
        for process in processes:
            process.communicate()
            assert process.returncode == 0
        RunDirectory.open(run, WordsConfig()).close()


def _line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().rstrip()


@pytest.mark.parametrize("left", [(METRICS,), (METRICS, "config.json.part")], ids=len)
def test_a_run_that_was_killed_before_it_had_a_config_begins_again(
    left: tuple[str, ...], tmp_path: Path
) -> None:
    for name in left:
        (tmp_path / name).touch()
    run = RunDirectory.open(tmp_path, CONFIG)
    run.append("a", ONE)
    run.close()
    assert read_run(tmp_path, DigitsConfig)[:2] == (CONFIG, {"a": ONE})


def test_metrics_of_someone_else_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / METRICS).write_text("important")
    with pytest.raises(UserError, match="not empty"):
        RunDirectory.open(tmp_path, CONFIG)
    assert (tmp_path / METRICS).read_text() == "important"


def test_a_block_that_does_not_fit_the_disk_leaves_the_others_whole(small_disk: Path) -> None:
    path, filling = small_disk / "run", small_disk / "filling"
    run = RunDirectory.open(path, CONFIG)
    run.append("a", ONE)
    before = (path / METRICS).read_bytes()
    # There is room for a part of the block.
    large = [{"kind": "test", "text": "x" * 500_000}]
    filling.write_bytes(bytes(800_000))
    with pytest.raises(UserError, match=r"metrics\.jsonl cannot be written: No space left on dev"):
        run.append("b", large)
    assert run.blocks == {"a": ONE}
    assert (path / METRICS).read_bytes() == before
    with filling.open("ab") as file:
        fill(file.fileno())
    with pytest.raises(UserError, match=r"results\.json cannot be written: No space left on dev"):
        write_json(path / "results.json", {"x": "y" * 5000})
    with pytest.raises(UserError, match="cannot be written: No space"):
        run.append("b", large)
    assert (path / METRICS).read_bytes() == before
    filling.unlink()
    run.append("b", TWO)
    run.close()
    assert read_blocks(path / METRICS)[0] == {"a": ONE, "b": TWO}


def test_an_interrupted_write_leaves_no_half_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(file: int) -> None:
        raise KeyboardInterrupt

    run = RunDirectory.open(tmp_path, CONFIG)
    run.append("a", ONE)
    before = (tmp_path / METRICS).read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run.append("b", TWO)
    assert (tmp_path / METRICS).read_bytes() == before
    run.append("b", TWO)
    run.close()
    assert read_blocks(tmp_path / METRICS)[0] == {"a": ONE, "b": TWO}


def test_a_directory_that_may_not_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file/run cannot be written: Not a directory"):
        RunDirectory.open(tmp_path / "file" / "run", CONFIG)


def test_a_damaged_config_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"seeds": ')
    with pytest.raises(UserError, match=r"config\.json is damaged"):
        RunDirectory.open(tmp_path, CONFIG)
