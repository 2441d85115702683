"""One training step of each normaliser of the attention with each loss of the output."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from experiments.shakespeare.comparison import variants
from experiments.shakespeare.config import ShakespeareConfig
from experiments.shakespeare.corpus import Corpus
from experiments.shakespeare.train import (
    Variant,
    initial_graph,
    initial_state,
    one_step,
    positions_of,
)
from experiments.steps import TrainingStep


def training_steps(config: ShakespeareConfig) -> list[TrainingStep]:
    """Returns the step of each model of a comparison."""
    corpus = Corpus.load(config)
    return [_step(config, variant, corpus) for variant in variants(config)]


def _step(config: ShakespeareConfig, variant: Variant, corpus: Corpus) -> TrainingStep:
    vocabulary, seed = len(corpus.vocabulary.tokens), config.seed
    graph = initial_graph(config, variant, vocabulary)

    def make() -> tuple[Any, ...]:
        text = jnp.asarray(corpus.training)
        starts = positions_of(config, text.size, seed, 0, 1)[0]
        state = initial_state(config, variant, vocabulary, seed)
        return state, text, starts, jax.random.key(seed), jnp.int32(0)

    return TrainingStep(
        name=variant.name,
        function=functools.partial(one_step, config, variant, graph),
        arguments=jax.eval_shape(make),
        make_arguments=make,
        donate=(0,),
        examples=config.batch_size,
        batch=(2,),
    )
