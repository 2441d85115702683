"""The tables that `compare` prints; every line fits in 118 columns."""

from typing import Any

from experiments.measured import layout, plus_minus

Figures = dict[str, Any]
_MARKS = {"better": "+", "worse": "-", "no difference shown": " "}
# Heading, metric, factor, digits.
COLUMNS = (
    ("reward", "reward", 1.0, 3),
    ("late reward", "late_reward", 1.0, 3),
    ("late optimal %", "late_optimal", 100.0, 1),
    ("regret", "regret", 1.0, 1),
)


def all_tables(results: Figures) -> list[str]:
    """Returns the table of the policies, and what became of the book's statements."""
    tables = [main_table(results)]
    return [*tables, check_table(results)] if results["checks"] else tables


def main_table(results: Figures) -> str:
    """Returns the figures of every policy, and its regret less that of the reference."""
    config, level = results["config"], f"{100 * results['confidence']:g}%"
    header = ["", *(heading for heading, *_ in COLUMNS), "regret minus ref."]
    rows = [[_label(c), *_cells(c), _difference(c)] for c in results["contenders"]]
    tenth = config["steps"] // 10
    notes = [
        f"± {level} interval over {config['problems']:,} problems (Student t). reward: mean of "
        f"{config['steps']:,} steps; late: of the last {tenth}.",
        f"minus ref.: against {results['reference']}, paired by problem, simultaneous over "
        f"{results['comparisons']} policies (Bonferroni);",
        "+ better, - worse, no mark: the interval covers zero, which shows no difference.",
    ]
    failed = [c for c in results["contenders"] if c["status"] == "failed"]
    notes += [f"!! {c['name']} (failed): {c['why'][:100]}" for c in failed]
    return "\n".join([layout(header, rows), *notes])


def check_table(results: Figures) -> str:
    """Returns the statements of the book beside the figures of the run."""
    header = ["Sutton and Barto, figures 2.2 and 2.4", "expected", "found", ""]
    rows = [
        [check["claim"], check["expected"], _check_figure(check), check["verdict"]]
        for check in results["checks"]
    ]
    level = f"{100 * results['confidence']:g}%"
    return "\n".join([layout(header, rows), f"± simultaneous {level} intervals (Bonferroni)."])


def _check_figure(check: Figures) -> str:
    """Returns the figure of a statement with its interval, of a share in per cent."""
    factor, digits = (100.0, 1) if check["percent"] else (1.0, 3)
    return plus_minus(check["figure"], factor, digits)


def _label(contender: Figures) -> str:
    return str(contender["name"]) + (" !!" if contender["status"] == "failed" else "")


def _cells(contender: Figures) -> list[str]:
    return [
        plus_minus(contender["metrics"][metric], factor, digits)
        for _, metric, factor, digits in COLUMNS
    ]


def _difference(contender: Figures) -> str:
    if not contender["differences"]:
        return "–"
    difference = contender["differences"]["regret"]
    return f"{plus_minus(difference, 1.0, 1, '+')} {_MARKS[difference['verdict']]}"
