"""A comparison from end to end: it learns, repeats, resumes, and keeps what failed in view."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
import types
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from experiments import cli
from experiments.digits import contenders, objectives
from softmax_variants.variants import VARIANTS

ROOT = Path(__file__).parents[3]
TINY = """
from experiments.digits.config import DigitsConfig

def get_config():
    return DigitsConfig(
        variants=("sparsemax", "softmax_temperature_2"), seeds=2, hidden=(), steps=30,
        evaluations=3, learning_rate_low=0.01, learning_rate_high=0.1, trials=2, tuning_seeds=1,
        speed_rounds=1,
    )
"""


# Stays where it is once softmax is on the disk: a signal then meets a run that is not over.
WAITING = """
import sys
import time

from experiments import cli
from experiments.run_directory import RunDirectory

append = RunDirectory.append


def append_and_wait(self, block, records):
    append(self, block, records)
    while block == "softmax" and not (self.path / "go").exists():
        time.sleep(0.01)


RunDirectory.append = append_and_wait
sys.exit(cli.main())
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("configs") / "tiny.py"
    path.write_text(TINY)
    return path


def start(config: Path, out: Path, waiting: bool = False) -> subprocess.Popen[str]:
    """Starts a comparison in a process of its own."""
    program = ["-c", WAITING] if waiting else ["-m", "experiments"]
    command = [sys.executable, *program, "compare", str(config), "--out", str(out)]
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def finished(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    process = start(config, out)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    assert "softmax_temperature_2" in stdout
    (out.parent / "said").write_text(stderr)
    return out


def records(run: Path, timed: bool = False) -> list[dict[str, Any]]:
    """The records of a run without what is timed."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    if timed:
        return lines
    kept = [line for line in lines if line["kind"] != "speed" and line.get("block") != "speed"]
    return [{k: v for k, v in line.items() if not k.endswith("seconds")} for line in kept]


def of_kind(run: Path, kind: str, **wanted: Any) -> list[dict[str, Any]]:
    found = [line for line in records(run) if line["kind"] == kind]
    return [line for line in found if wanted.items() <= line.items()]


def outcomes(run: Path) -> dict[str, dict[str, Any]]:
    return {line["contender"]: line for line in of_kind(run, "outcome")}


def test_what_every_variant_gets_is_said_before_it_runs(finished: Path) -> None:
    first, *_ = (finished.parent / "said").read_text().splitlines()
    assert first == (
        f"{finished}: every variant gets 2 candidates with 1 seed and 30 steps each, learning "
        "rates from 0.01 to 0.1, chosen on validation data; then 2 seeds with 30 adam steps of 64 "
        "examples, cosine schedule"
    )


def test_loss_falls_and_the_model_learns(finished: Path) -> None:
    for name in ("softmax", "sparsemax", "softmax_temperature_2"):
        assert outcomes(finished)[name]["status"] == "trained"
        for seed in (0, 1):
            steps = of_kind(finished, "evaluation", contender=name, seed=seed)
            assert [line["step"] for line in steps] == [10, 20, 30]
            assert [line["examples"] for line in steps] == [640, 1280, 1920]
            assert steps[-1]["train_loss"] < 0.8 * steps[0]["train_loss"]
            assert steps[-1]["validation"]["accuracy"] > 0.6
            assert steps[1]["flops"] == 2 * steps[0]["flops"] > 1e5


def test_figures_have_the_properties_of_their_maps(finished: Path) -> None:
    support = {
        line["contender"]: line["metrics"]["support"] for line in of_kind(finished, "test", seed=1)
    }
    assert support["softmax"] == support["softmax_temperature_2"] == 10.0
    assert support["sparsemax"] < 6.0
    for line in of_kind(finished, "test"):
        assert line["metrics"]["mass"] == pytest.approx(1.0, abs=1e-5)
        assert sum(line["bins"]["count"]) == 360


def test_every_variant_takes_the_candidate_that_is_best_on_validation(finished: Path) -> None:
    for name in ("softmax", "sparsemax", "softmax_temperature_2"):
        trials = of_kind(finished, "trial", contender=name)
        assert [(t["trial"], t["seed"]) for t in trials] == [(0, 0), (1, 0)]
        assert [t["learning_rate"] for t in trials] == [0.01, pytest.approx(0.1)]
        best = min(trials, key=lambda line: line["validation"]["brier"])
        assert outcomes(finished)[name]["learning_rate"] == best["learning_rate"]


def stopped_after_one_contender(config: Path, out: Path, how: int) -> tuple[int, str]:
    """Sends a signal once a contender is finished; returns how it ended and what was on stderr."""
    process = start(config, out, waiting=True)
    metrics = out / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not (metrics.exists() and b'"block": "softmax"' in metrics.read_bytes()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(how)
    (out / "go").touch()
    _, stderr = process.communicate(timeout=60)
    return process.returncode, stderr


def test_ctrl_c_says_on_one_line_how_to_go_on(config: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    code, stderr = stopped_after_one_contender(config, out, signal.SIGINT)
    assert code == 130
    last = stderr.splitlines()[-1]
    assert f"repeat `python -m experiments compare {config} --out {out}`" in last
    assert "Traceback" not in stderr


@pytest.mark.slow
def test_a_killed_run_continues_to_the_same_figures(
    config: Path, finished: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    stopped_after_one_contender(config, out, signal.SIGKILL)
    metrics = out / "metrics.jsonl"
    trained = metrics.read_bytes()
    # What a kill in the middle of a write leaves behind.
    metrics.write_bytes(trained + b'{"kind": "tuning", "contender": "spars')

    again = start(config, out)
    _, stderr = again.communicate(timeout=120)
    assert again.returncode == 0, stderr
    assert "finished and are loaded" in stderr
    assert metrics.read_bytes().startswith(trained)
    assert records(out) == records(finished)


def test_a_finished_run_prints_its_table_and_changes_nothing(
    config: Path, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (finished / "metrics.jsonl").read_bytes()
    assert cli.main(["compare", str(config), "--out", str(finished)]) == 0
    captured = capsys.readouterr()
    assert "nothing was trained" in captured.err
    assert "sparsemax" in captured.out
    assert max(len(line) for line in captured.out.splitlines()) <= 118
    assert before == (finished / "metrics.jsonl").read_bytes()


def test_a_run_of_another_config_is_left_alone(
    config: Path, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in finished.iterdir() if path.is_file()}
    arguments = ["compare", str(config), "--out", str(finished), "--steps", "60"]
    assert cli.main(arguments) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert "steps (30 there, 60 here)" in line
    assert before == {path: path.read_bytes() for path in finished.iterdir() if path.is_file()}


def test_environment_says_what_the_run_ran_on(finished: Path) -> None:
    environment = json.loads((finished / "env.json").read_text())
    assert environment["versions"]["jax"]
    assert environment["backend"] == "cpu"
    assert {"revision", "dirty", "device", "implementations", "python"} <= set(environment)


@pytest.mark.slow
def test_variants_that_fail_or_diverge_stay_in_the_table_with_the_reason(
    config: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def broken(logits: Any, **_: Any) -> Any:
        raise NotImplementedError("the map is away today")

    row = dataclasses.replace(VARIANTS["sparsemax"], loss=None)
    rows = {
        "softmax": VARIANTS["softmax"],
        "broken": dataclasses.replace(row, name="broken", map=broken),
        "wild": dataclasses.replace(row, name="wild", map=lambda x, **_: x * jnp.inf),
        "still": dataclasses.replace(
            row, name="still", map=lambda x, **_: jnp.round(x * 0.0) + 0.1
        ),
    }
    for module in (contenders, objectives):
        monkeypatch.setattr(module, "VARIANTS", types.MappingProxyType(rows))
    flags = ["--variants", "broken", "wild", "still", "--temperatures", "--bases"]
    assert cli.main(["compare", str(config), "--out", str(tmp_path / "run"), *flags]) == 0
    captured = capsys.readouterr()
    found = outcomes(tmp_path / "run")
    assert {name: line["status"] for name, line in found.items()} == {
        "softmax": "trained",
        "broken": "failed",
        "wild": "diverged",
        "still": "unmoved",
    }
    assert "NotImplementedError: the map is away today" in found["broken"]["why"]
    assert "not finite from step 1 on (seeds 0, 1)" in found["wild"]["why"]
    assert "its gradient is zero" in found["still"]["why"]
    assert "the map is away today" in captured.err
    # All classes tie in `still`: one in ten is right by chance, and so is its accuracy.
    (test,) = of_kind(tmp_path / "run", "test", contender="still", seed=0)
    assert test["metrics"]["accuracy"] == pytest.approx(0.1)


@pytest.mark.slow
def test_learned_alpha_starts_between_its_ends_and_moves(tmp_path: Path, config: Path) -> None:
    out = tmp_path / "run"
    flags = ["--variants", "entmax_learned_nll", "--temperatures", "--bases", "--steps", "60"]
    assert cli.main(["compare", str(config), "--out", str(out), *flags]) == 0
    alphas = [t["learned"]["alpha"] for t in of_kind(out, "test", contender="entmax_learned_nll")]
    assert len(alphas) == 2
    assert all(1.0 < alpha < 2.0 for alpha in alphas)
    assert all(abs(alpha - 1.5) > 1e-3 for alpha in alphas)


def test_every_variant_starts_from_the_same_weights() -> None:
    from experiments.digits.config import DigitsConfig

    config = DigitsConfig(hidden=(8,))
    task, table = config.make_task(), {v.name: v for v in config.make_variants()}
    one, other, of_another_seed = (
        task.initial(seed, table[name].settings)["layers"]
        for seed, name in ((3, "softmax"), (3, "entmax_learned_nll"), (4, "softmax"))
    )
    for layer, twin, stranger in zip(one, other, of_another_seed, strict=True):
        np.testing.assert_array_equal(layer["weight"], twin["weight"])
        assert layer["weight"].shape == stranger["weight"].shape
        assert not np.array_equal(layer["weight"], stranger["weight"])
