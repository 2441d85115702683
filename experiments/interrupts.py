"""SIGTERM and Ctrl-C: a loop saves first and then leaves, everything else stops at once."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

from experiments import distributed


class Interrupted(KeyboardInterrupt):
    """A signal ended the command; like Ctrl-C it is no error that work in between may catch.

    Attributes:
      number: The signal's.
      together: Whether all processes of the run end for it, at the same place.
    """

    def __init__(self, number: int, together: bool = False) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number
        self.together = together


def exit_code(stop: KeyboardInterrupt) -> int:
    """Returns what a shell returns for a command that a signal ended: 130 after Ctrl-C."""
    return 128 + (stop.number if isinstance(stop, Interrupted) else signal.SIGINT)


class Stop:
    """Whether a loop has been asked to stop."""

    def __init__(self) -> None:
        self._number: int | None = None

    @property
    def requested(self) -> bool:
        """Says whether this process was asked to stop."""
        return self._number is not None

    def agreed(self) -> bool:
        """Says whether any process of the run was asked to; all of them ask at the same step.

        Saving needs all processes, and a signal reaches them at different moments, or only one.
        """
        if not distributed.is_distributed():
            return self.requested
        # Nothing else here needs jax, which takes seconds to import.
        import numpy as np
        from jax.experimental import multihost_utils

        numbers = multihost_utils.process_allgather(np.asarray(self._number or 0))
        if numbers.any():
            self._number = int(numbers.max())
        return self.requested

    def leave(self) -> NoReturn:
        """Ends the command, after all that is to be saved was saved."""
        raise Interrupted(signal.SIGTERM if self._number is None else self._number, together=True)

    def ask(self, number: int, frame: FrameType | None) -> None:
        """Is the handler of the signals: remembers the first one; a second Ctrl-C stops at once."""
        if self.requested and number == signal.SIGINT:
            raise Interrupted(number)
        if not self.requested:
            self._number = number


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """Lets SIGTERM and Ctrl-C ask the loop inside to stop, instead of stopping it anywhere.

    The loop looks at `requested` (`agreed()` where it may run in several processes) after each
    block of steps, saves, and calls `leave()`.
    """
    stop = Stop()
    with _handled(stop.ask, signal.SIGINT, signal.SIGTERM):
        yield stop


@contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """Lets SIGTERM stop what is inside at once, as Ctrl-C does: files are closed on the way out."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Interrupted(number)

    with _handled(stop, signal.SIGTERM):
        yield


@contextmanager
def _handled(
    handler: Callable[[int, FrameType | None], None], *numbers: signal.Signals
) -> Iterator[None]:
    before: dict[signal.Signals, Any] = {}
    # Python gives signals to the main thread alone.
    if threading.current_thread() is threading.main_thread():
        for number in numbers:
            # What is ignored stays so: a shell ignores Ctrl-C for a command in the background.
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, signal.SIG_DFL if old is None else old)
