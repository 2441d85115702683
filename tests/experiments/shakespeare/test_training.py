"""`train` learns, resumes bit for bit, evaluates all of the validation part, and can be sampled."""

import dataclasses
import json
import math
import signal
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from experiments import cli
from experiments.checkpoints import CHECKPOINTS, Checkpoints, read_newest
from experiments.config_files import load_config
from experiments.divergence import is_finite
from experiments.errors import UserError
from experiments.progress import Display
from experiments.run_directory import RunDirectory, read_blocks, read_config
from experiments.shakespeare.config import ModelConfig, SampleConfig, ShakespeareConfig
from experiments.shakespeare.corpus import Corpus
from experiments.shakespeare.evaluation import compile_evaluation, evaluate
from experiments.shakespeare.losses import objective
from experiments.shakespeare.sample import (
    sample,
)
from experiments.shakespeare.saved import Saved
from experiments.shakespeare.train import (
    Progress,
    Variant,
    compile_programs,
    initial,
    initial_graph,
    initial_state,
    learning_rate,
    optimizer,
    positions_of,
    train,
)
from tests.experiments.shakespeare.tiny import CONFIG, FLAGS, LINE, write_text

ANCHOR = str(Path(__file__).parents[3] / "configs" / "shakespeare_char.py")
TEXT = "The quick brown fox jumps over the lazy dog, and does it again.\n" * 10


def command(out: Path, text: Path, *more: str) -> list[str]:
    return ["train", ANCHOR, "--out", str(out), "--data.path", str(text), *FLAGS, *more]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text(tmp_path_factory.mktemp("text") / "text.txt")


@pytest.fixture(scope="module")
def finished(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    assert cli.main(command(out, text)) == 0
    return out


def records(run: Path) -> dict[str, Any]:
    """The records of a run without what is timed."""
    blocks = read_blocks(run / "metrics.jsonl")[0]
    timed = ("step_seconds", "compile_seconds")
    return {
        name: [{k: v for k, v in record.items() if k not in timed} for record in block]
        for name, block in blocks.items()
    }


def weights(run: Path) -> Any:
    config = read_config(run)
    assert isinstance(config, ModelConfig)
    vocabulary = len(json.loads((run / "vocabulary.json").read_text())["tokens"])
    variant = Variant(config.attention[0], config.losses[0])
    found = read_newest(run, Saved.shape(config, variant, vocabulary), pytest.fail)
    assert found is not None
    assert found[0] == config.steps
    return found[1]


def test_a_tiny_text_is_learnt_by_heart(finished: Path) -> None:
    blocks = records(finished)
    steps = [name for name in blocks if name.startswith("step/")]
    assert steps == ["step/0", "step/20", "step/40", "step/60"]
    first, last = blocks["step/0"][0], blocks["final"][0]
    assert first["loss"] > 2.0
    # The first letter of a window tells nearly all that follows it.
    assert last["loss"] < 0.3
    assert last["accuracy"] > 0.9
    assert last["bits"] == pytest.approx(last["nll"] / math.log(2))
    assert LINE[:4] in last["sample"]


def test_a_finished_run_says_so_and_changes_nothing(
    finished: Path, text: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (finished / "metrics.jsonl").read_bytes()
    assert cli.main(command(finished, text)) == 0
    captured = capsys.readouterr()
    assert "is finished: nothing was trained" in captured.err
    assert "on the whole validation part" in captured.out
    assert (finished / "metrics.jsonl").read_bytes() == before


@pytest.mark.slow
@pytest.mark.parametrize("before", [True, False], ids=["before a save", "after a save"])
def test_a_run_that_was_cut_off_goes_on_bit_for_bit(
    before: bool,
    finished: Path,
    text: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    save, saves = Checkpoints.save, []

    def interrupted(self: Checkpoints, step: int, state: Saved) -> None:
        if before and step == 40:
            raise KeyboardInterrupt
        save(self, step, state)
        saves.append(step)
        if step == 40:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoints, "save", interrupted)
    out = tmp_path / "run"
    assert cli.main(command(out, text)) == 130
    monkeypatch.undo()
    assert saves == ([0, 20] if before else [0, 20, 40])
    assert cli.main(command(out, text)) == 0
    assert f"goes on from step {saves[-1]}" in capsys.readouterr().err
    assert records(out) == records(finished)
    jax.tree.map(np.testing.assert_array_equal, weights(out), weights(finished))


@pytest.mark.slow
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_taken(
    finished: Path,
    text: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    append, out = RunDirectory.append, tmp_path / "run"

    def interrupted(self: RunDirectory[Any], block: str, found: list[Any]) -> None:
        append(self, block, found)
        if block == "step/40":
            raise KeyboardInterrupt

    monkeypatch.setattr(RunDirectory, "append", interrupted)
    assert cli.main(command(out, text)) == 130
    monkeypatch.undo()
    newest = out / CHECKPOINTS / "40"
    (newest / "default" / "_METADATA").write_bytes(b"")
    capsys.readouterr()
    assert cli.main(command(out, text)) == 0
    said = capsys.readouterr().err.splitlines()
    (line,) = [line for line in said if "unreadable" in line]
    assert line.startswith(f"the checkpoint {newest} cannot be read (_METADATA is not as it was ")
    assert line.endswith("): moved to unreadable-40, going on from step 20")
    assert "goes on from step 20" in said
    assert records(out) == records(finished)
    jax.tree.map(np.testing.assert_array_equal, weights(out), weights(finished))


@pytest.mark.slow
def test_a_stop_within_a_chunk_saves_its_step_and_goes_on_to_the_same_figures(
    finished: Path,
    text: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # A single evaluation, at the end, of three blocks of steps.
    flags, out = ("--evaluations", "1"), tmp_path / "run"
    advance = Display.advance

    def asked(self: Display, amount: int) -> None:
        advance(self, amount)
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(Display, "advance", asked)
    for step in (20, 40):
        assert cli.main(command(out, text, *flags)) == 143
        assert f"saved step {step}\n" in capsys.readouterr().err
    monkeypatch.undo()
    assert cli.main(command(out, text, *flags)) == 0
    found, expected = records(out), records(finished)
    assert list(found) == ["corpus", "step/0", "step/60", "final"]
    assert found["final"] == expected["final"]
    # The mean of all steps, though three processes took them.
    means = [expected[f"step/{step}"][0]["train_loss"] for step in (20, 40, 60)]
    assert found["step/60"][0]["train_loss"] == pytest.approx(np.mean(means), rel=1e-6)
    jax.tree.map(np.testing.assert_array_equal, weights(out).state, weights(finished).state)


def test_a_loss_that_is_not_finite_ends_the_run_at_its_step_for_good(
    text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes: dict[str, Any] = {"learning_rate": 1e3, "warmup": 59, "evaluations": 6}
    config = dataclasses.replace(CONFIG, **changes)
    corpus = Corpus.of_text(text.read_text(), config, "a test")
    variant, size = Variant("softmax", "cross_entropy"), len(corpus.vocabulary.tokens)
    programs = compile_programs(config, variant, size, corpus.training.size)
    begin = Progress.start(initial_state(config, variant, size, config.seed))
    tokens = jnp.asarray(corpus.training)
    chunks = train(programs, config, tokens, config.seed, begin, lambda _: None)
    losses = np.concatenate([chunk.losses for chunk in chunks])
    first = int(np.argmin(np.isfinite(losses))) + 1
    assert 10 < first < 60
    out = tmp_path / "run"
    flags = [
        f for name, value in changes.items() for f in (f"--{name.replace('_', '-')}", str(value))
    ]
    assert cli.main(command(out, text, *flags)) == 1
    *_, line = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {out}: the training loss is nan at step {first}; the newest ")
    good = (first - 1) // 10 * 10
    assert sorted(int(path.name) for path in (out / CHECKPOINTS).iterdir()) == [good - 10, good]
    assert f"step/{good}" in records(out)
    assert f"step/{good + 10}" not in records(out)
    found = read_newest(out, Saved.shape(config, variant, size), pytest.fail)
    assert found is not None
    assert is_finite(found[1].state)
    before = (out / "metrics.jsonl").read_bytes()
    assert cli.main(command(out, text, *flags)) == 1
    assert capsys.readouterr().err.splitlines()[-1] == line
    assert (out / "metrics.jsonl").read_bytes() == before


def test_another_config_and_another_text_are_refused(
    finished: Path, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(command(finished, text, "--attention", "sparsemax")) == 2
    assert "attention (['softmax'] there, ['sparsemax'] here)" in capsys.readouterr().err
    assert cli.main(["compare", *command(finished, text)[1:]]) == 2
    assert "shakespeare-model there, shakespeare here" in capsys.readouterr().err
    content = text.read_text()
    text.write_text(content.replace("a", "b", 1))
    try:
        assert cli.main(command(finished, text)) == 2
    finally:
        text.write_text(content)
    assert "has changed since the run began" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["train", ANCHOR, "--data.path", "no-such.txt"], ["'no-such.txt'", "--data.path", "sta"]),
        (["train", ANCHOR, "--attention", "softmax", "ssmax"], ["attention: expected one name"]),
        (["train", ANCHOR, "--attention", "sofmax"], ["'sofmax'", "did you mean 'softmax'?"]),
        (["train", ANCHOR, "--heads", "3"], ["heads", "divisor of width (128)", "got 3"]),
        (["train", ANCHOR, "--evaluations", "7"], ["evaluations", "divisor of steps", "got 7"]),
        (["compare", ANCHOR, "--losses", "entmax"], ["'entmax'", "mean 'entmax15'?"]),
        (["train", ANCHOR.replace("shakespeare_char", "vae")], ["vae has no single model"]),
        (["sample", "no-such-run"], ["'no-such-run' is not a run"]),
        (["sample", "x", "--top-p", "1.5"], ["top_p", "at most 1", "got 1.5"]),
        (["sample", "x", "--top-k", "many"], ["--top-k", "an integer", "'many'"]),
    ],
    ids=lambda value: " ".join(value[-2:]) if isinstance(value, list) else None,
)
def test_mistake_gets_one_line(
    arguments: list[str], parts: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    more = [] if arguments[0] == "sample" else ["--out", str(tmp_path / "run")]
    assert cli.main([*arguments, *more]) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert all(part in error for part in parts), error
    assert not (tmp_path / "run").exists()


def test_the_gpu_config_is_the_published_one_and_files_load() -> None:
    char = load_config(Path(ANCHOR))
    assert char == ShakespeareConfig()
    gpu = load_config(Path(ANCHOR.replace("_char", "_char_gpu")))
    assert isinstance(gpu, ShakespeareConfig)
    sizes = (gpu.layers, gpu.heads, gpu.width, gpu.context, gpu.batch_size, gpu.steps, gpu.dropout)
    assert sizes == (6, 6, 384, 256, 64, 5000, 0.2)


def test_learning_rate_is_that_of_a_plain_loop() -> None:
    config = dataclasses.replace(CONFIG, learning_rate=1e-3, warmup=10, steps=50, evaluations=1)
    for step in range(55):
        if step < 10:
            expected = 1e-3 * (step + 1) / 11
        else:
            along = min((step - 10) / 40, 1.0)
            expected = 1e-4 + 0.5 * (1 + math.cos(math.pi * along)) * 9e-4
        assert float(learning_rate(config, step)) == pytest.approx(expected, rel=1e-5)


def test_only_matrices_decay_and_large_gradients_are_clipped() -> None:
    config = dataclasses.replace(CONFIG, weight_decay=0.5)
    params = {"matrix": jnp.ones((2, 2)), "vector": jnp.ones(2)}
    nothing = jax.tree.map(jnp.zeros_like, params)
    transform = optimizer(config)
    with jax.numpy_dtype_promotion("standard"):
        updates, _ = transform.update(nothing, transform.init(params), params)
        first = float(learning_rate(config, 0))
        np.testing.assert_allclose(updates["matrix"], -0.5 * first, rtol=1e-6)
        np.testing.assert_array_equal(updates["vector"], 0.0)
        large = jax.tree.map(lambda leaf: 1e3 * leaf, params)
        _, state = transform.update(large, transform.init(params), params)
    moments = [np.asarray(leaf) for leaf in jax.tree.leaves(state[1][0].mu)]
    norm = math.sqrt(sum((m**2).sum() for m in moments)) / (1 - config.beta1)
    assert norm == pytest.approx(config.clip, rel=1e-5)


def test_batches_depend_on_seed_and_step_alone() -> None:
    whole = np.asarray(positions_of(CONFIG, 500, 3, 0, 10))
    np.testing.assert_array_equal(whole[6:], positions_of(CONFIG, 500, 3, 6, 4))
    assert (whole != np.asarray(positions_of(CONFIG, 500, 4, 0, 10))).any()
    many = np.asarray(positions_of(dataclasses.replace(CONFIG, batch_size=4000), 30, 0, 0, 1))
    # The last window ends with the last token.
    assert (many.min(), many.max()) == (0, 30 - CONFIG.context - 1)


def test_evaluation_is_that_of_a_plain_loop_over_all_windows() -> None:
    corpus = Corpus.of_text(TEXT, CONFIG, "a test")
    size = len(corpus.vocabulary.tokens)
    variant = Variant("sparsemax", "entmax15")
    graph, params = initial(CONFIG, variant, size, 5)
    # Larger weights, so that attention and outputs have zeros.
    params = jax.tree.map(lambda leaf: 6.0 * leaf, params)
    figures = evaluate(compile_evaluation(CONFIG, variant, graph, params, corpus), params)
    model, ids = nnx.merge(graph, params), corpus.validation
    run = jax.jit(lambda params, tokens: nnx.merge(graph, params)(tokens))
    assert (ids.size - 1) % CONFIG.context  # the last window is shorter
    losses: list[float] = []
    hits = 0
    for first in range(0, ids.size - 1, CONFIG.context):
        inputs = ids[first : first + CONFIG.context][: ids.size - 1 - first]
        labels = ids[first + 1 : first + 1 + inputs.size]
        padded = np.pad(inputs, (0, CONFIG.context - inputs.size))
        hidden = run(params, jnp.asarray(padded[None]))[0, : inputs.size]
        losses += np.asarray(
            objective("entmax15", hidden, model.table, jnp.asarray(labels))
        ).tolist()
        hits += int((np.argmax(np.asarray(hidden @ model.table.T), -1) == labels).sum())
    assert len(losses) == ids.size - 1 == corpus.characters
    assert figures["loss"] == pytest.approx(np.mean(losses), rel=1e-5)
    assert figures["accuracy"] == pytest.approx(hits / len(losses))
    assert figures["bits"] is None
    assert figures["impossible"] > 0.1
    assert 0.1 < figures["attention_zeros"][0] < 1.0
    assert 1.0 <= figures["support"] < size


@pytest.mark.slow
def test_sample_depends_on_its_seed_and_its_maps(finished: Path) -> None:
    config = read_config(finished)
    assert isinstance(config, ModelConfig)

    def written(**changes: Any) -> str:
        request = SampleConfig(**{"tokens": 40, "temperature": 3.0, **changes})
        return "".join(sample(finished, config, request))

    one = written(seed=1)
    assert one == written(seed=1) != written(seed=2)
    assert one.startswith("\n")
    assert len(one) == 41
    # Past the context the window moves on.
    assert written(top_k=1, prompt="abc", tokens=30) == "abc" + (LINE * 4)[3:33]


def test_a_run_without_a_checkpoint_cannot_write(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.json").write_bytes((finished / "config.json").read_bytes())
    assert cli.main(["sample", str(tmp_path)]) == 2
    assert "has no checkpoint to read" in capsys.readouterr().err
    config = read_config(finished)
    assert isinstance(config, ModelConfig)
    with pytest.raises(UserError, match="'Q', which the model has never seen"):
        list(sample(finished, config, SampleConfig(prompt="Q")))


def test_graph_alone_is_that_of_a_whole_model() -> None:
    variant = Variant("ssmax", "fused")
    assert initial_graph(CONFIG, variant, 5) == initial(CONFIG, variant, 5, 0)[0]
