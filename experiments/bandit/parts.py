"""What the report of the testbed shows besides: the book's curves, and families of policies."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from experiments.bandit.config import BanditConfig
from experiments.bandit.statements import STATEMENTS, Curves, sentences, statements
from experiments.bandit.testbed import Played
from experiments.charts import Points, Series, line_chart
from experiments.engine.config import Blocks
from experiments.engine.extras import Part
from experiments.engine.report_tables import anchor
from experiments.html_tables import cell, table
from experiments.measured import layout, plus_minus
from experiments.statistics import mean_interval
from experiments.svg import Drawing
from experiments.wording import interval

Figures = dict[str, Any]
# The policies of the book's figures 2.2 and 2.4, each with a colour of its own here.
_BOOK = {"greedy": "c0", "epsilon_0.01": "c1", "epsilon_0.1": "c2", "ucb_2": "c3"}
_CURVES = {"reward": ("mean reward", 1.0), "optimal": ("optimal action, %", 100.0)}
# Whose records the figure of a statement leads to.
_POLICIES = {statement.claim: statement.policy for statement in STATEMENTS}
_STYLES = {"holds": "better", "fails": "worse", "open": "same"}


def parts(config: BanditConfig, results: Figures, blocks: Blocks) -> Sequence[Part]:
    """Returns the parts of a report.

    Args:
      config: The testbed.
      results: The engine's figures of the run.
      blocks: Its records.
    """
    curves = curves_of(results, blocks)
    found = [_book(config, curves)] if curves else []
    families = _families(config, results)
    return [*found, _parameters(results, families)] if families else found


def curves_of(results: Figures, blocks: Blocks) -> dict[str, Curves]:
    """Returns the curves of every policy that finished with all seeds, [seeds, points] each."""
    found: dict[str, Curves] = {}
    for contender in results["contenders"]:
        if contender["status"] == "trained":
            tests = [r for r in blocks[contender["name"]] if r["kind"] == "test"]
            found[contender["name"]] = {
                name: np.asarray([r["curves"][name] for r in tests]) for name in Played._fields
            }
    return found


def _book(config: BanditConfig, curves: Mapping[str, Curves]) -> Part:
    checks = statements(config, curves)
    note = (
        "The curves of figures 2.2 and 2.4 on the test problems: a point is the mean of "
        f"{config.point} steps, its band the interval over seeds."
    )
    if checks:
        rows = [_row(i, check) for i, check in enumerate(checks)]
        shown = table(("Statement of the book", "Expected", "Found", "Verdict"), rows)
        body = (
            "<p>What the text of sections 2.3 and 2.7 says about figures 2.2 and 2.4, and what is "
            "found here on the test problems; late means the last 100 of 1,000 steps, and the "
            f"intervals are simultaneous (Bonferroni).</p>{shown}<p>{note}</p>"
        )
    elif config.is_the_books:
        body = f"<p>Not checked: no statement has all of its policies in this run.</p><p>{note}</p>"
    else:
        body = (
            "<p>Not checked: this is not the book’s testbed (10 arms, 1,000 steps, sample averages,"
            f" no drift).</p><p>{note}</p>"
        )
    return Part(
        name="book",
        title="Against Sutton and Barto",
        body=body,
        drawings=_charts(config, curves),
        findings=sentences(checks),
        figures={"checks": checks},
        markdown=_markdown(config, checks) if checks else "",
    )


def _row(index: int, check: Figures) -> str:
    claim, expected, word = (escape(check[name]) for name in ("claim", "expected", "verdict"))
    factor, digits = (100.0, 1) if check["percent"] else (1.0, 3)
    path, target = f"more.book.checks[{index}].figure", f"#{anchor(_POLICIES[check['claim']])}"
    return (
        f'<tr><th scope="row" data-value="{claim}">{claim}</th>'
        f'<td data-value="{expected}">{expected}</td>'
        f"{cell(check['figure'], path, factor, digits, target)}"
        f'<td data-value="{word}"><span class="{_STYLES[word]}">{word}</span></td></tr>'
    )


def _markdown(config: BanditConfig, checks: Sequence[Figures]) -> str:
    rows = []
    for check in checks:
        factor, digits = (100.0, 1) if check["percent"] else (1.0, 3)
        found = plus_minus(check["figure"], factor, digits)
        rows.append([check["claim"], check["expected"], found, check["verdict"]])
    header = ["Sutton and Barto, figures 2.2 and 2.4", "expected", "found", ""]
    level = f"± simultaneous {100 * config.confidence:g}% intervals (Bonferroni)."
    # Indented, Markdown shows it as it is.
    lines = [*layout(header, rows).splitlines(), level]
    return "\n".join(f"    {line}".rstrip() for line in lines)


def _charts(config: BanditConfig, curves: Mapping[str, Curves]) -> dict[str, Drawing]:
    charts = {}
    for curve, (label, factor) in _CURVES.items():
        series = [
            Series(name, style, _points(config, curves[name][curve], factor))
            for name, style in _BOOK.items()
            if name in curves
        ]
        digits = 3 if factor == 1.0 else 1
        charts[f"book_{curve}"] = line_chart(label, series, ("steps", label), digits=digits)
    return charts


def _points(config: BanditConfig, values: np.ndarray, factor: float) -> Points:
    """Returns the mean over the seeds at each point, and the limits of its interval."""
    found = []
    for number, column in enumerate(values.T):
        one = mean_interval((factor * column).tolist(), config.confidence).to_json()
        middle = one["estimate"]
        limits = (middle if one[n] is None else one[n] for n in ("lower", "upper"))
        found.append((config.point * (number + 1), middle, *limits))
    return found


def _families(config: BanditConfig, results: Figures) -> dict[str, list[tuple[float, Figures]]]:
    """Returns the parameters of each family, rising, with the policy of each."""
    family_of = {v.name: str(v.settings["family"]) for v in config.make_variants()}
    found: dict[str, list[tuple[float, Figures]]] = {}
    for contender in results["contenders"]:
        chosen = {**contender["fixed"], **contender["tuned"]}.get("parameter")
        if contender["metrics"]["regret"] and chosen is not None:
            family = family_of[contender["name"]]
            found.setdefault(family, []).append((float(chosen), contender))
    return {f: sorted(members, key=lambda member: member[0]) for f, members in found.items()}


def _parameters(results: Figures, families: Mapping[str, Sequence[tuple[float, Figures]]]) -> Part:
    series = []
    for index, (family, members) in enumerate(families.items()):
        points = [(value, *_limits(c["metrics"]["regret"])) for value, c in members if value > 0]
        if points:
            series.append(Series(family, f"c{index}", points))
    labels = ("ε, temperature, c, or step size", "regret, ↓ is better")
    chart = line_chart("Regret over the parameter", series, labels, log_x=True, dots=True, digits=0)
    able = [c for members in families.values() for _, c in members]
    tuned = [c for c in able if c["tuned"] and c["status"] == "trained"]
    found = []
    if tuned:
        ordered = sorted(tuned, key=lambda c: float(c["metrics"]["regret"]["estimate"]))
        words = [
            f"`{c['name']}` ({c['tuned']['parameter']:.3g}) "
            f"{interval(c['metrics']['regret'], digits=1)}"
            for c in ordered
        ]
        found.append(
            f"Regret with the parameter chosen on validation problems: {', '.join(words)}."
        )
    text = (
        "<p>Regret over the parameter of each family, on a logarithmic scale, with what tuning "
        "chose among the dots; the names stand beside the last point of each line, with its value."
        "</p>"
    )
    return Part(
        name="parameters",
        title="Regret over the parameter",
        body=text,
        drawings={"parameters": chart},
        findings=found,
    )


def _limits(found: Figures) -> tuple[float, float, float]:
    middle = found["estimate"]
    lower, upper = (middle if found[n] is None else found[n] for n in ("lower", "upper"))
    return middle, lower, upper
