"""Training of one head and one seed: Adagrad on the rows that a step reads, and densely elsewhere.

Adagrad neither moves nor changes the state of a row whose gradient is zero, so that updating the
rows of a step alone gives what updating the whole table would.
"""

import dataclasses
import functools
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from experiments.environment import compiler_options
from experiments.randomness import generator
from experiments.words.config import TaskName, WordsConfig
from experiments.words.examples import Examples, Source
from experiments.words.frequencies import Biases, frequency_biases
from experiments.words.heads import Contender, Setting
from experiments.words.model import Body, body_shapes, hidden_of, initial_body, initial_key
from softmax_variants import rows


class Weights(NamedTuple):
    """All that is trained."""

    body: Body
    head: dict[str, Array]


class State(NamedTuple):
    """The weights, and Adagrad's sums of squares."""

    weights: Weights
    table: Any
    dense: Any
    head: Any


class Batches(NamedTuple):
    """What a block of steps is given: [steps, batch, ...], and the data of a random key a step."""

    inputs: Int[Array, "steps batch seen"]
    labels: Int[Array, "steps batch"]
    keys: Array


@dataclasses.dataclass(frozen=True)
class Programs:
    """The compiled programs of a head, and what they need.

    Attributes:
      head: The output layer; its tree or sampler is an argument of the programs.
      classes: How many there are.
      biases: What the head's first biases are.
      start: `(head, key, body, biases) -> State`.
      shapes: Those of a state.
      steps: `(head, state, batches, rate) -> (state, mean training loss)`; the state is replaced.
      evaluate: `(head, weights, inputs, labels) -> exact negative log-probabilities`;
        none for a head that is only timed.
      block: Steps of one call.
      seconds: What compiling took.
      temporary: Bytes that the steps need besides their arguments, as XLA says.
      head_bytes: Bytes of the head's parameters.
    """

    head: Any
    classes: int
    biases: Biases
    start: Callable[..., State]
    shapes: State
    steps: Callable[..., tuple[State, Array]]
    evaluate: Callable[..., Array] | None
    block: int
    seconds: float
    temporary: int
    head_bytes: int


class Progress(NamedTuple):
    """Where a run is after some steps: its weights, and the mean training loss of the last ones."""

    step: int
    train_loss: float
    weights: Weights


def compile_programs(
    contender: Contender,
    setting: Setting,
    config: WordsConfig,
    task: TaskName,
    block: int,
    evaluated: int,
) -> Programs:
    """Compiles what a head needs, ahead of time and from shapes alone.

    Args:
      contender: The head.
      setting: What it is made for.
      config: The sizes.
      task: What is predicted.
      block: Steps of one call.
      evaluated: Examples of one evaluation; 0 for a head that is only timed.
    """
    began = time.perf_counter()
    head, classes = contender.make(setting), setting.classes
    biases = frequency_biases(head, setting.counts)
    body = body_shapes(config, task, classes)
    start: Any = jax.jit(functools.partial(first_state, contender.by_rows))
    key = jax.eval_shape(lambda: jax.random.key(0))
    state = jax.eval_shape(start, head, key, body, biases)
    if evaluated:
        lowered = start.lower(head, key, body, biases)
        start = lowered.compile(compiler_options=compiler_options())
    seen = 1 if task == "skipgram" else config.context
    ints = functools.partial(jax.ShapeDtypeStruct, dtype=jnp.int32)
    shapes: Any = (
        ints((block, config.batch_size, seen)),
        ints((block, config.batch_size)),
        jax.ShapeDtypeStruct((block, 2), jnp.uint32),
    )
    rate = jax.ShapeDtypeStruct((), jnp.float32)
    steps = jax.jit(functools.partial(_steps, contender.by_rows), donate_argnums=1)
    compiled = steps.lower(head, state, Batches(*shapes), rate).compile()
    held_out = ints((evaluated, seen)), ints((evaluated,))
    evaluate = None
    if evaluated:
        evaluate = jax.jit(_evaluate).lower(head, state.weights, *held_out).compile()
    memory: Any = compiled.memory_analysis()
    sizes = [leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state.weights.head)]
    return Programs(
        head=head,
        classes=classes,
        biases=biases,
        start=start,
        shapes=state,
        steps=compiled,
        evaluate=evaluate,
        block=block,
        seconds=time.perf_counter() - began,
        temporary=int(memory.temp_size_in_bytes),
        head_bytes=sum(sizes),
    )


def initial_state(programs: Programs, config: WordsConfig, task: TaskName, seed: int) -> State:
    """Returns the state before the first step; its body is the same for every head."""
    body = initial_body(config, task, programs.classes, seed)
    return programs.start(programs.head, initial_key(seed), body, programs.biases)


def train(
    programs: Programs,
    config: WordsConfig,
    source: Source,
    seed: int,
    rate: float,
    state: State,
    first: int,
    last: int,
) -> Iterator[tuple[Progress, State]]:
    """Takes a state from step `first` to step `last`, and yields after each chunk."""
    for begin in range(first, last, config.chunk):
        losses = []
        for step in range(begin, begin + config.chunk, programs.block):
            batches = batches_of(source, seed, step, programs.block)
            state, loss = programs.steps(programs.head, state, batches, jnp.float32(rate))
            losses.append(loss)
        mean = float(np.mean([np.asarray(loss) for loss in losses]))
        yield Progress(begin + config.chunk, mean, state.weights), state


def batches_of(source: Source, seed: int, first: int, count: int) -> Batches:
    """Returns the batches of some steps: the same for every head."""
    examples = source.batches(seed, first, count)
    keys = [generator(seed, "noise", step).integers(2**32, size=2) for step in _span(first, count)]
    return Batches(
        jnp.asarray(examples.inputs, jnp.int32),
        jnp.asarray(examples.labels, jnp.int32),
        jnp.asarray(np.stack(keys).astype(np.uint32)),
    )


def losses_of(
    programs: Programs, weights: Weights, examples: Examples, size: int
) -> Float[np.ndarray, " examples"]:
    """Returns the exact negative log-probability of every label, `size` examples at a time."""
    assert programs.evaluate is not None
    count = examples.labels.size
    found = []
    for first in range(0, count, size):
        # The last part is filled up with the first examples, which are then dropped.
        index = np.arange(first, first + size) % count
        inputs, labels = (jnp.asarray(array[index], jnp.int32) for array in examples)
        found.append(np.asarray(programs.evaluate(programs.head, weights, inputs, labels)))
    return np.concatenate(found)[:count].astype(np.float64)


def _span(first: int, count: int) -> range:
    return range(first, first + count)


def first_state(by_rows: bool, head: Any, key: Array, body: Body, biases: Biases) -> State:
    """Returns the state before the first step."""
    params = {**head.init(key), **biases}
    dense = optax.adagrad(1.0)
    lazy = rows.lazy(dense)
    memory = lazy.init(params) if by_rows else dense.init(params)
    return State(Weights(body, params), lazy.init(body.table), dense.init(body.dense), memory)


def _steps(
    by_rows: bool, head: Any, state: State, batches: Batches, rate: Array
) -> tuple[State, Array]:
    """Runs a block of steps; returns their mean loss."""

    def step(state: State, batch: Batches) -> tuple[State, Array]:
        return one_step(by_rows, head, state, *batch, rate)

    state, losses = jax.lax.scan(step, state, batches)
    return state, jnp.mean(losses)


def one_step(
    by_rows: bool,
    head: Any,
    state: State,
    inputs: Int[Array, "batch seen"],
    labels: Int[Array, " batch"],
    key: Array,
    rate: Float[Array, ""],
) -> tuple[State, Array]:
    """Runs one step; gradients are of the sum over the batch, the loss is its mean.

    Args:
      by_rows: Whether the head reads and updates few rows, static.
      head: The output layer.
      state: What the step changes.
      inputs: The words that are seen.
      labels: The words that are predicted.
      key: The data of a random key.
      rate: Adagrad's rate.
    """
    body, params = state.weights
    dense = optax.adagrad(rate)
    lazy = rows.lazy(dense)
    noise = jax.random.wrap_key_data(key)
    read = rows.take(body.table, inputs)
    hidden, to_body = jax.vjp(hidden_of, body.dense, read)
    if by_rows:
        losses, to_hidden, gradients = rows.value_and_grad(
            head, params, hidden, labels, key=noise, cotangent=1.0
        )
        params, memory = lazy.update(params, state.head, gradients)
    else:

        def of_head(params: Any, hidden: Array) -> Array:
            return head.loss(params, hidden, labels, key=noise)

        losses, pullback = jax.vjp(of_head, params, hidden)
        gradient, to_hidden = pullback(jnp.ones_like(losses))
        params, memory = _dense_step(dense, params, state.head, gradient)
    to_dense, to_read = to_body(to_hidden)
    table, of_table = lazy.update(body.table, state.table, inputs, to_read)
    layer, of_layer = _dense_step(dense, body.dense, state.dense, to_dense)
    after = State(Weights(Body(table, layer), params), of_table, of_layer, memory)
    return after, jnp.mean(losses)


def _dense_step(transform: Any, params: Any, memory: Any, gradient: Any) -> tuple[Any, Any]:
    # optax promotes dtypes, which strict promotion does not let it.
    with jax.numpy_dtype_promotion("standard"):
        updates, memory = transform.update(gradient, memory, params)
    return jax.tree.map(jnp.add, params, updates), memory


def _evaluate(head: Any, weights: Weights, inputs: Array, labels: Array) -> Array:
    hidden = hidden_of(weights.body.dense, rows.take(weights.body.table, inputs))
    return -head.log_prob(weights.head, hidden, labels)
