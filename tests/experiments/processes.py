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
# Less than the 100 s after which a missed heartbeat ends what waits for a lost process.
SECONDS = 90.0


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


def ends(processes: Sequence[subprocess.Popen[str]]) -> list[Ended]:
    """How all of them end; one that is there after `SECONDS` fails the test."""
    began, ended = time.monotonic(), []
    try:
        for process in processes:
            left = began + SECONDS - time.monotonic()
            out, err = process.communicate(timeout=max(left, 0.1))
            ended.append(Ended(process.returncode, out, err))
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
                process.communicate()
    return ended


def run(arguments: Sequence[str], by_slurm: bool = False) -> list[Ended]:
    """Runs `python ARGUMENTS` in two processes of two devices, joined, and waits for both."""
    port, started = free_port(), []
    for process in (0, 1):
        if by_slurm:
            flags, variables = ["--distributed", "slurm"], slurm(process, 2, port)
        else:
            flags, variables = manual(process, 2, port), {}
        started.append(start([*arguments, *flags], 2, variables))
    return ends(started)
