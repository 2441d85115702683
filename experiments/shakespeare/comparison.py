"""Attention normalisers by output losses: compile, train, time and record; go on after a stop."""

import functools
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Int

from experiments.blocks import attempt, is_missing, outcome
from experiments.compiling import AheadOfTime
from experiments.progress import Display
from experiments.run_directory import Record, RunDirectory
from experiments.run_environment import note_environment
from experiments.shakespeare.attention import NORMALISERS
from experiments.shakespeare.config import ShakespeareConfig
from experiments.shakespeare.corpus import Corpus
from experiments.shakespeare.evaluation import Evaluation, compile_evaluation, evaluate
from experiments.shakespeare.losses import LOSSES
from experiments.shakespeare.train import (
    Programs,
    Progress,
    Variant,
    compile_programs,
    initial_state,
    positions_of,
    train,
)
from experiments.shakespeare.training import budget, learned, note_corpus, written
from experiments.timing import in_turns

REFERENCE = Variant("softmax", "cross_entropy")
SPEED = "speed"


class Compiled(NamedTuple):
    """The programs of one variant."""

    programs: Programs
    evaluation: Evaluation


def variants(config: ShakespeareConfig) -> list[Variant]:
    """Returns what takes part: the reference, then every chosen normaliser with every loss."""
    chosen = [
        Variant(attention, loss)
        for loss in config.losses or LOSSES
        for attention in config.attention or NORMALISERS
    ]
    return [REFERENCE, *(variant for variant in chosen if variant != REFERENCE)]


def compare(
    config: ShakespeareConfig, path: Path, display: Display, retry_failed: bool = False
) -> bool:
    """Runs what is missing of a comparison; returns False where nothing was."""
    corpus = Corpus.load(config)
    of_model, chosen = config.of_comparison(), variants(config)
    with closing(RunDirectory.open(path, config)) as run:
        note_environment(run, display)
        if run.dropped:
            display.note(f"dropped {run.dropped} lines of a model that was cut off")
        note_corpus(run, corpus)
        missing = [v for v in chosen if is_missing(run, v.name, retry_failed)]
        if not missing and SPEED in run.blocks:
            return False
        display.note(
            f"{budget(of_model, path, corpus)}, for {len(chosen)} models and {config.seeds} seeds"
        )
        if len(chosen) > len(missing):
            done = f"{len(chosen) - len(missing)} of {len(chosen)}"
            display.note(f"{done} models are finished and are loaded")
        needed = dict.fromkeys([*missing, *(v for v in chosen if outcome(run, v.name) != "failed")])
        jobs = {v: functools.partial(_compiled, of_model, v, corpus) for v in needed}
        with closing(AheadOfTime(jobs)) as programs:
            total = len(missing) * config.seeds * of_model.steps
            with display.stage("training", total, "steps"):
                for variant in missing:
                    _train_one(run, of_model, corpus, variant, programs, display)
            able = [variant for variant in chosen if outcome(run, variant.name) != "failed"]
            _time_all(run, of_model, corpus, able, programs, display)
    return True


def _compiled(config: ShakespeareConfig, variant: Variant, corpus: Corpus) -> Compiled:
    size = len(corpus.vocabulary.tokens)
    programs = compile_programs(config, variant, size, corpus.training.size)
    params = jax.eval_shape(lambda: initial_state(config, variant, size, 0)).params
    return Compiled(programs, compile_evaluation(config, variant, programs.graph, params, corpus))


def _train_one(
    run: RunDirectory[ShakespeareConfig],
    config: ShakespeareConfig,
    corpus: Corpus,
    variant: Variant,
    programs: AheadOfTime[Variant, Compiled],
    display: Display,
) -> None:
    def work() -> list[Record]:
        return _all_seeds(config, corpus, variant, programs.get(variant), display)

    attempt(run, variant.name, {"contender": variant.name}, work, display, _shown)


def _shown(records: Sequence[Record]) -> str:
    losses = [record["smoothed"] for record in records if record["kind"] == "test"]
    known = [loss for loss in losses if loss is not None]
    return f"smoothed {np.mean(known):.4f}" if known else ""


def _all_seeds(
    config: ShakespeareConfig,
    corpus: Corpus,
    variant: Variant,
    compiled: Compiled,
    display: Display,
) -> list[Record]:
    """Trains one model with every seed; the first one writes a sample."""
    began, text = time.perf_counter(), jnp.asarray(corpus.training)
    found: list[Record] = []
    diverged = []
    for seed in range(config.seed, config.seed + config.seeds):
        records = _one_seed(config, corpus, variant, compiled, seed, text, display.advance)
        found += records
        if records[-1]["loss"] is None:
            diverged.append(seed)
    programs = compiled.programs
    ending = {
        "status": "diverged" if diverged else "trained",
        "why": f"not finite for seeds {', '.join(map(str, diverged))}" if diverged else "",
        "compile_seconds": round(programs.seconds + compiled.evaluation.seconds, 3),
        "train_seconds": round(time.perf_counter() - began, 3),
        "temporary_bytes": programs.temporary,
        "parameters": programs.parameters,
    }
    return [*found, {"kind": "outcome", **ending}]


def _one_seed(
    config: ShakespeareConfig,
    corpus: Corpus,
    variant: Variant,
    compiled: Compiled,
    seed: int,
    text: Int[Array, " tokens"],
    advance: Callable[[int], None],
) -> list[Record]:
    """Trains one model with one seed; the last record has its figures at the end."""
    programs, evaluation = compiled
    state = initial_state(config, variant, len(corpus.vocabulary.tokens), seed)
    now, found = Progress.start(state), []
    for now in train(programs, config, text, seed, Progress.start(state), advance):
        figures = evaluate(evaluation, now.state.params)
        shown = {"step": now.step, "train_loss": _number(now.train_loss), **figures}
        found.append({"kind": "evaluation", "seed": seed, **shown})
    params = now.state.params
    if seed == config.seed and figures["loss"] is not None:
        sample = written(config, corpus, variant, programs, params)
        found.append({"kind": "sample", "seed": seed, "text": sample})
    return [
        *found,
        {"kind": "test", "seed": seed, **figures, **learned(nnx.merge(programs.graph, params))},
    ]


def _number(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _time_all(
    run: RunDirectory[ShakespeareConfig],
    config: ShakespeareConfig,
    corpus: Corpus,
    able: Sequence[Variant],
    programs: AheadOfTime[Variant, Compiled],
    display: Display,
) -> None:
    """Times one block of steps of each model in each round, from the same state in all rounds."""
    text, size = jnp.asarray(corpus.training), len(corpus.vocabulary.tokens)

    def rate_of(variant: Variant) -> Callable[[int], float]:
        of = programs.get(variant).programs

        def rate(turn: int) -> float:
            state = initial_state(config, variant, size, config.seed)
            positions = positions_of(config, text.size, config.seed, turn * of.block, of.block)
            zero = jnp.int32(0)
            # The first block meets the buffers of a new state for the first time.
            state, _ = of.steps(state, text, positions, zero, zero)
            jax.block_until_ready(state)
            began = time.perf_counter()
            jax.block_until_ready(of.steps(state, text, positions, zero, zero))
            return of.block / (time.perf_counter() - began)

        return rate

    rates = {variant.name: rate_of(variant) for variant in able}
    with display.stage("timing", config.speed_rounds * len(able), "blocks"):
        run.append(SPEED, in_turns(rates, config.speed_rounds, lambda: display.advance(1)))
