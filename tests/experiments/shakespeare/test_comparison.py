"""A comparison of models from end to end: paired, resumed, reported, and honest about failures."""

import dataclasses
import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import cli
from experiments.config_files import load_config
from experiments.progress import Display
from experiments.shakespeare import comparison, report_tables, results, summary, tables
from experiments.shakespeare.attention import NORMALISERS
from experiments.shakespeare.comparison import REFERENCE, compare, variants
from experiments.shakespeare.config import ShakespeareConfig
from experiments.shakespeare.losses import LOSSES
from experiments.shakespeare.report import write_report
from experiments.shakespeare.train import Variant
from tests.experiments.browser import expect_readable
from tests.experiments.shakespeare.tiny import FLAGS, write_text

pytestmark = pytest.mark.slow

ANCHOR = str(Path(__file__).parents[3] / "configs" / "shakespeare_char.py")
NAMES = ["softmax/cross_entropy", "ssmax/entmax15"]
TIMED = ("tokens_per_second", "step_seconds", "speed_ratio", "compile_seconds", "train_seconds")


def command(out: Path, text: Path, *more: str) -> list[str]:
    chosen = ("--attention", "ssmax", "--losses", "entmax15")
    given = ["compare", ANCHOR, "--out", str(out), "--data.path", str(text)]
    return [*given, *FLAGS, *chosen, *more]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text(tmp_path_factory.mktemp("text") / "text.txt")


@pytest.fixture(scope="module")
def finished(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    assert cli.main(command(out, text)) == 0
    return out


def results_of(run: Path) -> Any:
    return json.loads((run / "results.json").read_text())


def untimed(run: Path) -> Any:
    results = results_of(run)
    for contender in results["contenders"]:
        for name in TIMED:
            del contender[name]
    return results


def test_all_pairs_take_part_unless_some_are_chosen() -> None:
    every = variants(ShakespeareConfig())
    assert every[0] == REFERENCE
    assert {(v.attention, v.loss) for v in every} == {(a, b) for a in NORMALISERS for b in LOSSES}
    assert len(every) == len(NORMALISERS) * len(LOSSES)
    chosen = ShakespeareConfig(attention=("ssmax",), losses=("fused",))
    assert variants(chosen) == [REFERENCE, Variant("ssmax", "fused")]


def test_models_learn_and_differences_are_paired(finished: Path) -> None:
    results = results_of(finished)
    assert [c["name"] for c in results["contenders"]] == NAMES
    reference, other = results["contenders"]
    for contender in (reference, other):
        assert contender["status"] == "trained"
        assert contender["curve"]["step"] == [10, 20]
        assert contender["curve"]["estimate"][1] < contender["curve"]["estimate"][0]
        assert contender["metrics"]["smoothed"]["count"] == 2
        assert len(contender["attention_zeros"]) == 1
        assert contender["sample"]
    for name in ("smoothed", "accuracy"):
        apart = other["metrics"][name]["estimate"] - reference["metrics"][name]["estimate"]
        assert other["differences"][name]["estimate"] == pytest.approx(apart)
        assert reference["differences"][name] is None
    assert other["metrics"]["support"]["estimate"] < reference["metrics"]["support"]["estimate"]
    assert other["scales"][0]["estimate"] > 0
    assert other["alphas"] == []
    nll, bits = (reference["metrics"][name]["estimate"] for name in ("nll", "bits"))
    assert bits == pytest.approx(nll / np.log(2))


def test_more_is_better_in_accuracy_and_worse_in_loss() -> None:
    config, other = ShakespeareConfig(), Variant("ssmax", "fused")
    ended = {"kind": "outcome", "status": "trained"}

    def block(more: float) -> list[dict[str, Any]]:
        values = [{"smoothed": v + more, "accuracy": v + more} for v in (0.1, 0.2, 0.4)]
        return [*({"kind": "test", "seed": i, **v} for i, v in enumerate(values)), ended]

    blocks = {REFERENCE.name: block(0.0), other.name: block(0.01)}
    for metric, verdict in (("accuracy", "better"), ("smoothed", "worse")):
        difference = results._difference(config, blocks, other, metric, 1)
        assert difference is not None
        assert difference["verdict"] == verdict
        assert difference["estimate"] == pytest.approx(0.01)


def test_a_run_that_was_cut_off_continues_to_the_same_figures(
    finished: Path,
    text: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    train_one = comparison._train_one
    done: list[Any] = []

    def interrupted(*arguments: Any) -> None:
        if done:
            raise KeyboardInterrupt
        done.append(arguments)
        train_one(*arguments)

    out = tmp_path / "run"
    monkeypatch.setattr(comparison, "_train_one", interrupted)
    assert cli.main(command(out, text)) == 130
    monkeypatch.undo()
    assert cli.main(command(out, text)) == 0
    assert "1 of 2 models are finished and are loaded" in capsys.readouterr().err
    assert untimed(out) == untimed(finished)


def test_a_finished_run_prints_its_tables_and_changes_nothing(
    finished: Path, text: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {name: (finished / name).read_bytes() for name in ("metrics.jsonl", "results.json")}
    assert cli.main(command(finished, text)) == 0
    captured = capsys.readouterr()
    assert "nothing was trained" in captured.err
    assert "ssmax/entmax15" in captured.out
    assert max(len(line) for line in captured.out.splitlines()) <= 118
    assert before == {name: (finished / name).read_bytes() for name in before}
    assert cli.main(command(finished, text, "--seeds", "3")) == 2
    assert "seeds (2 there, 3 here)" in capsys.readouterr().err


def test_report_stands_alone_and_its_cells_show_what_their_titles_name(finished: Path) -> None:
    page = (finished / "report.html").read_text()
    assert not re.search(r"https?://|@import|url\(|fetch\(|XMLHttpRequest", page)
    results = results_of(finished)
    pattern = r'<td title="(?:[\w ]+ · )?(contenders[\d\w.\[\]]+)" data-value="([^"]+)"'
    cells = re.findall(pattern, report_tables.figures(results))
    # Two models with twelve figures, less the reference's differences and what is infinite.
    assert len(cells) >= 20
    for path, value in cells:
        found: Any = results
        for index, name in re.findall(r"\[(\d+)\]|(\w+)", path):
            found = found[int(index)] if index else found[name]
        assert float(value) == (found["estimate"] if isinstance(found, dict) else found)
    embedded = re.search(r'id="results">(.*?)</script>', page)
    assert embedded is not None
    assert json.loads(embedded[1]) == results
    assert {path.stem for path in (finished / "plots").glob("*.svg")} >= {"overview", "curves"}
    for path in (finished / "plots").glob("*.svg"):
        root = ElementTree.fromstring(path.read_text())
        texts = "".join(e.text or "" for e in root.iter("{http://www.w3.org/2000/svg}text"))
        assert "ssmax" in texts


def test_summary_and_table_claim_nothing_where_intervals_cover_zero(finished: Path) -> None:
    results = results_of(finished)
    level = {"estimate": 0.05, "lower": -0.1, "upper": 0.2, "verdict": "no difference shown"}
    behind = {"estimate": 0.15, "lower": 0.1, "upper": 0.2, "verdict": "worse"}
    other = results["contenders"][1]
    other["differences"] = {"smoothed": level, "accuracy": level}
    assert "none is better; none is worse; for 1 of 1" in " ".join(summary.sentences(results))
    assert not re.search(r"±0\.150 [-+]", tables.main_table(results))
    other["differences"] = {"smoothed": behind, "accuracy": level}
    assert "`ssmax/entmax15` is worse" in " ".join(summary.sentences(results))
    assert re.search(r"±0\.050 -", tables.main_table(results))


def test_zero_probability_of_a_label_is_shown_as_infinite_bits(finished: Path) -> None:
    results = results_of(finished)
    other = results["contenders"][1]
    other["metrics"]["bits"] = None
    other["attention_zeros"] = [{"estimate": 0.25, "lower": 0.2, "upper": 0.3, "count": 2}]
    assert re.search(r"ssmax/entmax15 +∞", tables.main_table(results))
    assert "exactly zero: `ssmax/entmax15` 25%" in " ".join(summary.sentences(results))
    assert "25.0 ±5.0" in tables.attention_table(results)


def test_a_model_that_fails_stays_in_the_table_with_the_reason(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = comparison._compiled

    def broken(config: Any, variant: Variant, corpus: Any) -> Any:
        if variant != REFERENCE:
            raise NotImplementedError("the map is away today")
        return compiled(config, variant, corpus)

    monkeypatch.setattr(comparison, "_compiled", broken)
    config = load_config(Path(ANCHOR))
    assert isinstance(config, ShakespeareConfig)
    tiny = dataclasses.replace(
        config,
        data_path=(str(text),),
        attention=("sparsemax",),
        losses=("fused",),
        layers=1,
        heads=2,
        width=16,
        context=8,
        batch_size=4,
        learning_rate=0.02,
        compare_steps=20,
        seeds=2,
        sample_tokens=20,
        speed_rounds=1,
    )
    compare(tiny, tmp_path / "run", Display())
    results = write_report(tmp_path / "run")
    failed = results["contenders"][1]
    assert (failed["status"], failed["metrics"]["nll"]) == ("failed", None)
    why = "sparsemax/fused (failed): NotImplementedError: the map is away today"
    assert why in tables.main_table(results)
    assert "the map is away today" in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.slow
def test_the_page_is_readable_in_a_browser(finished: Path, tmp_path: Path) -> None:
    expect_readable(finished / "report.html", tmp_path)
