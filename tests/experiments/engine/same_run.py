"""What a run measured, and that two runs on different devices measured the same."""

import json
from pathlib import Path
from typing import Any

import pytest

from experiments.run_directory import METRICS

# Sums over devices are added in another order; nothing else may differ.
TOLERANCE = 1e-5


def measured(out: Path) -> dict[Any, dict[str, float]]:
    """All metrics and training losses of a run."""
    found = {}
    for line in (out / METRICS).read_text().splitlines():
        record = json.loads(line)
        if record["kind"] in ("evaluation", "test"):
            place = (record["contender"], record["seed"], record.get("step"))
            numbers = record.get("validation") or record["metrics"]
            found[place] = {**numbers, "loss": record.get("train_loss", 0.0)}
    return found


def assert_same(
    found: dict[Any, Any], expected: dict[Any, Any], absolute: float = TOLERANCE
) -> None:
    assert found.keys() == expected.keys()
    for place, numbers in expected.items():
        assert found[place] == pytest.approx(numbers, rel=TOLERANCE, abs=absolute), place
