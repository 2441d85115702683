"""Several processes: what joins them, what each of them sees, and what their flags refuse."""

import json
import re
import socket
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from experiments import distributed
from experiments.distributed import DistributedConfig, initialize
from experiments.errors import UserError
from tests.experiments import processes, toy_run

_LOGGED = (
    "Automatic Distributed initialization can not proceed: slurm is supported but not functional "
    "in this environment.\n"
)


def on_one_device() -> tuple[Any, Any]:
    batches = toy_run.batch()
    weights = np.zeros((toy_run.MODELS, toy_run.FEATURES), np.float32)
    return jax.tree.map(np.asarray, toy_run.train(weights, batches))


def test_two_processes_with_two_devices_give_what_one_device_gives(tmp_path: Path) -> None:
    ended = processes.run(["-m", "tests.experiments.toy_run", str(tmp_path / "toy")], by_slurm=True)
    assert [(process.code, process.err) for process in ended] == [(0, ""), (0, "")]
    found = [json.loads((tmp_path / f"toy.{index}").read_text()) for index in (0, 1)]
    weights, losses = on_one_device()
    for one in found:
        for (w, values, _), sizes in zip(one["trained"], toy_run.MESHES, strict=True):
            np.testing.assert_allclose(w, weights, rtol=1e-5, err_msg=str(sizes))
            np.testing.assert_allclose(values, losses, rtol=1e-5, err_msg=str(sizes))
        # Each made its own half: of the models, of the examples, of the models.
        shapes = [shape[:3] for _, _, shape in one["trained"]]
        assert shapes == [[3, 1, 8], [3, 2, 4], [3, 1, 8]]
        assert one["any"] == [True, False]
        assert one["from_writer"] == {"from": 0, "text": "ä" * 3000}
        assert one["on_writer"] == [found[0]["pid"]]
        assert one["refused"] == f"refused by {found[0]['pid']}"
    configs = [one["configs"] for one in found]
    assert configs[0] == "the processes were started with different configs"
    assert configs[1] == f"{configs[0]}; process 0 differs in first_seed (0 there, 1 here)"
    assert not (tmp_path / "toy").exists()
    assert [one["who"] for one in found] == ["process 0 of 2: ", "process 1 of 2: "]


def manual(**fields: Any) -> DistributedConfig:
    there: dict[str, Any] = {
        "distributed_coordinator": "127.0.0.1:1",
        "distributed_processes": 2,
        "distributed_process": 0,
    }
    return DistributedConfig(distributed="manual", **{**there, **fields})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"distributed_coordinator": ""}, "distributed_coordinator: expected host:port .*, got ''"),
        ({"distributed_coordinator": "host"}, "expected host:port of process 0, got 'host'"),
        ({"distributed_coordinator": "host:0"}, "expected host:port of process 0, got 'host:0'"),
        ({"distributed_coordinator": "host:65536"}, "expected host:port"),
        ({"distributed_coordinator": ":80"}, "expected host:port"),
        ({"distributed_processes": 0}, "distributed_processes: expected 1 or more, got 0"),
        ({"distributed_process": 2}, "distributed_process: expected 0 to 1, got 2"),
        ({"distributed_process": -1}, "distributed_process: expected 0 to 1, got -1"),
        ({"distributed_timeout": 0}, "distributed_timeout: expected at least 1 second, got 0"),
        ({"distributed_heartbeat": 0}, "distributed_heartbeat: expected at least 1 second, got 0"),
    ],
)
def test_a_request_that_cannot_be_is_one_clear_error(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        manual(**fields)


def test_what_only_a_request_by_hand_uses_is_not_ignored() -> None:
    message = "distributed_processes: expected it with --distributed manual only, got 2"
    with pytest.raises(UserError, match=message):
        DistributedConfig(distributed="auto", distributed_processes=2)


def test_what_cannot_be_joined_is_one_clear_line() -> None:
    """Also where jax's runtime would end the process itself, with a stack or a crash."""
    port, taken = processes.free_port(), socket.create_server(("", 0))
    in_use = taken.getsockname()[1]
    first = processes.manual(0, 2, in_use)
    alone = [*processes.manual(0, 2, port), "--distributed.timeout", "2"]
    lost = [*processes.manual(1, 2, processes.free_port()), "--distributed.timeout", "2"]
    with taken:
        started = [
            processes.start(["-m", "tests.experiments.toy_run", "out", *flags], 1)
            for flags in (("--distributed", "auto"), ("--distributed", "slurm"), first, alone, lost)
        ]
        ended = processes.ends(started)
    joined = "error: --distributed {}: the processes were not joined: {}; {}.*\n"
    late, hand = "not all of them came within 2 s", "every process needs the same coordinator"
    expected = [
        joined.format("auto", ".*coordinator_address.*", "jax detects SLURM, Open MPI"),
        joined.format("slurm", "KeyError: 'SLURM_.*'", "start it with srun"),
        f"error: distributed_coordinator: expected a port that is free .*, got {in_use}: .*\n",
        joined.format("manual", late, hand),
        joined.format("manual", late + r" \(127.0.0.1:\d+ does not answer: .*\)", hand),
    ]
    for process, line in zip(ended, expected, strict=True):
        # A cluster that is named and not there is logged by jax as well.
        shown = process.err.removeprefix(_LOGGED)
        assert (process.code, process.out) == (2, "")
        assert re.fullmatch(line, shown), (shown, line)


def test_nothing_is_joined_unless_it_is_asked_for() -> None:
    initialize(DistributedConfig())
    assert not distributed.is_joined()
    assert distributed.is_writer()
    assert (distributed.who(), distributed.leave(7)) == ("", 7)
