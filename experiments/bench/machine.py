"""What every line of a benchmark says about where it was measured."""

import datetime
import importlib.metadata
import os
from typing import Any

import jax

from experiments import environment
from experiments.bench.roofs import Roofs
from experiments.measured import Record

# Of the environment; what a table of several machines has to tell apart.
_FIELDS = ("revision", "dirty", "device", "device_count", "processor", "cores", "system", "python")


def describe(packages: set[str]) -> Record:
    """The device, its driver or runtime, versions (of the peers' packages too) and the flags."""
    described = environment.describe()
    versions = described["versions"] | {
        name: importlib.metadata.version(name) for name in sorted(packages - {"softmax-variants"})
    }
    client: Any = jax.devices()[0].client
    return {
        "platform": described["backend"],
        "platform_version": client.platform_version,
        **{name: described[name] for name in _FIELDS},
        "versions": versions,
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        # What else the machine was doing slows down what is measured.
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "measured": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
    }


def of_roofs(roofs: Roofs) -> Record:
    """The device's own rates, as every line carries them, in four digits."""
    return {name: float(f"{value:.4g}") for name, value in roofs._asdict().items()}


def memory_in_use() -> tuple[int, int] | None:
    """Bytes in use and the most that ever were, where the device counts them."""
    statistics = jax.devices()[0].memory_stats()
    if not statistics or "peak_bytes_in_use" not in statistics:
        return None
    return statistics["bytes_in_use"], statistics["peak_bytes_in_use"]
