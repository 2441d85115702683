"""The commands on a tiny text: `train` learns it, `sample` writes it, `compare` reports."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from experiments import cli
from experiments.run_directory import read_blocks, read_config
from experiments.shakespeare.config import SampleConfig, ShakespeareConfig
from experiments.shakespeare.writing import sample
from tests.experiments.browser import expect_readable
from tests.experiments.html import linked_cells
from tests.experiments.shakespeare.tiny import FLAGS, LINE, write_text

ANCHOR = str(Path(__file__).parents[3] / "configs" / "shakespeare_char.py")


def command(name: str, out: Path, text: Path, *more: str) -> list[str]:
    return [name, ANCHOR, "--out", str(out), "--data.path", str(text), *FLAGS, *more]


def train(out: Path, text: Path, *more: str) -> int:
    return cli.main(command("train", out, text, "--learning-rate", "0.02", *more))


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text(tmp_path_factory.mktemp("text") / "text.txt")


@pytest.fixture(scope="module")
def trained(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "whole"
    assert train(out, text) == 0
    return out


def test_a_tiny_text_is_learnt_by_heart(trained: Path) -> None:
    blocks, _, _ = read_blocks(trained / "metrics.jsonl")
    name = "softmax.cross_entropy"
    curve = [blocks[f"{name}/{step}"][0]["validation"]["nll"] for step in (20, 40, 60)]
    test, shown, ended = blocks[name]
    # `train` trains on all but the test part, and shows the figures of that part.
    assert test["metrics"]["nll"] == curve[-1]
    assert curve[0] > curve[-1]
    # The first letter of a window tells nearly all that follows it.
    assert test["metrics"]["nll"] < 0.3
    assert test["metrics"]["accuracy"] > 0.9
    assert LINE[:4] in shown["sample"]
    assert (ended["status"], ended["learning_rate"]) == ("trained", 0.02)
    assert blocks["data"][0]["parts"] == {"training": 702, "tuning": 0, "test": 78}
    page = (trained / "report.html").read_text()
    assert {"text", "attention", "samples"} <= set(re.findall(r'<section id="([^"]+)"', page))


def test_what_train_reads_wins_over_the_config() -> None:
    given = {"train_steps": 100, "train_evaluations": 2, "train_learning_rate": 0.01}
    one = ShakespeareConfig().of_one("softmax.cross_entropy", **given)
    assert (one.steps, one.evaluations, one.learning_rate_low) == (100, 2, 0.01)
    # The warm-up is the same part of the steps as in a comparison.
    assert one.warmup == 5
    plain = ShakespeareConfig().of_one("softmax.cross_entropy")
    assert (plain.steps, plain.evaluations, plain.learning_rate_low) == (2000, 8, 1e-3)


@pytest.mark.slow
def test_sample_depends_on_its_seed_and_its_maps(trained: Path, text: Path) -> None:
    config = read_config(trained)
    assert isinstance(config, ShakespeareConfig)

    def written(**changes: Any) -> str:
        request = SampleConfig(**{"tokens": 40, "temperature": 3.0, **changes})
        return "".join(sample(trained, config, request))

    # The vocabulary stands in the run: the text is not read again.
    moved = text.rename(text.with_name("moved.txt"))
    try:
        one = written(seed=1)
        assert one == written(seed=1) != written(seed=2)
        assert one.startswith("\n")
        assert len(one) == 41
        # Past the context the window moves on.
        assert written(top_k=1, prompt="abc", tokens=30) == "abc" + (LINE * 4)[3:33]
        with pytest.raises(Exception, match="'Q', which the model has never seen"):
            written(prompt="Q")
    finally:
        moved.rename(text)


def test_sample_prints_the_prompt_and_what_follows_it(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--prompt", "abc", "--tokens", "40", "--top-k", "1"]
    assert cli.main(["sample", str(trained), *asked]) == 0
    captured = capsys.readouterr()
    # More than a call of the program makes, in one piece; a line ends what is printed.
    assert captured.out == "abc" + (LINE * 4)[3:43] + "\n"
    assert captured.err == ""


def test_another_text_is_refused(
    trained: Path, text: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = text.read_text()
    text.write_text(content.replace("a", "b", 1))
    try:
        assert train(trained, text) == 2
    finally:
        text.write_text(content)
    error = capsys.readouterr().err.splitlines()[-1]
    assert "have changed since the run began, in digest" in error


@pytest.mark.slow
def test_a_comparison_tunes_trains_and_reports(
    text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, other = tmp_path / "run", "learned_alpha.entmax15"
    short = ["--trials", "2", "--seeds", "2", "--steps", "20", "--tuning-steps", "20"]
    short += ["--learning-rate-low", "0.01", "--learning-rate-high", "0.03"]
    short += ["--warmup", "1", "--evaluations", "2", "--speed-rounds", "1", "--variants", other]
    assert cli.main(command("compare", out, text, *short)) == 0
    assert "attention at zero" in capsys.readouterr().out
    results = json.loads((out / "results.json").read_text())
    softmax, learned = results["contenders"]
    assert [c["name"] for c in (softmax, learned)] == ["softmax.cross_entropy", other]
    assert {c["status"] for c in results["contenders"]} == {"trained"}
    assert all(len(c["tuning"]["trials"]) == 2 for c in results["contenders"])
    assert all(c["shown"]["sample"] for c in results["contenders"])
    assert softmax["metrics"]["support"]["estimate"] > learned["metrics"]["support"]["estimate"]
    rows = results["more"]["attention"]
    assert rows[0]["zeros"][0]["estimate"] == 0.0 < rows[1]["zeros"][0]["estimate"]
    assert (rows[0]["learned"], list(rows[1]["learned"])) == ({}, ["alpha"])
    heads = [learned["learned"][f"alpha 1[{i}]"]["estimate"] for i in (0, 1)]
    assert rows[1]["learned"]["alpha"] == [pytest.approx(sum(heads) / 2)]
    rate = softmax["steps_per_second"]["estimate"]
    assert rows[0]["tokens_per_second"]["estimate"] == pytest.approx(rate * 2 * 4 * 8)
    assert results["more"]["text"]["parts"]["tuning"] == 70
    assert (out / "plots" / "zeros.svg").exists()
    assert f"{other},1," in (out / "tables" / "attention.csv").read_text()
    assert cli.main(["sample", str(out)]) == 2
    assert "is a run of `compare`, expected one of `train`" in capsys.readouterr().err
    # A parameter has its place in its name.
    found = linked_cells((out / "report.html").read_text(), but={"Parameter"})
    own = {"#records-softmax.cross_entropy", f"#records-{other}"}
    for heading in ("Zeros % 1", "Tokens/s"):
        assert {target for h, target in found if h == heading} == own
    assert [target for h, target in found if h == "Learned"] == [f"#records-{other}"]
    expect_readable(out / "report.html", tmp_path)


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["train", ANCHOR, "--data.path", "no-such.txt"], ["'no-such.txt'", "--data.path", "sta"]),
        (["train", ANCHOR, "--variant", "sofmax.fused"], ["did you mean 'softmax.fused'?"]),
        (["train", ANCHOR, "--heads", "3"], ["heads", "divisor of width (128)", "got 3"]),
        (["train", ANCHOR, "--train-evaluations", "7"], ["divisor of train_steps (2000), got 7"]),
        (["train", ANCHOR, "--steps", "60", "--evaluations", "7"], ["divisor of steps (60)"]),
        (["sample", "no-such-run"], ["'no-such-run' is not a run"]),
        (["sample", "x", "--top-p", "1.5"], ["top_p", "at most 1", "got 1.5"]),
        (["sample", "x", "--top-k", "many"], ["--top-k", "an integer", "'many'"]),
    ],
    ids=lambda value: " ".join(value[-2:]) if isinstance(value, list) else None,
)
def test_mistake_gets_one_line(
    arguments: list[str], parts: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    more = [] if arguments[0] == "sample" else ["--out", str(tmp_path / "run")]
    assert cli.main([*arguments, *more]) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert all(part in error for part in parts), error
    assert not (tmp_path / "run").exists()
