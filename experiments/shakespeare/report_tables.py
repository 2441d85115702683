"""The sortable table of a comparison in the report."""

from typing import Any

from experiments.html_tables import (
    cell,
    difference_cell,
    filters,
    glyph_limit,
    row,
    table,
)

Figures = dict[str, Any]
_GROUPS = {"dense": "cross-entropy", "sweep": "fused", "sparse": "entmax loss"}
# Heading, metric, factor and digits.
_COLUMNS = (
    ("Loss", "loss", 1.0, 4),
    ("Bits/character", "bits", 1.0, 3),
    ("Smoothed loss", "smoothed", 1.0, 3),
    ("Smoothed bits", "smoothed_bits", 1.0, 3),
    ("Accuracy %", "accuracy", 100.0, 2),
    ("Support", "support", 1.0, 1),
    ("Label at 0 %", "impossible", 100.0, 2),
)


def figures(results: Figures) -> str:
    """Returns the quality and the cost of each model."""
    contenders = results["contenders"]
    limits = {
        name: glyph_limit([d for c in contenders if (d := c["differences"][name])])
        for name in ("smoothed", "accuracy")
    }
    head = ["Attention/loss", *(heading for heading, *_ in _COLUMNS)]
    head += ["Smoothed, minus softmax", "Accuracy, minus softmax", "Tokens/s", "Speed ratio"]
    head += ["Temporary MB"]
    rows = [row(c, _cells(f"contenders[{i}]", c, limits)) for i, c in enumerate(contenders)]
    note = (
        "<p>Mean ± half the interval over seeds. Press a heading to sort; hover over a name to see "
        "its formulas. Colours say which loss trains the output. Loss is the loss that was "
        "trained, in nats, so that it compares within one colour only; a dash under bits: "
        "infinite, because a label has probability 0.</p>"
    )
    present = {g: text for g, text in _GROUPS.items() if any(c["group"] == g for c in contenders)}
    return note + filters(present) + table(head, rows)


def _cells(place: str, contender: Figures, limits: dict[str, float]) -> list[str]:
    metrics = contender["metrics"]
    shown = [
        cell(metrics[name], f"{place}.metrics.{name}", factor, digits)
        for _, name, factor, digits in _COLUMNS
    ]
    for name, factor, digits in (("smoothed", 1.0, 3), ("accuracy", 100.0, 2)):
        path = f"{place}.differences.{name}"
        difference = contender["differences"][name]
        shown.append(difference_cell(difference, path, limits[name], factor, digits))
    memory = contender["temporary_bytes"]
    plain = None if memory is None else {"estimate": memory, "lower": None, "upper": None}
    return [
        *shown,
        cell(contender["tokens_per_second"], f"{place}.tokens_per_second", 1.0, 0),
        cell(contender["speed_ratio"], f"{place}.speed_ratio", 1.0, 2),
        cell(plain, f"{place}.temporary_bytes", 1e-6, 1),
    ]
