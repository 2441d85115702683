"""Bias and variance of an estimator's gradient, measured against the exact one."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from experiments.engine.extras import Extra
from experiments.engine.programs import factors_of, first_state, stack, step_function
from experiments.engine.rule import rule_of
from experiments.environment import compiler_options
from experiments.randomness import generator
from experiments.run_directory import Record, RunDirectory
from experiments.statistics import finite
from experiments.vae.config import GROUPS, VaeConfig
from experiments.vae.contenders import REFERENCE, SCORE_FUNCTION, Method, measured_methods
from experiments.vae.estimators import losses
from experiments.vae.model import Weights, all_codes, initial_weights
from experiments.vae.task import Autoencoder

PARTS = ("encoder", "decoder")
# The fields of the moments, of each part.
Measure = Callable[..., dict[str, tuple[Array, ...]]]


class Moments(NamedTuple):
    """Moments of random gradients about the exact one, for each group of draws.

    Attributes:
      deviation: The mean gradient less the exact one.
      square: The mean squared length of a gradient less the exact one.
      cosine: The mean cosine of a gradient with the exact one.
      norm: The length of the exact gradient.
    """

    deviation: Float[np.ndarray, "groups parameters"]
    square: Float[np.ndarray, " groups"]
    cosine: Float[np.ndarray, " groups"]
    norm: Float[np.ndarray, ""]


def measurements(config: VaeConfig) -> list[Extra]:
    """Returns the measurement of each method that takes part, at the same weights."""

    @functools.cache
    def places(rate: float) -> list[Weights]:
        return weights_along(config, rate)

    def work(method: Method, run: RunDirectory[Any]) -> list[Record]:
        return measure_method(config, method, places(_learning_rate(run)))

    return [
        Extra(f"gradients/{method}", functools.partial(work, method))
        for method in measured_methods(config)
    ]


def _learning_rate(run: RunDirectory[Any]) -> float:
    """Returns that of the exact run; without it there is no place to measure at."""
    outcome = run.blocks[REFERENCE][-1]
    if outcome["status"] != "trained":
        raise RuntimeError(f"{REFERENCE} {outcome['status']}: {outcome['why']}")
    rate: float = outcome["learning_rate"]
    return rate


def weights_along(config: VaeConfig, rate: float) -> list[Weights]:
    """Trains the first seed with the exact gradient; returns its weights at each probe.

    A run keeps no weights, and this is the same in every process.
    """
    task, seed, steps = Autoencoder(config), config.first_seed, config.probe_steps
    settings = {"method": REFERENCE}
    step = jax.jit(
        step_function(task, config, settings),
        donate_argnums=0,
        compiler_options=compiler_options(),
    )
    state = first_state(rule_of(task, config, settings), stack([task.initial(seed, settings)]))
    seeds, rates = np.asarray([seed], np.int32), np.asarray([rate], np.float32)
    found: dict[int, Weights] = {}
    factors = factors_of(config, config.steps)
    for number in range(max(steps) + 1):
        if number in steps:
            # A copy: the next step uses up the memory.
            found[number] = jax.tree.map(lambda leaf: np.array(leaf[0]), state.params)
        if number < max(steps):
            batch = stack([task.batch(seed, number)])
            place = np.int32(number), factors[number]
            state, _ = step(state, batch, *place, seeds, rates, {})
    return [found[number] for number in steps]


def measure_method(config: VaeConfig, method: Method, places: Sequence[Weights]) -> list[Record]:
    """Returns records of a method's gradient at each temperature and place."""
    measure = compile_measure(config, method)
    temperatures = (None,) if method in SCORE_FUNCTION else config.measured
    return [
        record
        for temperature in temperatures
        for probe, weights in enumerate(places)
        for record in measure_at(config, measure, weights, probe, temperature)
    ]


def compile_measure(config: VaeConfig, method: Method) -> Measure:
    """Compiles the moments of a method's gradient, parameters and temperature being traced."""
    measure = jax.jit(functools.partial(_measure, config, method))
    weights = initial_weights(config, config.first_seed)
    arguments = (weights, _images(config), _keys(config, 0), _temperature(method, 1.0))
    compiled: Measure = measure.lower(*arguments).compile(compiler_options=compiler_options())
    return compiled


def measure_at(
    config: VaeConfig, measure: Measure, weights: Weights, probe: int, temperature: float | None
) -> list[Record]:
    """Returns a record for the encoder's gradient and one for the decoder's at some weights.

    Args:
      config: The gradient is of the first training images of its first seed.
      measure: The compiled moments of an estimator.
      weights: Where the gradient is taken.
      probe: The number of the probe, which decides the random keys.
      temperature: Of a relaxation, None for an estimator that has no temperature.
    """
    value = None if temperature is None else np.float32(temperature)
    found = measure(weights, _images(config), _keys(config, probe), value)
    common = {"kind": "gradient", "step": config.probe_steps[probe]}
    return [
        {**common, "temperature": temperature, "part": part}
        | figures(Moments(*(np.asarray(v, np.float64) for v in found[part])), config)
        for part in PARTS
    ]


def figures(moments: Moments, config: VaeConfig) -> Record:
    """Returns squared bias, total variance and cosine with their Monte Carlo standard errors.

    Squared bias and variance are relative to the squared length of the exact gradient. The mean
    squared length of an average of draws has variance in it; the products of deviations of
    different groups have none, so that their mean is an unbiased estimate of the squared bias,
    which may be negative. Its error is the jackknife's over groups.
    """
    size = config.draws // GROUPS
    scale = float(moments.norm) ** 2
    products = moments.deviation @ moments.deviation.T / scale
    lengths = np.diag(products)
    squared_bias, error = cross_products(products)
    # Within a group: squares about the exact gradient, less those about the group's mean.
    variance = (moments.square / scale - lengths) * size / (size - 1)
    named = {"squared_bias": (squared_bias, error)}
    for name, values in (("variance", variance), ("cosine", moments.cosine)):
        named[name] = float(values.mean()), float(values.std(ddof=1) / math.sqrt(GROUPS))
    return {"norm": finite(moments.norm)} | {
        name: {"estimate": finite(estimate), "error": finite(error)}
        for name, (estimate, error) in named.items()
    }


def cross_products(products: Float[np.ndarray, "groups groups"]) -> tuple[float, float]:
    """Returns the mean product of two different groups, and its jackknife standard error."""
    count = products.shape[0]
    across = products - np.diag(np.diag(products))
    total = across.sum()
    without = (total - 2.0 * across.sum(axis=1)) / ((count - 1) * (count - 2))
    spread = ((without - without.mean()) ** 2).sum() * (count - 1) / count
    return float(total / (count * (count - 1))), math.sqrt(spread)


@functools.cache
def _images(config: VaeConfig) -> Float[np.ndarray, "images pixels"]:
    trained = Autoencoder(config).examples(config.first_seed, "validation").trained
    return trained[: config.probe_images]


def _temperature(method: Method, value: float) -> np.float32 | None:
    return None if method in SCORE_FUNCTION else np.float32(value)


def _keys(config: VaeConfig, probe: int) -> np.ndarray:
    random = generator(config.first_seed, "noise", 1 + probe)
    shape = (GROUPS, config.draws // GROUPS, 2)
    return random.integers(2**32, size=shape, dtype=np.uint32)


def _measure(
    config: VaeConfig,
    method: Method,
    weights: Weights,
    images: Array,
    keys: Array,
    temperature: Array | None,
) -> dict[str, tuple[Array, ...]]:
    """Returns the moments of each part, group by group: all draws of a group at once."""
    codes = all_codes(config.latents, config.classes)
    of_images = None if temperature is None else jnp.full(images.shape[0], temperature)

    def gradient(method: Method, key: Array) -> dict[str, Array]:
        def mean_loss(weights: Weights) -> Array:
            noise = jax.random.wrap_key_data(key)
            each = losses(method, config.samples, noise, weights, images, codes, of_images)
            return jnp.mean(each)

        found = jax.grad(mean_loss)(weights)
        return {part: ravel_pytree(getattr(found, part))[0] for part in PARTS}

    truth = gradient(REFERENCE, keys[0, 0])
    norms = {part: jnp.linalg.norm(truth[part]) for part in PARTS}

    def one_group(keys: Array) -> dict[str, tuple[Array, Array, Array]]:
        drawn = jax.vmap(functools.partial(gradient, method))(keys)
        found = {}
        for part in PARTS:
            away = drawn[part] - truth[part][None, :]
            lengths = jnp.linalg.norm(drawn[part], axis=-1)
            # A gradient of exactly zero points nowhere: its cosine counts as 0.
            scale = jnp.where(lengths > 0, lengths, 1.0) * norms[part]
            cosines = drawn[part] @ truth[part] / scale
            squares = jnp.sum(away * away, axis=-1)
            found[part] = jnp.mean(away, axis=0), jnp.mean(squares), jnp.mean(cosines)
        return found

    groups = jax.lax.map(one_group, keys)
    return {part: (*groups[part], norms[part]) for part in PARTS}
