"""The sortable tables of the report."""

from html import escape
from typing import Any

from experiments.html_tables import (
    cell,
    difference_cell,
    filters,
    glyph_limit,
    plain_cell,
    row,
    table,
)
from experiments.vae.contenders import GROUPS
from experiments.vae.tables import bias_text, label

Figures = dict[str, Any]


def figures(results: Figures) -> str:
    """Returns the exact figures of every model with their intervals."""
    shown = results["contenders"]
    compared = [c["differences"] for c in shown if c["differences"]]
    limits = {m: glyph_limit([d[m] for d in compared]) for m in ("elbo", "log_likelihood")}
    head = ["Estimator", "Test ELBO", "ELBO minus exact", "Test log p(x)", "log p(x) minus exact"]
    head += ["Train ELBO", "Codes in use", "Steps"]
    rows = [row(c, _cells(f"contenders[{i}]", c, limits)) for i, c in enumerate(shown)]
    note = (
        "<p>Mean ± half the interval over seeds, in nats an image. Press a heading to sort; hover "
        "over a name to see the estimator. The number in a name is the temperature. Steps: the "
        "mean number of steps after which the validation ELBO was highest, where all figures are "
        "taken. Codes in use: the perplexity of the mean q(z | x) over the test images.</p>"
    )
    present = {g: text for g, text in GROUPS.items() if any(c["group"] == g for c in shown)}
    return note + filters(present) + table(head, rows)


def _cells(place: str, contender: Figures, limits: dict[str, float]) -> list[str]:
    metrics, differences = contender["metrics"], contender["differences"]
    found = []
    for metric in ("elbo", "log_likelihood"):
        found.append(cell(metrics[metric], f"{place}.metrics.{metric}", 1.0, 2))
        path = f"{place}.differences.{metric}"
        found.append(difference_cell(differences.get(metric), path, limits[metric], 1.0, 2))
    found.append(cell(metrics["train_elbo"], f"{place}.metrics.train_elbo", 1.0, 2))
    found.append(cell(metrics["codes"], f"{place}.metrics.codes", 1.0, 1))
    steps = contender["steps"]
    mean = sum(steps) / len(steps) if steps else None
    return [*found, plain_cell(mean, f"{place}.steps (mean)", 1.0, 0)]


def gradients(results: Figures) -> str:
    """Returns bias, variance and cosine of every measured gradient: a row for each place."""
    head = ["Estimator", "After step", "Encoder: bias", "variance", "cosine"]
    head += ["Decoder: bias", "variance", "cosine"]
    rows = []
    for i, method in enumerate(results["gradients"]):
        for j, entry in enumerate(method["temperatures"]):
            name = escape(label(method["method"], entry["temperature"]))
            for k, probe in enumerate(entry["probes"]):
                place = f"gradients[{i}].temperatures[{j}].probes[{k}]"
                cells = [plain_cell(probe["step"], f"{place}.step", 1.0, 0)]
                for part in ("encoder", "decoder"):
                    cells += _moments(f"{place}.{part}", probe[part])
                rows.append(
                    f'<tr data-group="{method["group"]}"><th scope="row" data-value="{name}">'
                    f'<i class="{method["group"]}"></i>{name}</th>{"".join(cells)}</tr>'
                )
    present = {m["group"] for m in results["gradients"]}
    return filters({g: t for g, t in GROUPS.items() if g in present}) + table(head, rows)


def _moments(place: str, moments: Figures) -> list[str]:
    bias = moments["bias"]
    value = "" if bias["estimate"] is None else repr(bias["estimate"])
    shown = escape(bias_text(bias))
    return [
        f'<td title="{place}.bias" data-value="{value}">{shown}</td>',
        cell(moments["variance"], f"{place}.variance", 1.0, 3),
        cell(moments["cosine"], f"{place}.cosine", 1.0, 3),
    ]
