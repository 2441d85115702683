"""Every head begins at the words' frequencies; steps of rows are dense steps; NLLs are exact."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.words import task as tasks
from experiments.words.config import WordsConfig
from experiments.words.examples import Examples
from experiments.words.frequencies import frequency_biases
from experiments.words.heads import all_contenders
from experiments.words.model import Weights
from experiments.words.task import Words
from tests.experiments.words.text import write_text

CONFIG = WordsConfig(
    vocabulary=60,
    passage=100,
    held_out=5,
    features=8,
    context=1,
    window=2,
    batch_size=32,
    num_sampled=10,
    negatives=5,
    test_words=100,
)


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Words:
    path = write_text(tmp_path_factory.mktemp("text") / "text.txt")
    return Words(dataclasses.replace(CONFIG, data_path=(str(path),)))


@pytest.mark.parametrize("name", list(all_contenders()))
def test_first_distribution_is_that_of_the_frequencies(name: str, words: Words) -> None:
    head, counts = words.head(name), words.corpus.counts
    params = {**head.init(jax.random.key(0)), **frequency_biases(head, counts)}
    expected = counts / counts.sum()
    found = np.exp(np.asarray(head.log_probs(params, jnp.zeros((1, 8)))[0], np.float64))
    if name == "adaptive":
        # Words of a tail have no bias: only the tail as a whole has its frequency.
        for low, high in zip(head.cutoffs, (*head.cutoffs[1:], 60), strict=True):
            expected[low:high] = expected[low:high].mean()
    np.testing.assert_allclose(found, expected, rtol=2e-5)


@pytest.mark.parametrize("name", ["sampled", "fused"])
def test_a_step_is_adagrads_on_the_gradient_of_the_whole_tables(name: str, words: Words) -> None:
    settings = {"head": name}
    rule = words.rule(settings)
    weights = words.initial(0, settings)
    sums = rule.begin(weights)
    key = jax.random.key(0)

    @jax.jit
    def both(weights: Any, sums: Any, batch: Any, key: Any) -> Any:
        def total(weights: Any) -> Any:
            losses = words.loss(weights, batch, key, settings, {})
            return losses.sum(), losses.mean()

        gradient, loss = jax.grad(total, has_aux=True)(weights)
        return rule.step(weights, sums, batch, key, jnp.float32(0.3), {}), gradient, loss

    # In float64 and without optax: the squares begin at 0.1.
    expected = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(weights)]
    squares = [np.full(leaf.shape, 0.1) for leaf in expected]
    for step in range(3):
        key = jax.random.key(step)
        after, gradient, loss = both(weights, sums, words.batch(0, step), key)
        assert after.finite
        np.testing.assert_allclose(after.loss, loss, rtol=1e-5)
        for i, leaf in enumerate(jax.tree.leaves(gradient)):
            slope = np.asarray(leaf, np.float64)
            squares[i] = squares[i] + slope**2
            expected[i] = expected[i] - 0.3 * slope / np.sqrt(squares[i] + 1e-7)
        weights, sums = after.params, after.memory
    for one, other in zip(jax.tree.leaves(weights), expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-5)
    # A row that is not finite is noticed by the step that reads it, and by no other.
    inputs, _ = batch = words.batch(0, 3)
    table = np.array(weights.table)
    for row, finite in (
        (next(i for i in range(60) if i not in inputs), True),
        (inputs[0, 0], False),
    ):
        table[row] = np.nan
        poisoned = weights._replace(table=jnp.asarray(table))
        assert bool(both(poisoned, sums, batch, key)[0].finite) is finite


def test_nll_is_that_of_softmax_over_all_words(
    words: Words, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 100 words do not divide into parts of 64.
    monkeypatch.setattr(tasks, "_TOGETHER", 64)
    settings, examples = {"head": "sampled"}, words.examples(0, "test")
    weights = words.initial(0, settings)
    found = jax.jit(lambda w: words.predict(w, examples, settings, {}))(weights)
    expected = exact_losses(weights, examples)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    judged = words.judge(found, examples)
    assert judged.metrics["nll"] == pytest.approx(expected.mean(), rel=1e-6)
    assert judged.metrics["perplexity"] == pytest.approx(np.exp(expected.mean()), rel=1e-5)
    buckets = judged.details["buckets"]
    assert list(buckets) == ["1–10", "11–59", "other words"]
    assert sum(bucket["words"] for bucket in buckets.values()) == 100
    frequent = [n for n, i in enumerate(examples.labels) if i < 11 and i != words.corpus.others]
    frequent = [n for n in frequent if words.corpus.counts[examples.labels[n]] >= tenth(words)]
    assert buckets["1–10"]["nll"] == pytest.approx(expected[frequent].mean(), rel=1e-5)


def tenth(words: Words) -> int:
    """The count of the tenth most frequent word that is not the mark for all others."""
    counts = np.delete(words.corpus.counts, words.corpus.others)
    return int(np.sort(counts)[-10])


def exact_losses(weights: Weights, examples: Examples) -> Any:
    """The negative log-probabilities of softmax over all words, in float64."""
    table, dense, head = (
        jax.tree.map(lambda x: np.asarray(x, np.float64), part)
        for part in (weights.table, weights.dense, weights.head)
    )
    seen = table[examples.inputs].reshape(examples.labels.size, -1)
    hidden = np.tanh(seen @ dense["weight"] + dense["bias"])
    scores = hidden @ head["weight"].T + head["bias"]
    normalizer = np.log(np.exp(scores).sum(axis=1))
    return normalizer - scores[np.arange(examples.labels.size), examples.labels]
