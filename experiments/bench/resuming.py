"""Which groups of a benchmark that was interrupted are measured already."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from experiments.bench.case import Case, Group
from experiments.bench.lines import read
from experiments.errors import UserError
from experiments.measured import Record

# What has to be the same, or the figures of one file would not be of one machine.
_MACHINE = ("platform", "device", "device_count", "processor", "cores", "xla_flags")


class Left(NamedTuple):
    """The records that are kept, and the groups that are left."""

    records: list[Record]
    groups: list[Group]


def left(groups: Sequence[Group], path: Path, about: Record) -> Left:
    """Returns what a file leaves to be measured; a group is measured whole or not at all.

    Args:
      groups: All groups that are wanted.
      path: The file of an earlier, interrupted measurement.
      about: What this machine writes into every line.
    """
    if not path.is_file():
        raise UserError(
            f"--resume: expected the file {str(path)!r} of an interrupted run, found none"
        )
    records = read(path)
    for name in _MACHINE:
        there = next((r.get(name) for r in records if r.get(name) != about[name]), about[name])
        if there != about[name]:
            raise UserError(
                f"--resume: {path} was measured with {name} {there!r}, here it is {about[name]!r}"
            )
    other = [
        package
        for record in records
        for package, version in record["versions"].items()
        if about["versions"].get(package, version) != version
    ]
    if other:
        raise UserError(f"--resume: {path} was measured with another version of {other[0]}")
    found = {_key(record): record for record in records}
    kept, rest = [], []
    for group in groups:
        keys = [_of_case(group, case) for case in group.cases]
        if all(key in found for key in keys):
            kept += [found[key] for key in keys]
        else:
            rest.append(group)
    return Left(kept, rest)


def _key(record: Record) -> tuple[object, ...]:
    shape = tuple(sorted(record["shape"].items()))
    return record["suite"], record["name"], record["mode"], shape, record["dtype"]


def _of_case(group: Group, case: Case) -> tuple[object, ...]:
    shape = {**group.shape, **case.sizes}
    return _key(
        {
            "suite": group.suite,
            "name": case.name,
            "mode": group.mode,
            "shape": shape,
            "dtype": group.dtype,
        }
    )
