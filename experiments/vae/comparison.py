"""The comparison of estimators: train with each, measure its gradient; go on where it stopped."""

import functools
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from experiments.blocks import attempt, is_missing, open_run, outcome
from experiments.compiling import AheadOfTime
from experiments.progress import Display
from experiments.run_directory import Record, RunDirectory
from experiments.vae.config import VaeConfig
from experiments.vae.contenders import (
    REFERENCE,
    SCORE_FUNCTION,
    Contender,
    Method,
    chosen_contenders,
    measured_methods,
)
from experiments.vae.gradients import Measure, compile_measure, measure_at
from experiments.vae.model import Weights
from experiments.vae.records import block_records
from experiments.vae.train import (
    Compiled,
    Evaluate,
    Progress,
    Task,
    compile_evaluation,
    compile_method,
    train,
)

# The exact run's evaluations, by step: the weights at which gradients are measured.
History = dict[int, Progress]


class Programs(NamedTuple):
    """What training needs compiled: a chunk of steps for each method, and one evaluation."""

    methods: AheadOfTime[Method, Compiled]
    evaluate: AheadOfTime[str, Evaluate]

    def train(self, task: Task, contender: Contender) -> Iterator[Progress]:
        """Trains with one estimator."""
        compiled = self.methods.get(contender.method)
        return train(task, contender, compiled, self.evaluate.get(""))


def compare(config: VaeConfig, path: Path, display: Display, retry_failed: bool = False) -> bool:
    """Runs what is missing of a comparison; returns False where nothing was."""
    contenders = chosen_contenders(config)
    task = Task.make(config)
    with open_run(config, path, display, _budget(config), "estimator") as run:
        missing = [c for c in contenders if is_missing(run, c.name, retry_failed)]
        methods = measured_methods(contenders) if config.probes else []
        unmeasured = [m for m in methods if is_missing(run, gradient_block(m), retry_failed)]
        if not missing and not unmeasured:
            return False
        if len(contenders) > len(missing):
            done = f"{len(contenders) - len(missing)} of {len(contenders)}"
            display.note(f"{done} estimators are finished and are loaded")
        needed = dict.fromkeys([c.method for c in missing])
        if unmeasured:
            needed |= {REFERENCE: None}
        jobs = {method: functools.partial(compile_method, task, method) for method in needed}
        evaluation = {"": functools.partial(compile_evaluation, task)}
        history: History = {}
        with closing(AheadOfTime(evaluation)) as evaluate, closing(AheadOfTime(jobs)) as chunks:
            programs = Programs(chunks, evaluate)
            with display.stage("training", len(missing) * config.steps, "steps"):
                for contender in missing:
                    _train_one(run, task, contender, programs, history, display)
            _measure_all(run, task, unmeasured, programs, history, display)
    return True


def gradient_block(method: Method) -> str:
    """Returns the name of the block of a method's gradients."""
    return f"gradients/{method}"


def _train_one(
    run: RunDirectory[VaeConfig],
    task: Task,
    contender: Contender,
    programs: Programs,
    history: History,
    display: Display,
) -> None:
    def work() -> list[Record]:
        trained = programs.train(task, contender)
        start = time.perf_counter()
        found = []
        for progress in trained:
            found.append(progress if contender.name == REFERENCE else progress._replace(state=None))
            display.advance(task.config.chunk if progress.step else 0)
        seconds = time.perf_counter() - start
        if contender.name == REFERENCE:
            history.update({progress.step: progress for progress in found})
        compiled = programs.methods.get(contender.method)
        return block_records(task.config, found, compiled.seconds, seconds)

    attempt(run, contender.name, {"contender": contender.name}, work, display, _shown)


def _measure_all(
    run: RunDirectory[VaeConfig],
    task: Task,
    methods: Sequence[Method],
    programs: Programs,
    history: History,
    display: Display,
) -> None:
    """Measures the gradients of the methods along the exact run, which is repeated if need be."""
    if not methods:
        return
    if outcome(run, REFERENCE) == "failed":
        display.note(f"no gradients are measured, because {REFERENCE} failed")
        return
    if not history:
        display.note(
            f"{REFERENCE} is trained again for the weights at which gradients are measured"
        )
        for progress in programs.train(task, Contender(REFERENCE, REFERENCE)):
            history[progress.step] = progress
    points = [_weights(run, history[step]) for step in task.config.probe_steps]
    jobs = {method: functools.partial(compile_measure, task, method) for method in methods}
    with (
        closing(AheadOfTime(jobs)) as measures,
        display.stage("measuring gradients", len(methods), "estimators"),
    ):
        for method in methods:
            _measure_one(run, task, method, measures, points, display)
            display.advance(1)


def _weights(run: RunDirectory[VaeConfig], progress: Progress) -> Weights:
    """Returns the weights of the first seed, at the learning rate that it chose."""
    config = run.config
    tests = [r for r in run.blocks[REFERENCE] if r["kind"] == "test"]
    chosen = next(r["learning_rate"] for r in tests if r["seed"] == config.first_seed)
    rate = config.learning_rates.index(chosen)
    assert progress.state is not None
    weights: Weights = jax.tree.map(lambda leaf: leaf[rate, 0], progress.state[0])
    return weights


def _measure_one(
    run: RunDirectory[VaeConfig],
    task: Task,
    method: Method,
    measures: AheadOfTime[Method, Measure],
    points: Sequence[Weights],
    display: Display,
) -> None:
    def work() -> list[Record]:
        measure = measures.get(method)
        found: list[Record] = []
        temperatures = (None,) if method in SCORE_FUNCTION else task.config.measured
        for temperature in temperatures:
            for probe, weights in enumerate(points):
                found += measure_at(task, measure, weights, probe, temperature)
        return [*found, {"kind": "outcome", "status": "finished", "why": ""}]

    attempt(run, gradient_block(method), {"method": method}, work, display, lambda _: "")


def _shown(records: Sequence[Record]) -> str:
    elbos = [r["elbo"] for r in records if r["kind"] == "test" and r["elbo"] is not None]
    return f"test ELBO {np.mean(elbos):.2f}" if elbos else ""


def _budget(config: VaeConfig) -> str:
    rates = ", ".join(f"{rate:g}" for rate in config.learning_rates)
    return (
        f"{config.latents} latents of {config.classes} classes, "
        f"{config.classes**config.latents:,} codes; {config.seeds} seeds; every estimator gets "
        f"{config.steps} steps of Adam with {config.batch_size} images at each of the learning "
        f"rates {rates}, and {config.samples} samples an image"
    )
