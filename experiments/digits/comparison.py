"""The comparison: compile, train, time and record every contender, and go on where it stopped."""

import functools
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from experiments.blocks import attempt, is_missing, open_run, outcome
from experiments.compiling import AheadOfTime
from experiments.digits import data, speed
from experiments.digits.config import DigitsConfig
from experiments.digits.contenders import Contender, Program, chosen_contenders
from experiments.digits.records import contender_records
from experiments.digits.train import Compiled, Progress, Task, compile_program, train
from experiments.progress import Display
from experiments.run_directory import Record, RunDirectory

SPEED = "speed"
Programs = AheadOfTime[tuple[Program, tuple[str, ...]], Compiled]


def compare(config: DigitsConfig, path: Path, display: Display, retry_failed: bool = False) -> bool:
    """Runs what is missing of a comparison; returns False where nothing was.

    Args:
      config: What to compare.
      path: The run directory, new or of the same config.
      display: Where progress is shown.
      retry_failed: Whether contenders that failed earlier are tried again.
    """
    contenders = chosen_contenders(config)
    parts = data.load_data(config)
    with open_run(config, path, display, _budget(config), "contender") as run:
        missing = [c for c in contenders if is_missing(run, c.name, retry_failed)]
        if not missing and SPEED in run.blocks:
            return False
        done = len(contenders) - len(missing)
        if done:
            display.note(f"{done} of {len(contenders)} contenders are finished and are loaded")
        task = Task.make(config, parts)
        loaded = [c for c in contenders if c not in missing and outcome(run, c.name) != "failed"]
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


def _train_one(
    run: RunDirectory[DigitsConfig],
    task: Task,
    parts: data.Data,
    contender: Contender,
    programs: Programs,
    display: Display,
) -> None:
    config = run.config
    history: list[Progress] = []

    def work() -> list[Record]:
        compiled = programs.get(_key(contender))
        start = time.perf_counter()
        for progress in train(task, contender, compiled):
            history.append(progress)
            display.advance(config.chunk)
        seconds = time.perf_counter() - start
        return contender_records(config, parts, history, compiled, seconds)

    attempt(run, contender.name, {"contender": contender.name}, work, display, _shown)
    display.advance(config.steps - config.chunk * len(history))


def _shown(records: Sequence[Record]) -> str:
    tests = [r["accuracy"] for r in records if r["kind"] == "test" and r["accuracy"] is not None]
    return f"accuracy {100.0 * sum(tests) / len(tests):5.2f}%" if tests else ""


def _time_all(
    run: RunDirectory[DigitsConfig],
    task: Task,
    contenders: Sequence[Contender],
    programs: Programs,
    display: Display,
) -> None:
    able = [c for c in contenders if outcome(run, c.name) != "failed"]
    rounds = run.config.speed_rounds
    compiled = [(contender, programs.get(_key(contender))) for contender in able]
    with display.stage("timing", (rounds + 1) * len(able), "chunks"):
        records = speed.measure(task, compiled, rounds, lambda: display.advance(1))
    run.append(SPEED, records)


def _budget(config: DigitsConfig) -> str:
    rates = ", ".join(f"{rate:g}" for rate in config.learning_rates)
    return (
        f"{config.seeds} seeds; every contender gets {config.steps} {config.optimizer} "
        f"steps of {config.batch_size} at each of the learning rates {rates}"
    )
