"""Several runs in one report: the same metrics beside each other, and what is not the same."""

import csv
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from experiments.cli import main
from experiments.engine.report import report_runs
from experiments.errors import UserError
from tests.experiments.engine import synthetic
from tests.experiments.html import Page


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("runs")
    blocks = {
        name: synthetic.contender(name, shift, seeds=(3, 4), steps=(100, 200))
        for name, shift in (("softmax", 0.0), ("other", 0.1))
    }
    first = synthetic.write_run(folder / "first", blocks, {"seeds": 2, "about": {}})
    alone = {"softmax": synthetic.contender("softmax", 0.2, seeds=(3, 4), steps=(100, 200))}
    config = {"seeds": 2, "steps": 400, "about": {}, "metrics": {"brier": "lower", "f1": "higher"}}
    second = synthetic.write_run(folder / "b" / "second", alone, config)
    env = json.loads((second / "env.json").read_text())
    (second / "env.json").write_text(json.dumps({**env, "device": "an accelerator"}))
    return [first, second]


@pytest.fixture(scope="module")
def out(runs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "both"
    report_runs(runs, out)
    return out


def test_numbers_are_those_of_the_runs_and_lead_to_them(runs: list[Path], out: Path) -> None:
    text = (out / "report.html").read_text()
    Page(text)
    results = json.loads((out / "results.json").read_text())
    cells = re.findall(
        r'<td title="runs\[(\d)\]\.results\.contenders\[(\d)\]\.metrics\.(\w+)" '
        r'data-value="([^"]+)"><a href="([^"#]+)#([^"]+)">',
        text,
    )
    assert len(cells) == 2 * 6 + 1
    for run, contender, metric, value, href, mark in cells:
        there = results["runs"][int(run)]["results"]["contenders"][int(contender)]
        assert float(value) == there["metrics"][metric]["estimate"]
        page = (out / href).resolve()
        assert page == runs[int(run)].resolve() / "report.html"
        assert f"id='{mark}'" in page.read_text()
        assert mark == f"records-{there['name']}"


def test_what_differs_is_told_and_no_run_is_said_to_be_better(out: Path) -> None:
    text = (out / "report.md").read_text()
    assert "2 kinds of devices: a processor (cpu); an accelerator" in text
    assert "Their settings differ in `steps`." in text
    assert "1 of 2 contenders are in more than one run" in text
    assert "better" not in text.replace("no difference", "")
    rows = {line.split(" | ")[0].strip("| "): line for line in text.splitlines() if "|" in line}
    assert rows["other"].rstrip().endswith("| – |")


def test_tables_have_a_column_for_each_run_and_a_line_for_each_figure(
    runs: list[Path], out: Path
) -> None:
    with (out / "tables" / "figures.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    found = {(r["run"], r["contender"], r["metric"]): r["estimate"] for r in lines}
    assert {name for name, _, _ in found} == {"first", "second"}
    assert found["second", "softmax", "f1"] == ""
    results: Any = json.loads((runs[0] / "results.json").read_text())
    brier = results["contenders"][1]["metrics"]["brier"]["estimate"]
    assert float(found["first", "other", "brier"]) == brier


def test_the_command_asks_for_a_place_and_for_runs(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [str(path) for path in runs]
    out = tmp_path / "out"
    for arguments, message in (
        (paths, "--out: expected a directory for the report of several runs"),
        ([paths[0], "--out", str(out)], "--out: expected several runs"),
        ([*paths, "--out", paths[0]], "is a run, expected a directory for the report"),
        ([paths[0], paths[0], "--out", str(out)], "is given twice"),
        ([paths[0], str(tmp_path), "--out", str(out)], "is not a run: it has no config.json"),
    ):
        assert main(["report", *arguments]) == 2
        assert message in capsys.readouterr().err
    assert not out.exists()
    assert main(["report", *paths, "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "Brier" in shown
    assert f"report: {out / 'report.html'}" in shown


def test_runs_with_one_name_are_told_apart(tmp_path: Path) -> None:
    made = {"softmax": synthetic.contender("softmax", 0.0, seeds=(3, 4), steps=(200,))}
    config = {"seeds": 2, "about": {}}
    paths = [synthetic.write_run(tmp_path / n / "run", made, config) for n in ("a", "b")]
    tables = report_runs(paths, tmp_path / "out")
    assert all(str(path) in tables[0] for path in paths)
    assert (
        os.path.relpath(paths[0] / "report.html", tmp_path / "out")
        in (tmp_path / "out" / "report.html").read_text()
    )
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "config.json").write_text('{"experiment": "words"}')
    with pytest.raises(UserError, match="is a run on words, expected the engine's"):
        report_runs([*paths, tmp_path / "c"], tmp_path / "out")
