"""Training of one contender: all learning rates and seeds at once, in compiled chunks of steps."""

import dataclasses
import functools
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, UInt32

from experiments import models
from experiments.digits import data
from experiments.digits.config import DigitsConfig
from experiments.digits.contenders import Contender, Program
from experiments.digits.objectives import fixed_parameters, objective, parameters_of, probabilities
from experiments.environment import compiler_options
from experiments.randomness import generator

# The model's weights and the optimiser's state; all leaves lead with [rates, seeds].
State = tuple[Any, Any]


@dataclasses.dataclass(frozen=True)
class Task:
    """The arrays that every contender trains on, the same objects for all of them."""

    config: DigitsConfig
    images: Array
    labels: Array
    held_out: Array
    layers: models.Layers
    batches: np.ndarray
    keys: np.ndarray
    rates: Array
    factors: np.ndarray

    @classmethod
    def make(cls, config: DigitsConfig, parts: data.Data) -> "Task":
        """Puts the data on the device, and lays out initial weights, batches and random keys."""
        held_out = np.concatenate([parts.validation_images, parts.test_images], axis=1)
        sizes = (held_out.shape[-1], *config.hidden, data.CLASSES)
        each = [models.init_layers(generator(s, "weights"), sizes) for s in data.seeds(config)]
        return cls(
            config=config,
            images=jnp.asarray(parts.train_images),
            labels=jnp.asarray(parts.train_labels),
            held_out=jnp.asarray(held_out),
            layers=jax.tree.map(lambda *leaves: jnp.stack(leaves), *each),
            batches=data.batches(config, parts.train_labels.shape[1]),
            keys=data.step_keys(config),
            rates=jnp.asarray(config.learning_rates, jnp.float32),
            factors=schedule(config),
        )


@dataclasses.dataclass(frozen=True)
class Compiled:
    """The two compiled functions of a program, and what compiling them took."""

    train: Callable[..., tuple[State, Array]]
    predict: Callable[..., Array]
    seconds: float


@dataclasses.dataclass(frozen=True)
class Progress:
    """What one chunk of steps led to; arrays lead with [rates, seeds]."""

    step: int
    train_loss: np.ndarray
    probabilities: np.ndarray
    learned: dict[str, np.ndarray]
    moved: bool


def schedule(config: DigitsConfig) -> np.ndarray:
    """Returns the factor on the learning rate at each step."""
    match config.schedule:
        case "constant":
            return np.ones(config.steps, np.float32)
        case "cosine":
            done = np.arange(config.steps) / config.steps
            return (0.5 * (1.0 + np.cos(np.pi * done))).astype(np.float32)


def initial_state(task: Task, program: Program) -> State:
    """Returns the weights before the first step: they depend on the seed and on nothing else."""
    return _initial_state(task.config, program.learned, task.layers)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _initial_state(config: DigitsConfig, learned: tuple[str, ...], layers: models.Layers) -> State:
    weights = {"layers": layers, "raw": {n: jnp.zeros(config.seeds) for n in learned}}
    state = weights, jax.vmap(optimizer(config).init)(weights)
    # Every learning rate starts from the same weights.
    return jax.tree.map(lambda leaf: jnp.stack([leaf] * len(config.learning_rates)), state)


def optimizer(config: DigitsConfig) -> optax.GradientTransformation:
    """Returns the optimiser for a learning rate of 1: the rate is traced, and applied outside."""
    match config.optimizer:
        case "adam":
            return optax.adam(1.0)
        case "sgd":
            return optax.sgd(1.0, momentum=0.9)


def compile_program(task: Task, contender: Contender) -> Compiled:
    """Compiles the training chunk and the prediction of a contender ahead of time."""
    start = time.perf_counter()
    program = contender.program
    state = initial_state(task, program)
    train = jax.jit(functools.partial(_train_chunk, program, task.config))
    predict = jax.jit(functools.partial(_predict, program))
    arguments = (state, *_chunk_arguments(task, contender, 0))
    options = compiler_options()
    held_out = (state[0], task.held_out, fixed_parameters(contender))
    return Compiled(
        train=train.lower(*arguments).compile(compiler_options=options),
        predict=predict.lower(*held_out).compile(compiler_options=options),
        seconds=time.perf_counter() - start,
    )


def train(task: Task, contender: Contender, compiled: Compiled) -> Iterator[Progress]:
    """Trains a contender, and yields its state of things after each chunk of steps."""
    state = start = initial_state(task, contender.program)
    for first in range(0, task.config.steps, task.config.chunk):
        state, losses = compiled.train(state, *_chunk_arguments(task, contender, first))
        held_out = compiled.predict(state[0], task.held_out, fixed_parameters(contender))
        learned = parameters_of(contender.program, {}, state[0]["raw"])
        yield Progress(
            step=first + task.config.chunk,
            train_loss=np.asarray(losses),
            probabilities=np.asarray(held_out),
            learned={name: np.asarray(value) for name, value in learned.items()},
            moved=_differ(start[0], state[0]),
        )


def time_chunk(task: Task, contender: Contender, compiled: Compiled, state: State) -> float:
    """Returns the steps per second of one chunk, evaluation and compilation left out."""
    arguments = _chunk_arguments(task, contender, 0)
    start = time.perf_counter()
    jax.block_until_ready(compiled.train(state, *arguments))
    return task.config.chunk / (time.perf_counter() - start)


def _chunk_arguments(task: Task, contender: Contender, first: int) -> tuple[Any, ...]:
    steps = slice(first, first + task.config.chunk)
    per_step = (task.batches[steps], task.keys[steps], task.factors[steps])
    return per_step, task.rates, task.images, task.labels, fixed_parameters(contender)


def _differ(one: Any, other: Any) -> bool:
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return any(not np.array_equal(a, b) for a, b in pairs)


def _train_chunk(
    program: Program,
    config: DigitsConfig,
    state: State,
    per_step: tuple[Array, Array, Array],
    rates: Array,
    images: Array,
    labels: Array,
    fixed: dict[str, Array],
) -> tuple[State, Array]:
    """Runs the steps of one chunk for every learning rate and seed; returns the mean losses."""

    def step(state: State, inputs: tuple[Array, Array, Array]) -> tuple[State, Array]:
        rows, keys, factor = inputs
        return one_step(program, config, state, factor * rates, images, labels, rows, keys, fixed)

    state, losses = jax.lax.scan(step, state, per_step)
    return state, jnp.mean(losses, axis=0)


def one_step(
    program: Program,
    config: DigitsConfig,
    state: State,
    rates: Float[Array, " rates"],
    images: Float[Array, "seeds images pixels"],
    labels: Int[Array, "seeds images"],
    rows: Int[Array, "seeds batch"],
    keys: UInt32[Array, "seeds 2"],
    fixed: dict[str, Array],
) -> tuple[State, Array]:
    """Runs one step for every learning rate and seed; returns the loss of each.

    Args:
      program: What is trained, static.
      config: Static.
      state: What the step changes.
      rates: The learning rates of this step.
      images: The training images of each seed.
      labels: Their classes.
      rows: Which images each seed takes.
      keys: The data of a random key for each seed.
      fixed: The map's parameters that are not learned.
    """
    transform = optimizer(config)

    def mean_loss(weights: Any, key: Array, batch: Array, batch_labels: Array) -> Array:
        scores = models.logits(weights["layers"], batch)
        parameters = parameters_of(program, fixed, weights["raw"])
        losses = objective(program, key, scores, batch_labels, parameters, config.smoothing)
        return jnp.mean(losses)

    def one_model(
        state: State,
        rate: Array,
        images: Array,
        labels: Array,
        rows: Array,
        key: Array,
    ) -> tuple[State, Array]:
        weights, memory = state
        noise = jax.random.wrap_key_data(key)
        loss, gradient = jax.value_and_grad(mean_loss)(weights, noise, images[rows], labels[rows])
        # optax raises a float to an integer power, which strict promotion does not let it.
        with jax.numpy_dtype_promotion("standard"):
            updates, memory = transform.update(gradient, memory, weights)
        weights = jax.tree.map(lambda w, u: w + rate * u, weights, updates)
        return (weights, memory), loss

    over_seeds = jax.vmap(one_model, in_axes=(0, None, 0, 0, 0, 0))
    over_rates = jax.vmap(over_seeds, in_axes=(0, 0, None, None, None, None))
    return over_rates(state, rates, images, labels, rows, keys)


def _predict(program: Program, weights: Any, images: Array, fixed: dict[str, Array]) -> Array:
    """Returns the probabilities [rates, seeds, images, classes] of the held-out images."""

    def one_model(weights: Any, images: Array) -> Array:
        parameters = parameters_of(program, fixed, weights["raw"])
        return probabilities(program, models.logits(weights["layers"], images), parameters)

    over_seeds = jax.vmap(one_model)
    return jax.vmap(over_seeds, in_axes=(0, None))(weights, images)
