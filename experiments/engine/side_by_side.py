"""The report of several runs: the same metrics of the same contenders, run beside run."""

import csv
import io
import os
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from experiments.base_config import differing_fields
from experiments.engine.columns import Column, digits_of, metric_column
from experiments.engine.report_tables import anchor
from experiments.engine.tables import metric_cell
from experiments.forest import Bar, forest
from experiments.html_tables import cell, table
from experiments.measured import layout
from experiments.page import findings, page, section, switch, wide
from experiments.svg import Drawing

Figures = dict[str, Any]
# Not settings, and shown elsewhere.
_NO_SETTINGS = ("experiment", "variants", "metrics", "about", "engine")
_COLORS = 8
# Figures besides the metrics: where they are, a heading, and a factor.
_COSTS = (("steps_per_second", "Steps/s", 1.0), ("train_seconds", "Training s", 1.0))


class Named(NamedTuple):
    """A run beside others.

    Attributes:
      name: What it is called beside the others.
      path: Its directory.
      results: Its figures.
      environment: What its env.json holds.
    """

    name: str
    path: Path
    results: Figures
    environment: Figures


def names_of(paths: Sequence[Path]) -> list[str]:
    """Returns the last part of each path, or all of it where that is not one of a kind."""
    last = [path.resolve().name for path in paths]
    return [n if last.count(n) == 1 else str(p) for n, p in zip(last, paths, strict=True)]


def together(runs: Sequence[Named]) -> Figures:
    """Returns what the page shows, ready for JSON."""
    return {
        "runs": [
            {
                "name": run.name,
                "experiment": run.results["experiment"],
                "environment": run.environment,
                "results": run.results,
            }
            for run in runs
        ],
        "metrics": _metrics(runs),
        "contenders": _contenders(runs),
        "settings": _settings(runs),
    }


def html(runs: Sequence[Named], out: Path) -> str:
    """Returns the page; numbers lead to the reports of their runs."""
    metrics = {m: _column(runs, m) for m in _metrics(runs)}
    columns = {c.heading: (m, c) for m, c in metrics.items()}
    tables = {h: _metric_table(runs, out, m, c) for h, (m, c) in columns.items()}
    charts = {h: _chart(runs, m, c) for h, (m, c) in columns.items()}
    shown = {h: (wide(chart) if (chart := charts[h]) else "") + tables[h] for h in columns}
    colors = "".join(
        f"<li><i class='{_style(i)}'></i>{escape(r.name)}</li>" for i, r in enumerate(runs)
    )
    sections = [
        section("In short", findings(sentences(runs))),
        section("Runs", _run_table(runs, out), "runs"),
        section("Settings that differ", _settings_table(runs)),
        section(
            "Test metrics",
            f"<p>{_NOTE}</p><ul class='legend'>{colors}</ul>{switch('metric', shown)}",
            "metrics",
        ),
        section("Cost", _cost_table(runs, out), "costs"),
    ]
    facts = {"Runs": str(len(runs)), "Contenders": str(len(_contenders(runs)))}
    return page("Runs side by side", facts, sections, together(runs))


def sentences(runs: Sequence[Named]) -> list[str]:
    """Returns what can be said of several runs without a test between them."""
    names = ", ".join(f"`{run.name}`" for run in runs)
    found = [f"{len(runs)} runs: {names}."]
    devices = list(dict.fromkeys(_device(run) for run in runs))
    where = "the same kind of device" if len(devices) == 1 else f"{len(devices)} kinds of devices"
    found.append(f"They ran on {where}: {'; '.join(devices)}.")
    settings = _settings(runs)
    found.append(
        f"Their settings differ in {', '.join(f'`{name}`' for name in settings)}."
        if settings
        else "Their settings are the same."
    )
    shared = [c for c in _contenders(runs) if sum(_of(run, c) is not None for run in runs) > 1]
    found.append(
        f"{len(shared)} of {len(_contenders(runs))} contenders are in more than one run. Intervals "
        "are those of each run alone: no difference between runs is tested here."
    )
    for run in runs:
        ended = [c for c in run.results["contenders"] if c["status"] != "trained"]
        found += [f"In `{run.name}`, `{c['name']}` {c['status']}: {c['why']}." for c in ended]
    return found


def terminal(runs: Sequence[Named]) -> list[str]:
    """Returns a table for each metric, a column for each run, and what is to be said."""
    return [*(layout(*_plain_table(runs, m)) for m in _metrics(runs)), "\n".join(sentences(runs))]


def markdown(runs: Sequence[Named]) -> str:
    """Returns the tables in Markdown."""
    parts = ["# Runs side by side", "\n".join(f"- {text}" for text in sentences(runs))]
    for metric in _metrics(runs):
        header, rows = _plain_table(runs, metric)
        lines = [header, ["---", *("---:" for _ in runs)], *rows]
        parts.append("\n".join("| " + " | ".join(line) + " |" for line in lines))
    return "\n\n".join(parts) + "\n"


def figures_csv(runs: Sequence[Named]) -> str:
    """Returns one line for each run, contender and metric."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(_lines(runs))
    return text.getvalue()


def _lines(runs: Sequence[Named]) -> Iterator[Sequence[Any]]:
    names = ("estimate", "standard_error", "lower", "upper", "count")
    yield "run", "device", "contender", "status", "metric", *names
    for run in runs:
        for c in run.results["contenders"]:
            for metric, interval in c["metrics"].items():
                values = ((interval or {}).get(n) for n in names)
                yield run.name, _device(run), c["name"], c["status"], metric, *values


def _metrics(runs: Sequence[Named]) -> list[str]:
    return list(dict.fromkeys(m for run in runs for m in run.results["metrics"]))


def _contenders(runs: Sequence[Named]) -> list[str]:
    return list(dict.fromkeys(c["name"] for run in runs for c in run.results["contenders"]))


def _of(run: Named, contender: str) -> tuple[int, Figures] | None:
    found = (p for p in enumerate(run.results["contenders"]) if p[1]["name"] == contender)
    return next(found, None)


def _interval(run: Named, contender: str, metric: str) -> Figures | None:
    found = _of(run, contender)
    interval: Figures | None = found[1]["metrics"].get(metric) if found else None
    return interval


def _column(runs: Sequence[Named], metric: str) -> Column:
    return metric_column(metric, [_interval(r, c, metric) for r in runs for c in _contenders(runs)])


def _settings(runs: Sequence[Named]) -> dict[str, list[Any]]:
    """Returns the fields of the configs that are not the same in all runs."""
    configs = [run.results["config"] for run in runs]
    names = {n for config in configs[1:] for n in differing_fields(configs[0], config)}
    return {
        name: [config.get(name) for config in configs]
        for name in dict.fromkeys(n for config in configs for n in config)
        if name in names and name not in _NO_SETTINGS
    }


def _device(run: Named) -> str:
    device = run.environment.get("device", "unknown device")
    processor = run.environment.get("processor", "")
    return f"{processor} ({device})" if device == "cpu" and processor else str(device)


def _style(index: int) -> str:
    return f"c{index % _COLORS}"


def _href(run: Named, out: Path, contender: str | None = None) -> str:
    there = os.path.relpath(run.path.resolve() / "report.html", out.resolve())
    mark = f"#{anchor(contender)}" if contender else ""
    return Path(there).as_posix() + mark


def _run_table(runs: Sequence[Named], out: Path) -> str:
    head = ["Run", "Experiment", "Device", "jax", "Seeds", "Steps", "Revision"]
    rows = []
    for index, run in enumerate(runs):
        env, config = run.environment, run.results["config"]
        dirty = " + changes" if env.get("dirty") else ""
        words = (run.results["experiment"], _device(run), env.get("versions", {}).get("jax", "?"))
        counts = (len(run.results["seeds"]), config["steps"])
        revision = f"{(env.get('revision') or 'unknown')[:10]}{dirty}"
        name = (
            f'<th scope="row" data-value="{escape(run.name, quote=True)}"><i class="'
            f'{_style(index)}"></i><a href="{escape(_href(run, out), quote=True)}">'
            f"{escape(run.name)}</a></th>"
        )
        cells = [
            f'<td class="words" data-value="{escape(t, quote=True)}">{escape(t)}</td>'
            for t in words
        ]
        cells += [f'<td data-value="{n}">{n:,}</td>' for n in counts]
        cells.append(f'<td class="words" data-value="{revision}">{revision}</td>')
        rows.append(f"<tr>{name}{''.join(cells)}</tr>")
    return table(head, rows, {"Experiment", "Device", "jax", "Revision"})


def _settings_table(runs: Sequence[Named]) -> str:
    rows = []
    for name, values in _settings(runs).items():
        shown = "".join(_word(value) for value in values)
        rows.append(f'<tr><th scope="row" data-value="{name}"><code>{name}</code></th>{shown}</tr>')
    names = [run.name for run in runs]
    return table(["Field", *names], rows, set(names)) if rows else "<p>None differ.</p>"


def _word(value: Any) -> str:
    text = escape("–" if value is None else str(value), quote=True)
    return f'<td class="words" data-value="{text}">{text}</td>'


def _metric_table(runs: Sequence[Named], out: Path, metric: str, column: Column) -> str:
    rows = []
    for name in _contenders(runs):
        cells = []
        for i, run in enumerate(runs):
            found = _of(run, name)
            path = f"runs[{i}].results.contenders[{found[0]}].metrics.{metric}" if found else ""
            interval = found[1]["metrics"].get(metric) if found else None
            target = _href(run, out, name)
            cells.append(cell(interval, path, column.factor, column.digits, target))
        rows.append(_contender_row(runs, name, cells))
    return table(["Contender", *(run.name for run in runs)], rows)


def _cost_table(runs: Sequence[Named], out: Path) -> str:
    contents = {}
    for name, heading, factor in _COSTS:
        intervals = {c: [_cost(run, c, name) for run in runs] for c in _contenders(runs)}
        digits = digits_of([v for values in intervals.values() for v in values], factor)
        rows = []
        for contender, values in intervals.items():
            cells = []
            for i, (run, value) in enumerate(zip(runs, values, strict=True)):
                found = _of(run, contender)
                inner = name if name == "steps_per_second" else f"costs.{name}"
                path = f"runs[{i}].results.contenders[{found[0]}].{inner}" if found else ""
                cells.append(cell(value, path, factor, digits, _href(run, out, contender)))
            rows.append(_contender_row(runs, contender, cells))
        contents[heading] = table(["Contender", *(run.name for run in runs)], rows)
    return switch("cost", contents)


def _cost(run: Named, contender: str, name: str) -> Figures | None:
    found = _of(run, contender)
    if found is None:
        return None
    value: Any = found[1][name] if name in found[1] else found[1]["costs"][name]
    if value is None or isinstance(value, dict):
        return value
    return {"estimate": value, "lower": None, "upper": None}


def _contender_row(runs: Sequence[Named], name: str, cells: Sequence[str]) -> str:
    statuses = {f[1]["status"] for run in runs if (f := _of(run, name))} - {"trained"}
    badges = "".join(f" <b class='badge'>{status}</b>" for status in sorted(statuses))
    shown = escape(name, quote=True)
    return f'<tr><th scope="row" data-value="{shown}">{shown}{badges}</th>{"".join(cells)}</tr>'


def _chart(runs: Sequence[Named], metric: str, column: Column) -> Drawing | None:
    groups = []
    for name in _contenders(runs):
        bars = []
        for i, run in enumerate(runs):
            interval = _interval(run, name, metric)
            if interval is not None and interval["estimate"] is not None:
                middle = interval["estimate"]
                limits = [
                    middle if interval[k] is None else interval[k] for k in ("lower", "upper")
                ]
                values = [column.factor * v for v in (middle, *limits)]
                about = f"{name}, {run.name}: {values[0]:.{column.digits}f}"
                bars.append(Bar(_style(i), values[0], values[1], values[2], about))
        groups.append((name, bars))
    if not any(bars for _, bars in groups):
        return None
    return forest(f"test {column.heading}, run beside run", groups, f"test {column.heading}")


def _plain_table(runs: Sequence[Named], metric: str) -> tuple[list[str], list[list[str]]]:
    column = _column(runs, metric)
    rows = []
    for name in _contenders(runs):
        intervals = [_interval(run, name, metric) for run in runs]
        cells = [metric_cell(interval, column) for interval in intervals]
        rows.append([name, *cells])
    return [column.heading, *(run.name for run in runs)], rows


_NOTE = (
    "Mean ± half the interval over the seeds of a run, and the standard error in brackets. A "
    "number leads to the records it comes from, in the report of its run. Intervals of different "
    "runs are not paired: what they share, and what not, is in the table of settings."
)
