"""The report of a run of the engine."""

from pathlib import Path

import numpy as np

from experiments.engine.config import EngineConfig
from experiments.measured import layout
from experiments.run_directory import read_json, read_run


def write_report(path: Path) -> list[str]:
    """Returns the table of the means of a run."""
    _, blocks, _ = read_run(path, EngineConfig)
    described = read_json(path / "config.json")
    rows = []
    for name in described["variants"]:
        tests = [r["metrics"] for r in blocks.get(name, []) if r["kind"] == "test"]
        means = [np.mean([t[m] or np.nan for t in tests] or [np.nan]) for m in described["metrics"]]
        rows.append([name, *(f"{mean:.4g}" for mean in means)])
    return [layout(["", *described["metrics"]], rows)]
