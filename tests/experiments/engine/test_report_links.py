"""Every number in a table of a page leads to the records that it comes from."""

import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from experiments.bench import report as bench
from experiments.engine.report import read_run, write_report
from experiments.engine.report_tables import anchor
from tests.experiments.engine import synthetic
from tests.experiments.html import linked_cells


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("<td>1.5</td>", "is in no link"),
        ('<td><a href="#records-a">1.5</a> ± 0.1</td>', "is in no link"),
        ('<td><a href="#records-b">1.5</a></td>', "is not on the page"),
        ('<td><svg><text>9</text></svg><a href="#records-a">1.5</a></td>', ""),
        ("<td>–</td>", ""),
    ],
)
def test_a_number_outside_links_is_seen(cell: str, message: str) -> None:
    head = "<thead><tr><th>Name</th><th>Value</th></tr></thead>"
    rows = f"<tbody><tr><th>a1</th>{cell}</tr></tbody>"
    records = '<section id="records"><p id="records-a"></p><table><td>2</td></table></section>'
    page = f"<section><table>{head}{rows}</table></section>{records}"
    if message:
        with pytest.raises(AssertionError, match=message):
            linked_cells(page)
    else:
        assert set(linked_cells(page)) <= {("Value", "#records-a")}
    assert linked_cells(page, but={"Value"}) == []


def test_numbers_of_all_tables_of_a_run_lead_to_their_contender(tmp_path: Path) -> None:
    blocks = {
        name: synthetic.contender(name, shift, learned=True)
        for name, shift in (("softmax", 0.0), ("entmax", 0.02))
    }
    blocks["entmax"][-1]["tuned"] = {"alpha": 1.25}
    speed = synthetic.speed({"softmax": 100.0, "entmax": 50.0})
    path = synthetic.write_run(tmp_path / "run", blocks, more={"speed": speed})
    write_report(path)
    found = linked_cells((path / "report.html").read_text())
    assert {target for _, target in found} == {"#records-softmax", "#records-entmax"}
    assert [target for heading, target in found if heading == "Tuned"] == ["#records-entmax"]
    assert {"Brier", "Value", "Steps/s", "Speed ratio", "Parameters"} <= {h for h, _ in found}


def test_records_of_a_measurement_are_on_the_page_as_they_are_in_the_file(tmp_path: Path) -> None:
    measured: list[dict[str, Any]] = [
        {"kind": "count", "of": "a & <b>", "number": 3},
        {"kind": "outcome", "status": "finished"},
    ]
    path = synthetic.write_run(
        tmp_path / "run",
        {"softmax": synthetic.contender("softmax", 0.0)},
        more={"speed": synthetic.speed({"softmax": 1.0}), "more/some/count": measured},
    )
    write_report(path)
    page = (path / "report.html").read_text()
    mark = anchor("more/some/count")
    assert mark != anchor("more_some_count")
    shown = page.split(f"<details id='{mark}'>")[1].split("</details>")[0]
    lines = (path / "metrics.jsonl").read_text().splitlines()
    (records,) = read_run(path).more.values()
    assert len(records) == 2
    for record in records:
        assert f'title="line {record["line"]}"' in shown
        text = lines[record["line"] - 1]
        assert json.loads(text) == {n: v for n, v in record.items() if n != "line"}
        assert text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") in shown


def test_numbers_of_the_benchmarks_lead_to_their_files(tmp_path: Path) -> None:
    common: dict[str, Any] = {"suite": "maps", "package": "x", "mode": "forward"}
    common |= {"shape": {"rows": 2}}
    common |= {"dtype": "float32", "reference": "plain", "platform": "cpu", "cores": 2}
    common |= {"device": "cpu", "versions": {"jax": "1.0"}}
    files = []
    for name, ratio in (("one #1.jsonl", 1.5), ("other.jsonl", None)):
        line = {**common, "processor": name, "name": "plain", "milliseconds": 2.5, "ratio": ratio}
        failed = {**line, "name": "broken", "milliseconds": None, "ratio": None, "error": "why 5"}
        files.append(tmp_path / name)
        files[-1].write_text("".join(json.dumps(each) + "\n" for each in (line, failed)))
    out = tmp_path / "some" / "out"
    bench.write(files, out)
    # The sizes and the type of a row say which program it is.
    found = linked_cells((out / "report.html").read_text(), but={"shape", "dtype"})
    for file, ratios in zip(files, (2, 0), strict=True):
        headings = [
            heading
            for heading, target in found
            if os.path.samefile(out / unquote(target), file) and "#" not in target
        ]
        label = f"{file.name}, 2 cores"
        # The facts of the machine, one row of the comparison, and one of all its figures.
        assert headings.count("ms") == 1
        assert headings.count(f"{label}: ms") == 1
        assert headings.count("ratio") == ratios
        assert headings.count(label) >= 2
