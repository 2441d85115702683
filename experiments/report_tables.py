"""The two sortable tables of the report."""

from collections.abc import Sequence
from html import escape
from typing import Any

from experiments.plots import glyph_limit, interval_glyph

Figures = dict[str, Any]
# Metric, heading, unit, factor, digits.
_METRICS = (
    ("accuracy", "Accuracy", "%", 100.0, 2),
    ("nll", "NLL", "", 1.0, 3),
    ("brier", "Brier", "", 1.0, 4),
    ("ece", "ECE", "%", 100.0, 2),
    ("support", "Support", "", 1.0, 2),
)
_GROUPS = ("dense", "sparse", "random", "sweep")


def figures(results: Figures) -> str:
    """Returns the table of all metrics with their intervals."""
    head = ["Contender"]
    head += [f"{heading}{f' {unit}' if unit else ''}" for _, heading, unit, *_ in _METRICS]
    head += ["Steps/s", "Speed ratio", "Trained on"]
    rows = [_row(c, _figure_cells(i, c)) for i, c in enumerate(results["contenders"])]
    note = (
        "<p>Mean ± half the interval over seeds. Press a heading to sort. The speed ratio is to "
        "softmax in the same round. Support is the number of classes above zero.</p>"
    )
    return note + _filters(results) + _table(head, rows)


def differences(results: Figures) -> str:
    """Returns the table of paired differences, each with a drawing of its interval."""
    shown = [(i, c) for i, c in enumerate(results["contenders"]) if c["differences"]]
    if not shown:
        return "<p>There is nothing to compare.</p>"
    chosen = _METRICS[:4]
    limits = {m: glyph_limit([c["differences"][m] for _, c in shown]) for m, *_ in chosen}
    head = ["Contender", *(f"{heading} {unit}".strip() for _, heading, unit, *_ in chosen)]
    rows = [
        _row(c, [_difference_cell(i, c, metric, limits[metric[0]]) for metric in chosen])
        for i, c in shown
    ]
    note = (
        f"<p>Contender minus <code>{results['reference']}</code>, paired by seed, with "
        "simultaneous intervals. <span class='better'>Green</span>: better, "
        "<span class='worse'>red</span>: worse; grey: the interval covers zero, so no difference "
        "is shown. An arrow points to a difference beyond the drawing; figures are always whole."
        "</p>"
    )
    return note + _filters(results) + _table(head, rows)


def _filters(results: Figures) -> str:
    present = [g for g in _GROUPS if any(c["group"] == g for c in results["contenders"])]
    buttons = [("", "all"), *((group, group) for group in present)]
    shown = "".join(
        f'<button type="button" data-group="{group}" aria-pressed="{str(not group).lower()}">'
        f"{f'<i class={group}></i>' if group else ''}{label}</button>"
        for group, label in buttons
    )
    return f"<div class='filters' role='group' aria-label='Show a group'>{shown}</div>"


def _table(head: Sequence[str], rows: Sequence[str]) -> str:
    cells = "".join(
        f'<th scope="col" aria-sort="none"><button type="button">{escape(heading)}</button></th>'
        for heading in head
    )
    body = "".join(rows)
    return (
        "<div class='scroll' tabindex='0'><table>"
        f"<thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _row(contender: Figures, cells: Sequence[str]) -> str:
    status = contender["status"]
    badge = f" <b class='badge'>{status}</b>" if status != "trained" else ""
    title = contender["why"] or contender["formula"]
    name = (
        f'<th scope="row" data-value="{escape(contender["name"], quote=True)}" '
        f'title="{escape(title, quote=True)}"><i class="{contender["group"]}"></i>'
        f"{escape(contender['name'])}{badge}</th>"
    )
    return f'<tr data-group="{contender["group"]}">{name}{"".join(cells)}</tr>'


def _figure_cells(index: int, contender: Figures) -> list[str]:
    place = f"contenders[{index}]"
    cells = []
    for metric, _, _, factor, digits in _METRICS:
        interval = contender["metrics"][metric]
        cells.append(_cell(interval, f"{place}.metrics.{metric}", factor, digits))
    cells.append(_cell(contender["steps_per_second"], f"{place}.steps_per_second", 1.0, 0))
    cells.append(_cell(contender["speed_ratio"], f"{place}.speed_ratio", 1.0, 2))
    training = contender["training"]
    return [*cells, f'<td class="words" data-value="{training}">{training}</td>']


def _difference_cell(
    index: int, contender: Figures, metric: tuple[str, str, str, float, int], limit: float
) -> str:
    name, _, _, factor, digits = metric
    difference = contender["differences"][name]
    path = f"contenders[{index}].differences.{name}"
    glyph = interval_glyph(difference, limit)
    word = difference["verdict"]
    style = word if word in ("better", "worse") else "same"
    text = f"<span class='{style}'>{_text(difference, factor, digits, '+')}</span>"
    value = difference["estimate"]
    return f'<td title="{word} · {path}" data-value="{value!r}">{glyph}{text}</td>'


def _cell(interval: Figures | None, path: str, factor: float, digits: int) -> str:
    if interval is None or interval["estimate"] is None:
        return f'<td title="{path}" data-value="">–</td>'
    value = interval["estimate"]
    return f'<td title="{path}" data-value="{value!r}">{_text(interval, factor, digits, "")}</td>'


def _text(interval: Figures, factor: float, digits: int, sign: str) -> str:
    estimate = f"{factor * interval['estimate']:{sign}.{digits}f}".replace("-", "−")
    if interval["lower"] is None or interval["upper"] is None:
        return estimate
    half = factor * (interval["upper"] - interval["lower"]) / 2.0
    return f"{estimate}<small> ± {half:.{digits}f}</small>"
