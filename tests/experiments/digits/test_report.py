"""The report stands alone, claims only what its intervals carry, and its figures are the run's."""

import copy
import json
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from experiments.digits import report_tables, summary, tables
from experiments.digits.comparison import compare
from experiments.digits.config import DigitsConfig
from experiments.digits.report import write_report
from experiments.progress import Display

CONFIG = DigitsConfig(
    variants=("sparsemax", "entmax15"),
    temperatures=(2.0,),
    seeds=2,
    hidden=(),
    steps=20,
    evaluations=2,
    learning_rates=(0.03,),
    speed_rounds=1,
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    path = tmp_path_factory.mktemp("runs") / "tiny"
    compare(CONFIG, path, Display())
    return path, write_report(path)


class Page(HTMLParser):
    """Collects attributes, and checks that every element is closed."""

    void = frozenset({"meta", "link", "img", "br", "hr", "input"})

    def __init__(self) -> None:
        super().__init__()
        self.attributes: list[tuple[str, str, str]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_page_loads_nothing_from_outside(run: tuple[Path, dict[str, Any]]) -> None:
    text = (run[0] / "report.html").read_text()
    page = Page()
    page.feed(text)
    assert page.open == []
    loads = [
        (t, n, v) for t, n, v in page.attributes if n in ("src", "href", "srcset", "xlink:href")
    ]
    assert loads
    assert all(value.startswith(("data:", "#")) for _, _, value in loads)
    assert not re.search(r"https?://|@import|url\(|fetch\(|XMLHttpRequest", text)
    assert "prefers-color-scheme: dark" in text


def test_plots_are_svg_files_of_their_own(run: tuple[Path, dict[str, Any]]) -> None:
    names = {path.stem for path in (run[0] / "plots").glob("*.svg")}
    assert names == {"learning_curves", "bars", "triangles", "reliability"}
    for path in (run[0] / "plots").glob("*.svg"):
        root = ElementTree.fromstring(path.read_text())
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        titles = {e.text for e in root.iter("{http://www.w3.org/2000/svg}text")}
        assert {"softmax", "sparsemax", "entmax15"} <= titles


def test_every_cell_shows_the_figure_that_its_title_names(
    run: tuple[Path, dict[str, Any]],
) -> None:
    results = run[1]
    cells = re.findall(
        r'<td title="(?:[\w ]+ · )?(contenders\[\d+\]\.[\w.]+)" data-value="([^"]*)"',
        report_tables.figures(results) + report_tables.differences(results),
    )
    assert len(cells) == 3 * 7 + 2 * 4
    for path, value in cells:
        found: Any = results
        for index, name in re.findall(r"\[(\d+)\]|(\w+)", path):
            found = found[int(index)] if index else found[name]
        assert float(value) == found["estimate"]
    embedded = re.search(r'id="results">(.*?)</script>', (run[0] / "report.html").read_text())
    assert embedded is not None
    assert json.loads(embedded[1]) == json.loads((run[0] / "results.json").read_text())


def with_difference(results: dict[str, Any], lower: float, upper: float, verdict: str) -> Any:
    """The results, in which every contender differs from softmax by this much in everything."""
    changed = copy.deepcopy(results)
    interval = {"estimate": (lower + upper) / 2, "lower": lower, "upper": upper, "count": 2}
    for contender in changed["contenders"]:
        for metric in contender["differences"]:
            contender["differences"][metric] = interval | {"verdict": verdict}
    return changed


def test_summary_claims_no_ranking_where_intervals_cover_zero(
    run: tuple[Path, dict[str, Any]],
) -> None:
    level = with_difference(run[1], -0.1, 0.2, "no difference shown")
    text = " ".join(summary.sentences(level))
    assert "none is better; none is worse; for 2 of 2 no difference is shown" in text
    ahead = " ".join(summary.sentences(with_difference(run[1], 0.1, 0.2, "better")))
    assert "`sparsemax`, `entmax15` are better; none is worse" in ahead


def test_tables_mark_what_is_shown(run: tuple[Path, dict[str, Any]]) -> None:
    level = tables.difference_table(with_difference(run[1], -0.1, 0.2, "no difference shown"))
    assert not re.search(r"±\d+\.\d+ [-+<>]", level)
    behind = tables.difference_table(with_difference(run[1], -0.2, -0.1, "worse"))
    assert len(re.findall(r"±\d+\.\d+ -", behind)) == 2 * 5
    for text in (level, behind, tables.main_table(run[1])):
        assert max(len(line) for line in text.splitlines()) <= 118
