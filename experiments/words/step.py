"""One training step of each head on each task."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from experiments.steps import TrainingStep
from experiments.words.config import TaskName, WordsConfig
from experiments.words.corpus import Corpus
from experiments.words.examples import Source
from experiments.words.frequencies import frequency_biases
from experiments.words.heads import Contender, Setting, chosen_contenders
from experiments.words.model import initial_body, initial_key
from experiments.words.neighbours import neighbour_vectors
from experiments.words.train import batches_of, first_state, one_step


def training_steps(config: WordsConfig) -> list[TrainingStep]:
    """Returns the step of each head, for one task after the other."""
    corpus = Corpus.load(config)
    vectors = functools.cache(functools.partial(neighbour_vectors, corpus))
    setting = Setting.of(corpus.counts, config, vectors)
    heads = {contender: contender.make(setting) for contender in chosen_contenders(config)}
    return [
        _step(config, task, contender, head, setting, Source(corpus, config, task))
        for task in config.tasks
        for contender, head in heads.items()
    ]


def _step(
    config: WordsConfig,
    task: TaskName,
    contender: Contender,
    head: Any,
    setting: Setting,
    source: Source,
) -> TrainingStep:
    seed = config.first_seed
    biases = frequency_biases(head, setting.counts)

    def make() -> tuple[Any, ...]:
        body = initial_body(config, task, setting.classes, seed)
        state = jax.jit(functools.partial(first_state, contender.by_rows))(
            head, initial_key(seed), body, biases
        )
        batch = jax.tree.map(lambda leaf: leaf[0], batches_of(source, seed, 0, 1))
        return head, state, *batch, jnp.float32(config.learning_rates[0])

    return TrainingStep(
        name=f"{task}/{contender.name}",
        function=functools.partial(one_step, contender.by_rows),
        arguments=jax.eval_shape(make),
        make_arguments=make,
        donate=(1,),
        examples=config.batch_size,
        batch=(2, 3),
    )
