"""What is shown while a comparison runs: a bar on a terminal, one line a contender elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from experiments.distributed import is_writer
from experiments.run_directory import Record


class _Rate(ProgressColumn):
    """Steps per second since the stage began."""

    def render(self, task: Task) -> Text:
        speed = task.completed / task.elapsed if task.elapsed else 0.0
        return Text(f"{speed:,.0f} {task.fields['unit']}/s")


class Display:
    """Tells how far a run is, on stderr: stdout is for the table.

    Of several processes that make one run together only the first tells anything.

    Args:
      console: Where it is told instead of stderr.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._quiet = not is_writer()
        self._console = console or Console(stderr=True, highlight=False)
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._began = time.perf_counter()
        self._count = 0

    def note(self, text: str) -> None:
        """Prints one line above the bar."""
        if self._quiet:
            return
        if self._console.is_terminal:
            self._console.print(text, markup=False)
        else:
            # A log keeps a long line whole.
            print(text, file=self._console.file, flush=True)

    @contextmanager
    def stage(self, name: str, total: int, unit: str) -> Iterator[None]:
        """Shows a bar with rate and remaining time, for as long as the stage lasts."""
        if total == 0 or self._quiet:
            yield
            return
        if not self._console.is_terminal:
            self.note(f"{name}: {total} {unit}")
            yield
            return
        columns = (
            TextColumn("{task.description:<32}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            _Rate(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self._console, transient=True) as bar:
            self._bar = bar
            self._task = bar.add_task(name, total=total, unit=unit)
            try:
                yield
            finally:
                self._bar = None

    def start(self, contender: str) -> None:
        """Names the contender that is being trained."""
        self._began = time.perf_counter()
        if self._bar:
            self._bar.update(self._task, description=contender)

    def advance(self, amount: int) -> None:
        """Moves the bar."""
        if self._bar:
            self._bar.advance(self._task, amount)

    def finish(self, contender: str, outcome: Record, result: str) -> None:
        """Prints one line about a contender that has ended; on a terminal, only about a failure."""
        self._count += 1
        if outcome["status"] in ("failed", "diverged"):
            self.note(f"{contender}: {outcome['status']}: {outcome['why']}")
        elif not self._console.is_terminal:
            seconds = time.perf_counter() - self._began
            self.note(f"{self._count:3d}  {contender:<28} {result}  {seconds:5.1f} s")
