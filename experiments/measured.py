"""What the measuring commands share: plain tables, JSON lines, and a line about the machine."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

Record = dict[str, Any]


def layout(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lays out a table for the terminal: the first column to the left, the others to the right."""
    table = [header, *rows]
    widths = [max(len(row[i]) for row in table) for i in range(len(header))]
    lines = [
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    ]
    rule = "-" * max(map(len, lines))
    return "\n".join([lines[0], rule, *lines[1:], rule])


def plus_minus(
    interval: Mapping[str, Any] | None, factor: float, digits: int, sign: str = ""
) -> str:
    """Returns an estimate and half the width of its interval; a dash where there is none."""
    if interval is None or interval["estimate"] is None:
        return "–"
    estimate = f"{factor * interval['estimate']:{sign}.{digits}f}"
    if interval["lower"] is None or interval["upper"] is None:
        return estimate
    half = factor * (interval["upper"] - interval["lower"]) / 2.0
    return f"{estimate} ±{half:.{digits}f}"


def write_json_lines(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Writes one record a line; JSON has no NaN and no infinity, so these become strings."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({k: _plain(v) for k, v in record.items()}) for record in records]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def machine(environment: Mapping[str, Any]) -> str:
    """One line that says what the figures were measured on."""
    revision = str(environment.get("revision") or "no revision")[:12]
    dirty = "+changes" if environment.get("dirty") else ""
    jax_version = environment["versions"].get("jax", "?")
    where = f"{environment['processor']}, {environment['cores']} cores, {environment['system']}"
    return f"{where}; jax {jax_version} on {environment['device']}; revision {revision}{dirty}"
