"""`train` ended at any moment, by any signal, goes on to the same metrics and weights."""

import json
import re
import signal
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from experiments.checkpoints import CHECKPOINTS, read_newest
from experiments.run_directory import read_config
from experiments.shakespeare.config import ModelConfig
from experiments.shakespeare.saved import Saved
from experiments.shakespeare.train import Variant
from tests.experiments.killing import ROOT, moments, records, running
from tests.experiments.shakespeare.tiny import FLAGS, write_text

# Many evaluations, so that there is something left to kill.
LONG = ("--steps", "1200", "--evaluations", "30")
SHORT = ("--steps", "400", "--evaluations", "10")
PROGRESS, START_SECONDS = "  validation ", 4.0


def command(text: Path, *more: str) -> list[str]:
    anchor = str(ROOT / "configs" / "shakespeare_char.py")
    return ["train", anchor, "--data.path", str(text), *FLAGS, *more]


def weights(run: Path) -> Any:
    config = read_config(run)
    assert isinstance(config, ModelConfig)
    vocabulary = len(json.loads((run / "vocabulary.json").read_text())["tokens"])
    variant = Variant(config.attention[0], config.losses[0])
    found = read_newest(run, Saved.shape(config, variant, vocabulary), pytest.fail)
    assert found is not None
    assert found[0] == config.steps
    return found[1]


def assert_same_runs(one: Path, other: Path) -> None:
    assert records(one) == records(other)
    same = jax.tree.map(
        lambda a, b: np.asarray(a).tobytes() == np.asarray(b).tobytes(),
        weights(one),
        weights(other),
    )
    assert all(jax.tree.leaves(same))


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text(tmp_path_factory.mktemp("text") / "text.txt")


@pytest.fixture(scope="module")
def never_killed(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "whole"
    with running(command(text, *SHORT), out, out.parent / "log") as process:
        process.finish()
    return out


def kill_in_a_row(count: int, arguments: list[str], out: Path) -> list[int]:
    """Kills and repeats a command, then lets it end; returns the steps it went on from."""
    log, went_on = out.parent / "log", []
    for moment in moments(count, np.random.default_rng(count), PROGRESS, START_SECONDS):
        with running(arguments, out, log) as process:
            moment(process)
            assert process.end(signal.SIGKILL) == -signal.SIGKILL
            went_on += re.findall(r"goes on from step ([\d,]+)", process.said)
            assert "Traceback" not in process.said
    with running(arguments, out, log) as process:
        went_on += re.findall(r"goes on from step ([\d,]+)", process.finish())
    return [int(step.replace(",", "")) for step in went_on]


def test_a_run_killed_three_times_ends_as_one_never_killed(
    never_killed: Path, text: Path, tmp_path: Path
) -> None:
    went_on = kill_in_a_row(3, command(text, *SHORT), tmp_path / "run")
    assert went_on == sorted(went_on)
    assert went_on[-1] > 0
    assert_same_runs(tmp_path / "run", never_killed)


@pytest.mark.slow
def test_a_run_killed_twenty_times_ends_as_one_never_killed(text: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    with running(command(text, *LONG), whole, tmp_path / "log") as process:
        process.finish()
    went_on = kill_in_a_row(20, command(text, *LONG), tmp_path / "run")
    assert went_on == sorted(went_on)
    # It went on from many states, and not all of them were the first.
    assert len(set(went_on)) >= 8
    assert_same_runs(tmp_path / "run", whole)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_the_step_it_finds_and_a_second_process_is_refused(
    number: int, code: int, never_killed: Path, text: Path, tmp_path: Path
) -> None:
    out, arguments = tmp_path / "run", command(text, *SHORT)
    with running(arguments, out, tmp_path / "log") as process:
        process.wait_for(lambda: process.said.count(PROGRESS) >= 2)
        if number == signal.SIGTERM:
            with running(arguments, out, tmp_path / "second") as second:
                assert second.exit_code() == 2
            assert second.said == f"error: {out} is being written by another process\n"
        assert process.end(number) == code
    *_, saved, last = process.said.splitlines()
    assert re.fullmatch(r"saved step \d+", saved)
    again = " ".join(["python -m experiments", *arguments, "--out", str(out)])
    assert last == f"interrupted; repeat `{again}` to go on where it stopped"
    step = saved.split()[-1]
    assert max((out / CHECKPOINTS).iterdir(), key=lambda path: int(path.name)).name == step
    with running(arguments, out, tmp_path / "log") as process:
        assert f"goes on from step {step}\n" in process.finish()
    assert_same_runs(out, never_killed)
