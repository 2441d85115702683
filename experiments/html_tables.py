"""Sortable tables of a report, whose cells say where their figures are in the results."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from experiments.svg import Drawing, Scale

Figures = dict[str, Any]


def filters(groups: Mapping[str, str]) -> str:
    """Returns buttons that show one group of the table after them; names and their labels."""
    buttons = [("", "all"), *groups.items()]
    shown = "".join(
        f'<button type="button" data-group="{group}" aria-pressed="{str(not group).lower()}">'
        f"{f'<i class={group}></i>' if group else ''}{label}</button>"
        for group, label in buttons
    )
    return f"<div class='filters' role='group' aria-label='Show a group'>{shown}</div>"


def table(head: Sequence[str], rows: Sequence[str]) -> str:
    """Returns a table whose headings sort it."""
    cells = "".join(
        f'<th scope="col" aria-sort="none"><button type="button">{escape(heading)}</button></th>'
        for heading in head
    )
    body = "".join(rows)
    return (
        "<div class='scroll' tabindex='0'><table>"
        f"<thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def row(contender: Figures, cells: Sequence[str]) -> str:
    """Returns the row of a contender, the first cell being its name."""
    status = contender["status"]
    badge = f" <b class='badge'>{status}</b>" if status not in ("trained", "finished") else ""
    title = contender["why"] or contender["formula"]
    name = (
        f'<th scope="row" data-value="{escape(contender["name"], quote=True)}" '
        f'title="{escape(title, quote=True)}"><i class="{contender["group"]}"></i>'
        f"{escape(contender['name'])}{badge}</th>"
    )
    return f'<tr data-group="{contender["group"]}">{name}{"".join(cells)}</tr>'


def cell(interval: Figures | None, path: str, factor: float, digits: int) -> str:
    """Returns a cell with an interval, or a dash where there is none."""
    if interval is None or interval["estimate"] is None:
        return f'<td title="{path}" data-value="">–</td>'
    value = interval["estimate"]
    text = interval_text(interval, factor, digits, "")
    return f'<td title="{path}" data-value="{value!r}">{text}</td>'


def plain_cell(value: float | None, path: str, factor: float, digits: int) -> str:
    """Returns a cell with a number that has no interval."""
    interval = None if value is None else {"estimate": value, "lower": None, "upper": None}
    return cell(interval, path, factor, digits)


def difference_cell(
    difference: Figures | None, path: str, limit: float, factor: float, digits: int
) -> str:
    """Returns a cell with a drawing of a difference, coloured by what it shows."""
    if difference is None:
        return f'<td title="{path}" data-value="">–</td>'
    word = difference["verdict"]
    style = word if word in ("better", "worse") else "same"
    text = f"<span class='{style}'>{interval_text(difference, factor, digits, '+')}</span>"
    glyph = interval_glyph(difference, limit)
    return f'<td title="{word} · {path}" data-value="{difference["estimate"]!r}">{glyph}{text}</td>'


def interval_text(interval: Figures, factor: float, digits: int, sign: str) -> str:
    """Returns an estimate and half the width of its interval."""
    estimate = f"{factor * interval['estimate']:{sign},.{digits}f}".replace("-", "−")
    if interval["lower"] is None or interval["upper"] is None:
        return estimate
    half = factor * (interval["upper"] - interval["lower"]) / 2.0
    return f"{estimate}<small> ± {half:,.{digits}f}</small>"


def interval_glyph(difference: Figures | None, limit: float) -> str:
    """Returns a small drawing of one difference: its interval, and a line at zero."""
    if not difference or difference["lower"] is None:
        return ""
    x = Scale(-limit, limit, 4, 86)
    colors = {"better": "good", "worse": "bad"}
    color = colors.get(difference["verdict"], "quiet")
    drawing = Drawing(90, 16, f"difference: {difference['verdict']}")
    drawing.line([(x(0), 0), (x(0), 16)], "zero")
    drawing.line([(x(difference["lower"]), 8), (x(difference["upper"]), 8)], f"{color} line")
    beyond = abs(difference["estimate"]) > limit
    middle = x(difference["estimate"])
    if beyond:
        tip = 4.0 if difference["estimate"] > 0 else -4.0
        drawing.area([(middle - tip, 4), (middle - tip, 12), (middle + tip, 8)], f"{color} fill")
    else:
        drawing.dot(middle, 8, 3, f"{color} fill")
    return drawing.inline()


def glyph_limit(differences: Sequence[Figures]) -> float:
    """Returns a limit for the glyphs of one metric that a few far contenders do not stretch."""
    ends = [max(abs(d["lower"]), abs(d["upper"])) for d in differences if d["lower"] is not None]
    if not ends:
        return 1.0
    ordered = sorted(ends)
    return max(1.15 * ordered[int(0.7 * (len(ordered) - 1))], 1e-9)
