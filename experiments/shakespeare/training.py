"""The command `train`: one model, evaluated and saved as it learns; it goes on where it stopped."""

import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from experiments.checkpoints import Checkpoints, open_checkpoints
from experiments.divergence import check_finite, refuse_stopped
from experiments.errors import UserError
from experiments.interrupts import stop_on_signals
from experiments.progress import Display
from experiments.run_directory import Record, RunDirectory, read_run, write_json
from experiments.run_environment import note_environment
from experiments.shakespeare.config import ModelConfig, SampleConfig, ShakespeareConfig
from experiments.shakespeare.corpus import Corpus, described
from experiments.shakespeare.evaluation import Evaluation, compile_evaluation, evaluate
from experiments.shakespeare.model import GPT
from experiments.shakespeare.sample import VOCABULARY, compile_sampler, generate
from experiments.shakespeare.saved import Saved
from experiments.shakespeare.train import (
    Programs,
    Progress,
    Variant,
    compile_programs,
    initial_state,
    train,
)

CORPUS, END = "corpus", "final"


def train_model(config: ModelConfig, path: Path, display: Display) -> bool:
    """Runs what is missing of the training of one model; returns False where nothing was."""
    corpus = Corpus.load(config)
    variant = Variant(config.attention[0], config.losses[0])
    with closing(RunDirectory.open(path, config)) as run:
        note_environment(run, display)
        note_corpus(run, corpus)
        if END in run.blocks:
            return False
        refuse_stopped(run)
        write_json(path / VOCABULARY, {"tokens": list(corpus.vocabulary.tokens)})
        display.note(budget(config, path, corpus))
        with open_checkpoints(path, display.note) as saved:
            _train(run, corpus, variant, saved, display)
    return True


def _train(
    run: RunDirectory[ModelConfig],
    corpus: Corpus,
    variant: Variant,
    saved: Checkpoints,
    display: Display,
) -> None:
    config, size = run.config, len(corpus.vocabulary.tokens)
    programs = compile_programs(config, variant, size, corpus.training.size)
    now = Progress.start(initial_state(config, variant, size, config.seed))
    evaluation = compile_evaluation(config, variant, programs.graph, now.state.params, corpus)
    found = saved.newest(Saved.of(now, config))
    if found is None:
        saved.save(0, Saved.of(now, config))
    else:
        now = found[1].progress(found[0], config)
        display.note(f"goes on from step {now.step:,}")
    # Between two evaluations there is nothing to tell, and at this one it may have been told.
    if now.step % config.chunk == 0 and f"step/{now.step}" not in run.blocks:
        _note(run, now, evaluation, None, display)
    text = jnp.asarray(corpus.training)
    with (
        stop_on_signals() as stop,
        display.stage(f"training {variant.name}", config.steps - now.step, "steps"),
    ):
        display.start(variant.name)
        began, first = time.perf_counter(), now.step
        rest = train(programs, config, text, config.seed, now, display.advance, stop.agreed)
        for now in rest:
            seconds = (time.perf_counter() - began) / (now.step - first)
            check_finite(run, now.losses, now.state, now.step)
            saved.save(now.step, Saved.of(now, config))
            if stop.agreed():
                saved.wait()
                display.note(f"saved step {now.step:,}")
                stop.leave()
            # Figures of a state that a kill lost are written again, from the one made anew.
            _note(run, now, evaluation, seconds, display)
            began, first = time.perf_counter(), now.step
    saved.wait()
    run.append(END, [_ending(config, corpus, variant, programs, now, evaluation)])


def _note(
    run: RunDirectory[ModelConfig],
    now: Progress,
    evaluation: Evaluation,
    step_seconds: float | None,
    display: Display,
) -> None:
    """Evaluates the model and writes its figures."""
    figures = evaluate(evaluation, now.state.params)
    trained = None if np.isnan(now.train_loss) else now.train_loss
    record = {"kind": "evaluation", "step": now.step, "train_loss": trained}
    name = f"step/{now.step}"
    run.append(name, [{**record, "step_seconds": step_seconds, **figures}])
    display.note(progress_line(run.blocks[name][0]))


def progress_line(record: Record) -> str:
    """Says in one line how far a model is."""
    shown = f"step {record['step']:>6,}"
    if record["train_loss"] is not None:
        shown += f"  training {record['train_loss']:.4f}"
    shown += f"  validation {_shown(record['loss'])}, {bits(record)}"
    if record["step_seconds"] is not None:
        shown += f"  {1e3 * record['step_seconds']:.1f} ms/step"
    return shown


def bits(record: Record) -> str:
    """Says how many bits a character takes; smoothed ones where a label has probability 0."""
    if record["bits"] is not None:
        return f"{record['bits']:.4f} bits/character"
    return f"{_shown(record['smoothed_bits'])} smoothed bits/character"


def _shown(value: float | None) -> str:
    return "∞" if value is None else f"{value:.4f}"


def _ending(
    config: ModelConfig,
    corpus: Corpus,
    variant: Variant,
    programs: Programs,
    now: Progress,
    evaluation: Evaluation,
) -> Record:
    params = now.state.params
    record = {
        "kind": "final",
        "step": now.step,
        "parameters": programs.parameters,
        "temporary_bytes": programs.temporary,
        "compile_seconds": round(programs.seconds + evaluation.seconds, 3),
        "sample": written(config, corpus, variant, programs, params),
    }
    return {**record, **learned(nnx.merge(programs.graph, params)), **evaluate(evaluation, params)}


def written(
    config: ShakespeareConfig, corpus: Corpus, variant: Variant, programs: Programs, params: Any
) -> str:
    """Returns a sample of text, drawn from the model's own probabilities."""
    prompt = corpus.vocabulary.encode(corpus.vocabulary.beginning)
    request = SampleConfig(tokens=config.sample_tokens, seed=config.seed)
    program = compile_sampler(config, variant, programs.graph, params, request)
    pieces = generate(program, config, params, prompt, request)
    return corpus.vocabulary.decode(token for piece in pieces for token in piece)


def learned(model: GPT) -> Record:
    """Returns the learned alpha, or SSMax's learned scale, of every head in every layer."""
    layers = [block.attention for block in model.blocks]
    match layers[0].normaliser:
        case "learned_alpha":
            return {"alphas": [np.asarray(layer.alphas()).tolist() for layer in layers]}
        case "ssmax":
            return {"scales": [np.asarray(layer.scale[...]).tolist() for layer in layers]}
        case _:
            return {}


def note_corpus(run: RunDirectory[Any], corpus: Corpus) -> None:
    """Writes what the text is once; a run goes on with the same text only."""
    now = described(corpus)
    if CORPUS not in run.blocks:
        run.append(CORPUS, [now])
    elif run.blocks[CORPUS][0]["digest"] != now["digest"]:
        raise UserError(
            f"data_path: the text of {run.path} has changed since the run began; choose another "
            "--out"
        )


def budget(config: ShakespeareConfig, path: Path, corpus: Corpus) -> str:
    """Says what a run reads and does."""
    tokens = "characters" if config.data_tokens == "char" else "words and characters"
    return (
        f"{path}: {corpus.training.size:,} {tokens} to train on, {corpus.validation.size:,} to "
        f"validate, {len(corpus.vocabulary.tokens):,} different; {config.steps:,} steps of "
        f"{config.batch_size} windows of {config.context}"
    )


def tables(path: Path) -> list[str]:
    """Returns what a run of `train` shows on the terminal."""
    _, blocks, _ = read_run(path, ModelConfig)
    lines = [progress_line(record) for record in evaluations(blocks)]
    shown = ["\n".join(lines)]
    if END in blocks:
        shown.append(_summary(blocks[END][0]))
    return shown


def evaluations(blocks: dict[str, list[Record]]) -> list[Record]:
    """Returns the evaluations of a run of `train`, in the order of their steps."""
    found = [block[0] for name, block in blocks.items() if name.startswith("step/")]
    return sorted(found, key=lambda record: int(record["step"]))


def _summary(end: Record) -> str:
    zeros: Sequence[float] = end["attention_zeros"]
    lines = [
        f"validation loss {_shown(end['loss'])} nats on the whole validation part, "
        f"{bits(end)}, accuracy {100 * end['accuracy']:.2f}%",
        f"smoothed {_shown(end['smoothed'])} nats; {end['support']:.1f} tokens above zero; label "
        f"at zero {100 * end['impossible']:.2f}%",
        "attention weights at zero, by layer: " + ", ".join(f"{100 * z:.1f}%" for z in zeros),
        f"{end['parameters']:,} parameters",
        "",
        end["sample"].strip("\n"),
    ]
    return "\n".join(lines)
