"""The steps that are measured and compiled elsewhere are those that training runs."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.bandit.config import BanditConfig
from experiments.bandit.testbed import play, problem_keys
from experiments.base_config import BaseConfig
from experiments.digits.config import DigitsConfig
from experiments.engine.candidates import candidates
from experiments.engine.programs import compile_programs
from experiments.engine.training import Training, models_of
from experiments.mesh import make_mesh
from experiments.shakespeare import train as shakespeare
from experiments.shakespeare.config import ShakespeareConfig
from experiments.shakespeare.corpus import Corpus as Text
from experiments.steps import TrainingStep, training_steps
from experiments.words import train as words
from experiments.words.config import WordsConfig
from experiments.words.corpus import Corpus
from experiments.words.examples import Source
from experiments.words.heads import Setting, all_contenders
from tests.experiments.shakespeare.tiny import write_text as write_shakespeare
from tests.experiments.words.text import write_text as write_words

pytestmark = pytest.mark.slow

DIGITS = DigitsConfig(
    variants=("softmax", "sparsemax"), seeds=2, hidden=(5,), steps=1, evaluations=1, batch_size=6
)
BANDIT = BanditConfig(policies=("softmax_0.5",), problems=6, steps=10, points=10, drift=0.1)


@pytest.fixture(scope="module")
def words_config(tmp_path_factory: pytest.TempPathFactory) -> WordsConfig:
    path = tmp_path_factory.mktemp("words") / "text.txt"
    write_words(path)
    return WordsConfig(
        data_path=(str(path),),
        tasks=("ngram",),
        heads=("huffman",),
        vocabulary=60,
        passage=100,
        held_out=5,
        features=8,
        context=2,
        window=2,
        batch_size=6,
        steps=1,
        evaluations=1,
        num_sampled=10,
    )


@pytest.fixture(scope="module")
def shakespeare_config(tmp_path_factory: pytest.TempPathFactory) -> ShakespeareConfig:
    path = write_shakespeare(tmp_path_factory.mktemp("text") / "text.txt")
    return ShakespeareConfig(
        data_path=(str(path),),
        attention=("entmax15",),
        losses=("fused",),
        layers=1,
        heads=2,
        width=8,
        context=4,
        dropout=0.1,
        batch_size=6,
        steps=1,
        warmup=0,
        evaluations=1,
    )


def shapes(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)


def run(step: TrainingStep) -> tuple[Any, ...]:
    """The result of a first step, after what has to hold of every step."""
    arguments = step.make_arguments()
    assert shapes(arguments) == shapes(step.arguments)
    result = jax.jit(step.function)(*arguments)
    (donated,) = step.donate
    assert shapes(result[0]) == shapes(step.arguments[donated])
    for number in step.batch:
        for leaf in jax.tree.leaves(step.arguments[number]):
            assert leaf.shape[0] == 6, "not the axis of the examples"
    return result


def named(config: BaseConfig, *names: str) -> list[TrainingStep]:
    steps = training_steps(config)
    assert [step.name for step in steps] == list(names)
    return steps


def test_a_step_of_the_engine_is_the_first_of_training() -> None:
    _, step = named(DIGITS, "softmax", "sparsemax")
    state, losses = run(step)
    assert step.examples == 6 * 2
    task, variant = DIGITS.make_task(), DIGITS.chosen_variants()[1]
    models = models_of(variant, candidates(DIGITS, variant)[:1], range(2))
    mesh = make_mesh()
    _, shapes = variant.program
    programs = compile_programs(task, DIGITS, variant.settings, shapes, 2, 1, mesh)
    training = Training(task, DIGITS, variant.settings, models, 1, programs, mesh)
    (progress,) = training.run(training.begin(), 0, lambda count: None)
    chex.assert_trees_all_close(state, progress.saved.state, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(losses, progress.saved.losses[0], rtol=1e-5)


def test_steps_of_the_testbed_are_those_of_a_game() -> None:
    step = named(BANDIT, "epsilon", "softmax")[1]
    game, parameter, keys, _ = step.make_arguments()
    assert run(step) is not None
    one_step = jax.jit(step.function)
    rewards = []
    for number in range(BANDIT.steps):
        game, played = one_step(game, parameter, keys, jnp.int32(number))
        rewards.append(np.asarray(played.reward))
    every = jax.vmap(lambda key: play("softmax", BANDIT, parameter, key))
    want = jax.jit(every)(problem_keys(BANDIT))
    np.testing.assert_allclose(np.stack(rewards, axis=1), want.reward, rtol=1e-5, atol=1e-6)


def test_a_step_of_words_is_the_first_of_training(words_config: WordsConfig) -> None:
    config = words_config
    _, step = named(config, "ngram/full", "ngram/huffman")
    state, loss = run(step)
    corpus = Corpus.load(config)
    setting = Setting.of(corpus.counts, config, lambda: np.zeros((0, 0), np.float32))
    programs = words.compile_programs(
        all_contenders()["huffman"], setting, config, "ngram", block=1, evaluated=0
    )
    batches = words.batches_of(Source(corpus, config, "ngram"), config.first_seed, 0, 1)
    rate = jnp.float32(config.learning_rates[0])
    first = words.initial_state(programs, config, "ngram", config.first_seed)
    want = programs.steps(programs.head, first, batches, rate)
    chex.assert_trees_all_close((state, loss), want, rtol=1e-4, atol=1e-6)


def test_a_step_of_the_language_model_is_the_first_of_training(
    shakespeare_config: ShakespeareConfig,
) -> None:
    config = shakespeare_config
    _, step = named(config, "softmax/cross_entropy", "entmax15/fused")
    state, loss = run(step)
    text = Text.load(config)
    size, variant = len(text.vocabulary.tokens), shakespeare.Variant("entmax15", "fused")
    programs = shakespeare.compile_programs(config, variant, size, text.training.size)
    first = shakespeare.initial_state(config, variant, size, config.seed)
    start = shakespeare.Progress.start(first)
    (progress,) = shakespeare.train(
        programs, config, jnp.asarray(text.training), config.seed, start, lambda count: None
    )
    chex.assert_trees_all_close(state, progress.state, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(loss, progress.losses.mean(), rtol=1e-5)
