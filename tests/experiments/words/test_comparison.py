"""A comparison on words from end to end: it learns, resumes, reports, and shows what failed."""

import dataclasses
import json
import re
import xml.etree.ElementTree as ElementTree
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from experiments import cli
from experiments.config_files import load_config
from experiments.progress import Display
from experiments.run_directory import RunDirectory
from experiments.words import comparison, heads, report_tables, summary, tables
from experiments.words.comparison import compare
from experiments.words.config import WordsConfig
from experiments.words.corpus import Corpus
from experiments.words.report import write_report
from tests.experiments.browser import expect_readable
from tests.experiments.words.text import write_text

pytestmark = pytest.mark.slow

TINY = """
from experiments.words.config import WordsConfig

def get_config():
    return WordsConfig(
        data_path=({path!r},), tasks=("skipgram", "ngram"), heads=("huffman",),
        vocabulary=60, passage=100, held_out=5, features=8, context=1, window=2, seeds=2,
        steps=60, batch_size=32, evaluations=3, learning_rates=(0.001, 0.3), num_sampled=10,
        negatives=5, validation_words=256, test_words=300, speed_rounds=1, scaling=(50, 100),
        scaling_logits=2000,
    )
"""
TIMED = ("steps_per_second", "words_per_second", "speed_ratio", "seconds_to_quality")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("configs")
    path = folder / "tiny.py"
    path.write_text(TINY.format(path=str(write_text(folder / "text.txt"))))
    return path


@pytest.fixture(scope="module")
def finished(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    assert cli.main(["compare", str(config), "--out", str(out)]) == 0
    return out


def words_config(path: Path) -> WordsConfig:
    config = load_config(path)
    assert isinstance(config, WordsConfig)
    return config


def figures(run: Path) -> Any:
    """The results of a run without what is timed."""
    results = json.loads((run / "results.json").read_text())
    del results["scaling"]
    for task in results["tasks"]:
        for contender in task["contenders"]:
            for name in (*TIMED, "compile_seconds", "train_seconds"):
                del contender[name]
    return results


def records(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_models_learn_at_the_rate_that_the_first_seed_chose(finished: Path) -> None:
    results = json.loads((finished / "results.json").read_text())
    assert [task["name"] for task in results["tasks"]] == ["skipgram", "ngram"]
    ngram = results["tasks"][1]
    assert [c["name"] for c in ngram["contenders"]] == ["full", "huffman"]
    for contender in ngram["contenders"]:
        assert contender["status"] == "trained"
        assert contender["learning_rate"] == 0.3
        assert contender["curve"]["step"] == [0, 20, 40, 60]
        assert contender["curve"]["estimate"][-1] < 0.9 * contender["curve"]["estimate"][0]
        assert contender["nll"]["count"] == 2
        if contender["difference"]:
            expected = contender["nll"]["estimate"] - ngram["contenders"][0]["nll"]["estimate"]
            assert contender["difference"]["estimate"] == pytest.approx(expected)
    tuned = [r for r in records(finished) if r["kind"] == "tuning" and r["task"] == "ngram"]
    assert len(tuned) == 2 * 2
    assert {r["seed"] for r in tuned} == {0}


def test_buckets_divide_the_test_words_and_average_to_the_nll(finished: Path) -> None:
    for test in (r for r in records(finished) if r["kind"] == "test"):
        parts = test["buckets"].values()
        assert sum(part["words"] for part in parts) == 300
        total = sum(part["words"] * part["nll"] for part in parts if part["words"])
        assert total / 300 == pytest.approx(test["nll"], rel=1e-9)
    assert list(test["buckets"]) == ["1–10", "11–59", "other words"]


def test_large_sizes_are_left_out_for_heads_that_work_out_all_logits(finished: Path) -> None:
    results = json.loads((finished / "results.json").read_text())
    sizes = {h["name"]: [s["classes"] for s in h["sizes"]] for h in results["scaling"]}
    assert sizes == {"full": [50], "huffman": [50, 100]}
    parameters = {h["name"]: h["sizes"][0]["head_bytes"] for h in results["scaling"]}
    assert parameters == {"full": 4 * 50 * 9, "huffman": 4 * 49 * 9}


def test_a_run_that_was_cut_off_continues_to_the_same_figures(
    config: Path,
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "run"
    train_one = comparison._train_one
    done: list[Any] = []

    def interrupted(*arguments: Any) -> None:
        if len(done) == 1:
            raise KeyboardInterrupt
        done.append(arguments)
        train_one(*arguments)

    command = ["compare", str(config), "--out", str(out)]
    monkeypatch.setattr(comparison, "_train_one", interrupted)
    assert cli.main(command) == 130
    monkeypatch.undo()
    assert f"repeat `python -m experiments {' '.join(command)}`" in capsys.readouterr().err
    trained = (out / "metrics.jsonl").read_bytes()
    # What a kill in the middle of a write leaves behind.
    (out / "metrics.jsonl").write_bytes(trained + b'{"kind": "tuning", "contender": "huff')
    assert cli.main(command) == 0
    assert "1 of 4 heads are finished and are loaded" in capsys.readouterr().err
    assert (out / "metrics.jsonl").read_bytes().startswith(trained)
    assert figures(out) == figures(finished)


def test_a_finished_run_prints_its_tables_and_changes_nothing(
    config: Path, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {name: (finished / name).read_bytes() for name in ("metrics.jsonl", "results.json")}
    assert cli.main(["compare", str(config), "--out", str(finished)]) == 0
    captured = capsys.readouterr()
    assert "nothing was trained" in captured.err
    assert "huffman" in captured.out
    assert "report.html" in captured.out
    assert max(len(line) for line in captured.out.splitlines()) <= 118
    assert before == {name: (finished / name).read_bytes() for name in before}


def test_a_run_of_another_config_is_left_alone(
    config: Path, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in finished.iterdir() if path.is_file()}
    arguments = ["compare", str(config), "--out", str(finished), "--steps", "90"]
    assert cli.main(arguments) == 2
    assert "steps (60 there, 90 here)" in capsys.readouterr().err
    assert before == {path: path.read_bytes() for path in finished.iterdir() if path.is_file()}


def test_a_run_does_not_go_on_with_another_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = write_text(tmp_path / "text.txt")
    path = tmp_path / "tiny.py"
    path.write_text(TINY.format(path=str(text)))
    out = tmp_path / "run"
    config = words_config(path)
    corpus = Corpus.load(config)
    with closing(RunDirectory.open(out, config)) as run:
        comparison._note_corpus(run, corpus)
        comparison._note_corpus(run, corpus)
    text.write_text(text.read_text().replace("w1 ", "w2 ", 1))
    assert cli.main(["compare", str(path), "--out", str(out)]) == 2
    assert f"the text of {out} has changed" in capsys.readouterr().err


def test_report_stands_alone_and_its_cells_show_what_their_titles_name(finished: Path) -> None:
    text = (finished / "report.html").read_text()
    assert not re.search(r"https?://|@import|url\(|fetch\(|XMLHttpRequest", text)
    results = json.loads((finished / "results.json").read_text())
    shown = report_tables.figures(results, 0) + report_tables.figures(results, 1)
    pattern = r'<td title="(?:[\w ]+ · )?(tasks\[[\d\w.\[\]]+)" data-value="([^"]+)"'
    cells = re.findall(pattern, shown)
    # Two tasks, two heads, and nine or ten figures: a quality may not be reached.
    assert len(cells) >= 36
    for path, value in cells:
        found: Any = results
        for index, name in re.findall(r"\[(\d+)\]|(\w+)", path):
            found = found[int(index)] if index else found[name]
        assert float(value) == (found["estimate"] if isinstance(found, dict) else found)
    embedded = re.search(r'id="results">(.*?)</script>', text)
    assert embedded is not None
    assert json.loads(embedded[1]) == results


def test_plots_are_svg_files_of_their_own(finished: Path) -> None:
    names = {path.stem for path in (finished / "plots").glob("*.svg")}
    kinds = ("overview", "curves", "buckets")
    of_tasks = {f"{task}_{kind}" for task in ("skipgram", "ngram") for kind in kinds}
    assert names == of_tasks | {"scaling_time", "scaling_memory"}
    for path in (finished / "plots").glob("*.svg"):
        root = ElementTree.fromstring(path.read_text())
        texts = "".join(e.text or "" for e in root.iter("{http://www.w3.org/2000/svg}text"))
        assert "huffman" in texts


def test_summary_and_table_claim_nothing_where_intervals_cover_zero(finished: Path) -> None:
    results = json.loads((finished / "results.json").read_text())
    level = {"estimate": 0.05, "lower": -0.1, "upper": 0.2, "verdict": "no difference shown"}
    for contender in results["tasks"][0]["contenders"][1:]:
        contender["difference"] = level
    assert "none is better; none is worse; for 1 of 1" in " ".join(summary.sentences(results))
    assert not re.search(r"±0\.150 [-+]", tables.task_table(results, results["tasks"][0]))
    behind = {"estimate": 0.15, "lower": 0.1, "upper": 0.2, "verdict": "worse"}
    for contender in results["tasks"][0]["contenders"][1:]:
        contender["difference"] = behind
    assert "`huffman` is worse" in " ".join(summary.sentences(results))
    assert len(re.findall(r"±0\.050 -", tables.task_table(results, results["tasks"][0]))) == 1


def test_a_head_that_fails_stays_in_the_table_with_the_reason(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Any) -> Any:
        raise NotImplementedError("the tree is away today")

    rows = [
        dataclasses.replace(c, make=broken) if c.name == "huffman" else c for c in heads._CONTENDERS
    ]
    monkeypatch.setattr(heads, "_CONTENDERS", tuple(rows))
    short = dataclasses.replace(
        words_config(config), tasks=("ngram",), heads=("huffman",), scaling=()
    )
    compare(short, tmp_path / "run", Display())
    results = write_report(tmp_path / "run")
    failed = results["tasks"][0]["contenders"][1]
    assert (failed["status"], failed["nll"]) == ("failed", None)
    why = "huffman (failed): NotImplementedError: the tree is away today"
    assert why in tables.task_table(results, results["tasks"][0])
    assert "the tree is away today" in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.slow
def test_the_page_is_readable_in_a_browser(finished: Path, tmp_path: Path) -> None:
    expect_readable(finished / "report.html", tmp_path)
