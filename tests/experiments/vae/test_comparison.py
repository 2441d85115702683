"""A comparison of estimators from end to end: it learns, measures gradients, and reports both."""

import dataclasses
import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from experiments import cli
from experiments.config_files import load_config
from experiments.engine.config import EngineConfig
from experiments.run_directory import RunDirectory
from experiments.vae import gradients, tables
from experiments.vae.config import VaeConfig
from experiments.vae.figures import TRAINING, training_elbos
from experiments.vae.parts import all_parts
from tests.experiments.browser import expect_readable
from tests.experiments.html import linked_cells

VAE = str(Path(__file__).parents[3] / "configs" / "vae.py")
TINY = """
from experiments.vae.config import VaeConfig

def get_config():
    return VaeConfig(
        variants=("gumbel_softmax_1", "gumbel_softmax_annealed", "gumbel_softmax_tuned"),
        temperatures=(1.0,), latents=2, classes=3, hidden=8, seeds=2, steps=40, evaluations=4,
        batch_size=16, trials=2, tuning_seeds=1, learning_rate_low=1e-5, learning_rate_high=0.02,
        speed_rounds=0, measured=(0.3, 1.0), probes=(0.0, 0.5), probe_images=6, draws=32,
    )
"""
NAMES = ["exact", "gumbel_softmax_1", "gumbel_softmax_annealed", "gumbel_softmax_tuned"]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("configs") / "tiny.py"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="module")
def finished(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "whole"
    assert cli.main(["compare", str(config), "--out", str(out)]) == 0
    return out


def results_of(run: Path) -> Any:
    return json.loads((run / "results.json").read_text())


def records(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_every_estimator_is_tuned_learns_and_is_compared(finished: Path) -> None:
    results = results_of(finished)
    assert [c["name"] for c in results["contenders"]] == NAMES
    for contender in results["contenders"]:
        assert contender["status"] == "trained"
        assert contender["learning_rate"] == pytest.approx(0.02)
        curve = contender["curves"]["metrics"]["elbo"]["estimate"]
        assert curve[-1] > curve[0] + 3
        elbo, evidence, codes = (m["estimate"] for m in contender["metrics"].values())
        assert elbo < evidence < 0
        assert 1.0 <= codes <= 9.0
    assert 0.1 < results["contenders"][-1]["tuned"]["temperature"] < 3.0
    assert results["more"]["temperatures"]["gumbel_softmax_1"]["elbo"]["count"] == 2


@pytest.mark.slow
def test_the_training_elbo_is_compared_seed_by_seed(finished: Path) -> None:
    values = {
        name: [
            r[TRAINING] for r in records(finished) if r["kind"] == "test" and r["contender"] == name
        ]
        for name in NAMES
    }
    found = results_of(finished)["more"]["temperatures"]
    for name in NAMES[1:]:
        assert found[name]["elbo"]["estimate"] == pytest.approx(np.mean(values[name]))
        gap = np.mean(np.subtract(values[name], values["exact"]))
        assert found[name]["difference"]["estimate"] == pytest.approx(gap)
    assert found["exact"]["difference"] is None
    # A lost seed has no figures, on neither side.
    results = results_of(finished)
    results["contenders"][1]["lost"] = [1]
    blocks: dict[str, list[Any]] = {
        name: [{"kind": "test", "seed": s, TRAINING: v} for s, v in enumerate(values[name])]
        for name in NAMES
    }
    left = training_elbos(results, blocks)[NAMES[1]]
    assert left["elbo"]["count"] == 1
    assert left["difference"]["seeds"] == [0]


@pytest.mark.slow
def test_gradients_are_measured_at_every_temperature_along_the_exact_run(finished: Path) -> None:
    (found,) = results_of(finished)["more"]["gradients"]["methods"]
    assert found["method"] == "gumbel_softmax"
    assert [entry["temperature"] for entry in found["temperatures"]] == [0.3, 1.0]
    places = [[p["encoder"]["norm"] for p in entry["probes"]] for entry in found["temperatures"]]
    # The exact gradient at a place is the same for all, and differs between the two places.
    np.testing.assert_allclose(places, places[:1] * 2, rtol=1e-6)
    assert places[0][0] != places[0][1]
    for entry in found["temperatures"]:
        assert [probe["step"] for probe in entry["probes"]] == [0, 20]
        for probe in entry["probes"]:
            bias, square = (probe["encoder"][name] for name in ("bias", "squared_bias"))
            assert bias["estimate"] == pytest.approx(max(square["estimate"], 0.0) ** 0.5)
            assert bias["lower"] <= bias["estimate"] <= bias["upper"]


@pytest.mark.slow
def test_gradients_are_measured_at_the_weights_of_the_run(config: Path, finished: Path) -> None:
    """The evaluations of the run say what the weights on its way had to be."""
    tiny = load_config(config)
    assert isinstance(tiny, VaeConfig)
    task, way = tiny.make_task(), dataclasses.replace(tiny, probes=(0.25, 1.0))
    rate = results_of(finished)["contenders"][0]["learning_rate"]
    examples = task.examples(0, "validation")
    predict = jax.jit(lambda weights: task.predict(weights, examples, {}, {}))
    evaluations = {
        r["step"]: r["validation"]["elbo"]
        for r in records(finished)
        if r["kind"] == "evaluation" and r["contender"] == "exact" and r["seed"] == 0
    }
    for step, weights in zip((10, 40), gradients.weights_along(way, rate), strict=True):
        elbo = np.mean(predict(weights).elbo)
        assert elbo == pytest.approx(evaluations[step], rel=1e-4)


def test_without_an_exact_run_no_gradient_is_measured(config: Path, tmp_path: Path) -> None:
    tiny = load_config(config)
    assert isinstance(tiny, VaeConfig)
    run: RunDirectory[EngineConfig] = RunDirectory.open(tmp_path / "run", tiny)
    run.append("exact", [{"kind": "outcome", "status": "diverged", "why": "too fast"}])
    with pytest.raises(RuntimeError, match="exact diverged: too fast"):
        tiny.extras()[0].work(run)
    run.close()
    assert dataclasses.replace(tiny, probes=()).extras() == []


@pytest.mark.slow
def test_report_shows_both_parts_and_cells_are_what_their_titles_name(finished: Path) -> None:
    text = (finished / "report.html").read_text()
    results = results_of(finished)
    for part in ("temperatures", "gradients"):
        shown = re.split(rf'<section id="{part}">', text)[1].split("</section>")[0]
        cells = re.findall(r'<td title="([\w.\[\]]+)" data-value="([^"]+)"', shown)
        assert len(cells) == {"temperatures": 2 * 5, "gradients": 2 * 2 * 7}[part]
        for path, value in cells:
            found: Any = results
            for index, name in re.findall(r"\[(\d+)\]|(\w+)", path):
                found = found[int(index)] if index else found[name]
            assert float(value) == (found["estimate"] if isinstance(found, dict) else found)
    drawn = {"temperatures", "temperatures_training"}
    drawn |= {f"{moment}_{step}" for moment in ("bias", "variance") for step in (0, 20)}
    for name in drawn:
        root = ElementTree.fromstring((finished / "plots" / f"{name}.svg").read_text())
        texts = "".join(e.text or "" for e in root.iter("{http://www.w3.org/2000/svg}text"))
        # At so few draws a bias may be none, which a logarithm does not show.
        assert name.startswith("bias") or "gumbel_softmax" in texts
    markdown = (finished / "report.md").read_text()
    assert "temperature tuned to" in markdown
    assert "gumbel_softmax_0.3" in markdown
    lines = (finished / "tables" / "gradients.csv").read_text().splitlines()
    assert len(lines) == 1 + 2 * 2 * 2 * 3


@pytest.mark.slow
def test_every_number_of_the_page_leads_to_its_records(finished: Path) -> None:
    found = linked_cells((finished / "report.html").read_text())
    measured = "#records-more/gradients/gumbel_softmax"
    assert {target for _, target in found} == {measured, *(f"#records-{name}" for name in NAMES)}
    of_moments = {h: {t for g, t in found if g == h} for h in ("Encoder: bias", "variance")}
    assert set(map(frozenset, of_moments.values())) == {frozenset({measured})}
    # The temperature stands in both matrices.
    tuned = [target for heading, target in found if heading == "Tuned to"]
    assert tuned == ["#records-gumbel_softmax_tuned"] * 2


@pytest.mark.slow
def test_findings_claim_nothing_where_intervals_cover_zero(config: Path, finished: Path) -> None:
    tiny = load_config(config)
    assert isinstance(tiny, VaeConfig)
    blocks: dict[str, list[Any]] = {name: [] for name in NAMES}
    for record in records(finished):
        if record["kind"] == "test":
            blocks[record["contender"]].append({**record, TRAINING: -20.0 + 0.1 * record["seed"]})
    failed = {"kind": "outcome", "status": "failed", "why": "exact diverged: too fast"}
    parts = all_parts(
        tiny, results_of(finished), {**blocks, "more/gradients/gumbel_softmax": [failed]}
    )
    text = " ".join(sentence for part in parts for sentence in part.findings)
    assert "none is better; none is worse; for 3 of 3 no difference is shown" in text
    assert "gradient of `gumbel_softmax` was not measured: exact diverged: too fast" in text
    assert tables.bias_text({"estimate": 0.1, "lower": 0.0, "upper": 0.25}) == "< 0.25"


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        (("--variants", "gumbel_softmx_1"), ["unknown variant", "mean 'gumbel_softmax_1'?"]),
        (("--latents", "7"), ["at most 4,096 codes", "got 4 ** 7"]),
        (("--classes", "1"), ["classes", "at least 2", "got 1"]),
        (("--samples", "1"), ["samples", "a baseline needs another sample"]),
        (("--temperatures", "0"), ["temperatures", "positive", "(0.0,)"]),
        (("--measured", "-1"), ["measured", "positive"]),
        (("--anneal", "1"), ["anneal", "a first and a last", "(1.0,)"]),
        (("--tuning-steps", "10"), ["tuning_steps", "0 or steps", "got 10"]),
        (("--tuned-temperatures", "3", "0.1"), ["tuned_temperatures", "a least and a larger"]),
        (("--tuned-temperatures", "1"), ["tuned_temperatures", "(1.0,)"]),
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


@pytest.mark.slow
def test_the_page_is_readable_in_a_browser(finished: Path, tmp_path: Path) -> None:
    expect_readable(finished / "report.html", tmp_path)
