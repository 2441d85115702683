"""Several real processes on this machine that make one run, each with fake CPU devices."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    """A port of this machine that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def environment(devices: int) -> dict[str, str]:
    """The variables of a process that has so many CPU devices, and no cluster."""
    clusters = ("SLURM_", "OMPI_", "KUBERNETES_", "TPU_", "JAX_COORDINATOR_")
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(clusters)},
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".cache" / "jax"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        "JAX_NUMPY_DTYPE_PROMOTION": "strict",
        "JAX_NUMPY_RANK_PROMOTION": "raise",
        "PYTHONWARNINGS": "error",
    }


def slurm(process: int, processes: int, port: int) -> dict[str, str]:
    """The variables that SLURM's srun gives each of the processes of a job step, and the port."""
    return {
        "SLURM_JOB_ID": "1",
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_NTASKS": str(processes),
        "SLURM_PROCID": str(process),
        "SLURM_LOCALID": str(process),
        "JAX_COORDINATOR_PORT": str(port),
    }


def manual(process: int, processes: int, port: int) -> list[str]:
    """The flags that join the processes of this machine."""
    return [
        *("--distributed", "manual", "--distributed.coordinator", f"127.0.0.1:{port}"),
        *("--distributed.processes", str(processes), "--distributed.process", str(process)),
    ]


@dataclass(frozen=True)
class Ended:
    """How one of the processes ended."""

    code: int
    out: str
    err: str
    seconds: float


def start(
    arguments: Sequence[str], devices: int, variables: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """Starts `python ARGUMENTS` in the root of the checkout."""
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**environment(devices), **(variables or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ends(processes: Sequence[subprocess.Popen[str]], seconds: float) -> list[Ended]:
    """How all of them end; one that is there after so many seconds fails the test."""
    began, ended = time.monotonic(), []
    try:
        for process in processes:
            left = began + seconds - time.monotonic()
            out, err = process.communicate(timeout=max(left, 0.1))
            ended.append(Ended(process.returncode, out, err, time.monotonic() - began))
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
                process.communicate()
    return ended


def run(
    arguments: Sequence[str], processes: int = 2, devices: int = 2, seconds: float = 60
) -> list[Ended]:
    """Runs `python ARGUMENTS` with the flags that join the processes, and waits for them all."""
    port = free_port()
    started = [
        start([*arguments, *manual(process, processes, port)], devices)
        for process in range(processes)
    ]
    return ends(started, seconds)
