"""Maps with parameters of their own, called as the maps are: `layer(logits, axis, where)`."""

from collections.abc import Sequence

import jax.numpy as jnp
from flax import nnx

from softmax_variants import _modules as shared
from softmax_variants._typing import Array, ArrayLike, Axis
from softmax_variants.maps._entmax import entmax
from softmax_variants.maps._gumbel import gumbel_softmax
from softmax_variants.maps._multimax import multimax
from softmax_variants.maps._softmax import softmax
from softmax_variants.nnx._streams import Streams, forked, next_key


class Count(nnx.Variable[Array]):
    """How often a layer with a schedule was called: state that no gradient moves."""


class Softmax(nnx.Module):
    r"""Softmax with a learned temperature.

    .. math:: p = \mathrm{softmax}(x / T), \qquad T = e^\theta

    Args:
      shape: of the temperature; broadcasts against the logits with size 1 on the class axis, such
        as (heads, 1, 1) for one a head of attention scores.
      temperature: the first temperature, above 0.

    Example:
      >>> import jax.numpy as jnp
      >>> from softmax_variants.nnx import Softmax
      >>> print(Softmax(temperature=2.0)(jnp.array([0.0, 2.0])))
      [0.26894143 0.7310586 ]
    """

    def __init__(self, shape: Sequence[int] = (), *, temperature: float = 1.0) -> None:
        first = shared.raw_of_positive(temperature, "temperature")
        self.log_temperature = nnx.Param(jnp.full(tuple(shape), first))

    @property
    def temperature(self) -> Array:
        """The temperature, above 0 wherever training takes the parameter."""
        return jnp.exp(self.log_temperature[...])

    def __call__(self, logits: ArrayLike, axis: Axis = -1, where: ArrayLike | None = None) -> Array:
        """Probabilities as from `softmax`."""
        return softmax(logits, axis, where, temperature=self.temperature)


class Entmax(nnx.Module):
    r"""Alpha-entmax with a learned alpha, kept between two ends.

    .. math:: \alpha = a + (b - a)\, \sigma(\theta)

    No step of an optimizer takes alpha out of its range, below which entmax is no longer sparse.

    Args:
      shape: of alpha; broadcasts against the logits with size 1 on the class axis, such as
        (heads, 1, 1) for one a head of attention scores.
      alpha: the first alpha, between `low` and `high`.
      low: the lower end of the range, not reached; 1 is softmax.
      high: the upper end of the range, not reached; 2 is sparsemax.

    Example:
      >>> import jax.numpy as jnp
      >>> from softmax_variants.nnx import Entmax
      >>> print(Entmax(alpha=1.5)(jnp.array([1.0, 0.0, -4.0])))
      [0.83071893 0.16928108 0.        ]

    References:
      Correia, Niculae and Martins, `Adaptively Sparse Transformers
      <https://arxiv.org/abs/1909.00015>`_, 2019.
    """

    def __init__(
        self,
        shape: Sequence[int] = (),
        *,
        alpha: float = 1.5,
        low: float = 1.0,
        high: float = 2.0,
    ) -> None:
        first = shared.raw_of_interval(alpha, "alpha", low, high)
        self.low, self.high = low, high
        self.raw_alpha = nnx.Param(jnp.full(tuple(shape), first))

    @property
    def alpha(self) -> Array:
        """Alpha, from `low` to `high`."""
        return shared.in_interval(self.raw_alpha[...], self.low, self.high)

    def __call__(self, logits: ArrayLike, axis: Axis = -1, where: ArrayLike | None = None) -> Array:
        """Probabilities as from `entmax`."""
        return entmax(logits, axis, where, alpha=self.alpha)


class MultiMax(nnx.Module):
    """MultiMax with learned temperatures and thresholds.

    It is exactly softmax as long as all temperatures are 0, the default.

    Args:
      shape: the leading dimensions of the parameters; they broadcast against the logits' shape
        without the class axis, such as (heads, 1) for one set a head of attention scores.
      temperatures: the first temperatures, 4 numbers, or 2 for the terms of first order alone.
      thresholds: the first thresholds, as many.

    Example:
      >>> import jax.numpy as jnp
      >>> from softmax_variants.nnx import MultiMax
      >>> print(MultiMax(temperatures=(-1.0, 1.0), thresholds=(1.0, 1.0))(jnp.array([0.0, 2.0])))
      [0.01798621 0.98201376]

    References:
      Zhou et al., `MultiMax: Sparse and Multi-Modal Attention Learning
      <https://arxiv.org/abs/2406.01189>`_, 2024.
    """

    def __init__(
        self,
        shape: Sequence[int] = (),
        *,
        temperatures: Sequence[float] = (0.0, 0.0, 0.0, 0.0),
        thresholds: Sequence[float] = (0.0, 0.0, 0.0, 0.0),
    ) -> None:
        self.temperatures = nnx.Param(shared.rows_of(temperatures, shape))
        self.thresholds = nnx.Param(shared.rows_of(thresholds, shape))

    def __call__(self, logits: ArrayLike, axis: Axis = -1, where: ArrayLike | None = None) -> Array:
        """Probabilities as from `multimax`."""
        return multimax(
            logits,
            axis,
            where,
            temperatures=self.temperatures[...],
            thresholds=self.thresholds[...],
        )


class GumbelSoftmax(nnx.Module):
    """Gumbel-softmax with a stream of keys and, if wanted, a schedule of its temperature.

    Args:
      temperature: a number, or a schedule of optax: a function of the number of the call.
      hard: whether the samples are one-hot, with the derivative of the relaxed ones.
      deterministic: whether the noise is left out, as `model.eval()` sets it.
      rngs: with the stream `sample`, or the default one.

    Example:
      >>> import jax.numpy as jnp
      >>> import optax
      >>> from flax import nnx
      >>> from softmax_variants.nnx import GumbelSoftmax
      >>> schedule = optax.exponential_decay(1.0, 1000, 0.5, end_value=0.1)
      >>> layer = GumbelSoftmax(schedule, hard=True, rngs=nnx.Rngs(0))
      >>> print(layer(jnp.array([0.0, 30.0, 1.0])), layer.count[...])
      [0. 1. 0.] 1

    References:
      Jang, Gu and Poole, `Categorical Reparameterization with Gumbel-Softmax
      <https://arxiv.org/abs/1611.01144>`_, 2016.
    """

    def __init__(
        self,
        temperature: float | shared.Schedule = 1.0,
        *,
        hard: bool = False,
        deterministic: bool = False,
        rngs: Streams,
    ) -> None:
        self.schedule = temperature
        self.hard = hard
        self.deterministic = deterministic
        self.rngs = forked(rngs, "GumbelSoftmax")
        self.count: Count | None = nnx.data(None)
        if callable(temperature):
            self.count = Count(jnp.zeros((), jnp.int32))

    def __call__(
        self,
        logits: ArrayLike,
        axis: Axis = -1,
        where: ArrayLike | None = None,
        *,
        step: ArrayLike | None = None,
        deterministic: bool | None = None,
        rngs: Streams | None = None,
    ) -> Array:
        """Samples as from `gumbel_softmax`.

        Args:
          logits: as there.
          axis: as there.
          where: as there.
          step: what the schedule is asked for in place of the number of the call, which is then
            not counted.
          deterministic: overrides the layer's.
          rngs: overrides the layer's stream.
        """
        quiet = self.deterministic if deterministic is None else deterministic
        count = self.count if step is None else None
        temperature = shared.temperature_at(self.schedule, step if count is None else count[...])
        if quiet:
            return shared.noiseless_gumbel(logits, axis, where, temperature, self.hard)
        if count is not None:
            count[...] = count[...] + 1
        key = next_key(rngs, self.rngs, "GumbelSoftmax")
        return gumbel_softmax(key, logits, axis, where, temperature=temperature, hard=self.hard)
