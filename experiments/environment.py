"""What a run ran on: versions, revision, device."""

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import jax

_PACKAGES = ("softmax-variants", "jax", "jaxlib", "optax", "numpy", "scipy", "scikit-learn")
# What may change the figures of a run that is continued.
DECISIVE = ("versions", "revision", "dirty", "backend", "device", "device_count")


def describe() -> dict[str, Any]:
    """Returns the environment of this process, ready for JSON."""
    device = jax.devices()[0]
    return {
        "python": platform.python_version(),
        "versions": {name: version for name in _PACKAGES if (version := _version(name))},
        "revision": _git("rev-parse", "HEAD"),
        "dirty": _is_dirty(),
        "backend": jax.default_backend(),
        "device": device.device_kind,
        "device_count": jax.device_count(),
        "process_count": jax.process_count(),
        # The library has one implementation of each map and loss so far, in plain JAX.
        "implementations": {"maps": "xla", "losses": "xla"},
        "compiler_options": compiler_options(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def compiler_options(level: int = 1) -> dict[str, str | bool]:
    """Returns how the small programs of a comparison are compiled.

    On a CPU the first level of optimisation gives steps as fast as the highest one, and takes a
    half to a seventh of the time to compile, which is most of a comparison. Level 0 is for what
    runs once.
    """
    return {"xla_backend_optimization_level": str(level)} if jax.default_backend() == "cpu" else {}


def changes(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Returns the names of what differs between two environments and may change results."""
    return [name for name in DECISIVE if before.get(name) != now.get(name)]


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        # The library may be used from its checkout, without being installed.
        return None


def _is_dirty() -> bool | None:
    """Says whether tracked files differ from the revision; None outside a checkout."""
    changed = _git("status", "--porcelain", "--untracked-files=no")
    return None if changed is None else bool(changed)


def _git(*arguments: str) -> str | None:
    """Returns what git prints about this checkout; None without git or outside a checkout."""
    root = Path(__file__).parent
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=root, capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
