"""Several processes: what joins them, what each of them sees, and what their flags refuse."""

import json
import os
import re
import socket
import sys
import typing
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest
from jax._src import clusters
from jax._src.clusters import cloud_tpu_cluster

from experiments import distributed
from experiments.base_config import field_types
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


def asked_of_jax(config: DistributedConfig, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What `initialize` gives jax, which is not let any further."""
    given: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    monkeypatch.setattr(jax.config, "update", settings.__setitem__)
    monkeypatch.setattr(jax.distributed, "initialize", lambda **found: given.update(found))
    initialize(config)
    # Else SIGTERM would be jax's, and no more the experiments'.
    assert settings == {"jax_enable_preemption_service": False}
    return given


def by_name(way: Any) -> DistributedConfig:
    return DistributedConfig(distributed=way)


BY_HAND = manual(distributed_coordinator="host:80", distributed_processes=4, distributed_process=3)
NAMED = ("slurm", "ompi", "mpi4py", "gcetpu", "gketpu")
ASKED: dict[str, tuple[DistributedConfig, dict[str, Any]]] = {
    # None is jax's word for all clusters that it knows.
    "auto": (by_name("auto"), {"cluster_detection_method": None}),
    **{name: (by_name(name), {"cluster_detection_method": name}) for name in NAMED},
    "manual": (
        BY_HAND,
        {
            "coordinator_address": "host:80",
            "num_processes": 4,
            "process_id": 3,
            # Or jax would take what is not given, the devices, from a cluster that is there too.
            "cluster_detection_method": "deactivate",
        },
    ),
}


@pytest.mark.parametrize("way", ASKED)
def test_each_way_of_joining_asks_jax_for_just_that(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, expected = ASKED[way]
    times = {"initialization_timeout": 360, "heartbeat_timeout_seconds": 100}
    times["shutdown_timeout_seconds"] = 300
    assert asked_of_jax(config, monkeypatch) == {**expected, **times}


def test_every_way_of_joining_is_tested_and_known_to_jax() -> None:
    ways = typing.get_args(field_types(DistributedConfig)["distributed"])
    assert {*ASKED, "none"} == set(ways)
    assert set(NAMED) <= {kind.name for kind in clusters.ClusterEnv._cluster_types}
    # Where one does not work, it is said what it needs.
    assert set(distributed._NEEDS) == set(ASKED)


def is_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in processes.slurm(2, 4, 1234).items():
        monkeypatch.setenv(name, value)


def is_open_mpi(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMPI_MCA_orte_hnp_uri", "1531576320.0;tcp://localhost:34911")
    monkeypatch.setenv("JAX_COORDINATOR_PORT", "1234")
    for name, value in (("SIZE", 4), ("RANK", 2), ("LOCAL_RANK", 2)):
        monkeypatch.setenv(f"OMPI_COMM_WORLD_{name}", str(value))


def is_tpu(monkeypatch: pytest.MonkeyPatch, metadata: dict[str, str]) -> None:
    """A TPU's virtual machine, with what its metadata server says."""
    found = {"tpu-env": "", **metadata}
    for module in (cloud_tpu_cluster, clusters.cluster):
        monkeypatch.setattr(module, "running_in_cloud_tpu_vm", True)
    monkeypatch.setenv("JAX_COORDINATOR_PORT", "1234")
    get = {key: (value, 200) for key, value in found.items()}.get
    monkeypatch.setattr(cloud_tpu_cluster, "get_metadata", lambda key: get(key, ("", 404)))


def is_gke_with_tpus(monkeypatch: pytest.MonkeyPatch) -> None:
    is_tpu(monkeypatch, {})
    monkeypatch.setenv("TPU_WORKER_HOSTNAMES", "localhost,pod-1,pod-2,pod-3")
    monkeypatch.setenv("TPU_WORKER_ID", "2")


def is_compute_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    workers = "localhost,worker-1,worker-2,worker-3"
    is_tpu(monkeypatch, {"agent-worker-number": "2", "worker-network-endpoints": workers})


def is_kubernetes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pod of a Job of four with a service for its name, as Kubernetes' own package tells."""
    job = SimpleNamespace(
        metadata=SimpleNamespace(name="job", labels={}), spec=SimpleNamespace(parallelism=4)
    )
    pod = SimpleNamespace(spec=SimpleNamespace(subdomain="pods"))
    api = SimpleNamespace(
        config=SimpleNamespace(load_incluster_config=lambda: None),
        client=SimpleNamespace(
            CoreV1Api=lambda: None,
            BatchV1Api=lambda: None,
            exceptions=SimpleNamespace(ApiException=RuntimeError),
        ),
    )
    monkeypatch.setitem(sys.modules, "kubernetes", api)
    known = {"_pod": pod, "_job": job, "_controller": SimpleNamespace(kind="Job")}
    for name, value in known.items():
        monkeypatch.setattr(clusters.K8sCluster, name, lambda value=value: value)
    monkeypatch.setattr(socket, "gethostbyname", {"job-0.pods": "10.0.0.1"}.__getitem__)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.2")
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "2")
    monkeypatch.setenv("JAX_COORDINATOR_PORT", "1234")


@pytest.mark.parametrize(
    ("way", "cluster", "host", "devices"),
    [
        ("slurm", is_slurm, "localhost", [2]),
        ("ompi", is_open_mpi, "localhost", [2]),
        ("gketpu", is_gke_with_tpus, "localhost", None),
        ("gcetpu", is_compute_engine, "localhost", None),
        ("auto", is_slurm, "localhost", [2]),
        ("auto", is_open_mpi, "localhost", [2]),
        ("auto", is_gke_with_tpus, "localhost", None),
        ("auto", is_compute_engine, "localhost", None),
        ("auto", is_kubernetes, "job-0.pods", None),
    ],
)
def test_jax_finds_the_third_of_four_processes(
    way: str,
    cluster: Callable[[pytest.MonkeyPatch], None],
    host: str,
    devices: list[int] | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In each cluster as it describes itself to its processes."""
    for name in set(os.environ) - set(processes.environment(1)):
        monkeypatch.delenv(name)
    cluster(monkeypatch)
    given = asked_of_jax(by_name(way), monkeypatch)
    method, seconds = given["cluster_detection_method"], given["initialization_timeout"]
    found = clusters.ClusterEnv.auto_detect_unset_distributed_params(
        None, None, None, None, method, seconds
    )
    assert found == (f"{host}:1234", 4, 2, devices)


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
