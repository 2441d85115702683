"""Training with one estimator: all learning rates and seeds at once, in compiled chunks."""

import dataclasses
import functools
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, UInt32

from experiments.digits import data
from experiments.environment import compiler_options
from experiments.vae.config import VaeConfig
from experiments.vae.contenders import Contender, Method, temperatures
from experiments.vae.estimators import loss
from experiments.vae.model import Weights, all_codes, exact, initial_weights

# The weights and Adam's memory; all leaves lead with [rates, seeds].
State = tuple[Weights, Any]


@dataclasses.dataclass(frozen=True)
class Task:
    """The arrays that every estimator trains on; images lead with [seeds], batches with [steps].

    Attributes:
      config: The config.
      images: Images with pixels 0 or 1: those for training, for validation, then for the test.
      sizes: How many images each of the three parts has.
      batches: Rows of the training images for every step.
      keys: Data of a random key for every step.
      codes: Every code, as one-hots.
      start: The state before the first step: the same for every estimator and learning rate.
    """

    config: VaeConfig
    images: Array
    sizes: tuple[int, int, int]
    batches: np.ndarray
    keys: np.ndarray
    codes: Array
    start: State

    @classmethod
    def make(cls, config: VaeConfig) -> "Task":
        """Loads and divides the digits, and lays out batches and random keys."""
        parts = data.load_data(config)
        each = (parts.train_images, parts.validation_images, parts.test_images)
        train, validation, test = (images.shape[1] for images in each)
        pixels = np.concatenate(each, axis=1) >= config.threshold
        return cls(
            config=config,
            images=jnp.asarray(pixels, jnp.float32),
            sizes=(train, validation, test),
            batches=data.batches(config, train),
            keys=data.step_keys(config),
            codes=jnp.asarray(all_codes(config.latents, config.classes)),
            start=_initial_state(config),
        )


class Figures(NamedTuple):
    """Exact figures of some images, arrays of [rates, seeds].

    Attributes:
      elbo: The mean ELBO of an image.
      log_likelihood: The mean log p(x).
      codes: How many codes are in use: the perplexity of the mean q(z | x).
    """

    elbo: np.ndarray
    log_likelihood: np.ndarray
    codes: np.ndarray


class Progress(NamedTuple):
    """What some steps led to.

    Attributes:
      step: How many steps were done.
      state: Weights and memory, None where they are not needed any more.
      train: Figures of the training images.
      validation: Figures of the validation images.
      test: Figures of the test images.
    """

    step: int
    state: State | None
    train: Figures
    validation: Figures
    test: Figures


class Compiled(NamedTuple):
    """The compiled chunk of a method, and what compiling it took."""

    train: Callable[..., State]
    seconds: float


Evaluate = Callable[..., "tuple[tuple[Array, ...], ...]"]


def _initial_state(config: VaeConfig) -> State:
    each = [initial_weights(config, seed) for seed in data.seeds(config)]
    weights = jax.tree.map(lambda *leaves: np.stack(leaves), *each)
    weights = jax.tree.map(lambda leaf: np.stack([leaf] * len(config.learning_rates)), weights)
    memory = jax.jit(jax.vmap(jax.vmap(optax.adam(1.0).init)))(weights)
    return jax.tree.map(jnp.asarray, weights), memory


def compile_method(task: Task, method: Method) -> Compiled:
    """Compiles the training chunk of a method ahead of time."""
    start = time.perf_counter()
    arguments = (task.start, *_chunk_arguments(task, Contender(method, method), 0))
    train = jax.jit(functools.partial(_train_chunk, method, task.config.samples))
    compiled = train.lower(*arguments).compile(compiler_options=compiler_options())
    return Compiled(compiled, time.perf_counter() - start)


def compile_evaluation(task: Task) -> Evaluate:
    """Compiles the exact figures, which are the same program for every method."""
    evaluate = jax.jit(functools.partial(_evaluate, task.sizes))
    compiled: Evaluate = evaluate.lower(task.start[0], task.images, task.codes).compile(
        compiler_options=compiler_options()
    )
    return compiled


def train(
    task: Task, contender: Contender, compiled: Compiled, evaluate: Evaluate
) -> Iterator[Progress]:
    """Trains with one estimator; yields before the first step and after each chunk of steps."""
    state = task.start
    yield _progress(task, evaluate, 0, state)
    for first in range(0, task.config.steps, task.config.chunk):
        state = compiled.train(state, *_chunk_arguments(task, contender, first))
        yield _progress(task, evaluate, first + task.config.chunk, state)


def _progress(task: Task, evaluate: Evaluate, step: int, state: State) -> Progress:
    found = evaluate(state[0], task.images, task.codes)
    return Progress(step, state, *(Figures(*(np.asarray(v) for v in part)) for part in found))


def _chunk_arguments(task: Task, contender: Contender, first: int) -> tuple[Any, ...]:
    steps = slice(first, first + task.config.chunk)
    schedule = temperatures(task.config, contender)
    per_step = (task.batches[steps], task.keys[steps], schedule[steps])
    rates = jnp.asarray(task.config.learning_rates, jnp.float32)
    return per_step, rates, task.images, task.codes


def _train_chunk(
    method: Method,
    samples: int,
    state: State,
    per_step: tuple[Array, Array, Array],
    rates: Array,
    images: Array,
    codes: Array,
) -> State:
    """Runs the steps of one chunk for every learning rate and seed."""

    def step(state: State, inputs: tuple[Array, Array, Array]) -> tuple[State, None]:
        return one_step(method, samples, state, rates, images, codes, *inputs), None

    state, _ = jax.lax.scan(step, state, per_step)
    return state


def one_step(
    method: Method,
    samples: int,
    state: State,
    rates: Float[Array, " rates"],
    images: Float[Array, "seeds images pixels"],
    codes: Float[Array, "codes latents classes"],
    rows: Int[Array, "seeds batch"],
    keys: UInt32[Array, "seeds 2"],
    temperature: Float[Array, ""],
) -> State:
    """Runs one step for every learning rate and seed.

    Args:
      method: The estimator, static.
      samples: How many codes it draws for an image, static.
      state: What the step changes.
      rates: The learning rates.
      images: The images of each seed.
      codes: Every code.
      rows: Which images each seed takes.
      keys: The data of a random key for each seed.
      temperature: Of the relaxations.
    """
    transform = optax.adam(1.0)

    def one_model(state: State, rate: Array, images: Array, rows: Array, key: Array) -> State:
        weights, memory = state
        noise = jax.random.wrap_key_data(key)

        def of_weights(weights: Weights) -> Array:
            return loss(method, samples, noise, weights, images[rows], codes, temperature)

        gradient = jax.grad(of_weights)(weights)
        # optax raises a float to an integer power, which strict promotion does not let it.
        with jax.numpy_dtype_promotion("standard"):
            updates, memory = transform.update(gradient, memory, weights)
        return jax.tree.map(lambda w, u: w + rate * u, weights, updates), memory

    over_seeds = jax.vmap(one_model, in_axes=(0, None, 0, 0, 0))
    over_rates = jax.vmap(over_seeds, in_axes=(0, 0, None, None, None))
    return over_rates(state, rates, images, rows, keys)


def _evaluate(
    sizes: tuple[int, int, int], weights: Weights, images: Array, codes: Array
) -> tuple[tuple[Array, Array, Array], ...]:
    """Returns the exact figures of the training, the validation and the test images."""
    ends = np.cumsum(sizes).tolist()

    def one_model(weights: Weights, images: Array) -> tuple[tuple[Array, Array, Array], ...]:
        found = exact(weights, images, codes)
        parts = [slice(end - size, end) for end, size in zip(ends, sizes, strict=True)]
        return tuple(
            (
                jnp.mean(found.elbo[part]),
                jnp.mean(found.log_likelihood[part]),
                _perplexity(jnp.mean(found.code_probs[part], axis=0)),
            )
            for part in parts
        )

    over_seeds = jax.vmap(one_model)
    return jax.vmap(over_seeds, in_axes=(0, None))(weights, images)


def _perplexity(probabilities: Array) -> Array:
    logs = jnp.log(jnp.where(probabilities > 0, probabilities, 1.0))
    return jnp.exp(-jnp.sum(probabilities * logs))
