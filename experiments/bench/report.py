"""`python -m experiments report FILE.jsonl...`: benchmarks of several machines side by side."""

import csv
import io
import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from experiments import html_tables
from experiments.bench.columns import Column, columns_of
from experiments.bench.lines import read
from experiments.bench.tables import Cell, Table, details, facts, for_terminal, side_by_side
from experiments.errors import UserError
from experiments.page import method, page, section
from experiments.run_directory import write_text

# A page of the documentation ends with what a report writes below this line.
MARK = "<!-- The rest of this page is written by: python -m experiments report"
_NOTES = (
    "Milliseconds are the median time of one call, with what a call costs by itself; programs of "
    "one table took turns in one process.",
    "A ratio is the median of the ratios to the reference, the first program of its shape, in the "
    "same rounds. The reference of each row is in the files.",
    "Of the roof: the larger of two shares. Copy is the bytes that go in and come out, the least "
    "that is moved, a second, over the measured rate of copying a large array; above 100% the "
    "arrays stayed in a cache; programs that read only a part of what goes in have none. Matrix is "
    "the floating-point operations a second over the measured rate of a product of large matrices: "
    "for attention and for the heads that score every class the products they cannot do without, "
    "else those that XLA counts, which it does not do in loops.",
    "Where a machine has no figure the cell is empty; failed means that the program did not run "
    "there.",
)


def write(files: Sequence[Path], out: Path) -> list[str]:
    """Writes report.html, report.md and report.csv; returns the tables for the terminal."""
    columns = columns_of({path: read(path) for path in files})
    if out.exists() and not out.is_dir():
        raise UserError(f"--out: {str(out)!r} is a file, expected a directory")
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "report.html", html(columns, out))
    write_text(out / "report.md", markdown(columns))
    write_text(out / "report.csv", comma_separated(columns))
    return [for_terminal(table) for table in (facts(columns), *side_by_side(columns))]


def write_page(files: Sequence[Path], path: Path) -> None:
    """Replaces what follows the mark on a page of the documentation."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"--page: cannot read {str(path)!r}: {error.strerror}") from error
    if text.count(MARK) != 1:
        raise UserError(f"--page: expected one line {MARK!r} in {str(path)!r}")
    columns = columns_of({file: read(file) for file in files})
    before, _, after = text.partition(MARK)
    write_text(path, before + MARK + after.partition("\n")[0] + "\n\n" + markdown(columns))


def markdown(columns: Sequence[Column]) -> str:
    """The tables as pages of a repository show them."""
    parts = []
    for table in (facts(columns), *side_by_side(columns)):
        rule = ["---"] * table.texts + ["--:"] * (len(table.head) - table.texts)
        rows = [[_bars(cell.text) for cell in row] for row in table.rows]
        lines = ["| " + " | ".join(row) + " |" for row in ([*map(_bars, table.head)], rule, *rows)]
        parts.append(f"## {_title(table.title)}\n\n" + "\n".join(lines) + "\n")
    parts.append("## How it was measured\n\n" + "\n".join(f"- {note}" for note in _NOTES) + "\n")
    return "\n".join(parts)


def _title(text: str) -> str:
    return text[:1].upper() + text[1:]


def _bars(text: str) -> str:
    return text.replace("|", "\\|")


def html(columns: Sequence[Column], out: Path) -> str:
    """One page: the machines, the tables side by side, and all figures of each machine.

    Args:
      columns: The machines.
      out: The directory of the page, from which its numbers lead to the files.
    """
    files = [_href(column.path, out) for column in columns]
    shown = [section("The machines", _html_table(facts(columns), files))]
    of_columns = ["", "", *(file for file in files for _ in range(3))]
    shown += [
        section(escape(_title(table.title)), _html_table(table, of_columns))
        for table in side_by_side(columns)
    ]
    for column, file in zip(columns, files, strict=True):
        tables = "".join(
            f"<h3>{escape(t.title)}</h3>{_html_table(t, ['', *[file] * (len(t.head) - 2)])}"
            for t in details(column)
        )
        summary = "<summary>every figure of this machine</summary>"
        content = f"<details>{summary}{tables}</details>"
        shown.append(section(escape(column.label), content))
    notes = [escape(note) for note in (*_NOTES, "A number leads to the file it comes from.")]
    shown.append(section("How it was measured", method(notes)))
    title = "Benchmarks" if len(columns) == 1 else f"Benchmarks of {len(columns)} machines"
    about = {"Files": ", ".join(dict.fromkeys(column.path.name for column in columns))}
    results = {column.label: list(column.records.values()) for column in columns}
    return page(title, about, shown, results)


def _href(path: Path, out: Path) -> str:
    return quote(Path(os.path.relpath(path.resolve(), out.resolve())).as_posix())


def _html_table(table: Table, files: Sequence[str]) -> str:
    """A table, and the file that each column after the first leads to, if there is one."""
    rows, split = [], table.texts - 1
    for name, *cells in table.rows:
        placed = list(zip(cells, files, strict=True))
        texts = [_html_cell(cell, file, ' class="words"') for cell, file in placed[:split]]
        numbers = [_html_cell(cell, file) for cell, file in placed[split:]]
        first = f'<th scope="row" data-value="{_quoted(name.text)}">{escape(name.text)}</th>'
        rows.append("<tr>" + "".join([first, *texts, *numbers]) + "</tr>")
    return html_tables.table(table.head, rows, table.head[: table.texts])


def _html_cell(cell: Cell, file: str, style: str = "") -> str:
    value = cell.text if cell.value is None else repr(cell.value)
    title = f' title="{_quoted(cell.title)}"' if cell.title else ""
    known = any(map(str.isdigit, cell.text))
    shown = html_tables.linked(escape(cell.text), file if known else "")
    return f'<td{style} data-value="{_quoted(value)}"{title}>{shown}</td>'


def _quoted(text: str) -> str:
    return escape(text, quote=True)


def comma_separated(columns: Sequence[Column]) -> str:
    """A line for each measurement with every field, those of the shape and of versions together."""
    rows: list[Mapping[str, object]] = [
        {"machine": column.label, "file": column.path.name, **{k: _flat(v) for k, v in r.items()}}
        for column in columns
        for r in column.records.values()
    ]
    text = io.StringIO()
    names = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _flat(value: object) -> object:
    if isinstance(value, dict):
        return " ".join(f"{name}={part}" for name, part in value.items())
    if isinstance(value, list):
        return " ".join(map(str, value))
    return "" if value is None else value
