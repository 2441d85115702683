"""The command `sample`: text from the model of a run of `train`."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from experiments.engine.checks import DATA
from experiments.engine.weights import trained_weights
from experiments.errors import UserError
from experiments.run_directory import METRICS, read_blocks
from experiments.shakespeare.config import SampleConfig, ShakespeareConfig
from experiments.shakespeare.corpus import Corpus, Vocabulary
from experiments.shakespeare.model import graph_of
from experiments.shakespeare.sample import compile_sampler, generate
from experiments.shakespeare.task import LanguageModel


def sample(path: Path, config: ShakespeareConfig, request: SampleConfig) -> Iterator[str]:
    """Yields a prompt and the text that a run of `train` continues it with, in pieces."""
    if len(config.variants) != 1:
        raise UserError(f"{path} is a run of `compare`, expected one of `train`")
    blocks, _, _ = read_blocks(path / METRICS)
    if DATA not in blocks:
        raise UserError(f"{path} has no checkpoint that can be read yet")
    vocabulary = Vocabulary(tuple(blocks[DATA][0]["tokens"]), config.data_tokens)
    prompt = request.prompt or vocabulary.beginning
    seen = vocabulary.encode(prompt)
    nothing = np.zeros(0, np.int32)
    # The weights have the shapes that the vocabulary says; the text itself is not read.
    corpus = Corpus(vocabulary, nothing, nothing, nothing, 0.0, "")
    variant, _, params = trained_weights(path, config, LanguageModel(config, corpus))
    attention, loss = variant.settings["attention"], variant.settings["loss"]
    graph = graph_of(config, attention, len(vocabulary.tokens))
    program = compile_sampler(config, loss, graph, params, request)
    yield prompt
    for piece in generate(program, config, params, seen, request):
        yield vocabulary.decode(piece)
