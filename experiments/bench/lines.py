"""The JSON lines of a benchmark: written as they come, read with one clear error a line."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from experiments.errors import UserError
from experiments.measured import Record

# What a table of several machines needs of a line, and of which type it is.
_NEEDED: dict[str, type | tuple[type, ...]] = {
    "suite": str,
    "name": str,
    "package": str,
    "mode": str,
    "shape": dict,
    "dtype": str,
    "reference": str,
    "device": str,
    "platform": str,
    "versions": dict,
}
_NUMBERS = ("milliseconds", "ratio")


class Lines:
    """A file that is being written: what was measured is in it, however the rest ends."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self.records: list[Record] = []

    def write(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Adds records; NaN and infinity, which JSON has not, are an error."""
        for record in records:
            self._file.write(json.dumps(record, allow_nan=False) + "\n")
            self.records.append(dict(record))
        self._file.flush()


@contextmanager
def writing(path: Path) -> Iterator[Lines]:
    """Replaces a file by the lines that are written, also where an exception ends the writing.

    An earlier file stays until then, and where nothing was measured.
    """
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = part.open("w", encoding="utf-8")
    except OSError as error:
        raise UserError(f"--out: cannot write {str(path)!r}: {error.strerror}") from error
    lines = Lines(file)
    try:
        yield lines
    finally:
        file.close()
        if lines.records:
            os.replace(part, path)
        else:
            part.unlink()


def read(path: Path) -> list[Record]:
    """The records of a file; a line that is none is a UserError that names it."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: expected JSON lines of `bench`, got no text") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    records = [
        _record(line, f"{path}, line {number}")
        for number, line in enumerate(text.splitlines(), 1)
        if line.strip()
    ]
    if not records:
        raise UserError(f"{path}: expected JSON lines of `bench`, got an empty file")
    return records


def _record(line: str, where: str) -> Record:
    """The record of a line, checked."""
    try:
        record: Any = json.loads(line)
    except ValueError as error:
        raise UserError(f"{where}: expected a JSON object of `bench`, got {_cut(line)}") from error
    if not isinstance(record, dict):
        raise UserError(f"{where}: expected a JSON object of `bench`, got {_cut(line)}")
    for name, kind in _NEEDED.items():
        if name not in record:
            raise UserError(f"{where}: expected a record of `bench`, but it has no {name!r}")
        if not isinstance(record[name], kind):
            got = type(record[name]).__name__
            raise UserError(f"{where}: {name!r} has to be {_named(kind)}, got {got}")
    for name in _NUMBERS:
        if not _is_number(record.get(name)):
            raise UserError(f"{where}: {name!r} has to be a number, got {record[name]!r}")
    return record


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _named(kind: Any) -> str:
    return {str: "a string", dict: "an object"}[kind]


def _cut(line: str) -> str:
    return repr(line if len(line) <= 40 else line[:40] + "…")
