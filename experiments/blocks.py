"""The blocks of a run: which are missing, and how one is made even where it fails."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from experiments.base_config import BaseConfig
from experiments.distributed import AgreedError, is_distributed
from experiments.errors import UserError
from experiments.progress import Display
from experiments.run_directory import Record, RunDirectory
from experiments.run_environment import note_environment

_Config = TypeVar("_Config", bound=BaseConfig)


@contextmanager
def open_run(
    config: _Config, path: Path, display: Display, budget: str, unit: str
) -> Iterator[RunDirectory[_Config]]:
    """Opens a run to be continued, and says what it does and what an interruption cost."""
    with closing(RunDirectory.open(path, config)) as run:
        display.note(f"{path}: {budget}")
        note_environment(run, display)
        if run.dropped:
            display.note(f"dropped {run.dropped} lines of a {unit} that was cut off")
        yield run


def outcome(run: RunDirectory[Any], block: str) -> str | None:
    """Returns how a block ended, None where it is not there."""
    records = run.blocks.get(block)
    return str(records[-1]["status"]) if records else None


def is_missing(run: RunDirectory[Any], block: str, retry_failed: bool) -> bool:
    """Says whether a block has to be made: it is not there, or failed and is to be tried again."""
    return outcome(run, block) in ({None, "failed"} if retry_failed else {None})


def attempt(
    run: RunDirectory[Any],
    block: str,
    common: Mapping[str, Any],
    work: Callable[[], Sequence[Record]],
    display: Display,
    shown: Callable[[Sequence[Record]], str],
) -> None:
    """Makes one block; work that raises leaves a block that says why.

    Args:
      run: The open run.
      block: The block's name.
      common: What is added to every record.
      work: Returns the records, the last of them the outcome.
      display: Where the block is named, and its end told.
      shown: Returns what is told of the records.
    """
    display.start(block)
    try:
        records = work()
        # What JSON cannot hold fails this block, and not the run.
        json.dumps(records, allow_nan=False)
    except UserError:
        # What a user can mend, such as a full disk, is mended and the command repeated.
        raise
    except Exception as error:
        agreed = isinstance(error, AgreedError)
        if is_distributed() and not agreed:
            # The others may be in the middle of a step, and cannot go on to the next block.
            raise
        # One that fails must not take the others with it: it stays in the table, with why.
        name = "" if agreed else f"{type(error).__name__}: "
        why = " ".join(f"{name}{error}".split())
        records = [{"kind": "outcome", "status": "failed", "why": why}]
    run.append(block, [{**common, **record} for record in records])
    display.finish(block, records[-1], shown(records))
