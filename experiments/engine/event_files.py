"""Event files for TensorBoard, made from the records of a run: training waits for none of it."""

import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.engine.results import chosen
from experiments.errors import UserError
from experiments.run_directory import (
    CONFIG,
    METRICS,
    Record,
    expect_engine_run,
    read_blocks,
    read_json,
)

FOLDER = "tensorboard"


def write_event_files(path: Path) -> Path:
    """Writes one event file for each contender and seed of a run, in place of earlier ones.

    The wall time of an event is the seconds of training, so that TensorBoard's relative time is
    what the report calls seconds. A number that was not finite is left out.
    """
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise UserError(
            "--tensorboard: expected the package tensorboardX, which is not installed; "
            "install the extra with `pip install softmax-variants[tensorboard]`"
        ) from error
    expect_engine_run(path)
    config, blocks = read_json(path / CONFIG), read_blocks(path / METRICS)[0]
    folder = path / FOLDER
    if folder.exists():
        shutil.rmtree(folder)
    for (name, seed), events in _events(config, blocks).items():
        place = folder / re.sub(r"[^\w.-]", "_", name) / f"seed_{seed}"
        with SummaryWriter(logdir=str(place)) as writer:
            for tag, value, step, seconds in events:
                writer.add_scalar(tag, value, step, walltime=seconds)
    return folder


def _events(
    config: Mapping[str, Any], blocks: Mapping[str, Sequence[Record]]
) -> dict[tuple[str, int], list[tuple[str, float, int, float]]]:
    """Returns tag, value, step and seconds of each number, by contender and seed."""
    found: dict[tuple[str, int], list[tuple[str, float, int, float]]] = {}
    last: dict[str, tuple[int, float]] = {}
    for records in blocks.values():
        for r in records:
            if r["kind"] != "evaluation":
                continue
            step, seconds = r["step"], r["seconds"]
            last[r["contender"]] = max(last.get(r["contender"], (0, 0.0)), (step, seconds))
            events = found.setdefault((r["contender"], r["seed"]), [])
            numbers = {"train/loss": r["train_loss"]}
            numbers |= {f"validation/{n}": v for n, v in r["validation"].items()}
            events += [(t, v, step, seconds) for t, v in numbers.items() if v is not None]
    for name in chosen(config):
        step, seconds = last.get(name, (int(config["steps"]), 0.0))
        for r in blocks.get(name, []):
            if r["kind"] == "test":
                numbers = {f"test/{n}": v for n, v in r["metrics"].items()}
                events = found.setdefault((name, r["seed"]), [])
                events += [(t, v, step, seconds) for t, v in numbers.items() if v is not None]
    return found
