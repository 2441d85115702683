"""Time and memory of a step over the size of a synthetic vocabulary; nothing is learned."""

import dataclasses
import functools
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from experiments.compiling import AheadOfTime
from experiments.engine.extras import Extra
from experiments.environment import compiler_options
from experiments.randomness import generator
from experiments.run_directory import Record, RunDirectory
from experiments.timing import in_turns
from experiments.words.config import WordsConfig
from experiments.words.heads import Contender, Setting, all_contenders
from experiments.words.model import Weights, initial_body
from experiments.words.rule import RowsAdagrad

# Steps of a measured call, in heads that read few rows and in others, which take long.
_BLOCK_OF_ROWS, _BLOCK = 20, 4


class Batches(NamedTuple):
    """What a block of steps is given: [steps, batch, ...], and the data of a key a step."""

    inputs: Int[Array, "steps batch seen"]
    labels: Int[Array, "steps batch"]
    keys: Array


@dataclasses.dataclass(frozen=True)
class Program:
    """The compiled steps of a head over a vocabulary.

    Attributes:
      head: The output layer; its tree or sampler is an argument of the steps.
      steps: `(head, (weights, sums), batches) -> (weights, sums)`, which replaces them.
      state: The shapes of weights and sums.
      block: Steps of one call.
      temporary: Bytes that the steps need besides their arguments, as XLA says.
    """

    head: Any
    steps: Callable[..., Any]
    state: Any
    block: int
    temporary: int

    @property
    def head_bytes(self) -> int:
        """Bytes of the head's parameters."""
        return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(self.state[0].head))


def extras(config: WordsConfig) -> list[Extra]:
    """Returns a measurement for each size of the vocabulary."""
    return [
        Extra(block_name(classes), functools.partial(_measured, config, classes))
        for classes in config.scaling
    ]


def block_name(classes: int) -> str:
    """Returns the name of the measurement of a size."""
    return f"vocabulary-{classes}"


def able(config: WordsConfig, classes: int) -> list[Contender]:
    """Returns the heads of a config that are timed at a size."""
    dense = config.batch_size * classes <= config.scaling_logits
    known = all_contenders()
    chosen = [known[variant.name] for variant in config.chosen_variants()]
    return [c for c in chosen if c.scales and (dense or not c.logits)]


def _measured(config: WordsConfig, classes: int, run: RunDirectory[Any]) -> Sequence[Record]:
    """Times a block of steps of each head in each round, from the same state in all rounds."""
    del run
    counts = zipf_counts(classes)
    jobs = {c.name: functools.partial(_compile, config, counts, c) for c in able(config, classes)}
    with closing(AheadOfTime(jobs)) as compiled:
        programs = {name: compiled.get(name) for name in jobs}
    rates = {name: _rate(config, classes, program) for name, program in programs.items()}
    found = in_turns(rates, max(config.speed_rounds, 1), lambda: None)
    for name, program in programs.items():
        memory = {"temporary_bytes": program.temporary, "head_bytes": program.head_bytes}
        found.append({"kind": "memory", "contender": name, **memory})
    return [{"classes": classes, **record} for record in found]


def zipf_counts(classes: int) -> np.ndarray:
    """Returns counts that fall as 1 / rank, down to 1."""
    return np.maximum(classes // np.arange(1, classes + 1), 1)


def _compile(config: WordsConfig, counts: np.ndarray, contender: Contender) -> Program:
    """Compiles a block of steps ahead of time and from shapes alone."""
    head = contender.make(Setting.of(counts, config, _no_vectors))
    rule = RowsAdagrad(head, contender.by_rows)
    table = jax.ShapeDtypeStruct((counts.size, config.features), jnp.float32)
    _, dense = initial_body(config, 1, config.first_seed)
    of_head = jax.eval_shape(head.init, jax.eval_shape(lambda: jax.random.key(0)))
    weights = Weights(table, dense, of_head)
    state = jax.eval_shape(lambda weights: (weights, rule.begin(weights)), weights)
    block = _BLOCK_OF_ROWS if contender.by_rows else _BLOCK

    def steps(head: Any, state: Any, batches: Batches) -> Any:
        of_head = RowsAdagrad(head, contender.by_rows)

        def step(state: Any, batch: Batches) -> tuple[Any, None]:
            key = jax.random.wrap_key_data(batch.keys)
            weights, sums = state
            words = batch.inputs, batch.labels
            after = of_head.step(weights, sums, words, key, jnp.float32(0.01), {})
            return (after.params, after.memory), None

        return jax.lax.scan(step, state, batches)[0]

    batches = jax.eval_shape(lambda: _batches(config, counts.size, block, 0))
    jitted = jax.jit(steps, donate_argnums=1)
    compiled = jitted.lower(head, state, batches).compile(compiler_options=compiler_options())
    memory: Any = compiled.memory_analysis()
    return Program(head, compiled, state, block, int(memory.temp_size_in_bytes))


def _batches(config: WordsConfig, classes: int, block: int, number: int) -> Batches:
    """Returns a block of batches of random ids, whose probability falls as 1 / rank."""
    rng = generator(config.first_seed, "ids", number)
    seen = 1 if config.task == "skipgram" else config.context
    ids = np.exp(rng.random((block, config.batch_size, seen + 1)) * np.log(classes))
    ids = np.minimum(ids - 1.0, classes - 1).astype(np.int32)
    keys = rng.integers(2**32, size=(block, 2), dtype=np.uint32)
    return Batches(*map(jnp.asarray, (ids[..., :-1], ids[..., -1], keys)))


def _rate(config: WordsConfig, classes: int, of: Program) -> Callable[[int], float]:
    def rate(turn: int) -> float:
        batches = _batches(config, classes, of.block, turn)
        # A state of constants is as quick to make as the memory: steps take no less for it.
        state = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 0.01).astype(leaf.dtype), of.state)
        # The first steps meet the tables of a new state for the first time.
        state = jax.block_until_ready(of.steps(of.head, state, batches))
        began = time.perf_counter()
        after = jax.block_until_ready(of.steps(of.head, state, batches))
        seconds = time.perf_counter() - began
        # Giving large tables back to the system takes longer than a step: not on the clock.
        del after
        return of.block / seconds

    return rate


def _no_vectors() -> np.ndarray:
    raise NotImplementedError("a synthetic vocabulary has no text, and so no neighbours")
