"""Samplers: from which classes a sampled loss draws, and how probable each of them was."""

import abc
import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from softmax_variants._pytrees import register_pytree
from softmax_variants._typing import Array, ArrayLike
from softmax_variants._validation import as_count, as_key, as_parameter
from softmax_variants.heads._alias import WORDS, AliasTable

_BLOCKS = 1 << 16  # of neighbouring classes, into which the log-uniform law is divided
_LARGEST = 2**31 - 2  # classes; one id more stands for none


class Sampler(abc.ABC):
    """A distribution over classes from which ids are drawn independently, with replacement.

    A subclass has `classes`, `draw` and `log_prob`, and is a pytree, so that its tables are
    arguments of a compiled program and no part of it. What the corrections of the sampled losses
    need follows from `log_prob`.

    Attributes:
      classes: how many classes there are, static.

    Example:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> import softmax_variants as sv
      >>> sampler: sv.Sampler = sv.UniformSampler(4)
      >>> print(sampler.log_inclusion(jnp.array([0]), 3), jnp.log(1 - 0.75**3))
      [-0.54796517] -0.54796517
    """

    classes: int

    @abc.abstractmethod
    def draw(self, key: Array, num: int) -> Array:
        """`num` class ids, int32 [num]; the shape does not depend on what is drawn."""

    @abc.abstractmethod
    def log_prob(self, ids: ArrayLike) -> Array:
        """The log-probability that one draw is the id, float32; `-inf` for an id out of range."""

    def log_expected_count(self, ids: ArrayLike, num: ArrayLike) -> Array:
        """The log of how often `num` draws are expected to show the id: `log(num P)`."""
        return expected_count(self.log_prob(ids), _as_number(num))

    def log_inclusion(self, ids: ArrayLike, num: ArrayLike) -> Array:
        """The log-probability that `num` draws show the id at all: `log(1 - (1 - P)^num)`."""
        return inclusion(self.log_prob(ids), _as_number(num))


def expected_count(log_p: Array, num: Array) -> Array:
    """`log(num P)`."""
    return jnp.log(num.astype(log_p.dtype)) + log_p


def inclusion(log_p: Array, num: Array) -> Array:
    """`log(1 - (1 - P)^num)`, to the last digits for the smallest P and for P near 1."""
    num = num.astype(log_p.dtype)
    count = jnp.log(num) + log_p
    # The next term of the series is `num P / 2` of this one; P itself may be below all floats.
    return jnp.where(count < -17, count, _log_complement(num * _log_complement(log_p)))


def _log_complement(x: Array) -> Array:
    """`log(1 - exp(x))` for `x <= 0`."""
    near = x > -math.log(2)
    return jnp.where(
        near,
        jnp.log(-jnp.expm1(jnp.where(near, x, -1))),
        jnp.log1p(-jnp.exp(jnp.where(near, -1, x))),
    )


def _as_number(num: ArrayLike) -> Array:
    return as_parameter(num, "num", low=0)


def _as_ids(ids: ArrayLike) -> Array:
    array = jnp.asarray(ids)
    if not jnp.issubdtype(array.dtype, jnp.integer):
        raise TypeError(f"ids must have an integer dtype, got dtype {array.dtype}")
    return array


def _within(ids: Array, classes: int) -> tuple[Array, Array]:
    """Ids that are classes as int32, 0 for all others, and which were classes."""
    valid = ids >= 0
    if classes <= int(jnp.iinfo(ids.dtype).max):
        valid = valid & (ids < classes)
    return jnp.where(valid, ids, 0).astype(jnp.int32), valid


def _as_classes(classes: int) -> int:
    return as_count(classes, "classes", high=_LARGEST)


def _fill(sampler: Sampler, **values: Any) -> None:
    for name, value in values.items():
        object.__setattr__(sampler, name, value)


@dataclasses.dataclass(frozen=True)
class UniformSampler(Sampler):
    r"""Every class with the same probability.

    .. math:: P(k) = 1 / V

    Args:
      classes: how many classes there are.

    Raises:
      TypeError: `classes` is no integer.
      ValueError: `classes` is below 1 or above 2^31 - 2.

    Example:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> import softmax_variants as sv
      >>> sampler = sv.UniformSampler(1000)
      >>> ids = sampler.draw(jax.random.key(0), 5)
      >>> print(ids.shape, ids.dtype, jnp.exp(sampler.log_prob(ids[:1])))
      (5,) int32 [0.001]
    """

    classes: int

    def __post_init__(self) -> None:
        _as_classes(self.classes)

    def draw(self, key: Array, num: int) -> Array:
        """`num` class ids, int32 [num]."""
        num = as_count(num, "num")
        return jax.random.randint(as_key(key), (num,), 0, self.classes, jnp.int32)

    def log_prob(self, ids: ArrayLike) -> Array:
        """The log-probability of each id."""
        _, valid = _within(_as_ids(ids), self.classes)
        return jnp.where(valid, jnp.float32(-math.log(self.classes)), -jnp.inf)


register_pytree(UniformSampler, data=[], static=["classes"])


@dataclasses.dataclass(frozen=True, init=False, eq=False)
class LogUniformSampler(Sampler):
    r"""The log-uniform law (Zipf's, nearly): for ids that are sorted by falling frequency.

    .. math:: P(k) = \frac{\log(k + 2) - \log(k + 1)}{\log(V + 1)}

    The inverse of the distribution function in float32 reaches only some ids beyond a million, and
    some of them twice as often. So a block of neighbouring ids is drawn from an alias table first,
    and the id by the inverse of the distribution function within the block.

    Args:
      classes: how many classes there are; class 0 has to be the most frequent.

    Raises:
      TypeError: `classes` is no integer.
      ValueError: `classes` is below 1 or above 2^31 - 2.

    Example:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> import softmax_variants as sv
      >>> sampler = sv.LogUniformSampler(3)
      >>> print(jnp.exp(sampler.log_prob(jnp.arange(3))))
      [0.5        0.29248125 0.20751874]
    """

    classes: int
    first: Array  # the first `id + 1` of each block, int32 [blocks]
    size: Array  # how many classes a block has, int32 [blocks]
    table: AliasTable

    def __init__(self, classes: int) -> None:
        classes = _as_classes(classes)
        edges = np.geomspace(1.0, classes + 1.0, min(classes, _BLOCKS) + 1)
        edges[[0, -1]] = 1, classes + 1
        edges = np.unique(np.clip(np.floor(edges), 1, classes + 1))
        weights = np.log1p(np.diff(edges) / edges[:-1])
        first = jnp.asarray(edges[:-1], jnp.int32)
        size = jnp.asarray(np.diff(edges), jnp.int32)
        _fill(self, classes=classes, first=first, size=size, table=AliasTable.of(weights))

    def draw(self, key: Array, num: int) -> Array:
        """`num` class ids, int32 [num]."""
        num = as_count(num, "num")
        *words, inner = jax.random.bits(as_key(key), (WORDS + 1, num), jnp.uint32)
        block = self.table.choose(*words)
        first, size = self.first[block], self.size[block]
        start = first.astype(jnp.float32)
        u = (inner >> 8).astype(jnp.float32) * 2.0**-24
        growth = jnp.log1p(size.astype(jnp.float32) / start)
        step = jnp.floor(start * jnp.expm1(u * growth)).astype(jnp.int32)
        return first - 1 + jnp.clip(step, 0, size - 1)

    def log_prob(self, ids: ArrayLike) -> Array:
        """The log-probability of each id."""
        ids, valid = _within(_as_ids(ids), self.classes)
        p = jnp.log1p(1 / (ids.astype(jnp.float32) + 1)) / math.log1p(self.classes)
        return jnp.where(valid, jnp.log(p), -jnp.inf)


register_pytree(LogUniformSampler, data=["first", "size", "table"], static=["classes"])


@dataclasses.dataclass(frozen=True, init=False, eq=False)
class UnigramSampler(Sampler):
    r"""Classes in proportion to a power of their counts, from an alias table.

    .. math:: P(k) = n_k^\gamma / \sum_j n_j^\gamma

    A class whose count is 0 is never drawn.

    Args:
      counts: how often each class occurs, non-negative, [classes]; known when the sampler is built.
      power: the exponent, at least 0; 3/4 is word2vec's, 1 the frequencies themselves, 0 the
        uniform law over the classes that occur.

    Raises:
      TypeError: counts that are traced, or of no real dtype.
      ValueError: counts that are negative, not finite, all 0, or not a vector.

    Example:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> import softmax_variants as sv
      >>> sampler = sv.UnigramSampler([16, 0, 1])
      >>> print(jnp.exp(sampler.log_prob(jnp.arange(3))))
      [0.8888889 0.        0.11111111]

    References:
      Walker, `An Efficient Method for Generating Discrete Random Variables with General
      Distributions <https://doi.org/10.1145/355744.355749>`_, 1977; Mikolov et al., `Distributed
      Representations of Words and Phrases <https://arxiv.org/abs/1310.4546>`_, 2013.
    """

    classes: int
    logs: Array  # the log-probabilities, float32 [classes]
    table: AliasTable

    def __init__(self, counts: ArrayLike | Sequence[float], power: float = 0.75) -> None:
        if isinstance(counts, jax.core.Tracer):
            raise TypeError("counts must be known when the sampler is built, got a traced array")
        array = np.asarray(counts)
        if array.dtype.kind not in "iuf" and array.dtype != jnp.bfloat16:
            raise TypeError(f"counts must have a real dtype, got dtype {array.dtype}")
        array = array.astype(np.float64)
        if array.ndim != 1 or array.size == 0:
            raise ValueError(f"counts must have shape (classes,), got {array.shape}")
        _as_classes(array.size)
        bad = ~np.isfinite(array) | (array < 0)
        if bad.any():
            raise ValueError(f"counts must be finite and at least 0, got {array[bad][0]:g}")
        if not array.any():
            raise ValueError(f"counts must not all be 0, got {array.size} zeros")
        if isinstance(power, bool) or not isinstance(power, float | int):
            raise TypeError(f"power must be a Python number, got {type(power).__name__}")
        if not 0 <= power < math.inf:
            raise ValueError(f"power must be finite and at least 0, got {power:g}")
        some = array > 0
        logs = np.full(array.shape, -np.inf)
        # Relative to the largest: no count is too large for a power of it.
        logs[some] = power * (np.log(array[some]) - np.log(array.max()))
        weights = np.exp(logs)
        logs = logs - math.log(weights.sum())
        _fill(
            self,
            classes=int(array.size),
            logs=jnp.asarray(logs, jnp.float32),
            table=AliasTable.of(weights),
        )

    def draw(self, key: Array, num: int) -> Array:
        """`num` class ids, int32 [num]."""
        return self.table.draw(as_key(key), as_count(num, "num"))

    def log_prob(self, ids: ArrayLike) -> Array:
        """The log-probability of each id."""
        ids, valid = _within(_as_ids(ids), self.classes)
        return jnp.where(valid, self.logs[ids], -jnp.inf)


register_pytree(UnigramSampler, data=["logs", "table"], static=["classes"])


@dataclasses.dataclass(frozen=True, init=False, eq=False)
class MixedSampler(Sampler):
    r"""A mixture: each draw is made by one of several samplers, chosen at random.

    .. math:: P(k) = \sum_m w_m P_m(k)

    The probability of a class is that of the whole mixture, whichever sampler has drawn it.

    Args:
      samplers: samplers over the same classes.
      weights: how probable each sampler is, one number a sampler; divided by their sum.

    Raises:
      TypeError: something that is no sampler; weights that are traced.
      ValueError: no samplers, different numbers of classes, negative weights or all of them 0.

    Example:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> import softmax_variants as sv
      >>> sampler = sv.MixedSampler([sv.UniformSampler(3), sv.UnigramSampler([1, 0, 0])], [3, 1])
      >>> print(jnp.exp(sampler.log_prob(jnp.arange(3))))
      [0.5  0.25 0.25]

    References:
      Yang et al., `Mixed Negative Sampling for Learning Two-tower Neural Networks in
      Recommendations <https://doi.org/10.1145/3366424.3386195>`_, 2020.
    """

    classes: int
    samplers: tuple[Sampler, ...]
    logs: Array  # the log-probabilities of the samplers, float32
    table: AliasTable

    def __init__(self, samplers: Sequence[Sampler], weights: ArrayLike | Sequence[float]) -> None:
        parts = tuple(samplers)
        if not parts:
            raise ValueError("samplers must have at least one sampler, got none")
        for part in parts:
            if not isinstance(part, Sampler):
                raise TypeError(f"samplers must all be samplers, got {type(part).__name__}")
        sizes = [part.classes for part in parts]
        if len(set(sizes)) > 1:
            raise ValueError(f"samplers must have the same classes, got {sizes} of them")
        choice = UnigramSampler(_as_weights(weights, len(parts)), power=1.0)
        _fill(self, classes=sizes[0], samplers=parts, logs=choice.logs, table=choice.table)

    def draw(self, key: Array, num: int) -> Array:
        """`num` class ids, int32 [num]; each sampler draws as many, and one of them is taken."""
        num = as_count(num, "num")
        choice, *keys = jax.random.split(as_key(key), len(self.samplers) + 1)
        drawn = jnp.stack([s.draw(k, num) for s, k in zip(self.samplers, keys, strict=True)])
        return jnp.take_along_axis(drawn, self.table.draw(choice, num)[None], axis=0)[0]

    def log_prob(self, ids: ArrayLike) -> Array:
        """The log-probability of each id under the whole mixture."""
        parts = jnp.stack([sampler.log_prob(ids) for sampler in self.samplers], axis=-1)
        logs = self.logs.reshape((1,) * (parts.ndim - 1) + (-1,))
        return jax.nn.logsumexp(parts + logs, axis=-1)


register_pytree(MixedSampler, data=["samplers", "logs", "table"], static=["classes"])


def _as_weights(weights: ArrayLike | Sequence[float], count: int) -> "np.ndarray[Any, Any]":
    if isinstance(weights, jax.core.Tracer):
        raise TypeError("weights must be known when the sampler is built, got a traced array")
    array = np.asarray(weights)
    if array.shape != (count,):
        raise ValueError(
            f"weights must have shape ({count},), one number a sampler, got {array.shape}"
        )
    low = array.astype(np.float64)
    if (~np.isfinite(low) | (low < 0)).any() or not low.any():
        raise ValueError(f"weights must be finite, at least 0 and not all 0, got {array.tolist()}")
    return low
