"""Commands in processes of their own, that are ended at chosen moments."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from experiments.checkpoints import CHECKPOINTS
from experiments.run_directory import METRICS, read_blocks

ROOT = Path(__file__).parents[2]
# What depends on the clock.
TIMED = ("seconds", "step_seconds", "compile_seconds", "train_seconds")


class Process:
    """A command of the experiments that is running; what it says is in a file."""

    def __init__(self, arguments: Sequence[str], out: Path, log: Path) -> None:
        self.out, self._log = out, log
        log.write_text("")
        # One device, and programs that were compiled before: a start is then quick.
        environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
        environment["JAX_COMPILATION_CACHE_DIR"] = str(ROOT / ".cache" / "jax")
        environment["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        environment["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
        command = [sys.executable, "-m", "experiments", *arguments, "--out", str(out)]
        with log.open("w") as file:
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=file
            )

    @property
    def said(self) -> str:
        """What is on its stderr so far."""
        return self._log.read_text()

    @property
    def blocks(self) -> int:
        """How many blocks of records it and those before it have written."""
        metrics = self.out / METRICS
        return metrics.read_bytes().count(b'{"kind": "end"') if metrics.exists() else 0

    def pause(self) -> None:
        """Stops it where it is, with all that it holds."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Lets it go on after a pause."""
        self._process.send_signal(signal.SIGCONT)

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Returns as soon as the condition holds; it has to hold before the process ends."""
        while not condition():
            assert self._process.poll() is None, f"it ended too early: {self.said}"
            time.sleep(0.002)

    def end(self, number: int) -> int:
        """Sends a signal, and returns how the process ended."""
        self._process.send_signal(number)
        return self._process.wait(timeout=120)

    def exit_code(self) -> int:
        """Waits until the process has ended by itself."""
        return self._process.wait(timeout=600)

    def finish(self) -> str:
        """Returns what it said, when it has ended well."""
        code = self.exit_code()
        assert code == 0, self.said
        return self.said


@contextlib.contextmanager
def running(arguments: Sequence[str], out: Path, log: Path) -> Iterator[Process]:
    """Starts a command; at the latest it ends with the test."""
    process = Process(arguments, out, log)
    try:
        yield process
    finally:
        if process._process.poll() is None:
            process.end(signal.SIGKILL)


def moments(
    count: int, rng: np.random.Generator, start_seconds: float
) -> list[Callable[[Process], None]]:
    """Returns moments to kill a process at, of all kinds in turn, each drawn at random.

    They are spread over its start with the compilation, its steps and evaluations after it has
    written records, and the writing of a checkpoint.

    Args:
      count: How many.
      rng: Where they are drawn from.
      start_seconds: How long a start takes.
    """
    found = []
    for index in range(count):
        delay, blocks = float(rng.uniform()), int(rng.integers(1, 4))
        match index % 4:
            case 0:
                found.append(_in_writing(blocks, 0.0))
            case 1:
                found.append(_in_start(delay * start_seconds))
            case 2:
                found.append(_after_blocks(blocks, 0.2 * delay))
            case 3:
                found.append(_in_writing(blocks, 0.03 * delay))
    return found


def run_whole(arguments: Sequence[str], out: Path) -> float:
    """Lets a command end; returns the seconds of its start, until it had written records."""
    with running(arguments, out, out.with_name(out.name + ".log")) as process:
        began = time.monotonic()
        process.wait_for(lambda: process.blocks > 0)
        start_seconds = time.monotonic() - began
        process.finish()
    return start_seconds


def kill_in_a_row(count: int, arguments: Sequence[str], out: Path, start_seconds: float) -> str:
    """Kills and repeats a command, then lets it end; returns all that it said."""
    log, said = out.with_name(out.name + ".log"), ""
    for moment in moments(count, np.random.default_rng(count), start_seconds):
        with running(arguments, out, log) as process:
            moment(process)
            assert process.end(signal.SIGKILL) == -signal.SIGKILL, process.said
            said += process.said
    with running(arguments, out, log) as process:
        return said + process.finish()


def _in_start(seconds: float) -> Callable[[Process], None]:
    return lambda process: time.sleep(seconds)


def _in_writing(blocks: int, seconds: float) -> Callable[[Process], None]:
    def writing(process: Process) -> bool:
        # What is deleted while it is listed is no more being written.
        with contextlib.suppress(FileNotFoundError):
            return any(process.out.rglob("*.orbax-checkpoint-tmp*"))
        return False

    def moment(process: Process) -> None:
        _after_blocks(blocks, 0.0)(process)
        process.wait_for(lambda: writing(process))
        time.sleep(seconds)

    return moment


def _after_blocks(count: int, seconds: float) -> Callable[[Process], None]:
    def moment(process: Process) -> None:
        before = process.blocks
        process.wait_for(lambda: process.blocks >= before + count)
        time.sleep(seconds)

    return moment


def records(run: Path) -> dict[str, Any]:
    """Returns the records of a run without what is timed, and without its timing."""
    blocks = read_blocks(run / METRICS)[0]
    return {
        name: [{k: v for k, v in record.items() if k not in TIMED} for record in block]
        for name, block in blocks.items()
        if name != "speed"
    }


def newest_state(directory: Path) -> dict[str, bytes]:
    """Returns the bytes of each array in the newest checkpoint, but for what is timed."""
    steps = [int(path.name) for path in (directory / CHECKPOINTS).iterdir() if path.name.isdigit()]
    item = directory / CHECKPOINTS / str(max(steps)) / "default"
    with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as reader:
        found = jax.tree_util.tree_leaves_with_path(reader.restore(item.absolute()))
    named = {jax.tree_util.keystr(path): np.asarray(leaf).tobytes() for path, leaf in found}
    return {"step": str(max(steps)).encode()} | {
        name: held for name, held in named.items() if "seconds" not in name
    }


def assert_refuses_another(arguments: Sequence[str], process: Process) -> None:
    """Starts a command again while it runs: the second one is refused."""
    process.pause()
    with running(arguments, process.out, process.out.with_name("second.log")) as second:
        assert second.exit_code() == 2
    process.go_on()
    (line,) = second.said.splitlines()[-1:]
    assert line == f"error: {process.out} is being written by another process"
