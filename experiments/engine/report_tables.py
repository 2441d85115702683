"""The sortable tables of the report, and the records that their numbers link to."""

import json
import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from experiments.engine.columns import (
    Column,
    digits_of,
    has_rates,
    has_tuned,
    is_timed,
    metric_columns,
    settings,
)
from experiments.engine.differences import SURVIVORS
from experiments.engine.plots import FEW, group_styles, styles
from experiments.html_tables import (
    cell,
    difference_cell,
    filters,
    glyph_limit,
    plain_cell,
    row,
    table,
    text_cell,
)

Figures = dict[str, Any]
# Figure of the costs, heading, factor.
_COSTS = (
    ("flops_per_step", "MFLOPs/step", 1e-6),
    ("parameters", "Parameters", 1.0),
    ("temporary_bytes", "Temporary MB", 1e-6),
    ("train_seconds", "Training s", 1.0),
    ("compile_seconds", "Compiling s", 1.0),
)


def anchor(name: str) -> str:
    """Returns the mark of the records of a contender or of a measurement's block on the page.

    The slash of a block stays: no contender has one in its name.
    """
    return "records-" + re.sub(r"[^\w./-]", "_", name)


def figures(results: Figures) -> str:
    """Returns the table of the test metrics with their intervals."""
    columns = metric_columns(results)
    head = ["Contender", *(column.heading for column in columns)]
    rows = [
        _row(results, c, [_metric_cell(i, c, column) for column in columns])
        for i, c in enumerate(results["contenders"])
    ]
    return _filters(results) + table(head, rows)


def _metric_cell(index: int, contender: Figures, column: Column) -> str:
    path = f"contenders[{index}].metrics.{column.name}"
    target = f"#{anchor(contender['name'])}"
    interval = contender["metrics"][column.name]
    return cell(interval, path, column.factor, column.digits, target)


def differences(results: Figures) -> str:
    """Returns the table of paired differences, each with a drawing of its interval."""
    shown = [(i, c) for i, c in enumerate(results["contenders"]) if c["differences"]]
    if not shown:
        return "<p>There is nothing to compare.</p>"
    columns = metric_columns(results)
    head = ["Contender", *(column.heading for column in columns)]
    limits = {
        column.name: glyph_limit(
            [c["differences"][column.name] for _, c in shown if column.name in c["differences"]]
        )
        for column in columns
    }
    rows = [
        _row(
            results,
            c,
            [
                difference_cell(
                    c["differences"].get(column.name),
                    f"contenders[{i}].differences.{column.name}",
                    limits[column.name],
                    column.factor,
                    column.digits,
                    f"#{anchor(c['name'])}",
                )
                for column in columns
            ],
        )
        for i, c in shown
    ]
    survived = any(d["verdict"] == SURVIVORS for _, c in shown for d in c["differences"].values())
    note = (
        f"<p>Contender minus <code>{escape(results['reference'])}</code>, paired by seed, with "
        "simultaneous intervals; the drawing shows the interval and zero, in colour only where a "
        "difference is shown. An arrow points to a difference beyond the drawing; figures are "
        "always whole.</p>"
    )
    if survived:
        note += (
            "<p>“Survivors only”, in grey: a difference among the seeds that one of the two "
            "survived, in its favour. It is no finding.</p>"
        )
    return note + _filters(results) + table(head, rows)


def speed(results: Figures) -> str:
    """Returns the table of what contenders cost, and how their learning rate was chosen."""
    contenders = results["contenders"]
    costs = [c for c in _COSTS if any(k["costs"][c[0]] is not None for k in contenders)]
    rates, tuned, timed = has_rates(results), has_tuned(results), is_timed(results)
    head = ["Contender", *(["Learning rate"] if rates else []), *(["Tuned"] if tuned else [])]
    head += ["Steps/s", "Speed ratio"] if timed else []
    head += [heading for _, heading, _ in costs]
    rows = []
    for i, c in enumerate(contenders):
        place, target = f"contenders[{i}]", f"#{anchor(c['name'])}"
        cells = []
        if rates:
            path = f"{place}.learning_rate"
            cells.append(plain_cell(c["learning_rate"], path, 1.0, 5, target))
        if tuned:
            own = target if c["tuned"] else ""
            cells.append(text_cell(settings(c["tuned"]), f"{place}.tuned", own))
        if timed:
            speed = cell(c["steps_per_second"], f"{place}.steps_per_second", 1.0, 0, target)
            cells += [speed, cell(c["speed_ratio"], f"{place}.speed_ratio", 1.0, 2, target)]
        for name, _, factor in costs:
            digits = digits_of([_plain(k["costs"][name]) for k in contenders], factor)
            digits = 0 if name == "parameters" else min(digits, 3)
            path = f"{place}.costs.{name}"
            cells.append(plain_cell(c["costs"][name], path, factor, digits, target))
        rows.append(_row(results, c, cells))
    return _filters(results) + table(head, rows, {"Tuned"})


def learned(results: Figures) -> str:
    """Returns the table of what contenders learned besides their weights."""
    rows = []
    for i, c in enumerate(results["contenders"]):
        for name, interval in c["learned"].items():
            digits = digits_of([interval])
            path = f"contenders[{i}].learned.{name}"
            label = f'<td class="words" data-value="{escape(name)}">{escape(name)}</td>'
            value = cell(interval, path, 1.0, digits, f"#{anchor(c['name'])}")
            rows.append(_row(results, c, [label, value]))
    return table(["Contender", "Parameter", "Value"], rows, {"Parameter"}) if rows else ""


def records(results: Figures, tests: Mapping[str, Sequence[Figures]]) -> str:
    """Returns the single runs that the figures come from, contender by contender.

    Args:
      results: The figures.
      tests: The records of the tests of each contender, each with its `line` in metrics.jsonl.
    """
    columns = metric_columns(results)
    parts = []
    for c in results["contenders"]:
        found = tests.get(c["name"], [])
        head = ["Seed", *(column.heading for column in columns), "Line"]
        rows = [_seed_row(record, columns, c["lost"]) for record in found]
        body = _unsorted(head, rows) if found else "<p>No seed came to its test.</p>"
        parts.append(_folded(c["name"], _summary(results, c), body))
    return "".join(parts)


def measurements(blocks: Mapping[str, Sequence[Figures]]) -> str:
    """Returns the records of what was measured besides, as they stand in the file.

    Args:
      blocks: The records of each block of a measurement, each with its `line` in metrics.jsonl.
    """
    parts = []
    for name, records in blocks.items():
        rows = []
        for record in records:
            text = json.dumps({n: value for n, value in record.items() if n != "line"})
            shown = f'<td class="words"><code>{escape(text, quote=False)}</code></td>'
            rows.append(f"<tr><th scope='row'>{_line(record)}</th>{shown}</tr>")
        about = f"{len(records)} record{'s' * (len(records) != 1)}"
        parts.append(_folded(name, about, _unsorted(["Line", "Record"], rows)))
    return "".join(parts)


def _folded(name: str, about: str, body: str) -> str:
    return (
        f"<details id='{anchor(name)}'><summary><code>{escape(name)}</code> "
        f"<small>{escape(about)}</small></summary>{body}</details>"
    )


def _unsorted(head: Sequence[str], rows: Sequence[str]) -> str:
    cells = "".join(f"<th scope='col'>{escape(text)}</th>" for text in head)
    return (
        f"<div class='scroll' tabindex='0'><table class='plain'><thead><tr>{cells}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _line(record: Figures) -> str:
    return f'<a href="metrics.jsonl" title="line {record["line"]}">{record["line"]}</a>'


def _seed_row(record: Figures, columns: Sequence[Column], lost: Sequence[int]) -> str:
    cells = []
    for column in columns:
        value = record["metrics"].get(column.name)
        shown = "–" if value is None else f"{column.factor * value:,.{column.digits + 1}f}"
        cells.append(f"<td>{shown}</td>")
    badge = " <b class='badge'>lost</b>" if record["seed"] in lost else ""
    cells.append(f"<td>{_line(record)}</td>")
    return f"<tr><th scope='row'>{record['seed']}{badge}</th>{''.join(cells)}</tr>"


def _summary(results: Figures, contender: Figures) -> str:
    parts = [contender["status"]]
    if has_rates(results) and contender["learning_rate"] is not None:
        parts.append(f"learning rate {contender['learning_rate']:.3g}")
    parts += [settings(contender["tuned"])] if contender["tuned"] else []
    parts += [contender["formula"]] if contender["formula"] else []
    parts += [contender["why"]] if contender["why"] else []
    return " · ".join(parts)


def _plain(value: float | None) -> Figures | None:
    return None if value is None else {"estimate": value, "lower": None, "upper": None}


def _row(results: Figures, contender: Figures, cells: Sequence[str]) -> str:
    return row(contender, cells, styles(results)[contender["name"]])


def _filters(results: Figures) -> str:
    """Returns buttons for the groups, where there are several."""
    groups = group_styles(results)
    if len(groups) < 2:
        return ""
    # Few contenders have colours of their own, which say nothing about groups.
    few = len(results["contenders"]) <= FEW
    return filters({g: g for g in groups}, dict.fromkeys(groups, "") if few else groups)
