"""The two sortable tables of the report."""

from typing import Any

from experiments.html_tables import cell, difference_cell, filters, glyph_limit, row, table

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
    rows = [row(c, _figure_cells(i, c)) for i, c in enumerate(results["contenders"])]
    note = (
        "<p>Mean ± half the interval over seeds. Press a heading to sort. The speed ratio is to "
        "softmax in the same round. Support is the number of classes above zero.</p>"
    )
    return note + filters(_present(results)) + table(head, rows, {"Trained on"})


def differences(results: Figures) -> str:
    """Returns the table of paired differences, each with a drawing of its interval."""
    shown = [(i, c) for i, c in enumerate(results["contenders"]) if c["differences"]]
    if not shown:
        return "<p>There is nothing to compare.</p>"
    chosen = _METRICS[:4]
    limits = {m: glyph_limit([c["differences"][m] for _, c in shown]) for m, *_ in chosen}
    head = ["Contender", *(f"{heading} {unit}".strip() for _, heading, unit, *_ in chosen)]
    rows = [
        row(
            c,
            [
                difference_cell(
                    c["differences"][metric],
                    f"contenders[{i}].differences.{metric}",
                    limits[metric],
                    factor,
                    digits,
                )
                for metric, _, _, factor, digits in chosen
            ],
        )
        for i, c in shown
    ]
    note = (
        f"<p>Contender minus <code>{results['reference']}</code>, paired by seed, with "
        "simultaneous intervals. <span class='better'>Green</span>: better, "
        "<span class='worse'>red</span>: worse; grey: the interval covers zero, so no difference "
        "is shown. An arrow points to a difference beyond the drawing; figures are always whole."
        "</p>"
    )
    return note + filters(_present(results)) + table(head, rows)


def _present(results: Figures) -> dict[str, str]:
    return {g: g for g in _GROUPS if any(c["group"] == g for c in results["contenders"])}


def _figure_cells(index: int, contender: Figures) -> list[str]:
    place = f"contenders[{index}]"
    cells = []
    for metric, _, _, factor, digits in _METRICS:
        interval = contender["metrics"][metric]
        cells.append(cell(interval, f"{place}.metrics.{metric}", factor, digits))
    cells.append(cell(contender["steps_per_second"], f"{place}.steps_per_second", 1.0, 0))
    cells.append(cell(contender["speed_ratio"], f"{place}.speed_ratio", 1.0, 2))
    training = contender["training"]
    return [*cells, f'<td class="words" data-value="{training}">{training}</td>']
