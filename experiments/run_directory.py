"""The files of a run: written so that a kill at any moment loses at most one unfinished block."""

import fcntl
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Generic, TypeVar

from experiments.base_config import BaseConfig, differing_fields, to_json
from experiments.config_files import from_json
from experiments.errors import UserError

Record = dict[str, Any]
_Config = TypeVar("_Config", bound=BaseConfig)
CONFIG, ENVIRONMENT, METRICS, RESULTS = "config.json", "env.json", "metrics.jsonl", "results.json"
_END = "end"


class RunDirectory(Generic[_Config]):
    """An open run: one process writes at a time, `metrics.jsonl` only grows.

    Records come in blocks, one for each contender, that end with a line of kind `end`. A block
    without its end was cut off, and is dropped when the run is opened again.
    """

    def __init__(self, path: Path, config: _Config, metrics: BinaryIO) -> None:
        self.path = path
        self.config = config
        self._metrics = metrics
        self.blocks, complete, self.dropped = read_blocks(path / METRICS)
        metrics.truncate(complete)

    @classmethod
    def open(cls, path: Path, config: _Config) -> "RunDirectory[_Config]":
        """Starts a run, or continues one of the same config; another config is a UserError."""
        wanted = to_json(config)
        if path.exists() and not path.is_dir():
            raise UserError(f"--out: {str(path)!r} is a file, expected a directory")
        if (path / CONFIG).exists():
            there = to_json(read_config(path))
            fields = differing_fields(there, wanted)
            if fields:
                raise UserError(_other_config(path, there, wanted, fields))
        elif path.exists() and any(path.iterdir()):
            raise UserError(f"{path} is not empty and holds no {CONFIG}; choose another --out")
        path.mkdir(parents=True, exist_ok=True)
        metrics = (path / METRICS).open("ab")
        try:
            # The lock goes with the process, however it ends.
            fcntl.flock(metrics, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            metrics.close()
            raise UserError(f"{path} is being written by another process") from None
        if not (path / CONFIG).exists():
            write_json(path / CONFIG, wanted)
        return cls(path, config, metrics)

    def append(self, block: str, records: Sequence[Record]) -> None:
        """Writes the records of one block and its end in one piece, to the disk."""
        end = {"kind": _END, "block": block, "records": len(records)}
        lines = [json.dumps(record, allow_nan=False) + "\n" for record in (*records, end)]
        self._metrics.write("".join(lines).encode())
        self._metrics.flush()
        os.fsync(self._metrics.fileno())
        self.blocks[block] = list(records)

    def close(self) -> None:
        """Closes the run for another process to open."""
        self._metrics.close()


def read_config(path: Path) -> BaseConfig:
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
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


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
