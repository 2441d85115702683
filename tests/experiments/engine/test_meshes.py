"""The same run on other devices: split over any axis, and continued on another number of them."""

import dataclasses
import re
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from experiments import distributed
from experiments import mesh as meshes
from experiments.config_files import load_config
from experiments.engine import comparison
from experiments.engine.config import EngineConfig
from experiments.engine.placement import mesh_of
from experiments.engine.programs import compile_programs
from experiments.errors import UserError
from experiments.progress import Display
from experiments.run_directory import METRICS, read_blocks
from tests.experiments import processes
from tests.experiments.engine import wide
from tests.experiments.engine.same_run import assert_same, measured
from tests.experiments.engine.wide import get_config


def config_on(**sizes: Any) -> EngineConfig:
    return dataclasses.replace(get_config(), **({"mesh_seeds": 1} | sizes))


@pytest.fixture(scope="module")
def on_one(tmp_path_factory: pytest.TempPathFactory) -> dict[Any, dict[str, float]]:
    """The run of both variants on one device."""
    out = tmp_path_factory.mktemp("one")
    assert comparison.compare(config_on(), out, Display())
    found = measured(out)
    # Four models of two variants, three evaluations and a test; training moves them.
    assert len(found) == 2 * 4 * 4
    for name in ("linear", "sparse"):
        assert found[name, 0, 12]["nll"] < found[name, 0, 4]["nll"] - 0.1
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    "sizes",
    [{"mesh_seeds": 4, "mesh_data": 2}, {"mesh_data": 4, "mesh_classes": 2}],
    ids=["seeds-data", "data-classes"],
)
def test_eight_devices_give_what_one_gives(
    sizes: dict[str, int], on_one: dict[Any, dict[str, float]], tmp_path: Path
) -> None:
    assert comparison.compare(config_on(**sizes), tmp_path / "run", Display())
    assert_same(measured(tmp_path / "run"), on_one)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"mesh_seeds": 8}, r"mesh_seeds: expected a divisor of seeds \(4\), got 8"),
        ({"mesh_data": 3}, r"mesh_data: expected a divisor of batch_size \(8\), got 3"),
        ({"mesh_classes": 3}, r"a divisor of the classes of partition\['table'\] \(32\), got 3"),
        ({"mesh_seeds": 2, "trials": 3, "tuning_seeds": 1}, r"trials times tuning_seeds \(3\)"),
    ],
)
def test_what_the_devices_cannot_share_is_an_error_before_the_run(
    sizes: dict[str, int], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        comparison.compare(config_on(**sizes), tmp_path / "run", Display())
    assert not (tmp_path / "run").exists()


def test_devices_for_classes_that_no_weight_has_are_an_error() -> None:
    rings = load_config(processes.ROOT / "configs" / "rings.py")
    assert isinstance(rings, EngineConfig)
    config = dataclasses.replace(rings, mesh_classes=2)
    message = "mesh_classes: expected 1, for Rings.partition shares no weights, got 2"
    with pytest.raises(UserError, match=message):
        mesh_of(config, config.make_task(), config.make_variants())


@pytest.mark.parametrize(
    ("changes", "seeds"),
    [
        ({}, 4),
        ({"mesh_data": 4}, 2),
        ({"mesh_data": 0}, 1),
        ({"seeds": 3}, 3),
        ({"trials": 3, "tuning_seeds": 2}, 2),
    ],
)
def test_seeds_are_shared_by_as_many_devices_as_can(changes: dict[str, int], seeds: int) -> None:
    config = config_on(mesh_seeds=0, **changes)
    assert mesh_of(config, config.make_task(), config.make_variants()).shape["seeds"] == seeds


@pytest.mark.parametrize("name", ["linear", "sparse"])
def test_the_table_of_the_classes_stays_in_parts(name: str) -> None:
    """Neither weights, gradients nor scores of all classes come together on a device."""
    config = config_on(mesh_data=4, mesh_classes=2)
    (variant,) = config.of_one(name).chosen_variants()
    mesh, task = meshes.make_mesh(data=4, classes=2), config.make_task()
    shapes = variant.program[1]
    programs = compile_programs(task, config, variant.settings, shapes, 4, config.steps, mesh)
    text = programs.steps.as_text()  # type: ignore[attr-defined] # a compiled program has it
    assert "all-reduce(" in text
    assert re.findall(r"all-gather\(|all-to-all\(|collective-permute\(", text) == []
    weights = np.zeros((4, wide.CLASSES, wide.FEATURES), np.float32)
    body = np.zeros((4, wide.FEATURES, wide.FEATURES), np.float32)
    params = meshes.place({"body": body, "table": weights}, programs.shardings.params)
    halves = (4, wide.CLASSES // 2, wide.FEATURES)
    state = programs.begin(params)
    of_table = [leaf for leaf in jax.tree.leaves(state) if leaf.shape == weights.shape]
    # The weights, and the two averages of Adam.
    assert [leaf.addressable_shards[0].data.shape for leaf in of_table] == [halves] * 3


# Process 1 is gone at the last evaluation; the first checkpoint is then whole.
KILLED = """
import os
import signal
import time
import sys

import jax

from experiments import cli
from experiments.run_directory import RunDirectory

append = RunDirectory.append


def append_or_die(self, block, records):
    if block == "linear/12" and jax.process_index() == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    append(self, block, records)


RunDirectory.append = append_or_die
sys.exit(cli.main())
"""


def in_two(out: Path, *program: str) -> list[processes.Ended]:
    """Trains one variant in two processes of two devices, which share the examples."""
    command = ["train", str(Path(wide.__file__)), "--out", str(out), "--seeds", "4"]
    return processes.run([*program, *command, "--mesh.data", "2", "--mesh.classes", "2"])


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[processes.Ended]]:
    """A run of two processes of which one was killed."""
    out = tmp_path_factory.mktemp("killed") / "run"
    return out, in_two(out, "-c", KILLED)


def of_linear(found: dict[Any, Any], last: int | None = None) -> dict[Any, Any]:
    """What was measured of one variant, altogether or up to a step."""
    return {
        place: numbers
        for place, numbers in found.items()
        if place[0] == "linear" and (last is None or (place[2] or last + 1) <= last)
    }


@pytest.mark.slow
def test_a_lost_process_ends_the_others_and_other_devices_go_on(
    killed: tuple[Path, list[processes.Ended]],
    on_one: dict[Any, dict[str, float]],
    tmp_path: Path,
) -> None:
    out, (first, second) = killed
    assert second.code == -signal.SIGKILL
    assert first.code == distributed.LOST, first.err
    assert re.search("error: process 0 of 2: the run has ended: .* process was lost", first.err)
    # One process tells and writes; the other is quiet.
    assert second.err == ""
    # What was lost is no failure of the variant.
    assert '"failed"' not in (out / METRICS).read_text()
    # Whether the first writes the last evaluation, too, is a race.
    assert_same(of_linear(measured(out), last=8), of_linear(on_one, last=8))

    elsewhere = shutil.copytree(out, tmp_path / "elsewhere")
    assert list(elsewhere.glob("states/linear/checkpoints/[48]"))
    on_eight = config_on(mesh_data=4, mesh_classes=2).of_one("linear")
    assert comparison.train(on_eight, elsewhere, Display())
    assert_same(measured(elsewhere), of_linear(on_one))


@pytest.mark.slow
def test_two_processes_go_on_after_one_was_lost(
    killed: tuple[Path, list[processes.Ended]],
    on_one: dict[Any, dict[str, float]],
    tmp_path: Path,
) -> None:
    out = shutil.copytree(killed[0], tmp_path / "run")
    first, second = in_two(out, "-m", "experiments")
    assert (first.code, second.code, second.err) == (0, 0, ""), first.err
    assert "linear: goes on from step" in first.err
    assert_same(measured(out), of_linear(on_one))


@pytest.mark.slow
def test_a_signal_to_one_process_saves_and_ends_all(tmp_path: Path) -> None:
    out, port = tmp_path / "run", processes.free_port()
    command = ["-m", "experiments", "train", str(Path(wide.__file__)), "--out", str(out)]
    command += ["--steps", "100000", "--evaluations", "1000", "--mesh.data", "4"]
    started = [
        processes.start([*command, *processes.manual(process, 2, port)], 2) for process in (0, 1)
    ]
    deadline = time.monotonic() + processes.SECONDS
    while not list(out.glob("states/linear/checkpoints/*00")) and time.monotonic() < deadline:
        time.sleep(0.2)
    started[1].send_signal(signal.SIGTERM)
    ended = processes.ends(started)
    assert [process.code for process in ended] == [143, 143]
    assert all("interrupted; repeat `python -m experiments train" in one.err for one in ended)
    # All that is there is whole: what is not has a name that is no number.
    saved = [int(step.name) for step in (out / "states/linear/checkpoints").iterdir()]
    assert max(saved) > 100


# `sparse` cannot be compiled in process 1; process 0 alone could go on, and would wait for ever.
BROKEN = """
import sys

import jax

from experiments import cli
from experiments.engine import comparison

compiled = comparison.compile_programs


def compile_or_fail(task, config, settings, *others):
    if jax.process_index() == 1 and settings["loss"].__name__ == "sparse":
        raise ValueError("no such\\nprogram")
    return compiled(task, config, settings, *others)


comparison.compile_programs = compile_or_fail
sys.exit(cli.main())
"""


@pytest.mark.slow
def test_a_variant_that_one_process_cannot_make_fails_in_all_and_the_run_goes_on(
    tmp_path: Path,
) -> None:
    out = tmp_path / "run"
    command = ["compare", str(Path(wide.__file__)), "--out", str(out), "--seeds", "4"]
    first, second = processes.run(["-c", BROKEN, *command, "--mesh.data", "2"])
    assert (first.code, second.code, second.err) == (0, 0, ""), first.err
    blocks = read_blocks(out / METRICS)[0]
    (ending,) = blocks["sparse"]
    assert (ending["status"], ending["why"]) == ("failed", "ValueError: no such program")
    assert blocks["linear"][-1]["status"] == "trained"
