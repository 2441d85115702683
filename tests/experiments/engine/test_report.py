"""The report stands alone, claims only what its intervals carry, and its figures are the run's."""

import copy
import csv
import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.base_config import to_json
from experiments.config_files import from_json
from experiments.digits.config import DigitsConfig
from experiments.engine import report_tables, summary, tables
from experiments.engine.pictures import EXAMPLE, draw_maps, pictured
from experiments.engine.report import read_run, write_report
from experiments.engine.task import Variant
from experiments.errors import UserError
from softmax_variants.variants import VARIANTS
from tests.experiments.engine import synthetic
from tests.experiments.html import Page, linked_cells

CELL = re.compile(r'<td title="(?:[\w ]+ · )?([\w\[\].]+)" data-value="([^"]+)">(.*?)</td>')


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = synthetic.whole_run(tmp_path_factory.mktemp("runs") / "whole")
    write_report(path)
    return path


@pytest.fixture(scope="module")
def results(run: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((run / "results.json").read_text())
    return read


def at(results: Any, path: str) -> Any:
    for index, name in re.findall(r"\[(\d+)\]|(\w+)", path):
        results = results[int(index)] if index else results[name]
    return results


def test_page_loads_nothing_from_outside(run: Path) -> None:
    text = (run / "report.html").read_text()
    page = Page(text)
    loads = [v for _, n, v in page.attributes if n in ("src", "srcset", "xlink:href")]
    images = [v for t, n, v in page.attributes if t == "image" and n == "href"]
    assert images
    assert all(value.startswith("data:") for value in [*loads, *images])
    assert not re.search(r"https?://|@import|url\(|fetch\(|XMLHttpRequest", text)
    assert "prefers-color-scheme: dark" in text
    # The names of a run are data, and not markup.
    assert "<no>" not in text
    assert "&lt;no&gt; such &amp; map" in text


def test_every_number_is_the_figure_at_its_path_and_leads_to_its_records(
    run: Path, results: dict[str, Any]
) -> None:
    text = (run / "report.html").read_text()
    cells = CELL.findall(text)
    assert len(cells) > 60
    marks = set(Page(text).values("id"))
    for path, value, content in cells:
        found = at(results, path)
        assert float(value) == (found["estimate"] if isinstance(found, dict) else found)
        target = re.search(r'href="#([^"]+)"', content)
        assert target is not None
        assert target[1] in marks
        name = at(results, path.split(".")[0])["name"]
        assert target[1] == report_tables.anchor(name)
    # Nor is there a number that has no path.
    assert len(linked_cells(text)) == len(cells)
    embedded = re.search(r'id="results">(.*?)</script>', text)
    assert embedded is not None
    assert json.loads(embedded[1]) == results


def test_records_are_on_the_lines_that_the_page_names(run: Path) -> None:
    lines = (run / "metrics.jsonl").read_text().splitlines()
    tests = read_run(run).tests
    assert set(tests) == {"softmax", "sparsemax", "entmax", "stablemax", "broken"}
    assert tests["broken"] == []
    for name, records in tests.items():
        for record in records:
            written = json.loads(lines[record["line"] - 1])
            assert (written["contender"], written["seed"]) == (name, record["seed"])
            assert written["metrics"] == record["metrics"]


def test_one_part_of_each_switch_is_shown_without_a_script(run: Path) -> None:
    page = Page((run / "report.html").read_text())
    kinds = [v for t, n, v in page.attributes if t == "input" and n == "name"]
    checked = [n for t, n, _ in page.attributes if t == "input" and n == "checked"]
    assert len(checked) == len(set(kinds)) > 5
    assert len(set(page.values("id"))) == len(page.values("id"))
    assert set(page.values("for")) <= set(page.values("id"))
    assert max(kinds.count(kind) for kind in set(kinds)) <= 8  # what the style sheet knows


def test_plots_are_svg_files_of_their_own(run: Path) -> None:
    drawn = {path.stem: path.read_text() for path in (run / "plots").glob("*.svg")}
    assert {"curves_brier", "pareto", "against", "tuning", "calibration", "triangles"} <= set(drawn)
    for text in drawn.values():
        assert ElementTree.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"
    titles = re.findall(r'class="title"[^>]*>([^<]+)', drawn["triangles"])
    assert titles == ["softmax", "sparsemax", "entmax", "stablemax"]


def test_config_json_says_what_a_report_reads_of_a_variant() -> None:
    config = DigitsConfig(variants=("softmax", "sparsemax", "softmax_temperature_2"))
    about = to_json(config)["about"]
    assert list(about) == ["softmax", "sparsemax", "softmax_temperature_2"]
    found = {name: (a["group"], a["map"], a["fixed"]) for name, a in about.items()}
    assert found["sparsemax"] == ("sparse", "sparsemax", {})
    assert found["softmax_temperature_2"] == ("sweep", "softmax", {"temperature": 2.0})
    assert from_json(to_json(config)) == config
    # By its function, where a variant does not name it; a map of one's own has no name.
    by_function = Variant("mine", {"map": VARIANTS["entmax15"].map})
    own = Variant("mine", {"map": lambda scores: scores})
    assert [v.described()["map"] for v in (by_function, own)] == ["entmax15", ""]


def test_a_map_is_pictured_once_for_each_of_its_parameters(results: dict[str, Any]) -> None:
    changed = copy.deepcopy(results)
    first, second, third, fourth, failed = changed["contenders"]
    second |= {"map": "softmax", "fixed": {"temperature": 0.5}}
    third |= {"map": "entmax", "learned": {"alpha": {"estimate": 1.4}, "scale": None}}
    fourth |= {"map": "softmax", "fixed": {"smoothing": 0.1}}  # not the map's, the loss's
    failed |= {"map": "gumbel_softmax"}  # random: it has no one output
    found = [(p.name, p.map, p.parameters) for p in pictured(changed)]
    assert found == [
        ("softmax", "softmax", {}),
        ("sparsemax", "softmax", {"temperature": 0.5}),
        ("entmax", "entmax", {"alpha": 1.4}),
    ]
    assert first["map"] == "softmax"
    bars, triangles = draw_maps(pictured(changed)[:2])
    assert triangles[0].shapes != triangles[1].shapes
    # The outputs that stand over the bars: those of softmax at temperatures 1 and 1/2.
    for drawing, temperature in zip(bars, (1.0, 0.5), strict=True):
        scores = np.exp(np.asarray(EXAMPLE) / temperature)
        shown = [float(t) for t in re.findall(r'class="value"[^>]*>([\d.]+)<', drawing.inline())]
        assert shown == pytest.approx((scores / scores.sum()).tolist(), abs=0.005)


def with_difference(results: dict[str, Any], lower: float, upper: float, verdict: str) -> Any:
    """The results, in which every contender differs from softmax by this much in everything."""
    changed = copy.deepcopy(results)
    interval = {"estimate": (lower + upper) / 2, "lower": lower, "upper": upper, "count": 4}
    for contender in changed["contenders"]:
        for metric, difference in contender["differences"].items():
            contender["differences"][metric] = difference | interval | {"verdict": verdict}
    return changed


def test_summary_names_no_winner_where_intervals_cover_zero(results: dict[str, Any]) -> None:
    level = with_difference(results, -0.1, 0.2, "no difference shown")
    text = " ".join(summary.sentences(level))
    assert "none is better; none is worse; for 3 of 3 no difference is shown" in text
    assert not re.search(r"(is|are) (better|worse|higher|lower)", text.replace("none is", ""))
    ahead = " ".join(summary.sentences(with_difference(results, 0.1, 0.2, "better")))
    assert "`sparsemax`, `entmax`, `stablemax` are better; none is worse" in ahead


def test_every_ending_is_told(results: dict[str, Any]) -> None:
    text = " ".join(summary.sentences(results))
    assert "`broken` failed: ValueError: <no> such & map." in text
    assert "`stablemax` diverged: not finite from step 101 on (seeds 5)." in text
    table = tables.main_table(results)
    assert "!! broken (failed): ValueError: <no> such & map" in table
    assert re.search(r"stablemax !!.*\[3\]", table)


def test_tables_of_the_terminal_mark_what_is_shown_and_fit(results: dict[str, Any]) -> None:
    level = tables.difference_table(with_difference(results, -0.1, 0.2, "no difference shown"))
    assert not re.search(r"±\d+\.\d+ [-+<>?]", level)
    behind = tables.difference_table(with_difference(results, -0.2, -0.1, "worse"))
    assert len(re.findall(r"±\d+\.\d+ -", behind)) == 3 * len(synthetic.METRICS)
    for text in (level, behind, tables.main_table(results)):
        assert max(len(line) for line in text.splitlines()) <= 118


def test_markdown_has_both_tables_in_words(run: Path, results: dict[str, Any]) -> None:
    text = (run / "report.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    width = {line.count("|") - line.count("\\|") for line in rows}
    assert width == {len(synthetic.METRICS) + 2, len(synthetic.METRICS) + 4}
    brier = next(c for c in results["contenders"] if c["name"] == "entmax")["metrics"]["brier"]
    assert f"{brier['estimate']:.3f} ±" in text
    assert f"({brier['standard_error']:.3f})" in text
    assert "survivors only" in text
    assert "broken (failed)" in text


def test_csv_tables_hold_every_figure(run: Path, results: dict[str, Any]) -> None:
    def rows(name: str) -> list[dict[str, str]]:
        with (run / "tables" / name).open(newline="") as file:
            return list(csv.DictReader(file))

    figures = {(r["contender"], r["figure"]): r for r in rows("figures.csv")}
    for c in results["contenders"]:
        for metric, interval in c["metrics"].items():
            row = figures[c["name"], metric]
            assert row["status"] == c["status"]
            assert row["estimate"] == ("" if interval is None else repr(interval["estimate"]))
    found = {(r["contender"], r["metric"]): r for r in rows("differences.csv")}
    assert found["stablemax", "brier"]["verdict"] == "survivors only"
    assert found["stablemax", "brier"]["seeds"] == "3 4 6"
    curves = rows("curves.csv")
    assert {r["metric"] for r in curves} == {"brier", "accuracy", "nll", "train_loss"}
    assert len(curves) == 4 * 4 * 10
    assert sum(r["chosen"] == "True" for r in rows("tuning.csv")) == 4


def test_many_contenders_get_panels_and_colours_of_their_groups(tmp_path: Path) -> None:
    names = [f"v{i}" for i in range(10)]
    blocks = {
        name: synthetic.contender(name, 0.01 * i, seeds=(3, 4), steps=(20, 200))
        for i, name in enumerate(names)
    }
    about: dict[str, Any] = {
        n: {"group": "mine" if i % 2 else "", "about": "", "map": "", "fixed": {}}
        for i, n in enumerate(names)
    }
    config = {"about": about, "seeds": 2, "trials": 1}
    path = synthetic.write_run(tmp_path / "run", blocks, config)
    write_report(path)
    text = (path / "report.html").read_text()
    page = Page(text)
    assert set(page.values("data-group")) == {"", "mine", "plain"}
    curves = text.split('id="curves"')[1].split("</section>")[0]
    assert len(re.findall(r"<figcaption>v\d</figcaption>", curves)) == 10 * 2 * 4
    # No map of the table, and so no pictures of maps; nothing was tuned or timed.
    assert "The maps over the simplex" not in text
    assert "Nothing was tuned" in text


def test_a_run_of_one_seed_has_figures_and_no_intervals(tmp_path: Path) -> None:
    made = synthetic.contender("softmax", 0.0, seeds=(3,))
    path = synthetic.write_run(tmp_path / "run", {"softmax": made}, {"seeds": 1})
    (table,) = write_report(path)
    assert "±" not in table.splitlines()[2]
    text = (path / "report.html").read_text()
    Page(text)
    assert "There is nothing to compare." in text


def test_a_run_with_nothing_finished_has_a_page_that_says_so(tmp_path: Path) -> None:
    path = synthetic.write_run(tmp_path / "run", {}, {"variants": ["softmax", "other"]})
    write_report(path)
    text = (path / "report.html").read_text()
    Page(text)
    assert "Not finished, without figures yet: <code>softmax</code>, <code>other</code>." in text
    assert "4 trials of 2 seeds and 200 steps each" in text


def test_nothing_is_said_of_a_learning_rate_that_was_not_chosen(tmp_path: Path) -> None:
    """Nor of what was tuned or timed, where a run did not."""
    shown = []
    for low, high in ((0.003, 0.003), (0.001, 0.01)):
        blocks = {name: synthetic.contender(name, 0.01) for name in ("softmax", "other")}
        rates = {"learning_rate_low": low, "learning_rate_high": high, "trials": 1}
        path = synthetic.write_run(tmp_path / f"run{high}", blocks, {**rates, "speed_rounds": 0})
        terminal = "\n".join(write_report(path))
        text = (path / "report.html").read_text().split('<script type="application/json"')[0]
        text = text.split("<details><summary>config.json")[0].lower()
        shown.append(terminal.lower() + (path / "report.md").read_text().lower() + text)
    assert "learning rate" not in shown[0]
    assert "learning rate 0.003" in shown[1]
    assert all("steps/s" not in text for text in shown)


def test_what_is_no_run_of_the_engine_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is not a run: it has no config\.json"):
        write_report(tmp_path)
    (tmp_path / "config.json").write_text('{"experiment": "bandit"}')
    with pytest.raises(UserError, match="is a run on bandit, expected the engine's"):
        write_report(tmp_path)
