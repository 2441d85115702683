"""What a run ran on, written into its directory."""

from typing import Any

from experiments import environment
from experiments.distributed import is_writer
from experiments.progress import Display
from experiments.run_directory import ENVIRONMENT, RunDirectory, read_json, write_json


def note_environment(run: RunDirectory[Any], display: Display) -> None:
    """Writes the environment once; a run that goes on elsewhere says so, in the file as well."""
    if not is_writer():
        return
    path, now = run.path / ENVIRONMENT, environment.describe()
    if not path.exists():
        write_json(path, now)
        return
    first = read_json(path)
    changed = environment.changes(first, now)
    if changed and run.blocks:
        display.note(f"this run was started with another {', '.join(changed)}")
        write_json(path, {**first, "continued": [*first.get("continued", []), now]})
