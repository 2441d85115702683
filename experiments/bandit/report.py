"""The report of a run on the testbed: results.json, the plots as SVG files, and one page."""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from experiments.bandit.config import BanditConfig
from experiments.bandit.contenders import GROUPS
from experiments.bandit.plots import all_plots
from experiments.bandit.results import METRICS, summarise
from experiments.bandit.tables import COLUMNS
from experiments.html_tables import cell, difference_cell, filters, glyph_limit, row, table
from experiments.page import (
    Plots,
    findings,
    gallery,
    method,
    section,
    wide,
    write_page,
)
from experiments.run_directory import read_run
from experiments.svg import Drawing
from experiments.wording import interval, verdicts

Figures = dict[str, Any]


def write_report(path: Path) -> Figures:
    """Writes all that follows from the records of a run, and returns its figures."""
    config, blocks, environment = read_run(path, BanditConfig)
    results = summarise(config, blocks)
    plots = all_plots(results)
    sections = [
        section("In short", findings(sentences(results))),
        section("How it was done", method(_method(results))),
        section("Against the book", _against_the_book(results, plots), "book"),
        section("Figures", figures(results), "figures"),
        _wide("Regret over the parameter", _PARAMETERS, plots["parameters"]),
        *_galleries(results, plots),
    ]
    title = f"Action selection on the {config.arms}-armed testbed: {path.name}"
    write_page(path, title, _facts(results), sections, results, plots, environment)
    return results


def sentences(results: Figures) -> list[str]:
    """Returns the findings; names stand between backquotes."""
    played = [c for c in results["contenders"] if c["metrics"]["regret"]]
    found = []
    able = [c for c in played if c["family"] != "oracle"]
    if able:
        best = min(able, key=lambda c: float(c["metrics"]["regret"]["estimate"]))
        metrics = best["metrics"]
        found.append(
            f"Of {len(able)} policies `{best['name']}` has the least regret, "
            f"{interval(metrics['regret'], digits=1)} in {results['config']['steps']:,} steps; in "
            "the last tenth of them it takes the best action in "
            f"{interval(metrics['late_optimal'], 100.0, 1)}% of the steps."
        )
    compared = {c["name"]: c["differences"]["regret"] for c in able if c["differences"]}
    if compared:
        found.append(f"In regret, against `{results['reference']}`: {verdicts(compared)}.")
    if results["checks"]:
        held = [check for check in results["checks"] if check["verdict"] == "holds"]
        text = f"Of {len(results['checks'])} statements of the book, {len(held)} hold."
        missed = [check for check in results["checks"] if check["verdict"] != "holds"]
        found.append(text + "".join(f" {check['verdict']}: {check['claim']}." for check in missed))
    failed = [c for c in results["contenders"] if c["status"] == "failed"]
    return [*found, *(f"`{c['name']}` failed: {c['why']}." for c in failed)]


def figures(results: Figures) -> str:
    """Returns the table of all figures with their intervals."""
    shown = results["contenders"]
    limit = glyph_limit([c["differences"]["regret"] for c in shown if c["differences"]])
    head = ["Policy", "Reward", "Late reward", "Late optimal %", "Regret", "Regret minus reference"]
    rows = [row(c, _cells(f"contenders[{i}]", c, limit)) for i, c in enumerate(shown)]
    note = (
        "<p>Mean ± half the interval over problems. Press a heading to sort; hover over a name to "
        "see how it selects an action. Late: the last tenth of the steps. Regret: the best "
        "action’s true value less that of the action taken, summed over all steps. The number in a "
        "name is ε, the temperature, c or the step size.</p>"
    )
    present = {g: text for g, text in GROUPS.items() if any(c["group"] == g for c in shown)}
    return note + filters(present) + table(head, rows)


def _cells(place: str, contender: Figures, limit: float) -> list[str]:
    metrics = contender["metrics"]
    cells = [
        cell(metrics[metric], f"{place}.metrics.{metric}", factor, digits)
        for _, metric, factor, digits in COLUMNS
    ]
    assert {metric for _, metric, *_ in COLUMNS} == set(METRICS)
    difference = contender["differences"].get("regret")
    path = f"{place}.differences.regret"
    return [*cells, difference_cell(difference, path, limit, 1.0, 1)]


def _facts(results: Figures) -> dict[str, str]:
    config = results["config"]
    return {
        "Problems": f"{config['problems']:,} of {config['arms']} arms, the same for every policy",
        "Steps": f"{config['steps']:,}",
        "Policies": str(len(results["contenders"])),
    }


def _method(results: Figures) -> list[str]:
    config, level = results["config"], f"{100 * results['confidence']:g}%"
    estimates = (
        f"moved towards each reward by a step of {config['step_size']:g}"
        if config["step_size"]
        else "the means of the rewards so far"
    )
    drift = (
        f" Each true value then moves by N(0, {config['drift']:g}²) after every step."
        if config["drift"]
        else ""
    )
    return [
        "The testbed of Sutton and Barto, <cite>Reinforcement Learning: An Introduction</cite>, "
        f"2nd edition, section 2.3: each problem has {config['arms']} actions whose true values "
        f"are drawn from N(0, 1); an action’s rewards are its value plus N(0, 1).{drift} The "
        f"estimates start at 0 and are {estimates}. Actions that tie for the maximum are equally "
        "likely.",
        "<b>epsilon</b> takes an action at random with probability ε and a greedy one otherwise; "
        "<b>softmax</b>, <b>sparsemax</b> and <b>entmax15</b> draw from the map of the estimates "
        "divided by the temperature, so that an action may have probability exactly 0 under the "
        "latter two; <b>ucb</b> takes the largest upper confidence bound; <b>gradient</b> moves "
        "preferences by the gradient bandit’s rule with the mean reward as baseline. "
        "<b>oracle</b> knows the true values: the ceiling.",
        "All policies play the same problems, and at a step an action gives all of them the same "
        "reward, so that differences are paired by problem.",
        f"Intervals are {level}, Student’s t over problems; those of differences are simultaneous "
        f"for each figure (Bonferroni over {results['comparisons']} policies), and better or worse "
        "is only said where such an interval leaves out zero.",
    ]


def _against_the_book(results: Figures, plots: Plots) -> str:
    if not results["checks"]:
        return (
            "<p>Not checked: this is not the book’s testbed (10 arms, 1,000 steps, sample averages,"
            " no drift).</p>"
        )
    rows = [_check_row(i, check) for i, check in enumerate(results["checks"])]
    charts = "".join(wide(chart) for chart in plots["book"][2])
    return (
        "<p>What the text of sections 2.3 and 2.7 says about figures 2.2 and 2.4, and what this "
        "run finds; late means the last 100 of 1,000 steps, intervals are simultaneous. A point of "
        "a curve is the mean of the steps since the one before, its band the interval.</p>"
        f"{table(('Statement of the book', 'Expected', 'Found', 'Verdict'), rows)}{charts}"
    )


def _check_row(index: int, check: Figures) -> str:
    claim, expected, word = (escape(check[name]) for name in ("claim", "expected", "verdict"))
    factor, digits = (100.0, 1) if check["percent"] else (1.0, 3)
    return (
        f'<tr><th scope="row" data-value="{claim}">{claim}</th>'
        f'<td data-value="{expected}">{expected}</td>'
        f"{cell(check['figure'], f'checks[{index}].figure', factor, digits)}"
        f'<td data-value="{word}"><span class="{_STYLES[word]}">{word}</span></td></tr>'
    )


_STYLES = {"holds": "better", "fails": "worse", "open": "same"}
_PARAMETERS = (
    "Cumulative regret (down is better) over the parameter of each family, on a logarithmic scale; "
    "the names stand beside the last point of each line, with its value."
)


def _wide(title: str, text: str, plot: tuple[str, int, Sequence[Drawing]]) -> str:
    drawings = "".join(wide(drawing) for drawing in plot[2])
    return section(title, f"<p>{text}</p>{drawings}")


def _galleries(results: Figures, plots: Plots) -> list[str]:
    reference = f"Grey: <code>{results['reference']}</code>. The band is the interval."
    return [
        gallery("Mean reward", f"Mean reward (up) over the steps. {reference}", plots["reward"][2]),
        gallery(
            "Optimal actions",
            f"Share of the problems in which the best action is taken, in per cent. {reference}",
            plots["optimal"][2],
        ),
        gallery("Regret", f"Cumulative regret over the steps. {reference}", plots["regret"][2]),
    ]
