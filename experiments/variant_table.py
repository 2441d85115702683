"""The table of variants in Markdown, as the README shows it."""

from softmax_variants.variants import VARIANTS, Variant

_GROUPS = ("dense", "sparse", "random")
_HEADINGS = ("name", "formula", "support", "when to use", "reference")


def variant_table() -> str:
    """Returns one line for each row of the table: dense maps first, then sparse, then random."""
    rows = [row for group in _GROUPS for row in VARIANTS.values() if row.group == group]
    lines = [_line(_HEADINGS), _line(("---",) * len(_HEADINGS)), *(_line(_cells(r)) for r in rows)]
    return "\n".join(lines) + "\n"


def _cells(row: Variant) -> tuple[str, ...]:
    support = "random" if row.stochastic else "sparse" if row.sparse else "full"
    return f"`{row.name}`", f"`{row.formula}`", support, row.when, row.reference


def _line(cells: tuple[str, ...]) -> str:
    # A bar would end the cell, inside of code too.
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
