"""Checkpoints of a run: written beside the training, whole or not at all, and read with care."""

import functools
import gc
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import jax
import orbax.checkpoint as ocp

from experiments import distributed
from experiments.digests import find_damage, write_digests
from experiments.errors import disk_errors

CHECKPOINTS, ASIDE = "checkpoints", "unreadable-"
# Orbax puts the one state of a step in a directory of this name.
_ITEM = "default"
_State = TypeVar("_State")


class Checkpoints:
    """The checkpoints of an open run, by their steps; every process of the run calls every method.

    A checkpoint is written under another name by a thread, while training goes on, and gets its own
    name when it is whole: a kill at any moment leaves those before it.
    """

    def __init__(
        self, path: Path, manager: ocp.CheckpointManager, note: Callable[[str], None]
    ) -> None:
        self.path = path
        self._manager = manager
        self._note = note

    def save(self, step: int, state: Any) -> None:
        """Copies a state to the host, and begins to write it; its buffers may then be donated.

        A step that is there already is not written again. An error of the save before, such as a
        full disk, is raised here, by `wait`, or when the checkpoints are closed.
        """
        with disk_errors(self.path):
            self._manager.wait_until_finished()
            # On shared storage processes may see a directory at different times: one looks.
            if distributed.from_writer(step not in self._manager.all_steps()):
                self._manager.save(step, args=ocp.args.StandardSave(state), force=True)

    def wait(self) -> None:
        """Returns when all that was saved is on the disk."""
        with disk_errors(self.path):
            self._manager.wait_until_finished()

    def newest(self, like: _State) -> tuple[int, _State] | None:
        """Returns step and state of the newest checkpoint that can be read, None without one.

        What cannot be read is named in a note and moved aside: nothing is deleted, and its step
        can be saved again.

        Args:
          like: A state of the same structure, of arrays or `jax.ShapeDtypeStruct`s. Each array is
            placed as the one in `like`, whatever devices it was saved from.
        """
        self.wait()
        steps = distributed.from_writer(sorted(self._manager.all_steps(), reverse=True))
        found, failed = _newest(self.path, steps, like)
        after = "the run begins again" if found is None else f"going on from step {found[0]:,}"
        for step, why in failed.items():
            aside = self._move_aside(step)
            self._note(
                f"the checkpoint {self.path / str(step)} cannot be read ({why}): moved to {aside}, "
                f"{after}"
            )
        if failed:
            self._manager.reload()
        return found

    def _move_aside(self, step: int) -> str:
        names = (ASIDE + str(step) + suffix for suffix in ("", *(f"-{i}" for i in range(2, 1000))))

        def move() -> str:
            name = next(name for name in names if not (self.path / name).exists())
            with disk_errors(self.path):
                os.rename(self.path / str(step), self.path / name)
            return name

        return distributed.on_writer(move)


@contextmanager
def open_checkpoints(
    run: Path, note: Callable[[str], None], keep: int = 2
) -> Iterator[Checkpoints]:
    """Opens the checkpoints of a run to be written; waits for the last one when it ends.

    Args:
      run: The directory of the run.
      note: Is told, in one line, of what cannot be read.
      keep: How many are kept: those of the newest steps.
    """
    path = (run / CHECKPOINTS).absolute()
    options = ocp.CheckpointManagerOptions(
        max_to_keep=keep,
        cleanup_tmp_directories=True,
        # Otherwise a save that fails leaves a thread that waits minutes for its directory.
        async_options=ocp.AsyncOptions(
            create_directories_asynchronously=False,
            post_finalization_callback=functools.partial(_digest, path),
        ),
    )
    with _quiet():
        with disk_errors(path):
            manager = ocp.CheckpointManager(path, options=options)
        waits = True
        try:
            yield Checkpoints(path, manager, note)
        except Exception:
            # Of several processes one may be lost, for which the others would wait in vain.
            waits = jax.process_count() == 1
            raise
        finally:
            if waits:
                with disk_errors(path):
                    manager.close()


def read_newest(run: Path, like: _State, note: Callable[[str], None]) -> tuple[int, _State] | None:
    """Returns what `Checkpoints.newest` does, and leaves the run, which may be open, as it is."""
    path = (run / CHECKPOINTS).absolute()
    with _quiet():
        steps = [int(p.name) for p in path.iterdir() if p.name.isdigit()] if path.is_dir() else []
        found, failed = _newest(path, sorted(steps, reverse=True), like)
    for step, why in failed.items():
        note(f"the checkpoint {path / str(step)} cannot be read ({why})")
    return found


def _digest(path: Path) -> None:
    """Adds digests to the checkpoint whose files are all written, before it gets its name."""
    for item in path.glob(f"*.orbax-checkpoint-tmp*/{_ITEM}"):
        write_digests(item)


def _newest(
    path: Path, steps: list[int], like: _State
) -> tuple[tuple[int, _State] | None, dict[int, str]]:
    """Returns the newest step that can be read, and why those after it cannot be."""
    failed: dict[int, str] = {}
    for step in steps:
        item, state = path / str(step) / _ITEM, like
        why = distributed.on_writer(functools.partial(find_damage, item))
        try:
            state = state if why else _read(item, like)
        except (MemoryError, jax.errors.JaxRuntimeError):
            # Not the fault of the file.
            raise
        except Exception as error:
            # Orbax has no class of errors for damaged files: they are of many kinds.
            why = _described(error)
        if not distributed.any_process(bool(why)):
            return (step, state), failed
        failed[step] = why or "by another process"
    return None, failed


def _read(path: Path, like: _State) -> _State:
    # One process alone reads here, so that one that fails cannot leave the others waiting for it.
    mine = {jax.process_index()} if distributed.is_distributed() else None
    options = ocp.options.MultiprocessingOptions(
        primary_host=jax.process_index(), active_processes=mine, barrier_sync_key_prefix="read"
    )
    handler = ocp.StandardCheckpointHandler(multiprocessing_options=options)
    with ocp.Checkpointer(handler, multiprocessing_options=options) as reader:
        args = ocp.args.StandardRestore(jax.tree.map(_placed, like))
        read: _State = reader.restore(path, args=args)
    return read


def _placed(leaf: Any) -> Any:
    """Returns a leaf that Orbax places as asked, never as the file says."""
    if not isinstance(leaf, jax.Array | jax.ShapeDtypeStruct):
        return leaf
    here = leaf.sharding or jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here)


def _described(error: BaseException) -> str:
    """Returns an error in one line that is not too long."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= 200 else text[:197] + "..."


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps Orbax from printing, for each of its threads, an error that it raises as well."""
    loggers = [logging.getLogger(name) for name in ("absl", "asyncio")]
    levels, hook = [logger.level for logger in loggers], sys.unraisablehook

    def passed(unraisable: Any) -> None:
        # After one failure the other reads and writes end without anyone to tell it to.
        code = getattr(unraisable.object, "cr_code", None)
        of_orbax = code is not None and "orbax" in code.co_filename
        of_tensorstore = str(unraisable.exc_value) == "Event loop is closed"
        if not (of_orbax or of_tensorstore):
            hook(unraisable)

    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    sys.unraisablehook = passed
    try:
        yield
    finally:
        # What failed is dropped while nobody is told.
        gc.collect()
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        sys.unraisablehook = hook
