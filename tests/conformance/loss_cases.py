"""What the tests of the losses share: compiled calls, labels and targets."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
import pytest

from softmax_variants.variants import VARIANTS, Variant
from tests.conformance import cases
from tests.conformance.cases import Bools, Floats

WITH_LOSS = tuple(row for row in cases.DETERMINISTIC if row.loss is not None)
every_loss = cases.over(WITH_LOSS)


def having(flag: Callable[[Variant], Any]) -> pytest.MarkDecorator:
    return cases.over([row for row in WITH_LOSS if flag(row)])


def loss_of(variant: Variant, *arguments: Any, **keywords: Any) -> jax.Array:
    assert variant.loss is not None
    return variant.loss(*arguments, **{**variant.parameters, **keywords})


def labels_of(shape: Sequence[int] = (cases.ROWS,), classes: int = cases.CLASSES) -> Floats:
    return np.random.default_rng(4).integers(0, classes, size=shape).astype(np.int32)


def one_hot(labels: Floats, classes: int = cases.CLASSES) -> Floats:
    return np.eye(classes, dtype=np.float32)[labels]


def distributions(shape: tuple[int, ...] = cases.SHAPE) -> Floats:
    """Targets with zeros in them, summing to 1."""
    weight = np.maximum(np.random.default_rng(8).normal(size=shape), 0)
    weight[..., 0] += 0.25
    return (weight / weight.sum(axis=-1, keepdims=True)).astype(np.float32)


@functools.cache
def _pulled(name: str, keywords: tuple[tuple[str, Any], ...]) -> Callable[..., Any]:
    variant = VARIANTS[name]

    @jax.jit
    def pulled(x: jax.Array, labels: jax.Array, where: jax.Array) -> tuple[Any, Any]:
        loss, pull = jax.vjp(lambda x: loss_of(variant, x, labels, -1, where, **dict(keywords)), x)
        return loss, pull(jax.numpy.ones_like(loss))[0]

    return pulled


def loss_and_gradient(
    variant: Variant, x: Floats, labels: Floats, where: Bools | None = None, **static: Any
) -> tuple[Floats, Floats]:
    """The losses and the gradient of their sum; compiled once for every shape of labels."""
    where = np.ones(x.shape, np.bool_) if where is None else where
    loss, gradient = _pulled(variant.name, tuple(static.items()))(x, labels, where)
    return np.asarray(loss), np.asarray(gradient)
