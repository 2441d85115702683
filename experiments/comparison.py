"""The comparison: compile, train, time and record every contender, and go on where it stopped."""

import functools
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from experiments import data, speed
from experiments.compiling import AheadOfTime
from experiments.config import Config
from experiments.contenders import Contender, Program, chosen_contenders
from experiments.progress import Display
from experiments.records import contender_records
from experiments.run_directory import Record, RunDirectory
from experiments.run_environment import note_environment
from experiments.train import Compiled, Task, compile_program, train

SPEED = "speed"
Programs = AheadOfTime[tuple[Program, tuple[str, ...]], Compiled]


def compare(config: Config, path: Path, display: Display, retry_failed: bool = False) -> bool:
    """Runs what is missing of a comparison; returns False where nothing was.

    Args:
      config: What to compare.
      path: The run directory, new or of the same config.
      display: Where progress is shown.
      retry_failed: Whether contenders that failed earlier are tried again.
    """
    contenders = chosen_contenders(config)
    parts = data.load_data(config)
    with closing(RunDirectory.open(path, config)) as run:
        display.note(_budget(config, path))
        note_environment(run, display)
        if run.dropped:
            display.note(f"dropped {run.dropped} lines of a contender that was cut off")
        again = {None, "failed"} if retry_failed else {None}
        missing = [c for c in contenders if _outcome(run, c) in again]
        if not missing and SPEED in run.blocks:
            return False
        done = len(contenders) - len(missing)
        if done:
            display.note(f"{done} of {len(contenders)} contenders are finished and are loaded")
        task = Task.make(config, parts)
        loaded = [c for c in contenders if _outcome(run, c) not in (*again, "failed")]
        # Programs are needed first for what is trained, then for the timing of all.
        jobs = {_key(c): functools.partial(compile_program, task, c) for c in [*missing, *loaded]}
        with closing(AheadOfTime(jobs)) as programs:
            with display.stage("training", len(missing) * config.steps, "steps"):
                for contender in missing:
                    _train_one(run, task, parts, contender, programs, display)
            _time_all(run, task, contenders, programs, display)
    return True


def _key(contender: Contender) -> tuple[Program, tuple[str, ...]]:
    return contender.program, tuple(sorted(contender.parameters))


def _outcome(run: RunDirectory[Config], contender: Contender) -> str | None:
    block = run.blocks.get(contender.name)
    return str(block[-1]["status"]) if block else None


def _train_one(
    run: RunDirectory[Config],
    task: Task,
    parts: data.Data,
    contender: Contender,
    programs: Programs,
    display: Display,
) -> None:
    config = run.config
    display.start(contender.name)
    history = []
    records: list[Record]
    try:
        compiled = programs.get(_key(contender))
        start = time.perf_counter()
        for progress in train(task, contender, compiled):
            history.append(progress)
            display.advance(config.chunk)
        seconds = time.perf_counter() - start
    except Exception as error:
        # One variant that fails must not take the others with it: it stays in the table, with why.
        why = " ".join(f"{type(error).__name__}: {error}".split())
        outcome = {"contender": contender.name, "status": "failed", "why": why}
        records = [{"kind": "outcome", **outcome}]
        display.advance(config.steps - config.chunk * len(history))
    else:
        records = contender_records(config, contender, parts, history, compiled, seconds)
    run.append(contender.name, records)
    display.finish(contender.name, records[-1], _shown(records))


def _shown(records: Sequence[Record]) -> str:
    tests = [r["accuracy"] for r in records if r["kind"] == "test" and r["accuracy"] is not None]
    return f"accuracy {100.0 * sum(tests) / len(tests):5.2f}%" if tests else ""


def _time_all(
    run: RunDirectory[Config],
    task: Task,
    contenders: Sequence[Contender],
    programs: Programs,
    display: Display,
) -> None:
    able = [c for c in contenders if _outcome(run, c) != "failed"]
    rounds = run.config.speed_rounds
    compiled = [(contender, programs.get(_key(contender))) for contender in able]
    with display.stage("timing", (rounds + 1) * len(able), "chunks"):
        records = speed.measure(task, compiled, rounds, lambda: display.advance(1))
    run.append(SPEED, records)


def _budget(config: Config, path: Path) -> str:
    rates = ", ".join(f"{rate:g}" for rate in config.learning_rates)
    return (
        f"{path}: {config.seeds} seeds; every contender gets {config.steps} {config.optimizer} "
        f"steps of {config.batch_size} at each of the learning rates {rates}"
    )
