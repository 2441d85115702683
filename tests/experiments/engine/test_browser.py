"""The reports of the engine in a real browser: they render, fit a phone, sort, switch, unfold."""

from pathlib import Path

import pytest

from experiments.engine.report import report_runs, write_report
from tests.experiments.browser import DESK, PHONE, expect_readable, render
from tests.experiments.engine import synthetic

USE = """
  const figures = document.querySelector("#figures");
  const column = (n) => [...figures.querySelectorAll("tbody tr")].map((row) => row.cells[n]);
  const names = () => column(0).map((cell) => cell.dataset.value);
  const press = (n) => figures.querySelectorAll("thead button")[n].click();
  press(1);
  const up = names();
  press(1);
  const down = names();
  figures.querySelector('.filters [data-group="sparse"]').click();
  const kept = column(0).filter(shown).map((cell) => cell.dataset.value);
  figures.querySelector('.filters [data-group=""]').click();
  const panes = [...document.querySelectorAll("#curves .switch > div")];
  const before = panes.filter(shown).length;
  const first = panes.findIndex((pane) => !pane.querySelector(".switch") && shown(pane));
  document.querySelector('label[for="axis0-1"]').click();
  const second = panes.findIndex((pane) => !pane.querySelector(".switch") && shown(pane));
  const link = figures.querySelector("td a");
  const closed = document.querySelector(link.getAttribute("href")).open;
  location.hash = link.getAttribute("href");
  unfold();
  const open = document.querySelector(link.getAttribute("href")).open;
  return {up, down, kept, before, first, second, closed, open, panes: panes.length};
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = synthetic.whole_run(tmp_path_factory.mktemp("runs") / "whole")
    write_report(path)
    return path / "report.html"


def test_the_report_of_a_run_is_readable_on_a_phone(page: Path, tmp_path: Path) -> None:
    found = render(page, tmp_path, PHONE)
    assert found.errors == []
    assert found.inner == PHONE
    assert found.scroll <= found.inner
    assert found.small == 0
    assert found.drawn > 0.01


def test_the_report_can_be_used(page: Path, tmp_path: Path) -> None:
    found = render(page, tmp_path, DESK, USE)
    assert found.errors == []
    assert found.scroll <= found.inner == DESK
    facts = found.facts
    # By the Brier score; what has none comes last, whichever way.
    assert facts["up"] == ["stablemax", "entmax", "softmax", "sparsemax", "broken"]
    assert facts["down"] == ["sparsemax", "softmax", "entmax", "stablemax", "broken"]
    assert facts["kept"] == ["sparsemax", "entmax"]
    # One metric, and one of its axes: the second one after its label was pressed.
    assert facts["before"] == 2
    assert facts["panes"] == 4 * (1 + 4)
    assert facts["second"] == facts["first"] + 1
    assert (facts["closed"], facts["open"]) == (False, True)


@pytest.mark.slow
def test_many_contenders_and_several_runs_are_readable(page: Path, tmp_path: Path) -> None:
    names = [f"a_contender_with_a_long_name_{i}" for i in range(40)]
    blocks = {n: synthetic.contender(n, 0.01 * (i % 7)) for i, n in enumerate(names)}
    config = {"about": {}, "experiment": "an_experiment_with_a_name_that_is_long_as_well"}
    many = synthetic.write_run(tmp_path / "a_run_whose_name_does_not_fit_on_a_line", blocks, config)
    write_report(many)
    report_runs([many, page.parent], tmp_path / "both")
    for number, path in enumerate((many, tmp_path / "both")):
        place = tmp_path / str(number)
        place.mkdir()
        expect_readable(path / "report.html", place)


@pytest.mark.slow
def test_the_browser_tests_see_a_page_that_is_broken(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    style = "<meta name='viewport' content='width=device-width'>"
    page.write_text(
        f"<html><head>{style}<title></title></head><body><p style='width:900px;font-size:8px'>x</p>"
        "<script>missing()</script></body></html>"
    )
    found = render(page, tmp_path, PHONE)
    assert found.errors
    assert found.scroll > found.inner
    assert found.small == 1
    assert found.drawn < 0.01
