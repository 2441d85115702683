"""The tables of benchmark files: machines side by side, and all figures of one machine."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from experiments.bench.columns import Column, key_of, keys_of
from experiments.measured import Record, layout


class Cell(NamedTuple):
    """What stands in a table: a text, and the number it sorts by, if it is one."""

    text: str
    value: float | None = None
    title: str = ""


EMPTY = Cell("")


class Table(NamedTuple):
    """A table, its first columns being texts.

    Attributes:
      title: what is in it.
      head: the headings.
      rows: the cells.
      texts: how many columns are texts.
    """

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    texts: int


def side_by_side(columns: Sequence[Column]) -> list[Table]:
    """A table of each suite and mode, with three columns for each machine."""
    keys = keys_of(columns)
    found = []
    for suite, mode in dict.fromkeys((key.suite, key.mode) for key in keys):
        own = [key for key in keys if (key.suite, key.mode) == (suite, mode)]
        head = ["name", "shape", "dtype"]
        for column in columns:
            head += [f"{column.label}: ms", "ratio", "of the roof"]
        rows = []
        for key in own:
            row = [Cell(key.name), Cell(key.shape), Cell(key.dtype)]
            for column in columns:
                row += _three(column.records.get(key))
            rows.append(row)
        found.append(Table(f"{suite}, {mode}", head, rows, 3))
    return found


def _three(record: Record | None) -> list[Cell]:
    """Milliseconds, the ratio to the reference, and the share of the nearest roof."""
    if record is None:
        return [EMPTY] * 3
    if record.get("error"):
        return [Cell("failed", title=record["error"]), EMPTY, EMPTY]
    range_ = record.get("milliseconds_range")
    title = f"{record.get('rounds', '?')} rounds" + (
        f", {range_[0]:g} to {range_[1]:g} ms" if range_ else ""
    )
    return [
        _number(record.get("milliseconds"), milliseconds, title),
        _number(record.get("ratio"), ratio, f"to {record['reference']}"),
        _roof(record),
    ]


def _roof(record: Record) -> Cell:
    """The larger of the two shares: what the program is limited by, if by one of them."""
    shares = {
        name: share
        for name in ("copy", "matrix")
        if (share := record.get(f"{name}_share")) is not None
    }
    if not shares:
        return EMPTY
    name = max(shares, key=lambda name: shares[name])
    return Cell(f"{percent(shares[name])} {name}", shares[name])


_DETAILS: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("milliseconds", "ms", lambda x: milliseconds(x)),
    ("ratio", "ratio", lambda x: ratio(x)),
    ("lower_seconds", "lower s", lambda x: f"{x:.2f}"),
    ("compile_seconds", "compile s", lambda x: f"{x:.2f}"),
    ("argument_bytes", "in MB", lambda x: megabytes(x)),
    ("output_bytes", "out MB", lambda x: megabytes(x)),
    ("temporary_bytes", "temporary MB", lambda x: megabytes(x)),
    ("compiled_peak_bytes", "compiled peak MB", lambda x: megabytes(x)),
    ("peak_bytes", "peak MB", lambda x: megabytes(x)),
    ("flops", "GFLOP", lambda x: f"{x / 1e9:.3g}"),
    ("copy_share", "of copy", lambda x: percent(x)),
    ("matrix_share", "of matrix", lambda x: percent(x)),
)


def details(column: Column) -> list[Table]:
    """All figures of one machine, a table of each suite and mode; no column without a figure."""
    found = []
    for suite, mode in dict.fromkeys((key.suite, key.mode) for key in column.records):
        own = [r for k, r in column.records.items() if (k.suite, k.mode) == (suite, mode)]
        shown = [d for d in _DETAILS if any(r.get(d[0]) is not None for r in own)]
        rows = [
            [
                Cell(record["name"] + (": failed" if record.get("error") else "")),
                Cell(key_of(record).shape),
                *(_number(record.get(name), text) for name, _, text in shown),
            ]
            for record in own
        ]
        head = ["name", "shape", *(heading for _, heading, _ in shown)]
        dtypes = ", ".join(dict.fromkeys(r["dtype"] for r in own))
        found.append(Table(f"{suite}, {mode}, {dtypes}", head, rows, 2))
    return found


def facts(columns: Sequence[Column]) -> Table:
    """What each machine is, a row for each fact."""
    packages = list(dict.fromkeys(p for c in columns for p in c.about["versions"]))
    found: list[tuple[str, list[Any]]] = [
        ("file", [column.path.name for column in columns]),
        ("device", [column.about["device"] for column in columns]),
        ("platform", [column.about["platform"] for column in columns]),
        ("driver or runtime", [_about(column, "platform_version") for column in columns]),
        ("devices, of which one is used", [_about(column, "device_count") for column in columns]),
        ("processor", [_about(column, "processor") for column in columns]),
        ("cores", [_about(column, "cores") for column in columns]),
        ("load of the system before", [_about(column, "load") for column in columns]),
        ("measured", [_about(column, "measured") for column in columns]),
        ("revision", [_revision(column) for column in columns]),
        ("python", [_about(column, "python") for column in columns]),
    ]
    found += [(p, [c.about["versions"].get(p, "") for c in columns]) for p in packages]
    found += [
        ("XLA flags", [_about(column, "xla_flags") for column in columns]),
        ("copy, GB/s", [_roofs(c, "copy_bytes_per_second", 1e-9) for c in columns]),
        ("matrix product, GFLOP/s", [_roofs(c, "matrix_flops_per_second", 1e-9) for c in columns]),
        ("a call, microseconds", [_roofs(c, "call_seconds", 1e6) for c in columns]),
    ]
    shown = [(name, [" ".join(str(value).split()) for value in values]) for name, values in found]
    rows = [[Cell(name), *map(Cell, values)] for name, values in shown if any(values)]
    head = ["", *(column.label for column in columns)]
    return Table("The machines", head, rows, 1 + len(columns))


def _about(column: Column, name: str) -> Any:
    value = column.about.get(name)
    return "" if value is None else value


def _revision(column: Column) -> str:
    revision = str(_about(column, "revision"))[:10]
    return revision + (" with changes" if column.about.get("dirty") else "")


def _roofs(column: Column, name: str, factor: float) -> str:
    """The best of each dtype: it is measured anew before each group of programs."""
    best = min if name == "call_seconds" else max
    found: dict[str, float] = {}
    for record in column.records.values():
        if record.get(name):
            rate, dtype = record[name], record["dtype"]
            found[dtype] = best(found.get(dtype, rate), rate)
    return ", ".join(f"{dtype} {factor * rate:.3g}" for dtype, rate in found.items())


def for_terminal(table: Table) -> str:
    """The table in plain text, under its title."""
    rows = [[cell.text for cell in row] for row in table.rows]
    return f"{table.title}\n" + layout(table.head, rows)


def _number(value: float | None, text: Callable[[float], str], title: str = "") -> Cell:
    return EMPTY if value is None else Cell(text(value), value, title)


def milliseconds(value: float) -> str:
    """Three digits, without an exponent."""
    digits = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3
    return f"{value:,.{digits}f}"


def ratio(value: float) -> str:
    """Two digits behind the point, fewer for what is large."""
    return f"{value:.2f}" if value < 10 else f"{value:,.0f}"


def megabytes(value: float) -> str:
    """Millions of bytes."""
    return f"{value / 1e6:,.2f}" if value < 1e7 else f"{value / 1e6:,.0f}"


def percent(value: float) -> str:
    """A share."""
    return f"{100 * value:.0f}%" if value >= 0.095 else f"{100 * value:.1f}%"
