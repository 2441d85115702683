"""Every head begins at the words' frequencies; steps of rows are the dense steps; they learn."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.words.config import WordsConfig
from experiments.words.corpus import Corpus
from experiments.words.examples import Examples, Source
from experiments.words.frequencies import frequency_biases
from experiments.words.heads import Setting, all_contenders
from experiments.words.neighbours import neighbour_vectors
from experiments.words.train import (
    Weights,
    batches_of,
    compile_programs,
    initial_state,
    losses_of,
    train,
)
from tests.experiments.words.text import write_text

CONFIG = WordsConfig(
    vocabulary=60,
    passage=100,
    held_out=5,
    features=8,
    context=1,
    window=2,
    steps=160,
    batch_size=32,
    evaluations=8,  # blocks of 20 steps, as in the comparison's test: compiled once
    num_sampled=10,
    negatives=5,
    validation_words=256,
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    path = write_text(tmp_path_factory.mktemp("text") / "text.txt")
    return Corpus.load(dataclasses.replace(CONFIG, data_path=(str(path),)))


@pytest.fixture(scope="module")
def setting(corpus: Corpus) -> Setting:
    return Setting.of(corpus.counts, CONFIG, lambda: neighbour_vectors(corpus))


@pytest.mark.parametrize("name", list(all_contenders()))
def test_first_distribution_is_that_of_the_frequencies(name: str, setting: Setting) -> None:
    contender = all_contenders()[name]
    head = contender.make(setting)
    params = {**head.init(jax.random.key(0)), **frequency_biases(head, setting.counts)}
    expected = setting.counts / setting.counts.sum()
    found = np.exp(np.asarray(head.log_probs(params, jnp.zeros((1, 8)))[0], np.float64))
    if name == "adaptive":
        # Words of a tail have no bias: only the tail as a whole has its frequency.
        for low, high in zip(head.cutoffs, (*head.cutoffs[1:], 60), strict=True):
            expected[low:high] = expected[low:high].mean()
    np.testing.assert_allclose(found, expected, rtol=2e-5)


def test_steps_of_rows_are_dense_steps_and_evaluation_is_exact(
    corpus: Corpus, setting: Setting
) -> None:
    sampled = all_contenders()["sampled"]
    source = Source(corpus, CONFIG, "ngram")
    batches, held_out = batches_of(source, 0, 0, 20), source.held_out("test", 100)
    after, losses = [], np.zeros(0)
    for contender in (sampled, dataclasses.replace(sampled, by_rows=False)):
        programs = compile_programs(contender, setting, CONFIG, "ngram", 20, 64)
        state = initial_state(programs, CONFIG, "ngram", 0)
        state, _ = programs.steps(programs.head, state, batches, jnp.float32(0.3))
        after.append(state.weights)
        losses = losses_of(programs, state.weights, held_out, 64)
    for one, other in zip(*(jax.tree.leaves(weights) for weights in after), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-6)
    np.testing.assert_allclose(losses, exact_losses(after[1], held_out), rtol=1e-5)


def exact_losses(weights: Weights, examples: Examples) -> Any:
    """The negative log-probabilities of softmax over all words, in float64."""
    table, dense, head = (
        jax.tree.map(lambda x: np.asarray(x, np.float64), part)
        for part in (weights.body.table, weights.body.dense, weights.head)
    )
    seen = table[examples.inputs].reshape(examples.labels.size, -1)
    hidden = np.tanh(seen @ dense["weight"] + dense["bias"])
    scores = hidden @ head["weight"].T + head["bias"]
    normalizer = np.log(np.exp(scores).sum(axis=1))
    return normalizer - scores[np.arange(examples.labels.size), examples.labels]


def test_exact_heads_agree_and_learn_the_next_word(corpus: Corpus, setting: Setting) -> None:
    source = Source(corpus, CONFIG, "ngram")
    held_out = source.held_out("validation", 256)
    ends = {}
    for name in ("full", "fused"):
        programs = compile_programs(all_contenders()[name], setting, CONFIG, "ngram", 20, 256)
        state = initial_state(programs, CONFIG, "ngram", 0)
        first = losses_of(programs, state.weights, held_out, 256).mean()
        for _, last in train(programs, CONFIG, source, 0, 0.3, state, 0, CONFIG.steps):
            ends[name] = losses_of(programs, last.weights, held_out, 256).mean()
        # Half of the words follow from the one before.
        assert ends[name] < 0.8 * first
    assert ends["full"] == pytest.approx(ends["fused"], rel=1e-5)
