"""Benchmark files as columns: what was measured on one machine, in one environment."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from experiments.measured import Record

# Two lines of one file that differ in these were not measured on the same machine.
_WHERE = (
    "platform",
    "platform_version",
    "device",
    "device_count",
    "processor",
    "cores",
    "versions",
    "revision",
    "dirty",
    "xla_flags",
)


class Key(NamedTuple):
    """What was measured: a row."""

    suite: str
    mode: str
    shape: str
    dtype: str
    name: str


@dataclasses.dataclass(frozen=True)
class Column:
    """One machine.

    Attributes:
      label: its heading, which no other column has.
      path: the file.
      records: what was measured.
    """

    label: str
    path: Path
    records: Mapping[Key, Record]

    @property
    def about(self) -> Record:
        """A record, for what all of them say of the machine."""
        return next(iter(self.records.values()))


def columns_of(files: Mapping[Path, Sequence[Record]]) -> list[Column]:
    """The columns of files in their order; what a file measured twice makes another column."""
    found: dict[tuple[Path, str, int], dict[Key, Record]] = {}
    for path, records in files.items():
        seen: dict[tuple[str, Key], int] = {}
        for record in records:
            where, key = json.dumps([record.get(name) for name in _WHERE]), key_of(record)
            again = seen[where, key] = seen.get((where, key), -1) + 1
            found.setdefault((path, where, again), {})[key] = record
    devices = [_device(next(iter(records.values()))) for records in found.values()]
    return [
        Column(label, path, records)
        for label, ((path, _, _), records) in zip(
            _labels(devices, [path for path, _, _ in found]), found.items(), strict=True
        )
    ]


def key_of(record: Record) -> Key:
    """The row that a record belongs to."""
    shape = ", ".join(f"{size:,} {name}" for name, size in record["shape"].items())
    if record.get("scale", 1.0) != 1.0:
        shape += f", N(0, {record['scale']:g}^2)"
    return Key(record["suite"], record["mode"], shape, record["dtype"], record["name"])


def keys_of(columns: Sequence[Column]) -> list[Key]:
    """All rows of all columns: in the order of the first file, then what only others have."""
    return list(dict.fromkeys(key for column in columns for key in column.records))


def _device(record: Record) -> str:
    """What a machine is called: where the device is the processor, by the processor."""
    if record["device"] == record["platform"]:
        return f"{record.get('processor', record['device'])}, {record.get('cores', '?')} cores"
    count = record.get("device_count", 1)
    return record["device"] + (f" (1 of {count})" if count > 1 else "")


def _labels(devices: Sequence[str], paths: Sequence[Path]) -> list[str]:
    """The devices' names, with the file where two are the same, and a number if need be."""
    labels = [
        device if devices.count(device) == 1 else f"{device} ({path.stem})"
        for device, path in zip(devices, paths, strict=True)
    ]
    return [
        label if labels.count(label) == 1 else f"{label} {labels[: i + 1].count(label)}"
        for i, label in enumerate(labels)
    ]
