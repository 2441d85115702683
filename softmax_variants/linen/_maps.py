"""Maps with parameters of their own, called as the maps are: `layer(logits, axis, where)`."""

from collections.abc import Sequence

import jax.numpy as jnp
from flax import linen as nn

from softmax_variants import _modules as shared
from softmax_variants._typing import Array, ArrayLike, Axis
from softmax_variants.linen._streams import next_key
from softmax_variants.maps._entmax import entmax
from softmax_variants.maps._gumbel import gumbel_softmax
from softmax_variants.maps._multimax import multimax
from softmax_variants.maps._softmax import softmax


class Softmax(nn.Module):
    r"""Softmax with a learned temperature.

    .. math:: p = \mathrm{softmax}(x / T), \qquad T = e^\theta

    Attributes:
      shape: of the temperature; broadcasts against the logits with size 1 on the class axis, such
        as (heads, 1, 1) for one a head of attention scores.
      temperature: the first temperature, above 0.

    Example:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> from softmax_variants.linen import Softmax
      >>> probabilities, _ = Softmax(temperature=2.0).init_with_output(
      ...     jax.random.key(0), jnp.array([0.0, 2.0])
      ... )
      >>> print(probabilities)
      [0.26894143 0.7310586 ]
    """

    shape: Sequence[int] = ()
    temperature: float = 1.0

    @nn.compact
    def __call__(self, logits: ArrayLike, axis: Axis = -1, where: ArrayLike | None = None) -> Array:
        """Probabilities as from `softmax`."""
        first = shared.raw_of_positive(self.temperature, "temperature")
        raw = self.param("log_temperature", lambda key: jnp.full(tuple(self.shape), first))
        return softmax(logits, axis, where, temperature=jnp.exp(raw))


class Entmax(nn.Module):
    r"""Alpha-entmax with a learned alpha, kept between two ends.

    .. math:: \alpha = a + (b - a)\, \sigma(\theta)

    No step of an optimizer takes alpha out of its range, below which entmax is no longer sparse.

    Attributes:
      shape: of alpha; broadcasts against the logits with size 1 on the class axis, such as
        (heads, 1, 1) for one a head of attention scores.
      alpha: the first alpha, between `low` and `high`.
      low: the lower end of the range, not reached; 1 is softmax.
      high: the upper end of the range, not reached; 2 is sparsemax.

    Example:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> from softmax_variants.linen import Entmax
      >>> logits = jnp.array([1.0, 0.0, -4.0])
      >>> print(Entmax(alpha=1.5).init_with_output(jax.random.key(0), logits)[0])
      [0.83071893 0.16928108 0.        ]

    References:
      Correia, Niculae and Martins, `Adaptively Sparse Transformers
      <https://arxiv.org/abs/1909.00015>`_, 2019.
    """

    shape: Sequence[int] = ()
    alpha: float = 1.5
    low: float = 1.0
    high: float = 2.0

    def setup(self) -> None:
        """Declares the parameter."""
        first = shared.raw_of_interval(self.alpha, "alpha", self.low, self.high)
        self.raw_alpha = self.param("raw_alpha", lambda key: jnp.full(tuple(self.shape), first))

    def __call__(self, logits: ArrayLike, axis: Axis = -1, where: ArrayLike | None = None) -> Array:
        """Probabilities as from `entmax`."""
        return entmax(logits, axis, where, alpha=self.learned_alpha())

    def learned_alpha(self) -> Array:
        """Alpha as it is now, from `low` to `high`."""
        return shared.in_interval(self.raw_alpha, self.low, self.high)


class MultiMax(nn.Module):
    """MultiMax with learned temperatures and thresholds.

    It is exactly softmax as long as all temperatures are 0, the default.

    Attributes:
      shape: the leading dimensions of the parameters; they broadcast against the logits' shape
        without the class axis, such as (heads, 1) for one set a head of attention scores.
      temperatures: the first temperatures, 4 numbers, or 2 for the terms of first order alone.
      thresholds: the first thresholds, as many.

    Example:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> from softmax_variants.linen import MultiMax
      >>> layer = MultiMax(temperatures=(-1.0, 1.0), thresholds=(1.0, 1.0))
      >>> print(layer.init_with_output(jax.random.key(0), jnp.array([0.0, 2.0]))[0])
      [0.01798621 0.98201376]

    References:
      Zhou et al., `MultiMax: Sparse and Multi-Modal Attention Learning
      <https://arxiv.org/abs/2406.01189>`_, 2024.
    """

    shape: Sequence[int] = ()
    temperatures: Sequence[float] = (0.0, 0.0, 0.0, 0.0)
    thresholds: Sequence[float] = (0.0, 0.0, 0.0, 0.0)

    @nn.compact
    def __call__(self, logits: ArrayLike, axis: Axis = -1, where: ArrayLike | None = None) -> Array:
        """Probabilities as from `multimax`."""
        t = self.param("temperatures", lambda key: shared.rows_of(self.temperatures, self.shape))
        b = self.param("thresholds", lambda key: shared.rows_of(self.thresholds, self.shape))
        return multimax(logits, axis, where, temperatures=t, thresholds=b)


class GumbelSoftmax(nn.Module):
    """Gumbel-softmax with a stream of keys and, if wanted, a schedule of its temperature.

    The stream is `sample`. With a schedule the number of calls is the variable `count` of the
    collection `counts`, which has to be mutable for it to rise; or `step` is given at the call.

    Attributes:
      temperature: a number, or a schedule of optax: a function of the number of the call.
      hard: whether the samples are one-hot, with the derivative of the relaxed ones.
      deterministic: whether the noise is left out.

    Example:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> import optax
      >>> from softmax_variants.linen import GumbelSoftmax
      >>> schedule = optax.exponential_decay(1.0, 1000, 0.5, end_value=0.1)
      >>> layer, logits = GumbelSoftmax(schedule, hard=True), jnp.array([0.0, 30.0, 1.0])
      >>> variables = layer.init(jax.random.key(0), logits)
      >>> sample, changed = layer.apply(
      ...     variables, logits, rngs={"sample": jax.random.key(1)}, mutable="counts"
      ... )
      >>> print(sample, changed["counts"]["count"])
      [0. 1. 0.] 1

    References:
      Jang, Gu and Poole, `Categorical Reparameterization with Gumbel-Softmax
      <https://arxiv.org/abs/1611.01144>`_, 2016.
    """

    temperature: float | shared.Schedule = 1.0
    hard: bool = False
    deterministic: bool = False

    @nn.compact
    def __call__(
        self,
        logits: ArrayLike,
        axis: Axis = -1,
        where: ArrayLike | None = None,
        *,
        step: ArrayLike | None = None,
        deterministic: bool | None = None,
    ) -> Array:
        """Samples as from `gumbel_softmax`.

        Args:
          logits: as there.
          axis: as there.
          where: as there.
          step: what the schedule is asked for in place of the number of the call.
          deterministic: overrides the layer's.
        """
        quiet = self.deterministic if deterministic is None else deterministic
        count = None
        if callable(self.temperature) and step is None:
            count = self.variable("counts", "count", lambda: jnp.zeros((), jnp.int32))
            step = count.value
        temperature = shared.temperature_at(self.temperature, step)
        if quiet:
            return shared.noiseless_gumbel(logits, axis, where, temperature, self.hard)
        if count and self.is_mutable_collection("counts") and not self.is_initializing():
            count.value = count.value + 1
        key = next_key(self, "GumbelSoftmax")
        return gumbel_softmax(key, logits, axis, where, temperature=temperature, hard=self.hard)
