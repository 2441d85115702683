"""How far a run is: a bar with rate and remaining time on a terminal, plain lines elsewhere."""

import io
import re
from types import SimpleNamespace

import pytest
from rich.console import Console

from experiments import progress
from experiments.progress import Display

ESCAPES = re.compile(r"\x1b\[[\d;?]*[A-Za-z]")


class Clock:
    """A time that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def on_terminal(clock: Clock, width: int = 100) -> tuple[Display, io.StringIO]:
    shown = io.StringIO()
    console = Console(
        file=shown, force_terminal=True, width=width, get_time=clock, legacy_windows=False
    )
    return Display(console), shown


def elsewhere(width: int = 40) -> tuple[Display, io.StringIO]:
    shown = io.StringIO()
    return Display(Console(file=shown, force_terminal=False, width=width)), shown


def test_a_terminal_has_a_bar_with_rate_and_remaining_time() -> None:
    clock = Clock()
    display, shown = on_terminal(clock)
    with display.stage("training", 100, "steps"):
        display.start("sparsemax")
        for clock.now in (4.0, 5.0):
            display.advance(20)
    last = ESCAPES.sub("", shown.getvalue()).split("sparsemax")[-1]
    # 40 steps in 5 seconds; 60 are left, and the last 20 took one.
    assert re.search(r"40/100 8 steps/s 0:00:05 left 0:00:03", last)
    # The line of the bar is erased when the stage ends.
    assert shown.getvalue().split("0:00:03")[-1].endswith("\x1b[1A\x1b[2K")


def test_a_terminal_tells_of_a_failure_above_the_bar_and_of_nothing_else() -> None:
    display, shown = on_terminal(Clock())
    with display.stage("training", 2, "contenders"):
        display.finish("softmax", {"status": "trained", "why": ""}, "nll 0.5")
        display.finish("broken", {"status": "failed", "why": "ValueError: [red]no"}, "")
        display.note("a note")
    text = ESCAPES.sub("", shown.getvalue())
    assert "broken: failed: ValueError: [red]no" in text
    assert "a note" in text
    assert "nll 0.5" not in text


def test_elsewhere_there_are_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(progress, "time", SimpleNamespace(perf_counter=clock))
    display, shown = elsewhere()
    with display.stage("training", 100, "steps"):
        display.start("softmax")
        clock.now = 12.5
        display.advance(100)
        display.finish("softmax", {"status": "trained", "why": ""}, "nll 0.5")
        display.start("other")
        clock.now = 14.0
        display.finish("other", {"status": "diverged", "why": "not finite " * 9}, "nll 0.5")
        display.finish("third", {"status": "trained", "why": ""}, "nll 0.25")
    assert shown.getvalue().splitlines() == [
        "training: 100 steps",
        "  1  softmax                      nll 0.5   12.5 s",
        # A line is whole, however narrow the console is.
        f"other: diverged: {'not finite ' * 9}",
        "  3  third                        nll 0.25    1.5 s",
    ]


def test_without_a_console_of_its_own_it_is_told_on_stderr(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    with Display().stage("training", 3, "steps"):
        pass
    assert capsys.readouterr() == ("", "training: 3 steps\n")


def test_nothing_is_told_of_a_stage_without_steps_or_by_other_processes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = [elsewhere(), on_terminal(Clock())]
    monkeypatch.setattr(progress, "is_writer", lambda: False)
    others = [elsewhere(), on_terminal(Clock())]
    for total, displays in ((0, made), (5, others)):
        for display, shown in displays:
            with display.stage("training", total, "steps"):
                display.advance(1)
            assert shown.getvalue() == ""
    for display, shown in others:
        display.note("a note")
        display.finish("softmax", {"status": "failed", "why": "no"}, "")
        assert shown.getvalue() == ""
