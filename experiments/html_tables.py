"""Sortable tables of a report, whose cells say where their figures are in the results."""

from collections.abc import Collection, Mapping, Sequence
from html import escape
from typing import Any

from experiments.svg import Drawing, Scale

Figures = dict[str, Any]


def filters(groups: Mapping[str, str], styles: Mapping[str, str] | None = None) -> str:
    """Returns buttons that show one group of the table after them.

    Args:
      groups: The name of each group, and its label.
      styles: The class of the colour of a group; its name where there are none.
    """
    buttons = [("", "all"), *groups.items()]
    style = dict(styles or {name: name for name in groups})
    shown = "".join(
        f'<button type="button" data-group="{escape(group, quote=True)}" '
        f'aria-pressed="{str(not group).lower()}">'
        f"{f'<i class={style[group]}></i>' if style.get(group) else ''}{escape(label)}</button>"
        for group, label in buttons
    )
    return f"<div class='filters' role='group' aria-label='Show a group'>{shown}</div>"


def table(head: Sequence[str], rows: Sequence[str], words: Collection[str] = ()) -> str:
    """Returns a table whose headings sort it; `words` are the headings of columns of text."""
    cells = "".join(
        f'<th scope="col" aria-sort="none"{" class=words" if heading in words else ""}>'
        f'<button type="button">{escape(heading)}</button></th>'
        for heading in head
    )
    body = "".join(rows)
    return (
        "<div class='scroll' tabindex='0'><table>"
        f"<thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def row(contender: Figures, cells: Sequence[str], style: str = "") -> str:
    """Returns the row of a contender, the first cell being its name, in the colour of its group."""
    status, style = contender["status"], style or contender["group"]
    badge = f" <b class='badge'>{status}</b>" if status not in ("trained", "finished") else ""
    title = contender["why"] or contender["formula"]
    name = (
        f'<th scope="row" data-value="{escape(contender["name"], quote=True)}" '
        f'title="{escape(title, quote=True)}"><i class="{style}"></i>'
        f"{escape(contender['name'])}{badge}</th>"
    )
    group = escape(contender["group"], quote=True)
    return f'<tr data-group="{group}">{name}{"".join(cells)}</tr>'


def cell(interval: Figures | None, path: str, factor: float, digits: int, target: str = "") -> str:
    """Returns a cell with an interval, or a dash where there is none.

    Args:
      interval: The figures.
      path: Where they are in the results.
      factor: What they are multiplied with.
      digits: Their decimals.
      target: What the number links to, if anything.
    """
    if interval is None or interval["estimate"] is None:
        return f'<td title="{path}" data-value="">–</td>'
    value = interval["estimate"]
    text = linked(interval_text(interval, factor, digits, ""), target)
    return f'<td title="{path}" data-value="{value!r}">{text}</td>'


def linked(text: str, target: str) -> str:
    """Returns HTML as a link, or as it is where there is no target."""
    return f'<a href="{escape(target, quote=True)}">{text}</a>' if target else text


def text_cell(text: str, path: str, target: str = "") -> str:
    """Returns a cell with words, whose numbers have no column of their own."""
    shown = escape(text, quote=True)
    return f'<td class="words" title="{path}" data-value="{shown}">{linked(shown, target)}</td>'


def plain_cell(value: float | None, path: str, factor: float, digits: int, target: str = "") -> str:
    """Returns a cell with a number that has no interval."""
    interval = None if value is None else {"estimate": value, "lower": None, "upper": None}
    return cell(interval, path, factor, digits, target)


def difference_cell(
    difference: Figures | None,
    path: str,
    limit: float,
    factor: float,
    digits: int,
    target: str = "",
) -> str:
    """Returns a cell with a drawing of a difference, coloured by what it shows."""
    if difference is None:
        return f'<td title="{path}" data-value="">–</td>'
    word = difference["verdict"]
    style = word if word in ("better", "worse") else "same"
    shown = linked(interval_text(difference, factor, digits, "+"), target)
    text = f"<span class='{style}'>{shown}</span>"
    drawn = f"<div class='pair'>{interval_glyph(difference, limit)}{text}</div>"
    return f'<td title="{word} · {path}" data-value="{difference["estimate"]!r}">{drawn}</td>'


def interval_text(interval: Figures, factor: float, digits: int, sign: str) -> str:
    """Returns an estimate, half the width of its interval, and its standard error if it has one.

    Where some values are missing, how many there are stands in square brackets.
    """
    estimate = f"{factor * interval['estimate']:{sign},.{digits}f}".replace("-", "−")
    if interval["lower"] is None or interval["upper"] is None:
        return estimate
    half = factor * (interval["upper"] - interval["lower"]) / 2.0
    error = interval.get("standard_error")
    between = "" if error is None else f" ({factor * error:,.{digits}f})"
    count = f" [{interval['count']}]" if interval.get("missing") else ""
    return f"{estimate}<small> ± {half:,.{digits}f}{between}{count}</small>"


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
