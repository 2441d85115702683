"""The files of a run: written so that a kill at any moment loses at most one unfinished block."""

import dataclasses
import fcntl
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Generic, TypeVar

from experiments.base_config import BaseConfig, differing_fields, to_json
from experiments.config_files import EXPERIMENTS, from_json
from experiments.distributed import any_process, from_writer, on_writer
from experiments.engine.config import EngineConfig
from experiments.errors import UserError, disk_errors

Record = dict[str, Any]
_Config = TypeVar("_Config", bound=BaseConfig)
CONFIG, ENVIRONMENT, METRICS, RESULTS = "config.json", "env.json", "metrics.jsonl", "results.json"
_END, _PART = "end", ".part"


class RunDirectory(Generic[_Config]):
    """An open run: one process writes at a time, `metrics.jsonl` only grows.

    Records come in blocks, one for each contender, that end with a line of kind `end`. A block
    without its end was cut off, and is dropped when the run is opened again.

    Of several processes that make one run together, the first alone has the files. The others know
    the same blocks: from it when the run is opened, and as all of them append the same.
    """

    def __init__(self, path: Path, config: _Config, metrics: BinaryIO | None) -> None:
        self.path = path
        self.config = config
        self._metrics = metrics
        self._complete = 0
        self.blocks: dict[str, list[Record]]
        self.blocks, self.dropped = on_writer(self._read)

    @classmethod
    def open(cls, path: Path, config: _Config) -> "RunDirectory[_Config]":
        """Starts a run, or continues one of the same config; another config is a UserError."""
        _expect_one_config(to_json(config))
        locked: list[BinaryIO] = []
        try:
            on_writer(lambda: locked.append(_begin(path, config)))
            return cls(path, config, locked[0] if locked else None)
        except BaseException:
            for metrics in locked:
                metrics.close()
            raise

    def _read(self) -> tuple[dict[str, list[Record]], int]:
        """Returns the finished blocks, and of how many lines after them the file was freed."""
        assert self._metrics is not None
        blocks, self._complete, dropped = read_blocks(self.path / METRICS)
        self._metrics.truncate(self._complete)
        return blocks, dropped

    def append(self, block: str, records: Sequence[Record]) -> None:
        """Writes the records of one block and its end, to the disk; all of them or none."""
        on_writer(lambda: self._write(block, records))
        self.blocks[block] = list(records)

    def _write(self, block: str, records: Sequence[Record]) -> None:
        assert self._metrics is not None
        end = {"kind": _END, "block": block, "records": len(records)}
        lines = [json.dumps(record, allow_nan=False) + "\n" for record in (*records, end)]
        rest = memoryview("".join(lines).encode())
        size = len(rest)
        with disk_errors(self.path / METRICS):
            try:
                while rest:
                    rest = rest[self._metrics.write(rest) :]
                os.fsync(self._metrics.fileno())
            except BaseException:
                self._metrics.truncate(self._complete)
                raise
        self._complete += size

    def close(self) -> None:
        """Closes the run for another process to open."""
        if self._metrics is not None:
            self._metrics.close()


def expect_engine_run(path: Path) -> None:
    """Raises a UserError unless a run directory is one of the engine."""
    if not (path / CONFIG).is_file():
        raise UserError(f"{str(path)!r} is not a run: it has no {CONFIG}")
    config = read_json(path / CONFIG)
    if not config.get("engine"):
        raise UserError(f"{path} is a run on {config.get('experiment')}, expected the engine's")


def read_config(path: Path) -> EngineConfig:
    """Returns the config of a run."""
    if not (path / CONFIG).is_file():
        raise UserError(f"{str(path)!r} is not a run: it has no {CONFIG}")
    return from_json(read_json(path / CONFIG))


def read_run(path: Path, kind: type[_Config]) -> tuple[_Config, dict[str, list[Record]], Record]:
    """Returns the config, the blocks and the environment of a run, to be read only."""
    config = read_config(path)
    if not isinstance(config, kind):
        raise UserError(f"{path} is a run on {config.experiment}, expected {kind.experiment}")
    environment = read_json(path / ENVIRONMENT) if (path / ENVIRONMENT).exists() else {}
    return config, read_blocks(path / METRICS)[0], environment


def read_blocks(path: Path) -> tuple[dict[str, list[Record]], int, int]:
    """Returns the finished blocks, the length in bytes up to their end, and the lines after it."""
    blocks, complete, dropped = _read_numbered(path)
    records = {name: [record for record, _ in block] for name, block in blocks.items()}
    return records, complete, dropped


def read_numbered(path: Path) -> tuple[dict[str, list[Record]], dict[str, list[int]]]:
    """Returns the finished blocks, and the line of the file that each of their records is in."""
    blocks, _, _ = _read_numbered(path)
    records = {name: [record for record, _ in block] for name, block in blocks.items()}
    return records, {name: [line for _, line in block] for name, block in blocks.items()}


def _read_numbered(path: Path) -> tuple[dict[str, list[tuple[Record, int]]], int, int]:
    blocks: dict[str, list[tuple[Record, int]]] = {}
    open_block: list[tuple[Record, int]] = []
    position = complete = 0
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    for number, line in enumerate(lines, 1):
        position += len(line)
        record = _parse(line)
        if record is None:
            # Only the last line can be torn: each write ends with a newline.
            open_block.append(({}, number))
            break
        if record.get("kind") == _END:
            blocks[record["block"]] = open_block
            open_block, complete = [], position
        else:
            open_block.append((record, number))
    return blocks, complete, len(open_block)


def read_json(path: Path) -> Record:
    """Returns what a JSON file of the run holds; a damaged one is a UserError."""
    try:
        read: Record = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise UserError(f"{path} is damaged ({error}); remove the run or choose another") from error
    return read


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Replaces a JSON file in one step."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Replaces a text file in one step: a reader sees the old or the new one, whole."""
    temporary = path.with_name(path.name + _PART)
    with disk_errors(path), temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        # Otherwise the name could reach the disk before the text.
        os.fsync(file.fileno())
        os.replace(temporary, path)


def _begin(path: Path, config: BaseConfig) -> BinaryIO:
    """Returns the file of the records of a run, open and locked, and begins the run."""
    _check(path, config)
    with disk_errors(path):
        path.mkdir(parents=True, exist_ok=True)
        # Without a buffer nothing that could not be written is tried again when it is closed.
        metrics = (path / METRICS).open("ab", buffering=0)
    try:
        _lock(path, metrics)
        # Another process may have begun a run, or ended one, since it was looked at.
        _check(path, config)
        if not (path / CONFIG).exists():
            write_json(path / CONFIG, to_json(config))
    except BaseException:
        metrics.close()
        raise
    return metrics


def _expect_one_config(mine: Record) -> None:
    """Raises a UserError in every process where they were not all started alike."""
    first = from_writer(mine)
    fields = differing_fields(first, mine)
    if any_process(bool(fields)):
        shown = [f"{name} ({first.get(name)} there, {mine.get(name)} here)" for name in fields[:3]]
        here = f"; process 0 differs in {', '.join(shown)}" if shown else ""
        raise UserError(f"the processes were started with different configs{here}")


def _check(path: Path, config: BaseConfig) -> None:
    """Raises a UserError where a directory cannot hold a run of a config."""
    if path.exists() and not path.is_dir():
        raise UserError(f"--out: {str(path)!r} is a file, expected a directory")
    if (path / CONFIG).exists():
        there, wanted = _recorded(path, config), to_json(config)
        fields = [f for f in differing_fields(there, wanted) if f not in config.placement]
        if fields:
            raise UserError(_other_config(path, there, wanted, fields))
    elif path.exists() and any(not _of_a_beginning(file) for file in path.iterdir()):
        raise UserError(f"{path} is not empty and holds no {CONFIG}; choose another --out")


def _recorded(path: Path, config: BaseConfig) -> Record:
    """Returns the config of a run as it stands there; a field newer than the run has its default.

    Only the file of an experiment of one's own knows all of its fields.
    """
    there = read_json(path / CONFIG)
    if there.get("experiment", config.experiment) in EXPERIMENTS:
        return to_json(from_json(there))
    fields = dataclasses.fields(config)
    known = {f.name: f.default for f in fields if f.default is not dataclasses.MISSING}
    return {**there, **{n: v for n, v in json.loads(json.dumps(known)).items() if n not in there}}


def _of_a_beginning(file: Path) -> bool:
    """Says whether a kill leaves such a file before a run has its config."""
    empty_metrics = file.name == METRICS and file.stat().st_size == 0
    return empty_metrics or file.name == CONFIG + _PART


def _lock(path: Path, metrics: BinaryIO) -> None:
    try:
        # The lock goes with the process, however it ends.
        fcntl.flock(metrics, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(f"{path} is being written by another process") from None
    except OSError as error:
        raise UserError(f"{path} cannot be locked for one process: {error.strerror}") from error


def _parse(line: bytes) -> Record | None:
    if not line.endswith(b"\n"):
        return None
    try:
        record: Record = json.loads(line)
    except ValueError:
        return None
    return record


def _other_config(path: Path, there: Record, wanted: Record, fields: list[str]) -> str:
    shown = [f"{name} ({there.get(name)} there, {wanted.get(name)} here)" for name in fields[:3]]
    more = f" and {len(fields) - 3} more" if len(fields) > 3 else ""
    return (
        f"{path} holds a run of another config, which differs in {', '.join(shown)}{more}; "
        "choose another --out"
    )
