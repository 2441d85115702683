"""Training of one model as nanoGPT's: AdamW, a warm-up and half a cosine, clipped gradients."""

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float, Int

from experiments.compiling import block_of
from experiments.randomness import generator
from experiments.shakespeare.config import AttentionName, LossName, ShakespeareConfig
from experiments.shakespeare.losses import objective
from experiments.shakespeare.model import GPT


class Variant(NamedTuple):
    """One model of a comparison: what is not the same in all of them."""

    attention: AttentionName
    loss: LossName

    @property
    def name(self) -> str:
        """What runs and reports call it."""
        return f"{self.attention}/{self.loss}"


class State(NamedTuple):
    """All that a step changes: the parameters, and AdamW's moments and count of steps."""

    params: Any
    optimizer: Any


@dataclasses.dataclass(frozen=True)
class Programs:
    """The compiled training of a variant.

    Attributes:
      variant: What it is.
      graph: The model without its parameters.
      steps: `(state, text, positions, seed, first step) -> (state, losses)`; replaces the state.
      block: Steps of one call.
      seconds: What compiling took.
      temporary: Bytes that the steps need besides their arguments, as XLA says.
      parameters: How many numbers are trained.
    """

    variant: Variant
    graph: Any
    steps: Callable[..., tuple[State, Array]]
    block: int
    seconds: float
    temporary: int
    parameters: int


class Progress(NamedTuple):
    """Where a run is: its state, and the loss of each step since the last full chunk."""

    step: int
    losses: np.ndarray
    state: State

    @classmethod
    def start(cls, state: State) -> "Progress":
        """Returns where a run is before its first step."""
        return cls(0, np.zeros(0, np.float32), state)

    @property
    def train_loss(self) -> float:
        """The mean of the losses; NaN before the first step."""
        return float(np.mean(self.losses)) if self.losses.size else math.nan


def compile_programs(
    config: ShakespeareConfig, variant: Variant, vocabulary: int, length: int
) -> Programs:
    """Compiles the steps of a variant ahead of time, for a training part of this length."""
    began = time.perf_counter()
    graph, params = jax.eval_shape(lambda: initial(config, variant, vocabulary, 0))
    block = block_of(config.chunk)
    state = State(params, jax.eval_shape(optimizer(config).init, params))
    ints = functools.partial(jax.ShapeDtypeStruct, dtype=jnp.int32)
    shapes = ints((length,)), ints((block, config.batch_size)), ints(()), ints(())
    steps = jax.jit(functools.partial(_steps, config, variant, graph), donate_argnums=0)
    compiled = steps.lower(state, *shapes).compile()
    memory: Any = compiled.memory_analysis()
    return Programs(
        variant=variant,
        graph=graph,
        steps=compiled,
        block=block,
        seconds=time.perf_counter() - began,
        temporary=int(memory.temp_size_in_bytes),
        parameters=sum(leaf.size for leaf in jax.tree.leaves(params)),
    )


def initial(
    config: ShakespeareConfig, variant: Variant, vocabulary: int, seed: int
) -> tuple[Any, Any]:
    """Returns a new model, divided once into its graph and its parameters.

    What all variants have in common is the same for all of them with one seed.
    """
    key = jnp.asarray(generator(seed, "weights").integers(2**32, size=2).astype(np.uint32))
    rngs = nnx.Rngs(params=jax.random.wrap_key_data(key))
    return nnx.split(GPT(config, vocabulary, variant.attention, rngs=rngs), nnx.Param)


def initial_graph(config: ShakespeareConfig, variant: Variant, vocabulary: int) -> Any:
    """Returns a model without its parameters."""
    return jax.eval_shape(lambda: initial(config, variant, vocabulary, 0))[0]


def initial_state(config: ShakespeareConfig, variant: Variant, vocabulary: int, seed: int) -> State:
    """Returns the state before the first step."""
    _, params = initial(config, variant, vocabulary, seed)
    return State(params, optimizer(config).init(params))


def optimizer(config: ShakespeareConfig) -> optax.GradientTransformation:
    """Returns AdamW that decays matrices only, after clipping by the norm of all gradients."""
    adamw = optax.adamw(
        functools.partial(learning_rate, config),
        b1=config.beta1,
        b2=config.beta2,
        weight_decay=config.weight_decay,
        mask=lambda params: jax.tree.map(lambda leaf: leaf.ndim >= 2, params),
    )
    return optax.chain(optax.clip_by_global_norm(config.clip), adamw)


def learning_rate(config: ShakespeareConfig, step: Any) -> Float[Array, ""]:
    """Returns the rate of a step: it rises linearly, then falls by half a cosine."""
    step = jnp.asarray(step, jnp.float32)
    rising = config.learning_rate * (step + 1.0) / (config.warmup + 1.0)
    along = jnp.clip((step - config.warmup) / (config.steps - config.warmup), 0.0, 1.0)
    fall = 0.5 * (1.0 + jnp.cos(math.pi * along))
    lowest = config.min_learning_rate
    falling = lowest + fall * (config.learning_rate - lowest)
    return jnp.where(step < config.warmup, rising, falling)


def positions_of(
    config: ShakespeareConfig, length: int, seed: int, first: int, count: int
) -> Int[Array, "steps batch"]:
    """Returns where the windows of some steps begin: they depend on seed and step alone."""
    found = [
        generator(seed, "order", step).integers(length - config.context, size=config.batch_size)
        for step in range(first, first + count)
    ]
    return jnp.asarray(np.stack(found), jnp.int32)


def train(
    programs: Programs,
    config: ShakespeareConfig,
    text: Int[Array, " tokens"],
    seed: int,
    now: Progress,
    advance: Callable[[int], None],
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Progress]:
    """Takes a state to the last step, and yields after each chunk, and where it is to stop.

    The state that is given, and each that was yielded, is used up when the next block begins.
    """
    state = now.state
    # At the end of a chunk the losses are those of the whole of it.
    losses: list[Any] = [now.losses] if now.step % config.chunk else []
    for step in range(now.step, config.steps, programs.block):
        positions = positions_of(config, text.size, seed, step, programs.block)
        numbers = jnp.int32(seed), jnp.int32(step)
        state, of_block = programs.steps(state, text, positions, *numbers)
        if losses:
            # One block waits while another runs: with more of them a stop would come late.
            jax.block_until_ready(losses[-1])
        losses.append(of_block)
        advance(programs.block)
        done = step + programs.block
        whole = done % config.chunk == 0
        if stop() or whole:
            yield Progress(done, np.concatenate([np.asarray(loss) for loss in losses]), state)
        if whole:
            losses = []


def _steps(
    config: ShakespeareConfig,
    variant: Variant,
    graph: Any,
    state: State,
    text: Array,
    positions: Array,
    seed: Array,
    first: Array,
) -> tuple[State, Array]:
    """Runs a block of steps; returns the mean loss of each."""
    of_seed = jax.random.key(seed)

    def step(carry: tuple[State, Array], starts: Array) -> tuple[tuple[State, Array], Array]:
        state, number = carry
        state, loss = one_step(config, variant, graph, state, text, starts, of_seed, number)
        return (state, number + 1), loss

    (state, _), losses = jax.lax.scan(step, (state, first), positions)
    return state, losses


def one_step(
    config: ShakespeareConfig,
    variant: Variant,
    graph: Any,
    state: State,
    text: Int[Array, " tokens"],
    starts: Int[Array, " batch"],
    of_seed: Array,
    number: Int[Array, ""],
) -> tuple[State, Array]:
    """Runs one step; returns the mean loss of its windows.

    Args:
      config: Static.
      variant: Static.
      graph: The model without its parameters, static.
      state: What the step changes.
      text: The training part.
      starts: Where the windows begin.
      of_seed: The random key of all steps.
      number: Which step it is.
    """
    window = jnp.arange(config.context + 1, dtype=jnp.int32)
    tokens = text[starts[:, None] + window[None]]
    key = jax.random.fold_in(of_seed, number) if config.dropout else None

    def loss_of(params: Any) -> Array:
        model = nnx.merge(graph, params)
        hidden = model(tokens[:, :-1], key)
        return jnp.mean(objective(variant.loss, hidden, model.table, tokens[:, 1:]))

    loss, gradient = jax.value_and_grad(loss_of)(state.params)
    # optax promotes dtypes, which strict promotion does not let it.
    with jax.numpy_dtype_promotion("standard"):
        updates, memory = optimizer(config).update(gradient, state.optimizer, state.params)
    return State(jax.tree.map(jnp.add, state.params, updates), memory), loss
