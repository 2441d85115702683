"""The sortable table of a task in the report."""

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
from experiments.words.heads import GROUPS

Figures = dict[str, Any]


def figures(results: Figures, index: int) -> str:
    """Returns the quality and the cost of each head on one task."""
    task = results["tasks"][index]
    shown = [c["difference"] for c in task["contenders"] if c["difference"]]
    limit = glyph_limit(shown)
    head = ["Head", "Test NLL", "Minus full", "Perplexity", "Words/s", "Steps/s"]
    head += ["Speed ratio", "Seconds to quality", "Temporary MB", "Head MB", "Rate"]
    rows = [
        row(c, _cells(f"tasks[{index}].contenders[{i}]", c, limit))
        for i, c in enumerate(task["contenders"])
    ]
    present = {g: text for g, text in GROUPS.items() if any(_is(c, g) for c in task["contenders"])}
    quality = task["quality"]
    reached = (
        f"a validation NLL of {quality:.3f}, which full softmax has after "
        f"{100 * results['config']['quality']:g}% of its steps"
        if quality is not None
        else "full softmax's quality"
    )
    note = (
        "<p>Mean ± half the interval over seeds. Press a heading to sort; hover over a name to see "
        "what the head does. Colours say what a training step works out. Seconds to quality: of "
        f"training, until {reached}; a dash: not reached. Temporary MB: what a step needs besides "
        "its parameters. Head MB: the head's parameters.</p>"
    )
    return note + filters({str(g): text for g, text in present.items()}) + table(head, rows)


def _is(contender: Figures, group: str) -> bool:
    return bool(contender["group"] == group)


def _cells(place: str, contender: Figures, limit: float) -> list[str]:
    return [
        cell(contender["nll"], f"{place}.nll", 1.0, 3),
        difference_cell(contender["difference"], f"{place}.difference", limit, 1.0, 3),
        plain_cell(contender["perplexity"], f"{place}.perplexity", 1.0, 1),
        cell(contender["words_per_second"], f"{place}.words_per_second", 1.0, 0),
        cell(contender["steps_per_second"], f"{place}.steps_per_second", 1.0, 1),
        cell(contender["speed_ratio"], f"{place}.speed_ratio", 1.0, 2),
        plain_cell(contender["seconds_to_quality"], f"{place}.seconds_to_quality", 1.0, 2),
        plain_cell(contender["temporary_bytes"], f"{place}.temporary_bytes", 1e-6, 1),
        plain_cell(contender["head_bytes"], f"{place}.head_bytes", 1e-6, 1),
        plain_cell(contender["learning_rate"], f"{place}.learning_rate", 1.0, 3),
    ]
