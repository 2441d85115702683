"""Measures suites one group after the other; what was measured is kept, however it ends."""

import dataclasses
import importlib
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from experiments.bench import machine, measuring, roofs, tables, torch_side
from experiments.bench.case import Group, Wanted
from experiments.bench.columns import columns_of
from experiments.bench.lines import Lines, writing
from experiments.bench.programs import has_cache
from experiments.bench.resuming import left
from experiments.errors import UserError
from experiments.interrupts import exit_code
from experiments.measured import Record
from experiments.progress import Display


def run(
    suites: Sequence[str],
    wanted: Wanted,
    parts: Sequence[str] | None,
    rounds: int,
    path: Path,
    resume: bool,
) -> int:
    """Measures and prints a table of each suite; returns 130 after Ctrl-C, 143 after SIGTERM."""
    display, began, status = Display(), time.perf_counter(), 0
    if has_cache():
        display.note("a compilation cache is set: compile times are not measured")
    with writing(path) as lines:
        try:
            groups = filtered(_groups(suites, wanted, display), parts)
            about = machine.describe(_packages(groups))
            if resume:
                there, groups = left(groups, path, about)
                lines.write(there)
                display.note(f"{len(there)} measurements are kept, {len(groups)} groups are left")
            _measure(groups, about, wanted, rounds, lines, display)
        except KeyboardInterrupt as stop:
            status = exit_code(stop)
    for column in columns_of({path: lines.records}):
        print("\n\n".join(map(tables.for_terminal, tables.details(column))), flush=True)
    kept = f"{len(lines.records)} measurements in {time.perf_counter() - began:.0f} s"
    if not lines.records:
        print("interrupted before anything was measured", file=sys.stderr)
    elif status:
        print(
            f"interrupted: {kept} are kept in {path}; --resume measures the rest", file=sys.stderr
        )
    else:
        print(f"{kept}, written to {path}; compare: python -m experiments report {path} FILE...")
    return status


def _groups(suites: Sequence[str], wanted: Wanted, display: Display) -> list[Group]:
    found = []
    for name in suites:
        # Texts are read and trees are built for some.
        display.note(f"preparing: {name}")
        found += importlib.import_module(f"experiments.bench.suites.{name}").groups(wanted)
    return found


def _packages(groups: Sequence[Group]) -> set[str]:
    cases = [case for group in groups for case in group.cases]
    return {case.package for case in cases} | {"torch" for case in cases if case.torch}


def _measure(
    groups: Sequence[Group],
    about: Record,
    wanted: Wanted,
    rounds: int,
    lines: Lines,
    display: Display,
) -> None:
    if any(case.torch for group in groups for case in group.cases):
        torch_side.equal_threads()
    of_device = roofs.measured(wanted.dtype)
    with display.stage("bench", sum(len(group.cases) for group in groups), "programs"):
        for number, group in enumerate(groups):
            display.note(group.label)
            # At the same time as what takes a share of them.
            now = roofs.anew(of_device, wanted.dtype) if number else of_device
            records = measuring.measure(group, rounds, number, now, display)
            lines.write([record | about | machine.of_roofs(now) for record in records])


def filtered(groups: Sequence[Group], parts: Sequence[str] | None) -> list[Group]:
    """The groups with the programs whose name has one of the parts, and with their reference."""
    if not parts:
        return list(groups)
    found = []
    for group in groups:
        reference, *others = group.cases
        kept = [case for case in others if any(part in case.name for part in parts)]
        if kept or any(part in reference.name for part in parts):
            found.append(dataclasses.replace(group, cases=(reference, *kept)))
    if not found:
        names = sorted({case.name for group in groups for case in group.cases})
        raise UserError(
            f"--filter: expected a part of a name, got {' and '.join(map(repr, parts))}; "
            f"there are {', '.join(names)}"
        )
    return found
