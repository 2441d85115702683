"""The tables of a run in plain text: for the terminal, for Markdown, and as CSV."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from experiments.engine.columns import (
    Column,
    has_rates,
    has_tuned,
    is_timed,
    metric_columns,
    settings,
)
from experiments.engine.curves import AXES
from experiments.engine.differences import SURVIVORS
from experiments.measured import layout, plus_minus

Figures = dict[str, Any]
_WIDTH = 118
_MARKS = {"better": "+", "worse": "-", "more": ">", "less": "<", SURVIVORS: "?"}
_STATUS = {"trained": "", "unmoved": " !"}


def all_tables(results: Figures) -> list[str]:
    """Returns what the command prints; every line fits in 118 columns."""
    shown = [main_table(results)]
    return [*shown, difference_table(results)] if results["comparisons"] else shown


def main_table(results: Figures) -> str:
    """Returns the table of all metrics with their intervals, and why a contender is marked."""
    header, rows = _main(results)
    level, seeds = f"{100 * results['confidence']:g}%", len(results["seeds"])
    notes = [
        f"± half the {level} interval over {seeds} seeds (Student t); in brackets, over how many "
        "where some were lost."
        if seeds > 1
        else "One seed: an interval would need two.",
    ]
    beside = {
        "the budget of tuning": has_rates(results) or has_tuned(results),
        "the rounds of timing": is_timed(results),
    }
    told = " and ".join(words for words, there in beside.items() if there)
    notes += [f"In report.html: {told}."] if told else []
    return "\n".join([*_laid_out(header, rows), *notes, *endings(results)])


def difference_table(results: Figures) -> str:
    """Returns the table of paired differences to the reference."""
    header, rows = _differences(results)
    count, level = results["comparisons"], f"{100 * results['confidence']:g}%"
    notes = [
        f"Paired by seed; ± simultaneous {level} interval (Student t, Bonferroni over {count} "
        f"contender{'s' * (count != 1)} for each metric).",
        "+ better, - worse, > more, < less; no mark: the interval covers zero, which shows no "
        "difference.",
    ]
    if any(d["verdict"] == SURVIVORS for c in results["contenders"] for d in _all(c)):
        notes.append("? a difference only of the seeds that one of the two survived: no finding.")
    return "\n".join([*_laid_out(header, rows), *notes])


def endings(results: Figures) -> list[str]:
    """Says why a contender is marked, and who is missing."""
    found = [
        f"{mark(c).strip()} {c['name']} ({c['status']}): {c['why']}"[:_WIDTH]
        for c in results["contenders"]
        if mark(c)
    ]
    if results["unfinished"]:
        found.append(f"not finished: {', '.join(results['unfinished'])}"[:_WIDTH])
    return found


def mark(contender: Figures) -> str:
    """Returns what marks a contender that did not train as it should."""
    return _STATUS.get(contender["status"], " !!")


def markdown(results: Figures) -> list[str]:
    """Returns both tables in Markdown, with standard errors, and verdicts in words."""
    columns = metric_columns(results)
    figures, differences = [], []
    for c in results["contenders"]:
        badge = "" if c["status"] == "trained" else f" ({c['status']})"
        cells = [metric_cell(c["metrics"][k.name], k, error=True) for k in columns]
        figures.append([c["name"] + badge, *cells, *_beside(results, c).values()])
        found = [c["differences"].get(k.name) for k in columns]
        shown = [
            f"{plus_minus(d, k.factor, k.digits, '+')} {d['verdict']}" if d else "–"
            for d, k in zip(found, columns, strict=True)
        ]
        differences += [[c["name"], *shown]] if c["differences"] else []
    headings = [column.heading for column in columns]
    beside = _beside(results, results["contenders"][0]) if figures else {}
    made = [markdown_table(["", *headings, *beside], figures)]
    if differences:
        made.append(markdown_table([f"minus {results['reference']}", *headings], differences))
    return made


def csv_tables(results: Figures) -> dict[str, str]:
    """Returns the figures as CSV files of one value a line, by the name of the file."""
    made = {
        "figures.csv": _figure_lines(results),
        "differences.csv": _difference_lines(results),
        "curves.csv": _curve_lines(results),
        "tuning.csv": _tuning_lines(results),
    }
    return {name: csv_text(lines) for name, lines in made.items()}


def _main(results: Figures) -> tuple[list[str], list[list[str]]]:
    columns = metric_columns(results)
    contenders = results["contenders"]
    beside = _beside(results, contenders[0]) if contenders else {}
    header = ["", *(c.heading for c in columns), *beside]
    rows = []
    for c in contenders:
        cells = [metric_cell(c["metrics"][column.name], column) for column in columns]
        rows.append([c["name"] + mark(c), *cells, *_beside(results, c).values()])
    return header, rows


def _beside(results: Figures, contender: Figures) -> dict[str, str]:
    """Returns what a run chose and timed, by the heading of its column."""
    found = {}
    if has_rates(results):
        rate = contender["learning_rate"]
        found["learning rate"] = "–" if rate is None else f"{rate:.3g}"
    if has_tuned(results):
        found["tuned"] = settings(contender["tuned"])
    if is_timed(results):
        found["steps/s"] = plus_minus(contender["steps_per_second"], 1.0, 0)
    return found


def metric_cell(interval: Figures | None, column: Column, error: bool = False) -> str:
    """Returns a metric: with its standard error if wanted, and the count where seeds were lost."""
    text = plus_minus(interval, column.factor, column.digits)
    if error and interval is not None and interval["standard_error"] is not None:
        text += f" ({column.factor * interval['standard_error']:.{column.digits}f})"
    lost = interval is not None and interval["missing"]
    return f"{text} [{interval['count']}]" if interval is not None and lost else text


def _differences(results: Figures) -> tuple[list[str], list[list[str]]]:
    columns = metric_columns(results)
    chosen = [c for c in results["contenders"] if c["differences"]]
    header = [f"minus {results['reference']}", *(c.heading for c in columns)]
    rows = []
    for c in chosen:
        cells = []
        for column in columns:
            difference = c["differences"].get(column.name)
            text = plus_minus(difference, column.factor, column.digits, "+")
            word = difference["verdict"] if difference else ""
            cells.append(f"{text} {_MARKS.get(word, ' ')}")
        rows.append([c["name"], *cells])
    return header, rows


def _laid_out(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Returns one table, or several where its columns do not fit beside each other."""
    tables: list[str] = []
    first = 1
    while first < len(header):
        last = first + 1
        while last < len(header) and _width(header, rows, first, last + 1) <= _WIDTH:
            last += 1
        parts = [[row[0], *row[first:last]] for row in (header, *rows)]
        tables.append(layout(parts[0], parts[1:]))
        first = last
    return tables


def _width(header: Sequence[str], rows: Sequence[Sequence[str]], first: int, last: int) -> int:
    columns = [0, *range(first, last)]
    return sum(max(len(row[i]) for row in (header, *rows)) + 2 for i in columns) - 2


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a table in Markdown: the first column to the left, the others to the right."""
    ruler = ["---", *("---:" for _ in header[1:])]
    lines = [header, ruler, *rows]
    return "\n".join("| " + " | ".join(_cell(text) for text in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return text.strip().replace("|", "\\|").replace("<", "&lt;").replace(">", "&gt;")


def _all(contender: Figures) -> list[Figures]:
    return list(contender["differences"].values())


def csv_text(lines: Iterable[Sequence[Any]]) -> str:
    """Returns lines of values as CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()


def _figure_lines(results: Figures) -> Iterator[Sequence[Any]]:
    yield (
        *("contender", "status", "figure", "estimate"),
        *("standard_error", "lower", "upper", "count"),
    )
    for c in results["contenders"]:
        figures = {**c["metrics"], **{f"learned {n}": v for n, v in c["learned"].items()}}
        figures |= {n: c[n] for n in ("steps_per_second", "speed_ratio")}
        for name, interval in figures.items():
            names = ("estimate", "standard_error", "lower", "upper", "count")
            yield c["name"], c["status"], name, *((interval or {}).get(n) for n in names)
        for name, value in {
            "learning_rate": c["learning_rate"],
            **c["tuned"],
            **c["costs"],
        }.items():
            yield c["name"], c["status"], name, value, None, None, None, None


def _difference_lines(results: Figures) -> Iterator[Sequence[Any]]:
    yield (
        *("contender", "reference", "metric", "difference"),
        *("lower", "upper", "verdict", "seeds"),
    )
    for c in results["contenders"]:
        for metric, d in c["differences"].items():
            seeds = " ".join(map(str, d["seeds"]))
            limits = (d["estimate"], d["lower"], d["upper"])
            yield c["name"], results["reference"], metric, *limits, d["verdict"], seeds


def _curve_lines(results: Figures) -> Iterator[Sequence[Any]]:
    yield "contender", *AXES, "metric", "estimate", "lower", "upper", "count"
    for c in results["contenders"]:
        curves = c["curves"]
        for metric, series in curves["metrics"].items():
            for i in range(len(curves["step"])):
                places = (curves[axis][i] for axis in AXES)
                values = (series[n][i] for n in ("estimate", "lower", "upper", "count"))
                yield c["name"], *places, metric, *values


def _tuning_lines(results: Figures) -> Iterator[Sequence[Any]]:
    yield "contender", "trial", "learning_rate", "tuned", "seeds", "lost", "score", "chosen"
    for c in results["contenders"]:
        tuning = c["tuning"]
        for trial in tuning["trials"] if tuning else []:
            tuned = " ".join(f"{n}={v:g}" for n, v in trial["tuned"].items())
            ends = (trial["seeds"], trial["lost"], trial["score"])
            chosen = trial["trial"] == tuning["chosen"]
            yield c["name"], trial["trial"], trial["learning_rate"], tuned, *ends, chosen
