"""The tables that `compare` prints; every line fits in 118 columns."""

from typing import Any

from experiments.measured import layout, plus_minus

Figures = dict[str, Any]
# Heading, metric, factor, digits.
_COLUMNS = (
    ("accuracy %", "accuracy", 100.0, 2),
    ("NLL", "nll", 1.0, 3),
    ("Brier", "brier", 1.0, 4),
    ("ECE %", "ece", 100.0, 2),
    ("support", "support", 1.0, 2),
)
_MARKS = {"better": "+", "worse": "-", "more": ">", "less": "<", "no difference shown": " "}


def main_table(results: Figures) -> str:
    """Returns the table of all metrics with their intervals."""
    level = f"{100 * results['confidence']:g}%"
    header = ["", *(heading for heading, *_ in _COLUMNS), "steps/s"]
    rows = [[_label(c), *_metric_cells(c), _speed_cell(c)] for c in results["contenders"]]
    notes = [
        f"± {level} interval over {results['config']['seeds']} seeds (Student t). NLL of (1 - s) p "
        f"+ s/n with s = {results['config']['smoothing']:g} for all.",
        "Support: classes with p > 0. A row that sums to more than 1 is divided by its sum.",
        f"Steps/s: median of {results['config']['speed_rounds']} interleaved rounds, and half the "
        "width of its interval; a step trains all seeds",
        "and learning rates at once; compilation is not in it.",
    ]
    return "\n".join([layout(header, rows), *notes, *_endings(results)])


def difference_table(results: Figures) -> str:
    """Returns the table of paired differences to the reference."""
    count, level = results["comparisons"], f"{100 * results['confidence']:g}%"
    chosen = [c for c in results["contenders"] if c["differences"]]
    rows = [[c["name"], *(_difference_cell(c, column) for column in _COLUMNS)] for c in chosen]
    header = [f"minus {results['reference']}", *(heading for heading, *_ in _COLUMNS)]
    notes = [
        f"Paired by seed; ± simultaneous {level} interval (Student t, Bonferroni over {count} "
        "contenders for each metric).",
        "+ better, - worse, > more, < less; no mark: the interval covers zero, which shows no "
        "difference.",
    ]
    return "\n".join([layout(header, rows), *notes])


def _label(contender: Figures) -> str:
    marks = {"trained": "", "unmoved": " !", "diverged": " !!", "failed": " !!"}
    return str(contender["name"]) + marks[contender["status"]]


def _metric_cells(contender: Figures) -> list[str]:
    return [
        plus_minus(contender["metrics"][metric], factor, digits)
        for _, metric, factor, digits in _COLUMNS
    ]


def _speed_cell(contender: Figures) -> str:
    return plus_minus(contender["steps_per_second"], 1.0, 0)


def _difference_cell(contender: Figures, column: tuple[str, str, float, int]) -> str:
    _, metric, factor, digits = column
    difference = contender["differences"][metric]
    return f"{plus_minus(difference, factor, digits, '+')} {_MARKS[difference['verdict']]}"


def _endings(results: Figures) -> list[str]:
    """Says why a contender is marked."""
    return [
        f"{'!' if c['status'] == 'unmoved' else '!!'} {c['name']} ({c['status']}): {c['why'][:220]}"
        for c in results["contenders"]
        if c["status"] != "trained"
    ]
