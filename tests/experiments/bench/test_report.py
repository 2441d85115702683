"""Files of several machines side by side: nothing hidden, nothing invented, damage named."""

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest

from experiments.bench import report
from experiments.bench.columns import columns_of
from experiments.bench.lines import read
from experiments.bench.tables import details, side_by_side
from experiments.cli import main as command_line
from tests.experiments.browser import expect_readable
from tests.pages import ROOT

PAGE = ROOT / "docs" / "hardware.md"

CPU = {
    "device": "cpu",
    "platform": "cpu",
    "processor": "Some CPU",
    "cores": 2,
    "device_count": 1,
    "versions": {"jax": "1.0"},
    "revision": "abc",
}
CHIP = CPU | {"device": "Chip <9>", "platform": "chip", "device_count": 4}


def line(name: str, ms: float | None, ratio: float | None, **others: Any) -> dict[str, Any]:
    return {
        "suite": "maps",
        "name": name,
        "package": "x",
        "mode": "forward",
        "shape": {"rows": 2, "classes": 1000},
        "dtype": "float32",
        "reference": "plain",
        "milliseconds": ms,
        "ratio": ratio,
    } | others


def write(path: Path, *lines: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(each) + "\n" for each in lines))
    return path


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Two machines; one has a program that failed, and one that the other has in another shape."""
    other = {"rows": 3, "classes": 1000}
    return [
        write(
            tmp_path / "cpu.jsonl",
            line("plain", 1.5, 1.0, **CPU, copy_share=0.5, matrix_share=0.25),
            line("sparse", 3.0, 2.0, **CPU, copy_share=0.125, matrix_share=0.75),
        ),
        write(
            tmp_path / "chip.jsonl",
            line("plain", 0.25, 1.0, **CHIP),
            line("sparse", None, None, **CHIP, error="out of | memory"),
            line("other", 0.5, None, **CHIP | {"shape": other}),
        ),
    ]


def cells(path: Path) -> list[list[str]]:
    (table,) = side_by_side(columns_of({p: read(p) for p in sorted(path.glob("*.jsonl"))[::-1]}))
    return [[cell.text for cell in row] for row in table.rows]


def test_machines_stand_side_by_side(files: list[Path]) -> None:
    columns = columns_of({path: read(path) for path in files})
    assert [column.label for column in columns] == ["Some CPU, 2 cores", "Chip <9> (1 of 4)"]
    shape = "2 rows, 1,000 classes"
    assert cells(files[0].parent) == [
        ["plain", shape, "float32", "1.50", "1.00", "50% copy", "0.250", "1.00", ""],
        ["sparse", shape, "float32", "3.00", "2.00", "75% matrix", "failed", "", ""],
        ["other", "3 rows, 1,000 classes", "float32", "", "", "", "0.500", "", ""],
    ]


def test_the_same_machine_twice_is_two_columns(files: list[Path], tmp_path: Path) -> None:
    same = write(tmp_path / "later.jsonl", line("plain", 1.75, 1.0, **CPU))
    columns = columns_of({path: read(path) for path in (files[0], same)})
    labels = ["Some CPU, 2 cores (cpu)", "Some CPU, 2 cores (later)"]
    assert [column.label for column in columns] == labels
    # In one file as well: lines of another version, and a repeated line.
    newer = {"versions": {"jax": "2.0"}}
    several = [line("plain", ms, 1.0, **CPU | new) for ms, new in ((1, {}), (2, newer), (3, {}))]
    mixed = columns_of({Path("a"): several})
    values = [column.about["milliseconds"] for column in mixed]
    assert values == [1, 2, 3]
    assert len({column.label for column in mixed}) == 3
    # Other programs too, if they were measured with another version.
    apart = columns_of({Path("a"): [line("a", 1, 1.0, **CPU), line("b", 2, 1.0, **CPU | newer)]})
    assert [len(column.records) for column in apart] == [1, 1]


def test_the_report_is_written_in_three_forms(
    files: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert command_line(["report", *map(str, files), "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "Chip <9> (1 of 4): ms" in shown
    page = (out / "report.html").read_text()
    assert "<9>" not in page.split('<script type="application')[0]
    assert 'data-value="0.25"' in page
    assert re.search(r'title="out of \| memory">failed<', page)
    assert "http" not in re.sub(r'xmlns="[^"]*"', "", page), "the page stands alone"
    markdown = (out / "report.md").read_text()
    assert (
        "| sparse | 2 rows, 1,000 classes | float32 | 3.00 | 2.00 | 75% matrix | failed |"
        in markdown
    )
    rows = list(csv.DictReader(io.StringIO((out / "report.csv").read_text())))
    assert [row["milliseconds"] for row in rows] == ["1.5", "3.0", "0.25", "", "0.5"]
    assert rows[3]["error"] == "out of | memory"
    assert rows[4]["shape"] == "rows=3 classes=1000"


def test_the_page_is_readable(files: list[Path], tmp_path: Path) -> None:
    report.write(files, tmp_path / "out")
    place = tmp_path / "browser"
    place.mkdir()
    expect_readable(tmp_path / "out" / "report.html", place)


def test_details_leave_out_what_a_machine_does_not_count(files: list[Path]) -> None:
    cpu, chip = columns_of({path: read(path) for path in files})
    (table,) = details(cpu)
    assert table.head == ["name", "shape", "ms", "ratio", "of copy", "of matrix"]
    (table,) = details(chip)
    assert table.head == ["name", "shape", "ms", "ratio"]
    assert table.rows[1][0].text == "sparse: failed"


def test_the_planned_peak_stands_beside_the_temporary_bytes(tmp_path: Path) -> None:
    """A file of before has none, and its cells are empty beside a newer one's."""
    memory = {"temporary_bytes": 1_500_000, "compiled_peak_bytes": 2_500_000}
    old = line("plain", 1.0, 1.0, **CPU, temporary_bytes=1_500_000, peak_bytes=None)
    (column,) = columns_of({tmp_path: read(write(tmp_path / "old.jsonl", old))})
    (table,) = details(column)
    assert table.head[2:] == ["ms", "ratio", "temporary MB"]
    both = write(tmp_path / "both.jsonl", old, line("new", 1.0, 1.0, **CPU, **memory))
    (column,) = columns_of({both: read(both)})
    (table,) = details(column)
    assert table.head[-2:] == ["temporary MB", "compiled peak MB"]
    assert [[cell.text for cell in row[-2:]] for row in table.rows] == [
        ["1.50", ""],
        ["1.50", "2.50"],
    ]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ["empty"]),
        ("{'a'}\n", ["line 1", "JSON object", "{'a'}"]),
        ("\n[1]\n", ["line 2", "JSON object", "[1]"]),
        ('{"suite": "maps"}\n', ["line 1", "no 'name'"]),
        (json.dumps(line("a", 1.0, 1.0, **CPU | {"shape": [1, 2]})), ["'shape'", "object", "list"]),
        (json.dumps(line("a", 1.0, 1.0, **CPU) | {"ratio": "2"}), ["'ratio'", "number", "'2'"]),
        ("\xff\xfe", ["no text"]),
    ],
)
def test_a_line_that_is_no_record_is_named(
    text: str, parts: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "broken.jsonl"
    path.write_bytes(text.encode("latin-1"))
    assert command_line(["report", str(path), "--out", str(tmp_path / "out")]) == 2
    (message,) = capsys.readouterr().err.splitlines()
    for part in ["broken.jsonl", *parts]:
        assert part in message
    assert not (tmp_path / "out").exists()


def test_files_and_runs_do_not_mix(files: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    folder, file = str(files[0].parent), str(files[0])
    for arguments, part in (
        ([file, folder], "run directories or files of `bench`, got both"),
        ([folder, "--page", "x"], "--page: runs have no page"),
        ([file, "--tensorboard"], "--tensorboard: "),
        ([file, "--out", file], "--out: "),
        ([file, "--page", folder + "/none.md"], "--page: cannot read"),
        ([file, "--page", file], "--page: expected one line"),
    ):
        assert command_line(["report", *arguments]) == 2
        (message,) = capsys.readouterr().err.splitlines()
        assert part in message


def test_a_page_of_the_documentation_is_what_the_report_makes(
    files: list[Path], tmp_path: Path
) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# Title\n\nText.\n\n{report.MARK} a.jsonl -->\n\nold\n")
    report.write_page(files, page)
    text = page.read_text()
    assert text.startswith(f"# Title\n\nText.\n\n{report.MARK} a.jsonl -->\n\n## The machines\n")
    assert "old" not in text
    report.write_page(files, page)
    assert page.read_text() == text


def test_the_page_about_hardware_shows_the_committed_files() -> None:
    """After another file is committed: see the command on the page."""
    paths = sorted((ROOT / "benchmarks").glob("*.jsonl"))
    assert paths
    shown = PAGE.read_text().partition(report.MARK)[2].partition("\n")[2]
    assert shown.strip() == report.markdown(columns_of({p: read(p) for p in paths})).strip()
