"""`train` ended at any moment, by any signal, goes on to the same metrics and weights."""

import re
import signal
from pathlib import Path

import pytest

from tests.experiments.killing import (
    ROOT,
    Process,
    assert_refuses_another,
    kill_in_a_row,
    newest_state,
    records,
    run_whole,
    running,
)
from tests.experiments.shakespeare.tiny import FLAGS, write_text

# Many evaluations, so that there is something left to stop.
LONG = ("--steps", "3000", "--evaluations", "60")
SHORT = ("--steps", "1000", "--evaluations", "20")


def command(text: Path, *more: str) -> list[str]:
    anchor = str(ROOT / "configs" / "shakespeare_char.py")
    return ["train", anchor, "--data.path", str(text), *FLAGS, *more]


def went_on_from(said: str) -> list[int]:
    return [int(n.replace(",", "")) for n in re.findall(r"goes on from step ([\d,]+)", said)]


def saved_then_left(process: Process, arguments: list[str]) -> int:
    """Checks what a process said that was asked to stop; returns the step that it saved."""
    *_, saved, last = process.said.splitlines()
    assert re.fullmatch(r"saved step [\d,]+", saved)
    again = " ".join(["python -m experiments", *arguments, "--out", str(process.out)])
    assert last == f"interrupted; repeat `{again}` to go on where it stopped"
    return int(saved.split()[-1].replace(",", ""))


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text(tmp_path_factory.mktemp("text") / "text.txt")


@pytest.mark.slow
def test_a_run_that_is_stopped_in_every_way_ends_as_one_that_is_not(
    text: Path, tmp_path: Path
) -> None:
    arguments, out, log = command(text, *SHORT), tmp_path / "run", tmp_path / "log"
    start_seconds = run_whole(arguments, tmp_path / "whole")
    steps = [0]
    for number, code in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
        with running(arguments, out, log) as process:
            before = process.blocks
            process.wait_for(lambda p=process, n=before: p.blocks >= n + 3)  # type: ignore[misc]
            if number == signal.SIGTERM:
                assert_refuses_another(arguments, process)
            assert process.end(number) == code, process.said
            assert went_on_from(process.said) == steps[1:]
            steps.append(saved_then_left(process, arguments))
    said = kill_in_a_row(1, arguments, out, start_seconds)
    assert went_on_from(said)[0] == steps[-1] > steps[-2] > 0
    assert records(out) == records(tmp_path / "whole")
    assert newest_state(out) == newest_state(tmp_path / "whole")


@pytest.mark.slow
def test_a_run_killed_twenty_times_ends_as_one_never_killed(text: Path, tmp_path: Path) -> None:
    arguments = command(text, *LONG)
    start_seconds = run_whole(arguments, tmp_path / "whole")
    steps = went_on_from(kill_in_a_row(20, arguments, tmp_path / "run", start_seconds))
    assert steps == sorted(steps)
    # It went on from many states.
    assert len(set(steps)) >= 10
    assert records(tmp_path / "run") == records(tmp_path / "whole")
    assert newest_state(tmp_path / "run") == newest_state(tmp_path / "whole")
