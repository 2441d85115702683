"""An experiment of one's own is one short file, which runs as those of this package do."""

import json
from pathlib import Path

import pytest

from experiments import cli

RINGS = Path(__file__).parents[3] / "configs" / "rings.py"


@pytest.mark.slow
def test_an_experiment_of_ones_own_is_one_short_file_that_runs(tmp_path: Path) -> None:
    assert len(RINGS.read_text().splitlines()) < 60
    out = tmp_path / "run"
    flags = ["--steps", "20", "--evaluations", "2", "--trials", "2", "--seeds", "2"]
    assert cli.main(["compare", str(RINGS), *flags, "--out", str(out)]) == 0
    found = json.loads((out / "results.json").read_text())["contenders"]
    assert [(c["name"], c["status"]) for c in found] == [
        ("softmax", "trained"),
        ("entmax", "trained"),
    ]
    for contender in found:
        first, last = contender["curves"]["metrics"]["train_loss"]["estimate"]
        assert last < first
    # A number of its own is tuned beside the learning rate.
    assert 1.1 <= found[1]["tuned"]["alpha"] <= 2.0
    assert "entmax" in (out / "report.md").read_text()
