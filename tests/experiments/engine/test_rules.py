"""What a comparison promises where something is wrong with a variant, a task or a config."""

import argparse
import dataclasses
import json
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.engine import comparison
from experiments.engine.checks import check_task, note_data
from experiments.engine.comparison import compare
from experiments.engine.task import Judgement
from experiments.engine.weights import STATES
from experiments.errors import RunFailed, UserError
from experiments.overrides import add_overrides
from experiments.progress import Display
from experiments.run_directory import RunDirectory
from tests.experiments.engine.tiny import CONFIG, Linear, TinyConfig


def records(run: Path, kind: str, **wanted: Any) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == kind and wanted.items() <= line.items()]


@pytest.mark.parametrize("name", ["speed", "tune", "data", "tune/a", "a/10", "../a", "", "a b"])
def test_names_that_a_run_cannot_hold_are_refused(name: str) -> None:
    config = dataclasses.replace(CONFIG, names=("softmax", name))
    with pytest.raises(UserError, match="variants: expected names of letters"):
        config.chosen_variants()


def test_two_variants_of_one_name_are_refused() -> None:
    config = dataclasses.replace(CONFIG, names=("softmax", "a", "a"))
    with pytest.raises(UserError, match="different names, got 'a' twice"):
        config.with_reference()


def test_tuning_steps_that_the_evaluations_do_not_divide_are_refused() -> None:
    with pytest.raises(UserError, match=r"tuning_steps: expected a multiple .* \(2\), got 3"):
        dataclasses.replace(CONFIG, tuning_steps=3)
    assert dataclasses.replace(CONFIG, tuning_steps=1).steps_of_tuning == 1


def test_a_first_metric_without_a_better_cannot_choose() -> None:
    class Undecided(Linear):
        @property
        def metrics(self) -> Any:
            return {"support": "neither"}

    with pytest.raises(UserError, match=r"metrics: .* support has no better"):
        check_task(Undecided(), CONFIG)
    check_task(Undecided(), dataclasses.replace(CONFIG, trials=1))


def test_a_run_does_not_go_on_with_other_data(tmp_path: Path) -> None:
    class Dated(Linear):
        def data(self) -> dict[str, Any]:
            return {"digest": self.batch_size, "parts": (1, 2)}

    with closing(RunDirectory.open(tmp_path / "run", CONFIG)) as run:
        note_data(run, Linear())
        assert not run.blocks
        for _ in range(2):
            note_data(run, Dated(8))
        with pytest.raises(UserError, match="have changed since the run began, in digest;"):
            note_data(run, Dated(9))


def test_fields_of_ones_own_have_flags_without_a_docstring() -> None:
    parser = argparse.ArgumentParser()
    add_overrides(parser, TinyConfig)
    assert "bad step [an integer; default: -1]" in parser.format_help()


@pytest.mark.slow
def test_a_retried_variant_begins_again_and_is_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What failed may be mended: its states and curves are those of another program."""
    # With everything saved, a retry that does not begin again would go on from the last state.
    config = dataclasses.replace(CONFIG, checkpoint_seconds=0.0)
    broken = {"again": True}

    def judge(self: Linear, outputs: Any, examples: Any) -> Judgement:
        found = whole(self, outputs, examples)
        if broken["again"] and found.metrics["mass"] > 0:
            found.details["of_numpy"] = np.float32(1)
        return found

    whole = Linear.judge
    monkeypatch.setattr(Linear, "judge", judge)
    assert compare(config, tmp_path / "run", Display())
    why = [line["why"] for line in records(tmp_path / "run", "outcome", status="failed")]
    assert len(why) == 2
    assert all("not JSON serializable" in line for line in why)
    broken["again"] = False
    monkeypatch.setattr(Linear, "initial", lambda *_: {"weight": np.ones((2, 3), np.float32)})
    assert compare(config, tmp_path / "run", Display(), retry_failed=True)
    (first, *_), second = records(tmp_path / "run", "evaluation", contender="again", seed=0), None
    for line in records(tmp_path / "run", "evaluation", contender="again", seed=0, step=2):
        second = line
    assert second is not None
    assert second["train_loss"] != first["train_loss"]
    speeds = records(tmp_path / "run", "speed")
    assert {line["contender"] for line in speeds} == {"softmax", "again"}
    assert not list((tmp_path / "run" / STATES).rglob("checkpoints"))


@pytest.mark.slow
def test_what_is_lost_has_no_figures_whatever_it_predicts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = {"brier": 0.0, "accuracy": 1.0}
    monkeypatch.setattr(Linear, "judge", lambda *_: Judgement(dict(good), {}))
    assert compare(dataclasses.replace(CONFIG, bad_step=3), tmp_path / "run", Display())
    for line in records(tmp_path / "run", "trial"):
        assert set(line["validation"].values()) == {None}
    for line in records(tmp_path / "run", "test"):
        assert set(line["metrics"].values()) == {None}
    of_step = {line["step"]: line["validation"] for line in records(tmp_path / "run", "evaluation")}
    assert of_step == {2: good, 4: dict.fromkeys(good)}


@pytest.mark.slow
def test_train_that_is_lost_shows_no_half_trained_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = Linear.batch

    def bad_for_one(self: Linear, seed: int, step: int) -> Any:
        inputs, labels = batch(self, seed, step)
        return (inputs * np.inf if (seed, step) == (1, 2) else inputs), labels

    monkeypatch.setattr(Linear, "batch", bad_for_one)
    config = CONFIG.of_one("again")
    with pytest.raises(RunFailed, match=r"again diverged: not finite from step 3 on \(seeds 1\)"):
        comparison.train(config, tmp_path / "run", Display())
    assert records(tmp_path / "run", "test") == []
    # With `compare` the other seed is trained to its end.
    assert compare(config, tmp_path / "other", Display())
    tests = {line["seed"]: line["metrics"] for line in records(tmp_path / "other", "test")}
    assert tests[0]["brier"] is not None
    assert tests[1]["brier"] is None
