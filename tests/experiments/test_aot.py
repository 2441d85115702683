"""Programs compiled for TPUs that are not there: what they need and send, what is refused."""

import dataclasses
import importlib.util
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from experiments import cli, tpu_topologies
from experiments.aot import GIB, compile_step, described, table
from experiments.aot_placing import lower, mesh_of, others_bytes
from experiments.bandit.config import BanditConfig
from experiments.collectives import Collective, collectives_of, totals
from experiments.digits.config import DigitsConfig
from experiments.engine.config import EngineConfig
from experiments.engine.placement import mesh_of as mesh_of_a_run
from experiments.engine.step import TrainingStep, training_steps
from experiments.errors import UserError
from experiments.mesh import make_mesh
from experiments.tpu_topologies import CHIPS, Topology, absent_tpu, parse_topology, topology_of

RINGS = str(Path(__file__).parents[2] / "configs" / "rings.py")
needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed"
)


@pytest.fixture(scope="module")
def v5e() -> Topology:
    return topology_of("v5e:2x2")


def step_of(
    function: Callable[..., tuple[Any, ...]], weights: tuple[int, ...], inputs: tuple[int, ...]
) -> TrainingStep:
    arguments = tuple(jax.ShapeDtypeStruct(shape, jnp.float32) for shape in (weights, inputs))
    return TrainingStep("step", function, arguments, lambda: (), (0,), inputs[0], (1,))


def descent(weights: jax.Array, inputs: jax.Array) -> tuple[jax.Array, jax.Array]:
    def loss(weights: jax.Array) -> jax.Array:
        return jnp.mean((inputs @ weights) ** 2)

    value, gradient = jax.value_and_grad(loss)(weights)
    return weights - 0.1 * gradient, value


@needs_libtpu
def test_the_gradient_is_reduced_once_and_memory_is_what_the_shapes_say(v5e: Topology) -> None:
    record = compile_step(step_of(descent, (256, 384), (512, 256)), v5e)
    assert (record["status"], record["fits"], record["devices"]) == ("compiled", True, 4)
    gradient, loss = 4 * 256 * 384, 4
    sent = record["collectives"]
    assert set(sent) == {"all-reduce"}
    assert sent["all-reduce"]["bytes"] == gradient + loss
    # Whole weights, and a fourth of the examples.
    assert record["argument_bytes"] == gradient + 4 * 512 * 256 // 4
    assert record["aliased_bytes"] == gradient
    assert gradient <= record["output_bytes"] < gradient + 4096
    # Two products of [128, 256] and [256, 384] on each device.
    assert record["flops"] == pytest.approx(2 * 2 * 128 * 256 * 384, rel=0.05)
    assert "f64" not in record["dtypes"]


@needs_libtpu
def test_an_all_gather_is_seen_with_its_shape(v5e: Topology) -> None:
    def gathered(weights: jax.Array, inputs: jax.Array) -> tuple[jax.Array, jax.Array]:
        return weights + jnp.sum(jnp.sort(inputs, axis=0)), jnp.max(inputs)

    mesh = make_mesh(data=0, devices=v5e.devices)
    compiled = lower(step_of(gathered, (8,), (64, 128)), mesh).compile()
    found = collectives_of(compiled.as_text())
    kinds = {collective.kind for collective in found}
    assert kinds & {"all-gather", "all-to-all"}, kinds
    assert totals(found) == described(compiled)["collectives"]


@needs_libtpu
@pytest.mark.parametrize("name", ["v5e:2x2", "v6e:2x2", "v5p:2x2x1"])
def test_what_is_larger_than_the_memory_does_not_fit(name: str) -> None:
    topology = topology_of(name)
    usable = topology.chip.usable

    def first(weights: jax.Array, inputs: jax.Array) -> tuple[jax.Array]:
        return (weights + inputs[0, 0],)

    def of_gib(size: float) -> dict[str, Any]:
        rows = len(topology.devices) * int(size * GIB / 4 / 1024)
        return compile_step(step_of(first, (8,), (rows, 1024)), topology)

    below, above = of_gib(usable - 0.1), of_gib(usable + 0.1)
    assert (below["fits"], above["fits"]) == (True, False)
    # The compiler says itself how much there is.
    assert above["status"] == "too large"
    said = re.search(r"exceeds available HBM \(([\d.]+)G\)", above["why"])
    assert said is not None
    assert float(said[1]) == pytest.approx(usable, abs=0.02)
    assert above["total_bytes"] == pytest.approx((usable + 0.1) * GIB, rel=1e-3)
    shown = table(topology, [below, above])
    assert "NO" in shown
    assert above["why"][:200] in shown


@needs_libtpu
def test_what_a_run_keeps_besides_has_to_fit_too(v5e: Topology) -> None:
    def first(weights: jax.Array, inputs: jax.Array) -> tuple[jax.Array]:
        return (weights + inputs[0, 0],)

    # Whole weights of 1 GiB, and a fourth of 64 KiB of examples.
    step = step_of(first, (256, 1024, 1024), (16, 1024))
    alone = compile_step(step, v5e)
    # Of two models that the step has, eight are kept, and the batches of five steps.
    few = dataclasses.replace(step, models=2, kept=8, block=5)
    kept = compile_step(few, v5e)
    assert kept["others_bytes"] == 3 * GIB + 4 * 16 * 1024 // 4 * (4 * 5 - 1)
    assert (kept["models"], kept["models_kept"], kept["batches_kept"]) == (2, 8, 5)
    assert kept["total_bytes"] == alone["total_bytes"] + kept["others_bytes"]
    assert (alone["fits"], kept["fits"]) == (True, True)
    many = compile_step(dataclasses.replace(step, kept=16), v5e)
    assert (many["status"], many["fits"]) == ("compiled", False)
    shown = table(v5e, [kept, many])
    assert "NO" in shown
    assert "!! step (compiled): the program fits, but not with the states" in shown
    assert "Models of a program: 1 or 2; a run keeps 8 or 16" in shown
    assert "the batches of 1 or 5 steps" in shown


def test_a_run_keeps_all_seeds_or_all_candidates() -> None:
    """The larger of training and tuning, and the batches of one call of its program."""
    config = DigitsConfig(
        variants=("softmax",), seeds=3, models_at_once=1, hidden=(5,), steps=60, evaluations=2
    )

    def kept(**changes: Any) -> tuple[int, int, int]:
        (step,) = training_steps(dataclasses.replace(config, **changes))
        return step.models, step.kept, step.block

    # Of 30 steps between two evaluations a call takes 15, and of tuning's 7 all.
    assert kept(trials=4, tuning_seeds=2, tuning_steps=14) == (1, 8, 7)
    assert kept(trials=2, tuning_seeds=1, tuning_steps=14) == (1, 3, 15)
    assert kept(trials=1) == (1, 3, 15)
    assert kept(trials=1, models_at_once=0) == (3, 3, 15)
    one_rate = {"learning_rate_low": 1e-3, "learning_rate_high": 1e-3}
    assert kept(trials=9, tuning_seeds=2, **one_rate) == (1, 3, 15), "nothing is tuned"


def test_what_is_kept_is_counted_where_it_lies() -> None:
    """States of six models on two devices, examples on two others."""
    config = DigitsConfig(variants=("softmax",), seeds=6, hidden=(5,), batch_size=8, trials=1)
    mesh = make_mesh(seeds=2, data=2)
    (one,) = training_steps(dataclasses.replace(config, models_at_once=1), 2)
    assert (one.models, one.kept) == (2, 6)
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(one.arguments[0]))
    batch = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(one.arguments[1]))
    assert others_bytes(one, mesh) == 2 * size // 2 + batch // 4 * (3 * one.block - 1)


@pytest.mark.parametrize(
    "fields",
    [
        {"mesh_data": 2},
        {"mesh_data": 0},
        {"mesh_seeds": 2},
        {"mesh_seeds": 3, "mesh_data": 2},
        {"seeds": 5},
        {"trials": 3, "tuning_seeds": 1},
    ],
    ids=str,
)
def test_the_mesh_is_that_of_a_run(fields: dict[str, Any]) -> None:
    config: EngineConfig = DigitsConfig(
        **{"variants": ("softmax",), "seeds": 6, "trials": 1, "batch_size": 8, **fields}
    )
    expected = mesh_of_a_run(config, config.make_task(), config.chosen_variants())
    assert mesh_of(config, jax.devices(), given=True).shape == expected.shape
    unsaid = mesh_of(config, jax.devices()).shape
    assert unsaid == (expected.shape if "mesh" in str(fields) else {**unsaid, "data": 8})


@needs_libtpu
def test_models_on_devices_of_their_own_send_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["aot", RINGS, "--filter", "softmax", "--quick", "--seeds", "4", "--trials", "1"]
    found = []
    for mesh in (
        ["--mesh.seeds", "4", "--models-at-once", "1"],
        ["--mesh.seeds", "2", "--mesh.data", "2"],
    ):
        out = tmp_path / "lines.jsonl"
        assert cli.main([*given, *mesh, "--out", str(out)]) == 0
        found.append(json.loads(out.read_text().splitlines()[1]))
    apart, both = found
    assert apart["mesh"] == {"seeds": 4, "data": 1, "classes": 1}
    assert (apart["collectives"], apart["models"]) == ({}, 4)
    assert both["mesh"] == {"seeds": 2, "data": 2, "classes": 1}
    assert set(both["collectives"]) == {"all-reduce"}
    # One model of four a device, or two of them.
    assert apart["aliased_bytes"] < both["aliased_bytes"]
    assert "The mesh: seeds=2, data=2" in capsys.readouterr().out


@needs_libtpu
def test_every_policy_compiles_and_sends_no_data(v5e: Topology) -> None:
    config = BanditConfig(variants=("epsilon_0.1", "softmax_0.5", "ucb_2"), seeds=2, batch_size=64)
    records = [compile_step(step, v5e, quick=True) for step in training_steps(config)]
    assert [record["status"] for record in records] == ["compiled"] * 3
    # A solver that goes on until every problem is done may ask the other devices for that.
    assert all(sum(k["bytes"] for k in r["collectives"].values()) <= 16 for r in records)


@needs_libtpu
def test_the_command_prints_a_table_and_writes_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, out = dict(os.environ), tmp_path / "lines.jsonl"
    given = ["aot", RINGS, "--filter", "softmax", "--quick", "--out", str(out), "--seeds", "2"]
    assert cli.main(given) == 0
    assert dict(os.environ) == before
    shown = capsys.readouterr().out
    assert "One training step on v5e:2x2, 4 devices" in shown
    machine, record = (json.loads(line) for line in out.read_text().splitlines())
    assert (machine["kind"], machine["device_compiled_for"]) == ("environment", "TPU v5 lite")
    assert (record["name"], record["fits"], record["examples"]) == ("softmax", True, 2 * 64)
    assert set(record["collectives"]) == {"all-reduce"}


@needs_libtpu
@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--topology", "v5f:2x2"], "did you mean 'v5e:2x2'?"),
        (["--topology", "v5e"], "expected sizes as in v5e:AxB, got 'v5e'"),
        (["--topology", "v5p:2x2"], "expected sizes as in v5p:AxBxC"),
        (["--topology", "v5e:3x3"], "libtpu has no 'v5e:3x3'"),
        (["--topology", "v5e:16x16"], "divides the 64 examples of a step of softmax, got 256"),
        (["--chips-per-host", "2by2"], "--chips-per-host: expected sizes as in 2x2"),
        (["--mesh.data", "3"], "mesh_data=3, mesh_classes=1: no such mesh on 4 devices of a TPU"),
        (["--mesh.seeds", "4"], "mesh_seeds: expected a divisor of seeds (2), got 4"),
        (["--mesh.data", "4", "--batch-size", "6"], "mesh_data: expected a divisor of batch_size"),
        (["--mesh.seeds", "8"], "is at most the 4 devices, got 8"),
        (["--mesh.classes", "2"], "mesh_classes: expected 1, for Rings.partition shares no"),
        (["--filter", "sofmax"], "did you mean 'softmax'?"),
        (["--topologies", "v5e:2x2"], "unknown flag '--topologies'; did you mean '--topology'?"),
    ],
)
def test_a_mistake_is_one_line(
    flags: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["aot", RINGS, "--seeds", "2", *flags]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("error: ")
    assert said in lines[-1]


def test_without_libtpu_one_line_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert cli.main(["aot", RINGS]) == 2
    assert "pip install 'softmax-variants[aot]'" in capsys.readouterr().err


def test_one_chip_is_a_topology_and_bounds_have_three_sizes() -> None:
    assert parse_topology("v6e:4x8") == (CHIPS["v6e"], (4, 8))
    assert tpu_topologies.parse_bounds("2x4") == (2, 4, 1)
    with pytest.raises(UserError, match="--chips-per-host"):
        tpu_topologies.parse_bounds("2x2x1x1")


@needs_libtpu
def test_a_topology_may_have_one_chip_or_many_hosts() -> None:
    assert len(topology_of("v5e:1x1").devices) == 1
    hosts = {device.process_index for device in topology_of("v5e:4x4").devices}
    assert len(hosts) == 4
    whole = topology_of("v5e:4x4", chips_per_host="2x4")
    assert len({device.process_index for device in whole.devices}) == 2


def test_the_environment_is_restored_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TPU_ACCELERATOR_TYPE", raising=False)
    before = dict(os.environ)
    with pytest.raises(KeyError, match="TPU_NO_SUCH"), absent_tpu():
        os.environ["TPU_NO_SUCH"]
    assert dict(os.environ) == before


HLO = """
  %all-reduce.19 = (f32[768]{0:T(1024)S(1)}, bf16[2,3]{1,0:T(8,128)}) all-reduce(%a, %b), to_apply=%x
  ROOT %ag = (f32[8]{0}, f32[32]{0}) all-gather-start(%c), dimensions={0}
  %done = f32[32]{0} all-gather-done(%ag)
  %p.3 = (pred[64]{0:T(512)(128)(4,1)S(1)}, pred[64]{0}, u32[]{:S(2)}, u32[]{:S(2)}) collective-permute-start(%d)
  %two = ((f32[8]{0}, s4[3]{0}), (f32[16]{0}, s4[6]{0})) all-gather-start(%e, %f), dimensions={0}
  %r = f32[4]{0} reduce-scatter(%g), to_apply=%x
  %get = f32[768]{0} get-tuple-element(%all-reduce.19), index=0, metadata={op_name="all-gather(x)"}
"""  # noqa: E501


def test_collectives_are_counted_once_with_the_bytes_of_their_results() -> None:
    found = collectives_of(HLO)
    assert found[1] == Collective("all-gather", 4 * 32, (("f32", (32,)),))
    assert totals(found) == {
        "all-reduce": {"count": 1, "bytes": 4 * 768 + 2 * 6},
        "all-gather": {"count": 2, "bytes": 4 * 32 + 4 * 16 + 3},
        "reduce-scatter": {"count": 1, "bytes": 16},
        "collective-permute": {"count": 1, "bytes": 64},
    }
