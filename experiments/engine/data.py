"""What the data of a run are: noted once, and the same whenever it goes on."""

import json
from typing import Any

from experiments.engine.task import Task
from experiments.errors import UserError
from experiments.run_directory import RunDirectory

DATA = "data"


def note_data(run: RunDirectory[Any], task: Task) -> None:
    """Writes what a task says of its data into a new run; other data are a UserError."""
    now = json.loads(json.dumps(dict(task.data())))
    if not now:
        return
    if DATA not in run.blocks:
        run.append(DATA, [{"kind": DATA, **now}])
        return
    there = run.blocks[DATA][0]
    differing = [name for name in now if there.get(name) != now[name]]
    if differing:
        raise UserError(
            f"the data of {run.path} have changed since the run began ({', '.join(differing)}); "
            "choose another --out"
        )
