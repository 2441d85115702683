"""Time and memory of a step over the size of a synthetic vocabulary; nothing is learned."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.progress import Display
from experiments.randomness import generator
from experiments.run_directory import Record, RunDirectory
from experiments.words.config import TaskName, WordsConfig
from experiments.words.heads import Contender, Setting
from experiments.words.speed import measure
from experiments.words.train import Batches, Programs, State, compile_programs

_TASK: TaskName = "skipgram"
# Steps of a measured call, in heads that read few rows and in others, which take long.
_BLOCK_OF_ROWS, _BLOCK = 20, 4


class Size(NamedTuple):
    """One size of the vocabulary; its records are one block of the run."""

    classes: int
    contenders: tuple[Contender, ...]

    @property
    def name(self) -> str:
        """What the run calls it."""
        return f"scaling/{self.classes}"


def missing(run: RunDirectory[WordsConfig], contenders: Sequence[Contender]) -> list[Size]:
    """Returns the sizes that have no block yet."""
    config, sizes = run.config, []
    for classes in config.scaling:
        dense = config.batch_size * classes <= config.scaling_logits
        able = tuple(c for c in contenders if c.scales and (dense or not c.logits))
        sizes.append(Size(classes, able))
    return [size for size in sizes if size.name not in run.blocks]


def run_all(run: RunDirectory[WordsConfig], sizes: Sequence[Size], display: Display) -> None:
    """Measures the sizes one after the other."""
    config = run.config
    for size in sizes:
        turns = len(size.contenders) * config.speed_rounds
        with display.stage(f"vocabulary of {size.classes:,}", turns, "blocks"):
            run.append(size.name, _measured(config, size, display))


def _measured(config: WordsConfig, size: Size, display: Display) -> list[Record]:
    counts = zipf_counts(size.classes)
    setting = Setting.of(counts, config, _no_vectors)
    programs = {
        c.name: compile_programs(
            c,
            setting,
            config,
            _TASK,
            block=_BLOCK_OF_ROWS if c.by_rows else _BLOCK,
            evaluated=0,
        )
        for c in size.contenders
    }
    batches = functools.partial(_zipf_batches, config)
    rounds = config.speed_rounds
    found = measure(programs, rounds, _any_state, batches, lambda: display.advance(1))
    for name, compiled in programs.items():
        memory = {"temporary_bytes": compiled.temporary, "head_bytes": compiled.head_bytes}
        found.append({"kind": "memory", "contender": name, **memory})
    jax.clear_caches()
    return [{"classes": size.classes, **record} for record in found]


def zipf_counts(classes: int) -> np.ndarray:
    """Returns counts that fall as 1 / rank, down to 1."""
    return np.maximum(classes // np.arange(1, classes + 1), 1)


def _zipf_batches(config: WordsConfig, programs: Programs, number: int) -> Batches:
    """Returns a block of batches of random ids, whose probability falls as 1 / rank."""
    rng = generator(config.first_seed, "ids", number)
    ids = np.exp(rng.random((programs.block, config.batch_size, 2)) * np.log(programs.classes))
    ids = jnp.asarray(np.minimum(ids - 1.0, programs.classes - 1), jnp.int32)
    keys = rng.integers(2**32, size=(programs.block, 2), dtype=np.uint32)
    return Batches(ids[..., :1], ids[..., 1], jnp.asarray(keys))


def _any_state(programs: Programs) -> State:
    """Returns a state of constants, as quick to make as the memory: steps take no less for it."""
    return jax.tree.map(lambda leaf: jnp.full(leaf.shape, 0.01).astype(leaf.dtype), programs.shapes)


def _no_vectors() -> np.ndarray:
    raise NotImplementedError("a synthetic vocabulary has no text, and so no neighbours")
