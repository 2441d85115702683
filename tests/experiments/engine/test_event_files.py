"""Event files for TensorBoard hold the numbers of the records, under their steps."""

import json
import struct
import sys
from pathlib import Path
from typing import Any

import pytest

from experiments.cli import main
from experiments.engine.event_files import write_event_files
from tests.experiments.engine import synthetic


@pytest.fixture
def run(tmp_path: Path) -> Path:
    made = synthetic.contender("softmax/a", 0.0, seeds=(3, 4), lost=(4,), steps=(100, 200))
    return synthetic.write_run(tmp_path / "run", {"softmax/a": made}, {"seeds": 2, "about": {}})


def events_of(folder: Path) -> list[Any]:
    """The events of the only file of a folder; both checksums of each record hold."""
    proto = pytest.importorskip("tensorboardX.proto.event_pb2")
    checked = pytest.importorskip("tensorboardX.record_writer").masked_crc32c
    (file,) = folder.iterdir()
    data, found = file.read_bytes(), []
    while data:
        length, crc = struct.unpack("<QI", data[:12])
        body, end = data[12 : 12 + length], data[12 + length : 16 + length]
        assert (crc, struct.unpack("<I", end)[0]) == (checked(data[:8]), checked(body))
        found.append(proto.Event.FromString(body))
        data = data[16 + length :]
    return found


def test_events_are_the_numbers_of_the_records(run: Path) -> None:
    pytest.importorskip("tensorboardX")
    folder = write_event_files(run)
    write_event_files(run)  # in place of the first ones, not beside them
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for seed in (3, 4):
        wanted: dict[tuple[str, int, float], float | None] = {}
        for r in lines:
            if r.get("seed") == seed and r["kind"] == "evaluation":
                numbers = {"train/loss": r["train_loss"]}
                numbers |= {f"validation/{n}": v for n, v in r["validation"].items()}
                wanted |= {(t, r["step"], r["seconds"]): v for t, v in numbers.items()}
            if r.get("seed") == seed and r["kind"] == "test":
                wanted |= {(f"test/{n}", 200, 2.0): v for n, v in r["metrics"].items()}
        first, *events = events_of(folder / "softmax_a" / f"seed_{seed}")
        assert first.file_version == "brain.Event:2"
        found = {
            (e.summary.value[0].tag, e.step, e.wall_time): e.summary.value[0].simple_value
            for e in events
        }
        # A number that was not finite is not there.
        finite = {key: pytest.approx(v, rel=1e-6) for key, v in wanted.items() if v is not None}
        assert found == finite
        assert len(finite) == (14 if seed == 3 else 4)


def test_without_the_package_one_line_names_the_extra(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    assert main(["report", str(run), "--tensorboard"]) == 2
    error = capsys.readouterr().err
    assert "expected the package tensorboardX" in error
    assert "pip install softmax-variants[tensorboard]" in error
    assert error.count("\n") == 1
    assert not (run / "tensorboard").exists()


def test_the_command_writes_them(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tensorboardX")
    assert main(["report", str(run), "--tensorboard"]) == 0
    assert f"event files: {run / 'tensorboard'}" in capsys.readouterr().out
    assert len(list((run / "tensorboard").rglob("events.out.tfevents.*"))) == 2


def test_a_run_of_another_kind_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.json").write_text('{"experiment": "vae"}')
    assert main(["report", str(tmp_path), "--tensorboard"]) == 2
    assert "is a run on vae, expected the engine's" in capsys.readouterr().err
