"""What a task and an experiment may override: the rule of a step, and what a run has besides."""

import dataclasses
from contextlib import closing
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import softmax_variants as sv
from experiments import mesh as meshes
from experiments.config_files import EXPERIMENTS
from experiments.engine import comparison
from experiments.engine.candidates import Candidate
from experiments.engine.comparison import compare, train
from experiments.engine.config import Blocks
from experiments.engine.extras import Extra, Part
from experiments.engine.programs import compile_programs, groups_of
from experiments.engine.report import write_report
from experiments.engine.rule import Rule, Stepped
from experiments.engine.standing import is_timed, is_wanted
from experiments.engine.task import Judgement, Task, Variant
from experiments.engine.training import Training, models_of
from experiments.engine.weights import trained_weights
from experiments.errors import UserError
from experiments.progress import Display
from experiments.run_directory import RunDirectory, read_blocks, read_json
from tests.experiments.engine.tiny import CONFIG, SOFTMAX, Linear, TinyConfig


class Sign(Rule):
    """Moves every weight by the learning rate against its gradient; counts its steps."""

    def begin(self, params: Any) -> Any:
        return jnp.zeros((), jnp.int32)

    def step(
        self, params: Any, memory: Any, batch: Any, key: Any, rate: Any, values: Any
    ) -> Stepped:
        def of_weight(weight: Any) -> Any:
            return jnp.mean(sv.cross_entropy_loss(batch[0] @ weight, batch[1]))

        loss, gradient = jax.value_and_grad(of_weight)(params["weight"])
        weight = params["weight"] - rate * jnp.sign(gradient)
        return Stepped({"weight": weight}, memory + 1, loss, jnp.isfinite(loss))


class Signed(Linear):
    def rule(self, settings: Any) -> Rule:
        return Sign()

    def shown(self, params: Any, settings: Any, values: Any) -> dict[str, Any]:
        return {"largest": float(np.abs(params["weight"]).max())}


@dataclasses.dataclass(frozen=True)
class HookedConfig(TinyConfig):
    breaks: int = 0

    def make_task(self) -> Task:
        return Signed(self.batch_size, self.bad_step)

    def extras(self) -> list[Extra]:
        def work(run: RunDirectory[Any]) -> list[dict[str, Any]]:
            if self.breaks:
                raise ValueError("no measure")
            return [{"kind": "count", "blocks": len(run.blocks)}]

        return [Extra("count", work)]

    def parts(self, results: dict[str, Any], blocks: Blocks) -> list[Part]:
        found = [r for r in blocks.get("more/count", ()) if r["kind"] == "count"]
        names = ", ".join(c["name"] for c in results["contenders"])
        return [
            Part(
                name="count",
                title="Blocks of the run",
                body=f"<p>of {names}</p>",
                findings=["`softmax` was counted."],
                figures={"blocks": found[0]["blocks"] if found else None},
                tables={"count.csv": "blocks\n1\n"},
                markdown="| blocks |",
            )
        ]


HOOKED = HookedConfig(**{f.name: getattr(CONFIG, f.name) for f in dataclasses.fields(CONFIG)})


def last_state(
    config: Any, task: Task, variant: Variant, seeds: range, rate: float = 0.25, devices: int = 1
) -> tuple[Any, Training]:
    models = models_of(variant, [Candidate(rate, {})], seeds)
    mesh = meshes.make_mesh(devices, devices=jax.devices()[:devices])
    programs = compile_programs(
        task, config, variant.settings, variant.program[1], len(seeds), config.steps, mesh
    )
    training = Training(task, config, variant.settings, models, config.steps, programs, mesh)
    last = None
    for progress in training.run(training.begin(), 0, lambda _: None):
        last = jax.tree.map(np.array, progress.saved.state)
    return last, training


def test_a_rule_of_the_task_takes_the_place_of_the_gradients() -> None:
    config, task = dataclasses.replace(HOOKED, schedule="constant"), Signed()
    state, _ = last_state(config, task, SOFTMAX, range(2))
    np.testing.assert_array_equal(state.memory, [config.steps] * 2)
    for seed in range(2):
        weight = np.asarray(task.initial(seed, {})["weight"], np.float64)
        for step in range(config.steps):
            inputs, labels = task.batch(seed, step)
            scores = inputs @ weight
            chances = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
            chances[np.arange(len(labels)), labels] -= 1
            weight -= 0.25 * np.sign(inputs.T @ chances)
        np.testing.assert_allclose(state.params["weight"][seed], weight, atol=1e-6)


@pytest.mark.parametrize(
    ("at_once", "devices", "groups"), [(1, 1, 4), (2, 1, 2), (3, 1, 2), (1, 2, 2)]
)
def test_groups_of_models_are_trained_as_all_of_them_together(
    at_once: int, devices: int, groups: int
) -> None:
    config = dataclasses.replace(CONFIG, seeds=4)
    whole, training = last_state(config, Linear(), SOFTMAX, range(4))
    grouped = dataclasses.replace(config, models_at_once=at_once)
    parts, of_groups = last_state(grouped, Linear(), SOFTMAX, range(4), devices=devices)
    # 3 do not divide 4 evenly: groups of 2.
    assert groups_of(grouped, 4, of_groups.mesh) == groups
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), whole, parts)
    judged = [training.judge(whole.params, "test"), of_groups.judge(parts.params, "test")]
    for one, other in zip(*judged, strict=True):
        assert one.metrics == pytest.approx(other.metrics, rel=1e-6)


@pytest.mark.slow
def test_an_experiment_adds_measurements_and_parts_of_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(EXPERIMENTS, "tiny", HookedConfig)
    run, display = tmp_path / "run", Display()
    assert compare(HOOKED, run, display)
    blocks, _, _ = read_blocks(run / "metrics.jsonl")
    count, ending = blocks["more/count"]
    assert count["blocks"] == len(blocks) - 1
    finished = {"kind": "outcome", "contender": "count", "status": "finished", "why": ""}
    assert ending == {**finished, "of": ["softmax", "again"]}
    tables = write_report(run)
    assert tables[-1] == "| blocks |"
    results = read_json(run / "results.json")
    assert results["more"] == {"count": {"blocks": count["blocks"]}}
    largest = next(r["largest"] for r in blocks["softmax"] if r["kind"] == "shown")
    assert results["contenders"][0]["shown"] == {"largest": largest}
    assert largest > 0
    page, text = (run / "report.html").read_text(), (run / "report.md").read_text()
    assert '<section id="count"><h2>Blocks of the run</h2><p>of softmax, again</p>' in page
    assert "<code>softmax</code> was counted." in page
    assert "- `softmax` was counted." in text
    assert "## Blocks of the run\n\n| blocks |" in text
    assert (run / "tables" / "count.csv").read_text() == "blocks\n1\n"
    assert not compare(HOOKED, run, display)


def test_a_measurement_that_fails_says_why_and_is_made_again_where_asked(tmp_path: Path) -> None:
    run, display = tmp_path / "run", Display()
    config = dataclasses.replace(HOOKED, speed_rounds=0, trials=1, names=("softmax",))
    broken = dataclasses.replace(config, breaks=1)
    compare(broken, run, display)
    (ending,) = read_blocks(run / "metrics.jsonl")[0]["more/count"]
    assert (ending["status"], ending["why"]) == ("failed", "ValueError: no measure")
    assert not compare(broken, run, display)
    assert compare(broken, run, display, retry_failed=True)


@pytest.mark.slow
def test_the_weights_of_a_trained_model_are_read_without_its_programs(tmp_path: Path) -> None:
    config, run = CONFIG.of_one("again", seeds=2), tmp_path / "run"
    with pytest.raises(UserError, match="has no checkpoint that can be read yet"):
        trained_weights(run, config, config.make_task())
    train(config, run, Display())
    variant, step, params = trained_weights(run, config, config.make_task())
    assert (variant.name, step) == ("again", config.steps)
    rate = read_blocks(run / "metrics.jsonl")[0]["again"][-1]["learning_rate"]
    expected, _ = last_state(config, config.make_task(), variant, range(2), rate)
    np.testing.assert_array_equal(params["weight"], expected.params["weight"][0])


@pytest.mark.slow
def test_training_takes_the_program_of_tuning_where_models_and_blocks_are_as_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[tuple[int, int]] = []

    def counted(*arguments: Any) -> Any:
        compiled.append(arguments[4:6])
        return compile_programs(*arguments)

    monkeypatch.setattr(comparison, "compile_programs", counted)
    # Two models in both, and two steps between evaluations: 40 // 20 and 40 // 20.
    same = dataclasses.replace(CONFIG, names=("softmax",), steps=40, evaluations=20)
    compare(dataclasses.replace(same, tuning_steps=40), tmp_path / "same", Display())
    assert compiled == [(2, 40)]
    compare(dataclasses.replace(same, tuning_steps=20), tmp_path / "other", Display())
    assert compiled[1:] == [(2, 20), (2, 40)]


class Detailed(Linear):
    def judge(self, outputs: Any, examples: Any) -> Judgement:
        return super().judge(outputs, examples)._replace(details={"sum": float(outputs.sum())})


@dataclasses.dataclass(frozen=True)
class DetailedConfig(TinyConfig):
    def make_task(self) -> Task:
        return Detailed(self.batch_size, self.bad_step)


@pytest.mark.slow
def test_details_of_a_lost_seed_do_not_fail_its_variant(tmp_path: Path) -> None:
    fields = {f.name: getattr(CONFIG, f.name) for f in dataclasses.fields(CONFIG)}
    config = DetailedConfig(**{**fields, "trials": 1, "speed_rounds": 0, "bad_step": 1})
    compare(config, tmp_path / "run", Display())
    *tests, ending = read_blocks(tmp_path / "run" / "metrics.jsonl")[0]["softmax"]
    assert ending["status"] == "diverged"
    assert [test["metrics"]["nll"] for test in tests] == [None, None]


def test_measurements_stand_until_a_variant_is_trained(tmp_path: Path) -> None:
    path, display = tmp_path / "run", Display()
    config = dataclasses.replace(HOOKED, trials=1, speed_rounds=2)
    compare(config, path, display)
    with closing(RunDirectory.open(path, config)) as run:
        variants = config.chosen_variants()
        assert is_timed(run, variants)
        assert not is_wanted(run, "more/count", config, retry_failed=False)
        assert is_wanted(run, "more/other", config, retry_failed=False)
        # As if the second had failed before, and had been trained again since then.
        timed = [r for r in run.blocks["speed"] if r["contender"] == "softmax"]
        run.append("speed", timed)
        *records, ending = run.blocks["more/count"]
        run.append("more/count", [*records, {**ending, "of": ["softmax"]}])
        assert not is_timed(run, variants)
        assert is_wanted(run, "more/count", config, retry_failed=False)
    assert compare(config, path, display)
    blocks = read_blocks(path / "metrics.jsonl")[0]
    assert {r["contender"] for r in blocks["speed"]} == {"softmax", "again"}
    assert blocks["more/count"][-1]["of"] == ["softmax", "again"]
    assert not compare(config, path, display)
