"""A signal is kept until the loop has saved; a second Ctrl-C is not."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from experiments import cli
from experiments.errors import RunFailed
from experiments.interrupts import (
    Interrupted,
    exit_code,
    stop_on_signals,
    terminated_as_interrupted,
)


@pytest.fixture(autouse=True)
def _handlers_are_left_as_they_were() -> Iterator[None]:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    yield
    assert before == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_waits_for_the_loop_to_leave(number: int, code: int) -> None:
    steps = 0
    with stop_on_signals() as stop:
        while not stop.agreed():
            steps += 1
            if steps == 3:
                send(number)
        with pytest.raises(Interrupted) as caught:
            stop.leave()
    assert steps == 3
    assert exit_code(caught.value) == code


def test_without_a_signal_nothing_is_requested() -> None:
    with stop_on_signals() as stop:
        assert not stop.requested
        assert not stop.agreed()


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_a_second_ctrl_c_stops_at_once(first: int) -> None:
    with stop_on_signals() as stop:
        send(first)
        assert stop.requested
        with pytest.raises(Interrupted):
            send(signal.SIGINT)


def test_a_second_sigterm_does_not_disturb_the_saving() -> None:
    with stop_on_signals() as stop:
        send(signal.SIGINT)
        send(signal.SIGTERM)
        with pytest.raises(Interrupted) as caught:
            stop.leave()
    assert exit_code(caught.value) == 130


def test_what_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stop_on_signals() as stop:
            send(signal.SIGINT)
            assert not stop.requested
            send(signal.SIGTERM)
            assert stop.requested
    finally:
        signal.signal(signal.SIGINT, before)


def test_in_another_thread_no_handler_is_set() -> None:
    seen: list[bool] = []

    def work() -> None:
        with stop_on_signals() as stop:
            seen.append(stop.requested)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]


def test_sigterm_closes_what_is_open() -> None:
    closed: list[str] = []
    with contextlib.ExitStack() as stack:
        stack.enter_context(pytest.raises(Interrupted))
        stack.enter_context(terminated_as_interrupted())
        stack.callback(closed.append, "a file")
        send(signal.SIGTERM)
    assert closed == ["a file"]


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (
            Interrupted(signal.SIGTERM),
            143,
            "interrupted; repeat `python -m experiments train a 'b ",
        ),
        (Interrupted(signal.SIGINT), 130, "interrupted; repeat `python -m experiments train a 'b "),
        (KeyboardInterrupt(), 130, "interrupted; repeat `python -m experiments train a 'b c'`"),
        (RunFailed("not finite at step 7"), 1, "error: not finite at step 7"),
    ],
)
def test_the_command_line_ends_with_one_line(
    error: BaseException,
    code: int,
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def failing(arguments: list[str]) -> int:
        raise error

    monkeypatch.setattr(cli, "_dispatch", failing)
    assert cli.main(["train", "a", "b c"]) == code
    (written,) = capsys.readouterr().err.splitlines()
    assert written.startswith(line)


def test_sigterm_ends_a_command_with_its_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def slow(arguments: list[str]) -> int:
        send(signal.SIGTERM)
        return 0

    monkeypatch.setattr(cli, "_dispatch", slow)
    assert cli.main(["compare", str(tmp_path)]) == 143
    assert "to go on where it stopped" in capsys.readouterr().err
    # What does not go on promises nothing.
    assert cli.main(["bench", "flash"]) == 143
    assert capsys.readouterr().err == "interrupted\n"
