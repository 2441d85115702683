"""Bias and variance of an estimator's gradient, measured against the exact one."""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from experiments.environment import compiler_options
from experiments.randomness import generator
from experiments.run_directory import Record
from experiments.statistics import finite
from experiments.vae.config import GROUPS, VaeConfig
from experiments.vae.contenders import Method
from experiments.vae.estimators import loss
from experiments.vae.model import Weights, initial_weights
from experiments.vae.train import Task

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


def compile_measure(task: Task, method: Method) -> Measure:
    """Compiles the moments of a method's gradient, parameters and temperature being traced."""
    config = task.config
    measure = jax.jit(functools.partial(_measure, method, config.samples))
    weights = initial_weights(config, config.first_seed)
    arguments = (weights, _images(task), task.codes, _keys(config, 0), jnp.float32(1.0))
    compiled: Measure = measure.lower(*arguments).compile(compiler_options=compiler_options())
    return compiled


def measure_at(
    task: Task, measure: Measure, weights: Weights, probe: int, temperature: float | None
) -> list[Record]:
    """Returns a record for the encoder's gradient and one for the decoder's at some weights.

    Args:
      task: The data; the gradient is of the first training images of the first seed.
      measure: The compiled moments of an estimator.
      weights: Where the gradient is taken.
      probe: The number of the probe, which decides the random keys.
      temperature: Of a relaxation, None for an estimator that has no temperature.
    """
    keys, value = _keys(task.config, probe), 1.0 if temperature is None else temperature
    found = measure(weights, _images(task), task.codes, keys, jnp.float32(value))
    common = {"kind": "gradient", "step": task.config.probe_steps[probe]}
    return [
        {**common, "temperature": temperature, "part": part}
        | figures(Moments(*(np.asarray(v, np.float64) for v in found[part])), task.config)
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


def _images(task: Task) -> Array:
    return task.images[0, : min(task.config.probe_images, task.sizes[0])]


def _keys(config: VaeConfig, probe: int) -> np.ndarray:
    random = generator(config.first_seed, "noise", 1 + probe)
    shape = (GROUPS, config.draws // GROUPS, 2)
    return random.integers(2**32, size=shape, dtype=np.uint32)


def _measure(
    method: Method,
    samples: int,
    weights: Weights,
    images: Array,
    codes: Array,
    keys: Array,
    temperature: Array,
) -> dict[str, tuple[Array, ...]]:
    """Returns the moments of each part, group by group: all draws of a group at once."""

    def gradient(method: Method, key: Array) -> dict[str, Array]:
        def of_weights(weights: Weights) -> Array:
            noise = jax.random.wrap_key_data(key)
            return loss(method, samples, noise, weights, images, codes, temperature)

        found = jax.grad(of_weights)(weights)
        return {part: ravel_pytree(getattr(found, part))[0] for part in PARTS}

    truth = gradient("exact", keys[0, 0])
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
