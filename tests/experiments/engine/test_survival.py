"""A run of the engine survives kills, signals, damaged checkpoints and infinite losses."""

import dataclasses
import re
import signal
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import cli
from experiments.checkpoints import CHECKPOINTS, Checkpoints
from experiments.config_files import load_config
from experiments.digits.config import DigitsConfig
from experiments.digits.task import Digits
from experiments.engine.programs import NEVER, State, step_function
from experiments.engine.rule import optimizer
from experiments.engine.weights import STATES
from experiments.run_directory import METRICS
from tests.experiments.disk import fill
from tests.experiments.killing import (
    assert_refuses_another,
    kill_in_a_row,
    newest_state,
    records,
    run_whole,
    running,
)

TINY = """
from experiments.digits.config import DigitsConfig

def get_config():
    return DigitsConfig(
        variants=("sparsemax",), seeds=2, hidden=(), steps=800, evaluations=20, trials=2,
        tuning_seeds=1, tuning_steps=200, learning_rate_low=0.01, learning_rate_high=0.1,
        checkpoint_seconds=0, speed_rounds=1,
    )
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("configs") / "tiny.py"
    path.write_text(TINY)
    return path


def assert_same_runs(one: Path, other: Path) -> None:
    assert records(one) == records(other)
    # The records hold a digest of the last weights, whose states are gone.
    digests = re.findall(r'"digest": "(\w{64})"', (one / METRICS).read_text())
    assert len(set(digests)) == 2
    assert not list((one / STATES).rglob(CHECKPOINTS))


def went_on_from(said: str) -> list[tuple[str, int]]:
    found = re.findall(r"(\S+): goes on from step ([\d,]+)", said)
    return [(name, int(step.replace(",", ""))) for name, step in found]


@pytest.mark.slow
def test_a_comparison_that_is_stopped_in_every_way_ends_as_one_that_is_not(
    config: Path, tmp_path: Path
) -> None:
    out, log = tmp_path / "run", tmp_path / "log"
    # Nothing is tuned or timed, which takes longer to compile.
    arguments = ["compare", str(config), "--trials", "1", "--speed-rounds", "0"]
    start_seconds = run_whole(arguments, tmp_path / "whole")
    for number, code in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
        with running(arguments, out, log) as process:
            wanted = process.blocks + 3
            process.wait_for(lambda p=process, n=wanted: p.blocks >= n)  # type: ignore[misc]
            if number == signal.SIGTERM:
                assert_refuses_another(arguments, process)
            assert process.end(number) == code, process.said
        *_, saved, last = process.said.splitlines()
        found = re.fullmatch(r"(\S+): saved step (\d+)", saved)
        assert found is not None, process.said
        again = " ".join(["python -m experiments", *arguments, "--out", str(out)])
        assert last == f"interrupted; repeat `{again}` to go on where it stopped"
        saved_at = (found[1], int(found[2]))
    said = kill_in_a_row(1, arguments, out, start_seconds)
    assert went_on_from(said)[0] == saved_at
    assert_same_runs(out, tmp_path / "whole")


@pytest.mark.slow
def test_a_comparison_killed_twenty_times_ends_as_one_never_killed(
    config: Path, tmp_path: Path
) -> None:
    arguments = ["compare", str(config)]
    start_seconds = run_whole(arguments, tmp_path / "whole")
    said = kill_in_a_row(20, arguments, tmp_path / "run", start_seconds)
    # It went on from many states.
    assert len(set(went_on_from(said))) >= 8
    assert_same_runs(tmp_path / "run", tmp_path / "whole")


@pytest.mark.slow
def test_a_training_killed_twenty_times_ends_as_one_never_killed(
    config: Path, tmp_path: Path
) -> None:
    """`train` saves at its evaluations, whatever the clock says, and keeps its last states."""
    flags = ["--seeds", "2", "--steps", "4000", "--evaluations", "200"]
    arguments = ["train", str(config), *flags, "--checkpoint-seconds", "1000"]
    start_seconds = run_whole(arguments, tmp_path / "whole")
    said = kill_in_a_row(20, arguments, tmp_path / "run", start_seconds)
    assert len(set(went_on_from(said))) >= 8
    one, other = (tmp_path / name / STATES / "sparsemax" for name in ("run", "whole"))
    assert records(tmp_path / "run") == records(tmp_path / "whole")
    assert newest_state(one) == newest_state(other)
    # Nothing is left of the checkpoints that were being written.
    kept = [sorted(path.name for path in (at / CHECKPOINTS).iterdir()) for at in (one, other)]
    assert kept == [["3980", "4000"]] * 2


def stopped_after_saving(step: int, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs a command that is interrupted as soon as a step is on the disk."""
    save = Checkpoints.save

    def interrupted(self: Checkpoints, number: int, state: Any) -> None:
        save(self, number, state)
        if number == step:
            self.wait()
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", interrupted)
        assert cli.main(arguments) == 130


@pytest.mark.slow
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_taken(
    config: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ["train", str(config), "--steps", "100", "--evaluations", "5", "--out"]
    assert cli.main([*command, str(tmp_path / "whole")]) == 0
    out = tmp_path / "run"
    stopped_after_saving(60, [*command, str(out)], monkeypatch)
    of_run = out / STATES / "sparsemax" / CHECKPOINTS
    manifest = of_run / "60" / "default" / "manifest.ocdbt"
    manifest.write_bytes(manifest.read_bytes()[:20])
    capsys.readouterr()
    assert cli.main([*command, str(out)]) == 0
    said = capsys.readouterr().err
    assert f"the checkpoint {of_run / '60'} cannot be read (" in said
    assert "moved to unreadable-60, going on from step 40\n" in said
    assert "sparsemax: goes on from step 40\n" in said
    assert records(out) == records(tmp_path / "whole")
    assert newest_state(out / STATES / "sparsemax") == newest_state(
        tmp_path / "whole" / STATES / "sparsemax"
    )


@pytest.mark.slow
def test_a_disk_that_fills_up_ends_the_run_with_one_line_and_it_goes_on_later(
    config: Path,
    small_disk: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    command = ["train", str(config), "--steps", "100", "--evaluations", "5", "--out"]
    assert cli.main([*command, str(tmp_path / "whole")]) == 0
    out, filling, save = small_disk / "run", small_disk / "filling", Checkpoints.save

    def on_a_full_disk(self: Checkpoints, step: int, state: Any) -> None:
        if step == 60:
            self.wait()
            with filling.open("wb") as file:
                fill(file.fileno())
        save(self, step, state)

    monkeypatch.setattr(Checkpoints, "save", on_a_full_disk)
    capfd.readouterr()
    assert cli.main([*command, str(out)]) == 2
    monkeypatch.undo()
    *_, line = capfd.readouterr().err.splitlines()
    assert line.startswith(f"error: {out}/")
    assert " cannot be written: No space left on device; what was written before is" in line
    assert {f"sparsemax/{step}" for step in (20, 40, 60)} <= set(records(out))
    filling.unlink()
    assert cli.main([*command, str(out)]) == 0
    assert "sparsemax: goes on from step 40\n" in capfd.readouterr().err
    assert records(out) == records(tmp_path / "whole")
    of_run = Path(STATES) / "sparsemax"
    assert newest_state(out / of_run) == newest_state(tmp_path / "whole" / of_run)


def test_a_loss_that_is_not_finite_ends_train_at_its_step_for_good(
    config: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, batch = tmp_path / "run", Digits.batch

    def damaged(task: Digits, seed: int, step: int) -> Any:
        images, labels = batch(task, seed, step)
        return np.where((seed == 1) & (step + 1 == 47), np.nan, images), labels

    monkeypatch.setattr(Digits, "batch", damaged)
    command = ["train", str(config), "--steps", "100", "--evaluations", "5", "--out", str(out)]
    command += ["--seeds", "2"]
    assert cli.main(command) == 1
    *_, line = capsys.readouterr().err.splitlines()
    assert line == f"error: {out}: sparsemax diverged: not finite from step 47 on (seeds 1)"
    # The last state before it is kept, for a run that is looked into.
    kept = out / STATES / "sparsemax" / CHECKPOINTS
    assert sorted(int(path.name) for path in kept.iterdir()) == [20, 40]
    for name, held in newest_state(out / STATES / "sparsemax").items():
        if "params" in name:
            assert np.isfinite(np.frombuffer(held, np.float32)).all()
    monkeypatch.undo()
    before = (out / "metrics.jsonl").read_bytes()
    assert cli.main(command) == 1
    assert capsys.readouterr().err.splitlines()[-1] == line
    assert (out / "metrics.jsonl").read_bytes() == before
    assert sorted(int(path.name) for path in kept.iterdir()) == [20, 40]


def test_weights_that_overflow_are_lost_at_once(config: Path) -> None:
    """A state is never saved as a good one because its loss was still finite."""
    loaded = load_config(config)
    assert isinstance(loaded, DigitsConfig)
    one = dataclasses.replace(loaded, optimizer="sgd")
    task, (variant,) = one.make_task(), one.chosen_variants()
    step = jax.jit(step_function(task, one, variant.settings))
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], task.initial(0, variant.settings))
    # What SGD remembers is large, and so is its rate; their product overflows.
    memory = jax.tree.map(lambda leaf: leaf + 10.0, jax.vmap(optimizer(one).init)(params))
    state = State(params, memory, jnp.full(1, NEVER, jnp.int32))
    batch = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], task.batch(0, 0))
    rates, seeds = jnp.full(1, 3e38, jnp.float32), jnp.zeros(1, jnp.int32)
    numbers = jnp.int32(7), jnp.float32(1.0)
    after, losses = step(state, batch, *numbers, seeds, rates, {})
    weights = jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(after.params)])
    assert jnp.isfinite(losses).all()
    assert not jnp.isfinite(weights).all()
    assert after.lost.tolist() == [7]
