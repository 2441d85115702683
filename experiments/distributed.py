"""One run in several processes, on jax's own distributed runtime.

Every process runs the same command; process 0 alone writes files and shows progress. Nothing here
touches jax unless several processes were asked for.
"""

import contextlib
import json
import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NoReturn, TypeVar

from experiments.base_config import BaseConfig
from experiments.errors import RunFailed, UserError

_T = TypeVar("_T")
_Way = Literal["none", "auto", "manual", "slurm", "ompi", "mpi4py", "gcetpu", "gketpu"]
# The exit code where another process was lost: a failure for the time being, to be repeated.
LOST = 75
_MANUAL = ("distributed_coordinator", "distributed_processes", "distributed_process")
_FLAGS = "--distributed.coordinator, --distributed.processes and --distributed.process"
# What each way needs, added to the cause where it does not work.
_NEEDS = {
    "auto": "jax detects SLURM, Open MPI, Cloud TPU (on Compute Engine and GKE) and Kubernetes; "
    f"elsewhere use --distributed manual with {_FLAGS}",
    "manual": "every process needs the same coordinator, before anything else has used jax",
    "slurm": "start it with srun, inside a job of SLURM",
    "ompi": "start it with the mpirun of Open MPI",
    "mpi4py": "start it with mpirun, where the package mpi4py is installed",
    "gcetpu": "start it on every worker of a Cloud TPU, where jax[tpu] is installed",
    "gketpu": "start it in every pod of a Job that GKE gives TPUs",
}
# How long the end of one process waits for that of the others.
_SHUTDOWN_SECONDS = 300
# Process 0 takes the coordinator with it: the others first get to say their own error.
_GRACE_SECONDS = 1.0
# Not empty while process 0 does what `on_writer` was given.
_writing: list[bool] = []


@dataclass(frozen=True)
class DistributedConfig(BaseConfig):
    """How a run finds its other processes.

    Attributes:
      distributed: none is one process; auto asks the cluster that jax detects (SLURM, Open MPI,
        Cloud TPU, Kubernetes), a name asks for that one; manual is told by the three flags below.
      distributed_coordinator: For manual, host:port of process 0, the same in every process.
      distributed_processes: For manual, how many processes there are.
      distributed_process: For manual, which of them this is, from 0.
      distributed_timeout: Seconds in which all processes have to be there.
      distributed_heartbeat: Seconds after which a silent process counts as dead, and the run ends.
    """

    experiment: ClassVar[str] = "distributed"

    distributed: _Way = "none"
    distributed_coordinator: str = ""
    distributed_processes: int = 0
    distributed_process: int = -1
    distributed_timeout: int = 300
    distributed_heartbeat: int = 100

    def check_values(self) -> None:
        """Raises a UserError where a value is out of range, missing or of no use."""
        given = {name: getattr(self, name) for name in _MANUAL}
        defaults = {name: getattr(type(self), name) for name in _MANUAL}
        if self.distributed != "manual":
            for name in _MANUAL:
                self.expect(
                    name, given[name] == defaults[name], "it with --distributed manual only"
                )
        else:
            host, colon, port = self.distributed_coordinator.rpartition(":")
            known = bool(host and colon and port.isdecimal() and 0 < int(port) < 2**16)
            self.expect("distributed_coordinator", known, "host:port of process 0")
            self.expect("distributed_processes", self.distributed_processes >= 1, "1 or more")
            inside = 0 <= self.distributed_process < self.distributed_processes
            last = self.distributed_processes - 1
            self.expect("distributed_process", inside, f"0 to {last}")
        for name in ("distributed_timeout", "distributed_heartbeat"):
            self.expect(name, getattr(self, name) >= 1, "at least 1 second")


def initialize(config: DistributedConfig) -> None:
    """Joins the other processes, where that is asked for; a failure is one UserError.

    It has to come before anything that starts jax's devices.
    """
    if config.distributed == "none":
        return
    import jax

    # Its handler of SIGTERM would take the place of the experiments' own, which saves and stops.
    jax.config.update("jax_enable_preemption_service", False)
    found = _arguments(config)
    _expect_free_port(config)
    with _giving_up(config):
        try:
            jax.distributed.initialize(
                **found,
                # Where jax waits in vain it ends the process, so that this waits less long.
                initialization_timeout=config.distributed_timeout + 60,
                heartbeat_timeout_seconds=config.distributed_heartbeat,
                shutdown_timeout_seconds=_SHUTDOWN_SECONDS,
            )
            # The devices of all processes start together, and meet while all are here: a first
            # meeting on the CPU waits half a minute only.
            barrier("joined")
        except Exception as error:
            why = _failure(config, f"{type(error).__name__}: {error}")
            if jax.distributed.is_initialized():
                # Half joined: the others wait for this one, and would wait for its farewell too.
                _stop(why)
            raise UserError(why) from error


def is_joined() -> bool:
    """Says whether `initialize` has joined other processes."""
    # Who has never imported jax has joined nobody, and should not wait for the import.
    jax = sys.modules.get("jax")
    return jax is not None and bool(jax.distributed.is_initialized())


def is_distributed() -> bool:
    """Says whether this is one of several processes."""
    return _index_and_count()[1] > 1


def is_writer() -> bool:
    """Says whether this process writes the files of the run: process 0 does."""
    return _index_and_count()[0] == 0


def who() -> str:
    """Returns `process 1 of 4: ` for what a process prints, nothing where it is alone."""
    index, count = _index_and_count()
    return f"process {index} of {count}: " if count > 1 else ""


def barrier(name: str) -> None:
    """Waits until every process is here; each has to name the same place."""
    if is_distributed():
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(name)


def any_process(flag: bool) -> bool:
    """Says whether the flag holds in any process; all have to ask together."""
    if not is_distributed():
        return flag
    import numpy as np
    from jax.experimental import multihost_utils

    return bool(multihost_utils.process_allgather(np.bool_(flag)).any())


def from_writer(value: _T) -> _T:
    """Returns the value that process 0 has, which JSON can hold; all have to ask together."""
    return _from(0, value) if is_distributed() else value


def _from(process: int, value: _T) -> _T:
    import numpy as np
    from jax.experimental.multihost_utils import broadcast_one_to_all

    mine = _index_and_count()[0] == process
    text = np.frombuffer(json.dumps(value).encode() if mine else b"", np.uint8)
    size = int(broadcast_one_to_all(np.int32(text.size), is_source=mine))
    sent = broadcast_one_to_all(text if mine else np.zeros(size, np.uint8), is_source=mine)
    received: _T = json.loads(sent.tobytes())
    return received


class AgreedError(Exception):
    """What failed in one of several processes, known in all of them, which can go on together."""


def agreed(work: Callable[[], _T]) -> _T:
    """Returns what the work returns in this process, when every process has done its own.

    Where it fails in any of them, every one raises the same AgreedError: none of them waits for
    another in a step that the other never begins. The work itself must not need the others.
    """
    if not is_distributed():
        return work()
    import numpy as np
    from jax.experimental.multihost_utils import process_allgather

    failure, value = None, None
    try:
        value = work()
    except Exception as error:
        failure = error
    failed = process_allgather(np.bool_(failure is not None))
    if not failed.any():
        return value  # type: ignore[return-value] # the work has returned it
    first = int(np.argmax(failed))
    why = _from(first, " ".join(f"{type(failure).__name__}: {failure}".split()))
    raise AgreedError(why) from failure


def on_writer(work: Callable[[], _T]) -> _T:
    """Returns in every process what the work returns in process 0, the only one that does it.

    What it returns is what JSON can hold. Its UserError or RunFailed is raised in every process.
    """
    if not is_distributed():
        return work()
    if _writing:
        # The others would take what the inner work sends for the outcome of the outer.
        raise RuntimeError("on_writer: expected no call of it inside its own work")
    outcome: dict[str, Any] = {}
    if is_writer():
        _writing.append(True)
        try:
            outcome = {"value": work()}
        except (UserError, RunFailed) as error:
            outcome = {"error": str(error), "failed": isinstance(error, RunFailed)}
        finally:
            _writing.clear()
    outcome = from_writer(outcome)
    if "error" in outcome:
        raise (RunFailed if outcome["failed"] else UserError)(outcome["error"])
    value: _T = outcome["value"]
    return value


def leave(code: int) -> int:
    """Returns the exit code once the other processes have ended as well.

    A process that ends with an error does not wait: the others may be in the middle of a step
    that they cannot end without it. It goes at once, which ends them too.
    """
    if not is_joined():
        return code
    if code != 0:
        if is_writer():
            time.sleep(_GRACE_SECONDS)
        _go(code)
    part()
    return code


def part() -> None:
    """Waits until every process is here, and parts from them: each may then end as it likes."""
    if is_joined():
        import jax

        jax.distributed.shutdown()


def print_failure(error: Exception) -> int:
    """Says on stderr what has ended this process, one of several; returns the exit code."""
    import jax

    lost = isinstance(error, jax.errors.JaxRuntimeError)
    line = "the run has ended: " + " ".join(f"{type(error).__name__}: {error}".split())
    if lost:
        # What its own devices say of a process that has gone depends on how they are connected.
        line += (
            "; unless that is the cause, another process was lost (killed, out of memory, its "
            "machine): see what it printed, then repeat the command in every process"
        )
    else:
        traceback.print_exception(error)
    print(f"error: {who()}{line}", file=sys.stderr)
    return LOST if lost else 1


def _index_and_count() -> tuple[int, int]:
    if not is_joined():
        # Asking jax would start the devices.
        return 0, 1
    import jax

    return jax.process_index(), jax.process_count()


def _arguments(config: DistributedConfig) -> dict[str, Any]:
    if config.distributed != "manual":
        name = None if config.distributed == "auto" else config.distributed
        return {"cluster_detection_method": name}
    return {
        "coordinator_address": config.distributed_coordinator,
        "num_processes": config.distributed_processes,
        "process_id": config.distributed_process,
        "cluster_detection_method": "deactivate",
    }


def _failure(config: DistributedConfig, why: str) -> str:
    way, why = config.distributed, " ".join(why.split()).rstrip(".")
    return f"--distributed {way}: the processes were not joined: {why}; {_NEEDS[way]}"


def _expect_free_port(config: DistributedConfig) -> None:
    """Raises a UserError where the coordinator's port is taken, which would crash the runtime."""
    if config.distributed_process != 0:
        return
    port = int(config.distributed_coordinator.rpartition(":")[2])
    try:
        with socket.create_server(("", port)):
            pass
    except OSError as error:
        raise UserError(
            f"distributed_coordinator: expected a port that is free on process 0, got {port}: "
            f"{error.strerror}"
        ) from error


@contextlib.contextmanager
def _giving_up(config: DistributedConfig) -> Iterator[None]:
    """Ends the process with one clear line where the others do not come in time.

    jax would end it as well, from inside its runtime, with a stack of the runtime and no reason.
    """

    def give_up() -> None:
        why = f"not all of them came within {config.distributed_timeout} s{_unreachable(config)}"
        _stop(_failure(config, why))

    timer = threading.Timer(config.distributed_timeout, give_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _unreachable(config: DistributedConfig) -> str:
    """Returns why the coordinator cannot be reached, if it is known and cannot."""
    if config.distributed != "manual":
        return ""
    host, _, port = config.distributed_coordinator.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=5):
            return ""
    except OSError as error:
        return f" ({config.distributed_coordinator} does not answer: {error.strerror or error})"


def _stop(why: str) -> NoReturn:
    """Ends this process with the line and the code of a UserError."""
    print(f"error: {why}", file=sys.stderr)
    _go(2)


def _go(code: int) -> NoReturn:
    """Ends this process without the runtime's farewell, which waits for the others."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
