"""A comparison of estimators from end to end: it learns, resumes, reports, and shows failures."""

import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import cli
from experiments.base_config import field_help, field_types
from experiments.progress import Display
from experiments.vae import comparison, report_tables, summary, tables
from experiments.vae.comparison import compare
from experiments.vae.config import VaeConfig
from experiments.vae.records import block_records
from experiments.vae.report import write_report
from experiments.vae.train import Figures, Progress
from tests.experiments.browser import expect_readable

VAE = str(Path(__file__).parents[3] / "configs" / "vae.py")
TINY = """
from experiments.vae.config import VaeConfig
from tests.experiments.browser import expect_readable

def get_config():
    return VaeConfig(
        estimators=("gumbel_softmax_1", "gumbel_softmax_annealed"), temperatures=(1.0,), latents=2,
        classes=3, hidden=8, seeds=2, steps=40, evaluations=4, learning_rates=(0.00001, 0.02),
        measured=(0.3, 1.0), probes=(0.0, 1.0), probe_images=6, draws=32,
    )
"""
NAMES = ["exact", "gumbel_softmax_1", "gumbel_softmax_annealed"]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("configs") / "tiny.py"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="module")
def finished(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    assert cli.main(["compare", str(config), "--out", str(out)]) == 0
    return out


def results_of(run: Path) -> Any:
    """The results of a run without what is timed."""
    results = json.loads((run / "results.json").read_text())
    for contender in results["contenders"]:
        del contender["compile_seconds"], contender["train_seconds"]
    return results


def records(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_models_learn_from_the_same_start(finished: Path) -> None:
    results = results_of(finished)
    assert [c["name"] for c in results["contenders"]] == NAMES
    starts = {c["curve"]["estimate"][0] for c in results["contenders"]}
    assert len(starts) == 1
    for contender in results["contenders"]:
        assert contender["curve"]["step"] == [0, 10, 20, 30, 40]
        assert contender["curve"]["estimate"][-1] > contender["curve"]["estimate"][0] + 10
        assert contender["learning_rates"] == {"0.02": 2}
        metrics = {name: m["estimate"] for name, m in contender["metrics"].items()}
        assert metrics["elbo"] < metrics["log_likelihood"] < 0
        assert 1.0 <= metrics["codes"] <= 9.0
        if contender["differences"]:
            gap = metrics["elbo"] - results["contenders"][0]["metrics"]["elbo"]["estimate"]
            assert contender["differences"]["elbo"]["estimate"] == pytest.approx(gap)


def test_gradients_are_measured_at_every_temperature_along_the_exact_run(finished: Path) -> None:
    found = results_of(finished)["gradients"]
    assert [g["method"] for g in found] == ["gumbel_softmax"]
    entries = found[0]["temperatures"]
    assert [entry["temperature"] for entry in entries] == [0.3, 1.0]
    places = [[probe["encoder"]["norm"] for probe in entry["probes"]] for entry in entries]
    # The exact gradient at a place is the same for all, and differs between the two places.
    np.testing.assert_allclose(places, places[:1] * 2, rtol=1e-6)
    assert places[0][0] != places[0][1]
    for entry in entries:
        for probe in entry["probes"]:
            bias, square = (probe["encoder"][name] for name in ("bias", "squared_bias"))
            assert bias["estimate"] == pytest.approx(max(square["estimate"], 0.0) ** 0.5)
            assert bias["lower"] <= bias["estimate"] <= bias["upper"]


def test_a_run_that_was_cut_off_continues_to_the_same_figures(
    config: Path,
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, command = tmp_path / "run", ["compare", str(config), "--out", str(tmp_path / "run")]

    def interrupt_after(name: str, calls: int) -> None:
        original = getattr(comparison, name)
        done: list[Any] = []

        def interrupted(*arguments: Any) -> None:
            if len(done) == calls:
                raise KeyboardInterrupt
            done.append(arguments)
            original(*arguments)

        monkeypatch.setattr(comparison, name, interrupted)
        assert cli.main(command) == 130
        monkeypatch.undo()

    interrupt_after("_train_one", 2)
    before = (out / "metrics.jsonl").read_bytes()
    (out / "metrics.jsonl").write_bytes(before + b'{"kind": "tuning", "contender": "gum')
    # The second time among the gradients, whose weights a third run has to find again.
    interrupt_after("_measure_one", 0)
    assert (out / "metrics.jsonl").read_bytes().startswith(before)
    capsys.readouterr()
    assert cli.main(command) == 0
    assert "exact is trained again for the weights" in capsys.readouterr().err
    assert results_of(out) == results_of(finished)


def test_a_finished_run_prints_its_tables_and_changes_nothing(
    config: Path, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {name: (finished / name).read_bytes() for name in ("metrics.jsonl", "results.json")}
    assert cli.main(["compare", str(config), "--out", str(finished)]) == 0
    captured = capsys.readouterr()
    assert "nothing was trained" in captured.err
    assert "gumbel_softmax_0.3" in captured.out
    assert max(len(line) for line in captured.out.splitlines()) <= 118
    assert before == {name: (finished / name).read_bytes() for name in before}


def test_report_stands_alone_and_its_cells_show_what_their_titles_name(finished: Path) -> None:
    text = (finished / "report.html").read_text()
    assert not re.search(r"https?://|@import|url\(|fetch\(|XMLHttpRequest", text)
    results = json.loads((finished / "results.json").read_text())
    shown = report_tables.figures(results) + report_tables.gradients(results)
    pattern = (
        r'<td title="(?:[\w ]+ · )?((?:contenders|gradients)\[[\w.\[\]]+)" data-value="([^"]+)"'
    )
    cells = re.findall(pattern, shown)
    assert len(cells) == 3 * 4 + 2 * 2 + 2 * 2 * 7
    for path, value in cells:
        found: Any = results
        for index, name in re.findall(r"\[(\d+)\]|(\w+)", path):
            found = found[int(index)] if index else found[name]
        assert float(value) == (found["estimate"] if isinstance(found, dict) else found)
    names = {path.stem for path in (finished / "plots").glob("*.svg")}
    assert names == {"temperatures", "curves", "bias", "variance"}
    for path in (finished / "plots").glob("*.svg"):
        root = ElementTree.fromstring(path.read_text())
        texts = "".join(e.text or "" for e in root.iter("{http://www.w3.org/2000/svg}text"))
        assert "gumbel_softmax" in texts


def test_summary_claims_nothing_where_intervals_cover_zero(finished: Path) -> None:
    results = results_of(finished)
    open_ = {"estimate": 0.1, "lower": -0.1, "upper": 0.3, "verdict": "no difference shown"}
    for contender in results["contenders"][1:]:
        contender["differences"] = dict.fromkeys(contender["differences"], open_)
    text = " ".join(summary.sentences(results))
    assert "none is better; none is worse; for 2 of 2 no difference is shown" in text
    assert not re.search(r"±0\.20 [-+]", tables.main_table(results))
    assert tables.bias_text({"estimate": 0.1, "lower": 0.0, "upper": 0.25}) == "< 0.25"


def history(elbos: list[list[float]], trained: float = -1.0) -> list[Progress]:
    """Evaluations of one seed-pair: [evaluation][rate], the same for both seeds."""
    found = []
    for number, row in enumerate(elbos):
        values = np.repeat(np.asarray(row)[:, None], 2, axis=1)
        figures = Figures(values, values + 1.0, values * 0 + 3.0)
        found.append(Progress(10 * number, None, figures, figures, figures))
    return found


def test_rate_and_step_are_those_of_the_highest_validation_elbo() -> None:
    config = VaeConfig(seeds=2, learning_rates=(0.1, 0.2), steps=20, evaluations=2)
    found = block_records(config, history([[-9.0, -9.0], [-5.0, -4.0], [-4.5, -6.0]]), 0.0, 0.0)
    tests = [r for r in found if r["kind"] == "test"]
    assert [(r["learning_rate"], r["step"], r["elbo"]) for r in tests] == [(0.2, 10, -4.0)] * 2
    curve = [r["elbo"] for r in found if r["kind"] == "evaluation" and r["seed"] == 0]
    assert curve == [-9.0, -4.0, -6.0]
    assert found[-1]["status"] == "trained"
    nan = float("nan")
    found = block_records(config, history([[-9.0, -9.0], [-5.0, nan], [nan, nan]]), 0.0, 0.0)
    assert found[-1]["status"] == "diverged"
    assert "seeds 0, 1" in found[-1]["why"]


def test_an_estimator_that_fails_stays_in_the_table_with_the_reason(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise NotImplementedError("no gradient today")

    monkeypatch.setattr(comparison, "compile_method", broken)
    tiny = VaeConfig(estimators=("score_function",), seeds=2, steps=10, evaluations=1)
    compare(tiny, tmp_path / "run", Display())
    results = write_report(tmp_path / "run")
    assert {c["status"] for c in results["contenders"]} == {"failed"}
    assert "exact (failed): NotImplementedError: no gradient today" in tables.main_table(results)
    assert "no gradient today" in (tmp_path / "run" / "report.html").read_text()
    assert results["gradients"] == []


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        (("--estimators", "gumbel_softmx_1"), ["unknown estimator", "mean 'gumbel_softmax_1'?"]),
        (("--latents", "7"), ["at most 4,096 codes", "got 4 ** 7"]),
        (("--classes", "1"), ["classes", "at least 2", "got 1"]),
        (("--samples", "1"), ["samples", "a baseline needs another sample"]),
        (("--temperatures", "0"), ["temperatures", "positive", "(0.0,)"]),
        (("--measured", "-1"), ["measured", "positive"]),
        (("--learning-rates",), ["learning_rates", "got ()"]),
        (("--anneal", "1"), ["anneal", "a first and a last", "(1.0,)"]),
        (("--evaluations", "7"), ["evaluations", "divisor of steps", "got 7"]),
        (("--probes", "0.5", "0.5"), ["probes", "rising"]),
        (("--probes", "nan"), ["probes", "nan"]),
        (("--draws", "100"), ["draws", "a multiple of 16", "got 100"]),
        (("--threshold", "0"), ["threshold", "got 0.0"]),
        (("--test-fraction", "1.5"), ["test_fraction", "got 1.5"]),
        (("--batch-size", "5000"), ["batch_size", "training images", "got 5000"]),
    ],
)
def test_mistake_in_a_config_gets_one_line(
    flags: tuple[str, ...],
    parts: list[str],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    assert cli.main(["compare", VAE, "--out", str(tmp_path / "run"), *flags]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1, captured.err
    for part in ("error: ", *parts):
        assert part in captured.err
    assert not (tmp_path / "run").exists()


def test_help_describes_every_field(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["compare", VAE, "--help"])
    assert stopped.value.code == 0
    assert set(field_help(VaeConfig)) == set(field_types(VaeConfig))
    shown = capsys.readouterr().out
    assert all(f"--{name.replace('_', '-')}" in shown for name in field_types(VaeConfig))


@pytest.mark.slow
def test_the_page_is_readable_in_a_browser(finished: Path, tmp_path: Path) -> None:
    expect_readable(finished / "report.html", tmp_path)
