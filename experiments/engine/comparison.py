"""Tune, train, test and time every variant with the same budget, and go on where it stopped."""

import dataclasses
import functools
import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from jax.sharding import Mesh

from experiments import distributed
from experiments import mesh as meshes
from experiments.blocks import attempt, is_missing, open_run, outcome
from experiments.checkpoints import open_checkpoints
from experiments.compiling import AheadOfTime
from experiments.digests import digest_of_arrays
from experiments.engine.candidates import Candidate, best, candidates, is_tuned
from experiments.engine.checks import check_task, note_data
from experiments.engine.config import EngineConfig
from experiments.engine.extras import Extra
from experiments.engine.placement import mesh_of
from experiments.engine.programs import NEVER, Programs, block_size, compile_programs
from experiments.engine.speed import rates_of
from experiments.engine.standing import SPEED, is_timed, is_wanted, measured_of
from experiments.engine.task import Judgement, Split, Task, Variant, first_metric
from experiments.engine.told import budget, progress_line, steps_of
from experiments.engine.training import Progress, Saved, Training, models_of
from experiments.engine.weights import STATES
from experiments.errors import RunFailed
from experiments.interrupts import stop_on_signals
from experiments.progress import Display
from experiments.run_directory import Record, RunDirectory, read_run
from experiments.statistics import finite
from experiments.timing import in_turns

# What decides a compiled program: the variant's own part, how many models, the steps of a call.
Key = tuple[tuple[Any, ...], int, int]


def compare(
    config: EngineConfig,
    path: Path,
    display: Display,
    retry_failed: bool = False,
    alone: bool = False,
) -> bool:
    """Runs what is missing of a comparison; returns False where nothing was.

    Args:
      config: What to compare.
      path: The run directory, new or of the same config.
      display: Where progress is shown.
      retry_failed: Whether variants that failed earlier are tried again.
      alone: Whether this is `train`: states are kept, and one that is not finite ends it.
    """
    variants, task = config.chosen_variants(), config.make_task()
    check_task(task, config)
    mesh = mesh_of(config, task, variants)
    with open_run(config, path, display, budget(config, mesh), "variant") as run:
        note_data(run, task)
        missing = [v for v in variants if is_missing(run, v.name, retry_failed)]
        able = [v for v in variants if v in missing or outcome(run, v.name) != "failed"]
        timed = not config.speed_rounds or (not missing and is_timed(run, able))
        extras = [] if alone else config.extras()
        extras = [e for e in extras if missing or is_wanted(run, e.block, config, retry_failed)]
        if not missing and timed and not extras:
            return False
        if len(missing) < len(variants):
            done = f"{len(variants) - len(missing)} of {len(variants)}"
            display.note(f"{done} variants are finished and are loaded")
        able = [v for v in variants if v in missing or outcome(run, v.name) != "failed"]
        steps_of_key = {key: steps for v in missing for key, steps in _keys(config, v).items()}
        steps_of_key |= {} if timed else {_final_key(config, v): config.steps for v in able}
        by_program = {v.program: v for v in variants}
        jobs = {
            key: functools.partial(_compile, task, config, by_program[key[0]], key, steps, mesh)
            for key, steps in steps_of_key.items()
        }
        with closing(AheadOfTime(jobs)) as programs:
            work = Comparison(run, task, mesh, programs, display, alone)
            # Compiling beside training would slow down whoever comes first.
            with display.stage("compiling", len(jobs), "programs"):
                programs.wait(display.advance)
            with display.stage("training", sum(steps_of(config, v) for v in missing), "steps"):
                for variant in missing:
                    work.make(variant)
            if not timed:
                work.time_all([v for v in able if outcome(run, v.name) != "failed"])
            if extras:
                work.add(extras)
    return True


def train(config: EngineConfig, path: Path, display: Display) -> bool:
    """Runs what is missing of the training of one variant; returns False where nothing was.

    Its state is saved at every evaluation. A loss that is not finite ends it, and the newest
    checkpoint is the last state that was good.
    """
    (variant,) = config.chosen_variants()
    done = compare(config, path, display, retry_failed=True, alone=True)
    ending = distributed.on_writer(lambda: read_run(path, EngineConfig)[1][variant.name][-1])
    if ending["status"] in ("diverged", "failed"):
        raise RunFailed(f"{path}: {variant.name} {ending['status']}: {ending['why']}")
    return done


def _final_key(config: EngineConfig, variant: Variant) -> Key:
    return variant.program, config.seeds, block_size(config, config.steps)


def _keys(config: EngineConfig, variant: Variant) -> dict[Key, int]:
    """Returns the programs of a variant and their steps; training may be by that of tuning."""
    models = config.trials * config.tuning_seeds
    tuning = (variant.program, models, block_size(config, config.steps_of_tuning))
    return {
        **({tuning: config.steps_of_tuning} if is_tuned(config, variant) else {}),
        _final_key(config, variant): config.steps,
    }


def _compile(
    task: Task, config: EngineConfig, variant: Variant, key: Key, steps: int, mesh: Mesh
) -> Programs:
    _, shapes = variant.program
    return compile_programs(task, config, variant.settings, shapes, key[1], steps, mesh)


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A comparison that is being made.

    Attributes:
      run: The open run.
      task: What is trained.
      mesh: What it is trained on.
      programs: The compiled programs.
      display: Where progress is shown.
      alone: Whether this is `train`.
    """

    run: RunDirectory[EngineConfig]
    task: Task
    mesh: Mesh
    programs: AheadOfTime[Key, Programs]
    display: Display
    alone: bool

    @property
    def config(self) -> EngineConfig:
        """The run's config."""
        return self.run.config

    def make(self, variant: Variant) -> None:
        """Tunes, trains and tests a variant; one that fails leaves a block that says why."""
        tune = f"tune/{variant.name}"
        tuned = is_tuned(self.config, variant)
        if tuned and is_missing(self.run, tune, retry_failed=True):
            self._attempt(tune, variant, self._tune, lambda _: "")
        self._attempt(variant.name, variant, self._train, self._shown)

    def _attempt(
        self,
        block: str,
        variant: Variant,
        work: Callable[[Variant], list[Record]],
        shown: Callable[[Sequence[Record]], str],
    ) -> None:
        """Makes a block; nothing goes on from the states of what is finished or has failed."""
        common = {"contender": variant.name}
        attempt(self.run, block, common, lambda: work(variant), self.display, shown)
        # What failed may be mended, and is then trained from the beginning.
        if not self.alone or outcome(self.run, block) == "failed":
            distributed.on_writer(lambda: _remove(self.run.path / STATES / block))

    def _shown(self, records: Sequence[Record]) -> str:
        metric, _ = first_metric(self.task)
        found = [r["metrics"][metric] for r in records if r["kind"] == "test"]
        known = [value for value in found if value is not None]
        return f"{metric} {np.mean(known):.4g}" if known else ""

    def training(self, variant: Variant, chosen: Sequence[Candidate], tuning: bool) -> Training:
        """Returns what trains the candidates, each with the seeds of tuning or with all."""
        config = self.config
        count = config.tuning_seeds if tuning else config.seeds
        steps = config.steps_of_tuning if tuning else config.steps
        seeds = range(config.first_seed, config.first_seed + count)
        models = models_of(variant, chosen, seeds)
        key = (variant.program, len(models.seeds), block_size(config, steps))
        # What a process compiles may take longer than the others would wait in its first step.
        programs = distributed.agreed(lambda: self.programs.get(key))
        return Training(self.task, config, variant.settings, models, steps, programs, self.mesh)

    def _tune(self, variant: Variant) -> list[Record]:
        """Tries every candidate; the best is that of the best mean on validation data."""
        tried = candidates(self.config, variant)
        training = self.training(variant, tried, tuning=True)
        saved = self._trained(training, f"tune/{variant.name}", lambda _: None)
        judged = self._judged(training, saved, "validation")
        seeds = self.config.tuning_seeds
        records: list[Record] = [
            {"kind": "trial", "trial": i // seeds, "seed": int(training.models.seeds[i])}
            | tried[i // seeds]._asdict()
            | {"validation": _finite(one.metrics)}
            for i, one in enumerate(judged)
        ]
        chosen = best(self.task, judged, seeds)
        if chosen is None:
            ending = {"status": "diverged", "why": "no candidate is finite for every seed"}
            return [*records, {"kind": "outcome", **ending, "chosen": 0}]
        return [*records, {"kind": "outcome", "status": "tuned", "why": "", "chosen": chosen}]

    def _train(self, variant: Variant) -> list[Record]:
        config = self.config
        tried = candidates(config, variant)
        chosen = tried[0]
        if is_tuned(config, variant):
            tuning = self.run.blocks[f"tune/{variant.name}"][-1]
            if tuning["status"] == "failed":
                # It stands in the records, which all processes have.
                raise distributed.AgreedError(f"tuning failed: {tuning['why']}")
            chosen = tried[tuning["chosen"]]
        training = self.training(variant, [chosen], tuning=False)

        def evaluate(progress: Progress) -> None:
            self._note(variant, training, progress)

        saved = self._trained(training, variant.name, evaluate)
        params, lost = saved.state.params, meshes.fetch(saved.state.lost)
        # Where one that is lost has ended all, the others are not what they would have become.
        early = self.alone and bool((lost != NEVER).any())
        records = [] if early else self._tests(training, saved)
        status, why = self._ending(training, lost, params)
        programs = training.programs
        return [
            *records,
            {
                "kind": "outcome",
                "status": status,
                "why": why,
                "learning_rate": chosen.learning_rate,
                "tuned": chosen.tuned,
                "lost": [int(step) for step in lost],
                "digest": digest_of_arrays(meshes.fetch(params)),
                "parameters": programs.parameters,
                "flops_per_step": programs.flops,
                "temporary_bytes": programs.temporary,
                "compile_seconds": round(programs.seconds, 3),
                "train_seconds": round(float(saved.seconds[0]), 3),
            },
        ]

    def _trained(
        self, training: Training, name: str, evaluate: Callable[[Progress], None]
    ) -> Saved:
        """Trains to the end from the newest checkpoint, and saves from time to time."""
        began = training.begin()
        where = self.run.path / STATES / name
        with open_checkpoints(where, self.display.note) as kept, stop_on_signals() as stop:
            found = kept.newest(began)
            step, saved = found or (0, began)
            if found:
                self.display.note(f"{name}: goes on from step {step:,}")
                self.display.advance(step)
            since = time.perf_counter()
            for progress in training.run(saved, step, self.display.advance):
                saved = progress.saved
                if progress.train_loss is not None:
                    evaluate(progress)
                if self._lost(saved):
                    break
                # Saving needs all processes, and their clocks differ.
                waited = time.perf_counter() - since
                late = distributed.any_process(waited >= self.config.checkpoint_seconds)
                asked = stop.agreed()
                if asked or late or (self.alone and progress.train_loss is not None):
                    kept.save(progress.step, saved)
                    since = time.perf_counter()
                if asked:
                    kept.wait()
                    self.display.note(f"{name}: saved step {progress.step:,}")
                    stop.leave()
        return saved

    def _lost(self, saved: Saved) -> bool:
        """Says whether training ends: no model is finite any more, or one of `train` is not."""
        lost = meshes.fetch(saved.state.lost) != NEVER
        return bool(lost.any() if self.alone else lost.all())

    def _note(self, variant: Variant, training: Training, progress: Progress) -> None:
        """Writes an evaluation, unless it is there already."""
        block = f"{variant.name}/{progress.step}"
        if block in self.run.blocks and outcome(self.run, variant.name) != "failed":
            return
        assert progress.train_loss is not None
        judged = self._judged(training, progress.saved, "validation")
        flops = training.programs.flops
        common = {
            "kind": "evaluation",
            "contender": variant.name,
            "step": progress.step,
            "examples": progress.step * self.config.batch_size,
            "flops": None if flops is None else flops * progress.step,
            "seconds": round(progress.seconds, 4),
        }
        records = [
            {**common, "seed": int(seed), "train_loss": finite(loss)}
            | {"validation": _finite(one.metrics)}
            for seed, loss, one in zip(
                training.models.seeds, progress.train_loss, judged, strict=True
            )
        ]
        self.run.append(block, records)
        if self.alone:
            self.display.note(progress_line(records))

    def _judged(self, training: Training, saved: Saved, split: Split) -> list[Judgement]:
        """Returns how good the models are; what is lost has no figures, and no details of them."""
        lost = meshes.fetch(saved.state.lost) != NEVER
        return [
            Judgement(dict.fromkeys(one.metrics, math.nan), {}) if gone else one
            for one, gone in zip(training.judge(saved.state.params, split), lost, strict=True)
        ]

    def _tests(self, training: Training, saved: Saved) -> list[Record]:
        judged = self._judged(training, saved, "test")
        learned = training.learned(saved.state.params)
        whole = meshes.fetch(saved.state.lost)[0] == NEVER
        shown = training.shown(saved.state.params) if whole else {}
        return [
            {"kind": "test", "seed": int(seed), "metrics": _finite(one.metrics), **one.details}
            | ({"learned": _finite(numbers)} if numbers else {})
            for seed, one, numbers in zip(training.models.seeds, judged, learned, strict=True)
        ] + ([{"kind": "shown", "seed": int(training.models.seeds[0]), **shown}] if shown else [])

    def _ending(self, training: Training, lost: np.ndarray, params: Any) -> tuple[str, str]:
        if (lost != NEVER).any():
            first = min(int(step) for step in lost if step != NEVER)
            seeds = ", ".join(str(s) for s in training.models.seeds[lost != NEVER])
            return "diverged", f"not finite from step {first + 1} on (seeds {seeds})"
        if not training.moved(params):
            return "unmoved", "its gradient is zero: the weights stayed as they were initialised"
        return "trained", ""

    def time_all(self, variants: Sequence[Variant]) -> None:
        """Times a block of steps of each variant in turns, from its first weights."""
        first = {v.name: (v, candidates(self.config, v)[:1]) for v in variants}
        trainings = {n: self.training(v, tried, tuning=False) for n, (v, tried) in first.items()}
        rounds = self.config.speed_rounds
        with self.display.stage("timing", rounds * len(first), "blocks"):
            records = in_turns(rates_of(trainings), rounds, lambda: self.display.advance(1))
        self.run.append(SPEED, records)

    def add(self, extras: Sequence[Extra]) -> None:
        """Makes the experiment's own measurements; one that fails leaves a block that says why."""
        of = measured_of(self.run, self.config)
        with self.display.stage("measuring", len(extras), "measurements"):
            for extra in extras:
                common = {"contender": extra.name}

                def work(extra: Extra = extra) -> list[Record]:
                    ending = {"kind": "outcome", "status": "finished", "why": "", "of": of}
                    return [*distributed.agreed(lambda: extra.work(self.run)), ending]

                attempt(self.run, extra.block, common, work, self.display, lambda _: "")
                self.display.advance(1)


def _remove(states: Path) -> None:
    if states.exists():
        shutil.rmtree(states)


def _finite(numbers: Mapping[str, Any]) -> Record:
    return {
        name: [finite(v) for v in np.ravel(value)] if np.ndim(value) else finite(value)
        for name, value in numbers.items()
    }
