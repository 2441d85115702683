"""A comparison on words from end to end: it learns, goes on where it stopped, and reports."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from experiments import cli
from experiments.words.quality import reached_at
from experiments.words.task import Words
from tests.experiments.browser import expect_readable
from tests.experiments.html import linked_cells
from tests.experiments.words.text import write_text

pytestmark = pytest.mark.slow

TINY = """
from experiments.words.config import WordsConfig

def get_config():
    return WordsConfig(
        data_path=({path!r},), variants=("full", "huffman"), vocabulary=60, passage=100,
        held_out=5, features=8, context=1, window=2, seeds=2, steps=60, batch_size=32,
        evaluations=3, trials=1, learning_rate_low=0.3, num_sampled=10, negatives=5,
        validation_words=256, test_words=300, speed_rounds=2, scaling=(50, 100),
        scaling_logits=2000, checkpoint_seconds=0.0,
    )
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("configs")
    path = folder / "tiny.py"
    path.write_text(TINY.format(path=str(write_text(folder / "text.txt"))))
    return path


@pytest.fixture(scope="module")
def finished(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was cut off in the middle of its second variant, and gone on with."""
    out = tmp_path_factory.mktemp("runs") / "run"
    command = ["compare", str(config), "--out", str(out)]
    batch, asked = Words.batch, []

    def stopping(self: Words, seed: int, step: int) -> Any:
        asked.append(step)
        # The first variant is finished; of the second, the blocks of 20 steps before this one.
        if asked.count(45) == 3:
            raise KeyboardInterrupt
        return batch(self, seed, step)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Words, "batch", stopping)
        assert cli.main(command) == 130
    assert cli.main(command) == 0
    return out


def records(run: Path, kind: str) -> Iterator[dict[str, Any]]:
    lines = (json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines())
    return (line for line in lines if line["kind"] == kind)


def results_of(run: Path) -> Any:
    return json.loads((run / "results.json").read_text())


def test_heads_learn_the_next_word_and_the_report_has_its_parts(finished: Path) -> None:
    results = results_of(finished)
    assert [(c["name"], c["status"]) for c in results["contenders"]] == [
        ("full", "trained"),
        ("huffman", "trained"),
    ]
    for c in results["contenders"]:
        curve = c["curves"]["metrics"]["nll"]["estimate"]
        # Half of the words follow from the one before.
        assert curve[-1] < 0.9 * curve[0]
    assert list(results["more"]) == ["text", "quality", "frequency", "growth"]
    assert results["more"]["text"]["vocabulary"] == 60
    page = (finished / "report.html").read_text()
    for part in ("text", "quality", "frequency", "growth"):
        assert f'<section id="{part}">' in page
    for name in ("by_frequency", "step_milliseconds", "step_megabytes"):
        assert "huffman" in (finished / "plots" / f"{name}.svg").read_text()
    for name in ("quality", "frequency", "growth"):
        assert "huffman" in (finished / "tables" / f"{name}.csv").read_text()


def test_every_number_of_the_page_leads_to_its_records(finished: Path) -> None:
    found = linked_cells((finished / "report.html").read_text())
    own = {"#records-full", "#records-huffman"}
    assert {target for _, target in found} == own | {
        f"#records-more/vocabulary-{classes}" for classes in (50, 100)
    }
    for heading in ("Words/s", "1–10"):
        assert {target for h, target in found if h == heading} == own
    for classes in (50, 100):
        of_size = {t for h, t in found if h in (f"ms at {classes}", f"MB at {classes}")}
        assert of_size == {f"#records-more/vocabulary-{classes}"}


def test_a_run_that_was_cut_off_ends_as_one_that_was_not(
    config: Path, finished: Path, tmp_path: Path
) -> None:
    """The rows' sums of squares and their counts are part of the states that are saved."""
    out = tmp_path / "run"
    whole = ["compare", str(config), "--out", str(out), "--speed-rounds", "0", "--scaling"]
    assert cli.main(whole) == 0
    digests = [
        [r["digest"] for r in records(run, "outcome") if "digest" in r] for run in (finished, out)
    ]
    assert digests[0] == digests[1]
    (data,) = records(out, "data")
    assert data["digest"]


def test_frequencies_divide_the_test_words_and_average_to_the_nll(finished: Path) -> None:
    tests = list(records(finished, "test"))
    assert len(tests) == 4
    for test in tests:
        parts = test["buckets"].values()
        assert sum(part["words"] for part in parts) == 300
        total = sum(part["words"] * part["nll"] for part in parts if part["words"])
        assert total / 300 == pytest.approx(test["metrics"]["nll"], rel=1e-9)
    full, huffman = results_of(finished)["more"]["frequency"]
    for one, other in zip(full["buckets"], huffman["buckets"], strict=True):
        if other["difference"]:
            expected = other["nll"]["estimate"] - one["nll"]["estimate"]
            assert other["difference"]["estimate"] == pytest.approx(expected, abs=1e-9)


def test_large_sizes_are_left_out_for_heads_that_work_out_all_logits(finished: Path) -> None:
    heads = results_of(finished)["more"]["growth"]
    sizes = {h["name"]: [s["classes"] for s in h["sizes"]] for h in heads}
    assert sizes == {"full": [50], "huffman": [50, 100]}
    parameters = {h["name"]: h["sizes"][0]["head_bytes"] for h in heads}
    assert parameters == {"full": 4 * 50 * 9, "huffman": 4 * 49 * 9}


def test_time_to_a_quality_is_steps_over_their_rate(finished: Path) -> None:
    results = results_of(finished)
    full, huffman = results["more"]["quality"]["contenders"]
    rates = [c["steps_per_second"]["estimate"] for c in results["contenders"]]
    assert full["seconds"] == pytest.approx(full["steps"]["estimate"] / rates[0])
    # 2 seeds of 32 words in a step.
    assert huffman["words_per_second"]["estimate"] == pytest.approx(64 * rates[1])
    assert full["ratio"] is None


def test_a_level_is_reached_between_evaluations_or_by_the_first() -> None:
    steps, nlls = [10, 20, 30], [4.0, 3.0, 2.0]
    assert reached_at(steps, nlls, 2.25) == (27.5, False)
    assert reached_at(steps, nlls, 3.0) == (20.0, False)
    assert reached_at(steps, nlls, 5.0) == (10.0, True)
    assert reached_at(steps, nlls, 1.0) is None


def test_a_run_does_not_go_on_with_another_text(
    config: Path, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (finished / "metrics.jsonl").read_bytes()
    text = config.parent / "text.txt"
    content = text.read_text()
    text.write_text(content.replace("w1 ", "w2 ", 1))
    try:
        assert cli.main(["compare", str(config), "--out", str(finished)]) == 2
    finally:
        text.write_text(content)
    assert f"the data of {finished} have changed since the run began" in capsys.readouterr().err
    assert (finished / "metrics.jsonl").read_bytes() == before


def test_the_page_is_readable_in_a_browser(finished: Path, tmp_path: Path) -> None:
    expect_readable(finished / "report.html", tmp_path)
