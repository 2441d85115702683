"""How far an approximate loss is from the full softmax: the bias and variance of its gradient."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from softmax_variants._typing import Array, ArrayLike
from softmax_variants._validation import as_count, as_key
from softmax_variants.heads._arguments import as_floating, as_hidden
from softmax_variants.heads._linear import linear_cross_entropy

Loss = Callable[[Array, Array, Array, Array, Array | None], Array]


@dataclasses.dataclass(frozen=True)
class BiasReport:
    """What `bias_report` measures; the gradient is that of the mean loss for all parameters.

    Attributes:
      full_loss: the mean cross-entropy of the full softmax.
      mean_loss: the mean of the approximate loss.
      full_norm: the norm of the full softmax's gradient.
      bias: the norm of the mean gradient less the full one, over `full_norm`, without what the
        finite number of keys adds to it; 0 where that explains all of it.
      bias_noise: the part of the difference that the finite number of keys is expected to add, over
        `full_norm`: a bias well below it is not seen.
      deviation: the standard deviation of the gradient from key to key, over `full_norm`.
      cosine: of the angle between the mean gradient and the full one.
    """

    full_loss: float
    mean_loss: float
    full_norm: float
    bias: float
    bias_noise: float
    deviation: float
    cosine: float


def bias_report(
    loss: Loss,
    key: Array,
    hidden: ArrayLike,
    labels: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    num_keys: int = 64,
) -> BiasReport:
    r"""Measures the bias and the variance of an approximate loss's gradient.

    .. math:: \mathrm{bias}^2 = \|\bar g - g\|^2 - \frac{1}{K} \frac{1}{K - 1}
              \sum_{k=1}^K \|g_k - \bar g\|^2

    The gradients of the mean loss for hidden, weight and bias are taken together as one vector,
    with K keys, and compared with that of `linear_cross_entropy`.

    Args:
      loss: `loss(key, hidden, labels, weight, bias)`, one loss an example, [...].
      key: one random key, from which the keys follow.
      hidden: [..., features], float32 or wider.
      labels: class ids, integer [...].
      weight: [classes, features].
      bias: [classes].
      num_keys: K, at least 2.

    Returns:
      The measured numbers, as Python floats.

    Raises:
      TypeError: a dtype that does not fit.
      ValueError: a shape that does not fit, or fewer than 2 keys.

    Example:
      >>> import functools
      >>> import jax
      >>> import jax.numpy as jnp
      >>> import softmax_variants as sv
      >>> hidden, weight = jnp.eye(3), jnp.ones((8, 3))
      >>> loss = functools.partial(
      ...     sv.sampled_softmax_loss, sampler=sv.UniformSampler(8), num_sampled=64
      ... )
      >>> report = sv.bias_report(loss, jax.random.key(0), hidden, jnp.array([0, 3, 7]), weight)
      >>> print(report.bias < 0.01, report.deviation < 0.1)
      True True

    References:
      Rawat et al., `Sampled Softmax with Random Fourier Features
      <https://arxiv.org/abs/1907.10747>`_, 2019, bound the same bias.
    """
    hidden, weight = as_hidden(hidden, weight)
    bias = None if bias is None else as_floating(bias, "bias", (weight.shape[0],))
    count = as_count(num_keys, "num_keys", low=2)
    arrays = (hidden, weight, bias)
    moments = _moments(loss, as_key(key), arrays, jnp.asarray(labels), count)
    full_loss, mean_loss, full, apart, cross, spread, mean = map(float, moments)
    noise = spread / count
    norm = math.sqrt(full)
    return BiasReport(
        full_loss=full_loss,
        mean_loss=mean_loss,
        full_norm=norm,
        bias=math.sqrt(max(apart - noise, 0.0)) / norm if norm else math.nan,
        bias_noise=math.sqrt(noise) / norm if norm else math.nan,
        deviation=math.sqrt(spread) / norm if norm else math.nan,
        cosine=cross / math.sqrt(full * mean) if full and mean else math.nan,
    )


@functools.partial(jax.jit, static_argnames=("loss", "count"))
def _moments(loss: Loss, key: Array, arrays: Any, labels: Array, count: int) -> Any:
    """The losses, and the squared norms and products that the report is made of."""

    def exact(arrays: Any) -> Array:
        hidden, weight, bias = arrays
        return jnp.mean(linear_cross_entropy(hidden, labels, weight, bias))

    def approximate(arrays: Any, key: Array) -> Array:
        hidden, weight, bias = arrays
        return jnp.mean(loss(key, hidden, labels, weight, bias))

    full_loss, full = jax.value_and_grad(exact)(arrays)

    def step(carry: Any, pair: tuple[Array, Array]) -> tuple[Any, None]:
        # Welford's sums, of what the gradient differs from the full one by.
        total, mean, squares = carry
        number, key = pair
        value, gradient = jax.value_and_grad(approximate)(arrays, key)
        gap = jax.tree.map(jnp.subtract, gradient, full)
        before = jax.tree.map(jnp.subtract, gap, mean)
        mean = jax.tree.map(lambda m, b: m + b / number.astype(b.dtype), mean, before)
        squares = squares + _dot(before, jax.tree.map(jnp.subtract, gap, mean))
        return (total + value, mean, squares), None

    zero = jnp.zeros_like(full_loss)
    start = (zero, jax.tree.map(jnp.zeros_like, full), zero)
    numbers = jnp.arange(1, count + 1, dtype=jnp.int32)
    (total, gap, squares), _ = jax.lax.scan(step, start, (numbers, jax.random.split(key, count)))
    mean = jax.tree.map(jnp.add, full, gap)
    return (
        full_loss,
        total / count,
        _dot(full, full),
        _dot(gap, gap),
        _dot(full, mean),
        (squares / (count - 1)),
        _dot(mean, mean),
    )


def _dot(a: Any, b: Any) -> Array:
    parts = [jnp.vdot(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)]
    return functools.reduce(jnp.add, parts)
