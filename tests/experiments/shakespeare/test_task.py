"""What a language model is trained on and judged by, against plain loops."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from experiments.config_files import load_config
from experiments.engine.programs import factors_of
from experiments.errors import UserError
from experiments.shakespeare.attention import Weights
from experiments.shakespeare.config import ShakespeareConfig
from experiments.shakespeare.corpus import Corpus
from experiments.shakespeare.losses import objective
from experiments.shakespeare.model import graph_of
from experiments.shakespeare.task import LanguageModel
from experiments.shakespeare.variants import all_variants
from tests.experiments.shakespeare.tiny import CONFIG

ANCHOR = Path(__file__).parents[3] / "configs" / "shakespeare_char.py"
TEXT = "The quick brown fox jumps over the lazy dog, and does it again.\n" * 10
SETTINGS = {"attention": "sparsemax", "loss": "entmax15"}


def task_of(config: ShakespeareConfig = CONFIG, text: str = TEXT) -> LanguageModel:
    return LanguageModel(config, Corpus.of_text(text, config, "a test"))


def test_batches_are_windows_of_the_training_part_and_depend_on_seed_and_step() -> None:
    letters = np.random.default_rng(0).integers(ord("a"), ord("z"), size=300)
    # No window is there twice.
    task = task_of(dataclasses.replace(CONFIG, batch_size=4000), "".join(map(chr, letters)))
    text, windows = task.corpus.training, task.batch(3, 6)
    every = np.lib.stride_tricks.sliding_window_view(text, CONFIG.context + 1)
    found = {tuple(window) for window in windows.tolist()}
    # All of them are drawn, the last one too, and nothing of what is tuned on.
    assert found == {tuple(window) for window in every.tolist()}
    np.testing.assert_array_equal(windows, task.batch(3, 6))
    assert (windows != task.batch(3, 7)).any()
    assert (windows != task.batch(4, 6)).any()


def test_examples_predict_every_token_of_a_part_once() -> None:
    task = task_of()
    for split, part in (("test", task.corpus.test), ("validation", task.corpus.tuning)):
        inputs, labels, seen = task.examples(0, split)  # type: ignore[arg-type] # a parameter's str
        np.testing.assert_array_equal(labels[seen], part[1:])
        np.testing.assert_array_equal(inputs[seen], part[:-1])
    few = task_of(dataclasses.replace(CONFIG, tuning_windows=3))
    inputs, _, seen = few.examples(0, "validation")
    assert inputs.shape == (3, CONFIG.context)
    windows = task.examples(0, "validation")[0]
    np.testing.assert_array_equal(inputs, windows[[0, len(windows) // 3, len(windows) * 2 // 3]])
    np.testing.assert_array_equal(few.examples(0, "test")[1], task.examples(0, "test")[1])
    whole = task_of(dataclasses.replace(CONFIG, trials=1, tuning_part=0.0))
    np.testing.assert_array_equal(*(whole.examples(0, s)[0] for s in ("validation", "test")))


def test_figures_are_those_of_a_plain_loop_over_all_windows() -> None:
    text = " ".join(TEXT.split())
    words = dataclasses.replace(CONFIG, data_tokens="word", vocabulary=36)
    task = task_of(words, text)
    # Larger weights, so that attention and outputs have zeros.
    params = jax.tree.map(lambda leaf: 6.0 * leaf, task.initial(5, SETTINGS))
    examples = task.examples(5, "test")
    assert not examples[2].all(), "the last window is shorter"
    outputs = jax.jit(lambda p, e: task.predict(p, e, SETTINGS, {}))(params, examples)
    found, details = task.judge(jax.tree.map(np.asarray, outputs), examples)
    graph, ids = graph_of(words, "sparsemax", len(task.corpus.vocabulary.tokens)), task.corpus.test

    @jax.jit
    def run(params: Any, tokens: Any) -> Any:
        weights = Weights()
        return nnx.merge(graph, params)(tokens, weights=weights), weights.layers[0]

    table = nnx.merge(graph, params).table
    smoothed: list[float] = []
    hits = zeros = characters = unseen = visible = 0
    for first in range(0, ids.size - 1, CONFIG.context):
        inputs = ids[first : first + CONFIG.context][: ids.size - 1 - first]
        labels = ids[first + 1 : first + 1 + inputs.size]
        padded = np.pad(inputs, (0, CONFIG.context - inputs.size))
        (hidden,), (weights,) = run(params, jnp.asarray(padded[None]))
        logits = np.asarray(hidden[: inputs.size] @ table.T)
        for t in range(inputs.size):
            unseen += int((np.asarray(weights)[:, t, : t + 1] == 0).sum())
            visible += CONFIG.heads * (t + 1)
        # Entmax at 1.5 by its threshold: the sum of squares falls to 1.
        for row, label in zip(logits.astype(np.float64) / 2, labels, strict=True):
            low, high = row.max() - 1, row.max()
            for _ in range(60):
                middle = (low + high) / 2
                above = (np.maximum(row - middle, 0) ** 2).sum() > 1
                low, high = (middle, high) if above else (low, middle)
            p = np.maximum(row - low, 0)[label] ** 2
            epsilon = CONFIG.epsilon
            smoothed.append(-math.log((p + epsilon) / (1 + epsilon * row.size)))
            zeros += p == 0
        hits += int((logits.argmax(-1) == labels).sum())
        characters += sum(len(task.corpus.vocabulary.tokens[label]) for label in labels)
    assert characters == len(text) - int(0.9 * len(text)) - len(
        task.corpus.vocabulary.tokens[ids[0]]
    )
    assert found["smoothed_bits"] == pytest.approx(
        sum(smoothed) / characters / math.log(2), rel=1e-4
    )
    assert found["accuracy"] == pytest.approx(hits / len(smoothed))
    assert found["missed"] == pytest.approx(zeros / len(smoothed))
    assert found["missed"] > 0.1
    assert found["nll"] == found["bits"] == math.inf
    assert 1.0 <= found["support"] < len(task.corpus.vocabulary.tokens)
    assert details["attention_zeros"] == [pytest.approx(unseen / visible)]
    assert 0.1 < details["attention_zeros"][0] < 1.0


def test_zeros_of_the_attention_count_the_visible_keys_of_what_is_seen() -> None:
    task = task_of()
    # With equal scores sparsemax gives every visible key the same weight.
    params = jax.tree.map(jnp.zeros_like, task.initial(0, SETTINGS))
    examples = task.examples(0, "test")
    run = jax.jit(lambda p: task.predict(p, examples, SETTINGS, {}))
    outputs = jax.tree.map(np.asarray, run(params))
    assert task.judge(outputs, examples).details == {"attention_zeros": [0.0]}
    outputs["zeros"] = outputs["zeros"] + 1
    seen = examples[2].astype(int)
    visible = sum(n * (n + 1) // 2 for n in seen.sum(axis=1)) * CONFIG.heads
    (share,) = task.judge(outputs, examples).details["attention_zeros"]
    assert share == pytest.approx(len(seen) / visible)


def test_loss_is_the_mean_of_every_window_and_uses_its_key_for_dropout_only() -> None:
    plain, dropping = task_of(), task_of(dataclasses.replace(CONFIG, dropout=0.5))
    batch, params = plain.batch(0, 0), plain.initial(0, SETTINGS)
    graph = graph_of(CONFIG, "sparsemax", len(plain.corpus.vocabulary.tokens))

    @jax.jit
    def losses(params: Any) -> Any:
        model = nnx.merge(graph, params)
        tokens = objective("entmax15", model(batch[:, :-1]), model.table, batch[:, 1:])
        keys = [jax.random.key(i) for i in range(2)]
        found = [[t.loss(params, batch, k, SETTINGS, {}) for k in keys] for t in (plain, dropping)]
        return tokens, found

    tokens, ((one, two), dropped) = losses(params)
    np.testing.assert_allclose(one, np.asarray(tokens).mean(axis=-1), rtol=1e-6)
    np.testing.assert_allclose(one, two, rtol=1e-6)
    assert (dropped[0] != dropped[1]).all()


def test_train_is_nanogpts_run_and_files_load() -> None:
    char = load_config(ANCHOR)
    assert char == ShakespeareConfig()
    assert isinstance(char, ShakespeareConfig)
    one = char.of_one("softmax.cross_entropy", seeds=1)
    assert (one.steps, one.evaluations, one.warmup) == (2000, 8, 100)
    assert (one.beta1, one.beta2, one.weight_decay, one.clip) == (0.9, 0.99, 0.1, 1.0)
    factors = factors_of(one, one.steps)
    for step in (0, 50, 99, 100, 1000, 1999):
        along = (step - 100) / 1900
        falling = 1e-4 + 0.5 * (1 + math.cos(math.pi * along)) * 9e-4
        expected = 1e-3 * (step + 1) / 101 if step < 100 else falling
        assert one.learning_rate_low * factors[step] == pytest.approx(expected, rel=1e-5)
    gpu = load_config(ANCHOR.with_name("shakespeare_char_gpu.py"))
    assert isinstance(gpu, ShakespeareConfig)
    sizes = (gpu.layers, gpu.heads, gpu.width, gpu.context, gpu.batch_size, gpu.dropout)
    assert sizes == (6, 6, 384, 256, 64, 0.2)
    assert (gpu.of_one("softmax.cross_entropy").steps, gpu.first_weights) == (5000, "nanogpt")
    assert gpu.of_one("softmax.cross_entropy").warmup == 100


def test_every_pair_takes_part_and_rates_are_not_tuned_on_the_test_part() -> None:
    names = [variant.name for variant in all_variants()]
    assert names[0] == "softmax.cross_entropy"
    assert len(set(names)) == 7 * 3
    with pytest.raises(UserError, match=r"tuning_part: expected more than 0 .*, got 0\.0"):
        dataclasses.replace(CONFIG, tuning_part=0.0)
