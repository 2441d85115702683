"""The comparison on words: compile, train, time and record each head; go on where it stopped."""

import functools
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.blocks import attempt, is_missing, open_run, outcome
from experiments.compiling import AheadOfTime, block_of
from experiments.errors import UserError
from experiments.progress import Display
from experiments.run_directory import Record, RunDirectory
from experiments.statistics import finite
from experiments.words import records, scaling
from experiments.words.config import TaskName, WordsConfig
from experiments.words.corpus import Corpus
from experiments.words.examples import Examples, Source
from experiments.words.heads import Contender, Setting, chosen_contenders
from experiments.words.neighbours import neighbour_vectors
from experiments.words.speed import measure
from experiments.words.train import (
    Batches,
    Programs,
    State,
    batches_of,
    compile_programs,
    initial_state,
    losses_of,
    train,
)

CORPUS = "corpus"
# Bands and tails of words need some words.
FEWEST_WORDS = 10


class Job(NamedTuple):
    """One head on one task; its records are one block of the run."""

    task: TaskName
    contender: Contender

    @property
    def name(self) -> str:
        """What progress and the run call it."""
        return f"{self.task}/{self.contender.name}"


class Task(NamedTuple):
    """The examples of a task, the same for every head."""

    name: TaskName
    corpus: Corpus
    source: Source
    validation: Examples
    test: Examples


class Step(NamedTuple):
    """A state of a run of one seed, and the validation NLL there."""

    step: int
    train_loss: float
    nll: float
    state: State | None


def compare(config: WordsConfig, path: Path, display: Display, retry_failed: bool = False) -> bool:
    """Runs what is missing of a comparison; returns False where nothing was."""
    contenders = chosen_contenders(config)
    corpus = Corpus.load(config)
    if len(corpus.words) < FEWEST_WORDS:
        raise UserError(
            f"data_path: expected a text with at least {FEWEST_WORDS} words to choose from, got "
            f"{len(corpus.words)}; give more text, or a smaller min_count"
        )
    tasks = {name: _task(corpus, config, name) for name in config.tasks}
    with open_run(config, path, display, _budget(config, corpus), "head") as run:
        jobs = [Job(name, contender) for name in config.tasks for contender in contenders]
        missing = [job for job in jobs if is_missing(run, job.name, retry_failed)]
        untimed = [name for name in config.tasks if missing or _speed(name) not in run.blocks]
        unscaled = scaling.missing(run, contenders)
        if not missing and not untimed and not unscaled:
            return False
        _note_corpus(run, corpus)
        if len(jobs) > len(missing):
            done = f"{len(jobs) - len(missing)} of {len(jobs)}"
            display.note(f"{done} heads are finished and are loaded")
        with closing(_compiler(config, corpus, missing, jobs, untimed, run)) as programs:
            total = len(missing) * config.seeds * config.steps
            with display.stage("training", total, "steps"):
                for job in missing:
                    _train_one(run, tasks[job.task], job, programs, display)
            for name in untimed:
                _time_all(
                    run, tasks[name], [job for job in jobs if job.task == name], programs, display
                )
        scaling.run_all(run, unscaled, display)
    return True


def _task(corpus: Corpus, config: WordsConfig, name: TaskName) -> Task:
    source = Source(corpus, config, name)
    validation = source.held_out("validation", config.validation_words)
    return Task(name, corpus, source, validation, source.held_out("test", config.test_words))


def _compiler(
    config: WordsConfig,
    corpus: Corpus,
    missing: Sequence[Job],
    jobs: Sequence[Job],
    untimed: Sequence[TaskName],
    run: RunDirectory[WordsConfig],
) -> AheadOfTime[Job, Programs]:
    """Compiles first what is trained, then what is timed beside it."""
    vectors = functools.cache(functools.partial(neighbour_vectors, corpus))
    setting = Setting.of(corpus.counts, config, vectors)
    block = block_of(config.chunk)
    timed = [j for j in jobs if j.task in untimed and outcome(run, j.name) not in (None, "failed")]
    needed = dict.fromkeys([*missing, *timed])
    return AheadOfTime(
        {
            job: functools.partial(
                compile_programs,
                job.contender,
                setting,
                config,
                job.task,
                block=block,
                evaluated=config.validation_words,
            )
            for job in needed
        }
    )


def _speed(task: TaskName) -> str:
    return f"{task}/speed"


def _train_one(
    run: RunDirectory[WordsConfig],
    task: Task,
    job: Job,
    programs: AheadOfTime[Job, Programs],
    display: Display,
) -> None:
    config = run.config
    common = {"task": job.task, "contender": job.contender.name}

    def work() -> list[Record]:
        return _all_seeds(config, task, programs.get(job), display)

    attempt(run, job.name, common, work, display, _shown)


def _shown(records: Sequence[Record]) -> str:
    nlls = [r["nll"] for r in records if r["kind"] == "test" and r["nll"] is not None]
    return f"NLL {np.mean(nlls):.3f}" if nlls else ""


def _all_seeds(
    config: WordsConfig, task: Task, programs: Programs, display: Display
) -> list[Record]:
    """Trains one head with every seed; the first one chooses the learning rate."""
    seeds = range(config.first_seed, config.first_seed + config.seeds)
    began = time.perf_counter()
    first, rate, found = _pilot(config, task, programs, seeds[0])
    diverged = []
    for seed in seeds:
        steps = first if seed == seeds[0] else [_start(config, task, programs, seed)]
        for step in _run(config, task, programs, seed, rate, steps[-1], config.steps):
            steps[-1] = steps[-1]._replace(state=None)  # its buffers were given away
            steps.append(step)
            display.advance(config.chunk)
        last = steps[-1].state
        assert last is not None
        losses = losses_of(programs, last.weights, task.test, config.validation_words)
        found += [
            {"kind": "evaluation", "seed": seed, "step": s.step}
            | {"train_loss": finite(s.train_loss), "nll": finite(s.nll)}
            for s in steps
        ]
        tested = records.test_record(task.corpus, losses, task.test.labels)
        found.append({"kind": "test", "seed": seed, "learning_rate": rate, **tested})
        if tested["nll"] is None:
            diverged.append(seed)
    why = f"not finite for seeds {', '.join(map(str, diverged))}" if diverged else ""
    ending = {
        "status": "diverged" if diverged else "trained",
        "why": why,
        "compile_seconds": round(programs.seconds, 3),
        "train_seconds": round(time.perf_counter() - began, 3),
        "temporary_bytes": programs.temporary,
        "head_bytes": programs.head_bytes,
    }
    return [*found, {"kind": "outcome", **ending}]


def _pilot(
    config: WordsConfig, task: Task, programs: Programs, seed: int
) -> tuple[list[Step], float, list[Record]]:
    """Trains the first seed for some steps at each rate; returns the best one's steps to go on."""
    if len(config.learning_rates) == 1:
        return [_start(config, task, programs, seed)], config.learning_rates[0], []
    best: tuple[float, list[Step], float] | None = None
    found: list[Record] = []
    for rate in config.learning_rates:
        steps = [_start(config, task, programs, seed)]
        for step in _run(config, task, programs, seed, rate, steps[-1], config.pilot_steps):
            steps[-1] = steps[-1]._replace(state=None)
            steps.append(step)
        nll = steps[-1].nll
        found.append({"kind": "tuning", "seed": seed, "learning_rate": rate})
        found[-1] |= {"step": steps[-1].step, "nll": finite(nll)}
        score = nll if np.isfinite(nll) else np.inf
        if best is None or score < best[0]:
            best = (score, steps, rate)
    assert best is not None
    return best[1], best[2], found


def _start(config: WordsConfig, task: Task, programs: Programs, seed: int) -> Step:
    state = initial_state(programs, config, task.name, seed)
    return Step(0, float("nan"), _validation(config, task, programs, state), state)


def _run(
    config: WordsConfig,
    task: Task,
    programs: Programs,
    seed: int,
    rate: float,
    begin: Step,
    last: int,
) -> Iterator[Step]:
    assert begin.state is not None
    for progress, state in train(
        programs, config, task.source, seed, rate, begin.state, begin.step, last
    ):
        nll = _validation(config, task, programs, state)
        yield Step(progress.step, progress.train_loss, nll, state)


def _validation(config: WordsConfig, task: Task, programs: Programs, state: State) -> float:
    losses = losses_of(programs, state.weights, task.validation, config.validation_words)
    return float(losses.mean())


def _time_all(
    run: RunDirectory[WordsConfig],
    task: Task,
    jobs: Sequence[Job],
    programs: AheadOfTime[Job, Programs],
    display: Display,
) -> None:
    config = run.config
    able = [job for job in jobs if outcome(run, job.name) != "failed"]
    compiled = {job.contender.name: programs.get(job) for job in able}
    rounds = config.speed_rounds

    def batches(of: Programs, number: int) -> Batches:
        return batches_of(task.source, config.first_seed, number * of.block, of.block)

    def states(of: Programs) -> State:
        return initial_state(of, config, task.name, config.first_seed)

    with display.stage(f"timing {task.name}", rounds * len(able), "blocks"):
        found = measure(compiled, rounds, states, batches, lambda: display.advance(1))
    run.append(_speed(task.name), [{"task": task.name, **record} for record in found])


def _note_corpus(run: RunDirectory[WordsConfig], corpus: Corpus) -> None:
    """Writes what the text is once; a run goes on with the same text only."""
    now = _described(corpus)
    if CORPUS not in run.blocks:
        run.append(CORPUS, [now])
    elif run.blocks[CORPUS][0]["digest"] != now["digest"]:
        raise UserError(
            f"data_path: the text of {run.path} has changed since the run began; choose another "
            "--out"
        )


def _described(corpus: Corpus) -> Record:
    return {
        "kind": "corpus",
        "digest": corpus.digest,
        "source": corpus.source,
        "words": int(corpus.ids.size),
        "distinct": corpus.distinct,
        "vocabulary": len(corpus.words),
        "others_share": float(np.mean(corpus.ids == corpus.others)),
        "parts": {name: int(places.position.size) for name, places in corpus.parts.items()},
    }


def _budget(config: WordsConfig, corpus: Corpus) -> str:
    rates = ", ".join(f"{rate:g}" for rate in config.learning_rates)
    return (
        f"{corpus.ids.size:,} words, {corpus.distinct:,} of them different, a vocabulary "
        f"of {len(corpus.words):,}; {config.seeds} seeds; every head gets {config.steps} steps of "
        f"Adagrad with {config.batch_size} words, at a rate chosen from {rates}"
    )
