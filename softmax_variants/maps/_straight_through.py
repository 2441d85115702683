"""Straight-through: one value forward, the derivative of another."""

import jax
import jax.numpy as jnp

from softmax_variants._typing import Array, ArrayLike
from softmax_variants._validation import as_array


def straight_through(hard: ArrayLike, soft: ArrayLike) -> Array:
    r"""The value of `hard` with the derivative of `soft`.

    .. math:: f(h, s) = h, \qquad df = ds

    The value is `hard` to the last bit in every dtype, also under `jit`. The usual expression
    `soft + stop_gradient(hard - soft)` is not: a compiler may keep more precision in the
    difference than in the sum, and then returns small numbers where `hard` is 0.

    Args:
      hard: the value, an array of any shape and floating dtype. It passes no derivative on.
      soft: the relaxation of `hard`, of the same shape and dtype. It receives the derivative.

    Returns:
      `hard`.

    Raises:
      TypeError: arrays that are not floating, or that differ in dtype.
      ValueError: arrays that differ in shape.

    Example:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> import softmax_variants as sv
      >>> p = jnp.array([0.75, 0.25])
      >>> value, derivative = jax.jvp(lambda p: sv.straight_through(jnp.round(p), p), (p,), (p,))
      >>> print(value, derivative)
      [1. 0.] [0.75 0.25]

    References:
      Bengio, Leonard and Courville, `Estimating or Propagating Gradients Through Stochastic
      Neurons for Conditional Computation <https://arxiv.org/abs/1308.3432>`_, 2013.
    """
    hard, soft = as_array(hard, "hard"), as_array(soft, "soft")
    for name, array in (("hard", hard), ("soft", soft)):
        if not jnp.issubdtype(array.dtype, jnp.floating):
            raise TypeError(f"{name} must be floating, got dtype {array.dtype}")
    if hard.dtype != soft.dtype:
        raise TypeError(
            f"hard and soft must have the same dtype, got {hard.dtype} and {soft.dtype}"
        )
    if hard.shape != soft.shape:
        raise ValueError(
            f"hard and soft must have the same shape, got {hard.shape} and {soft.shape}"
        )
    return replaced(hard, soft)


@jax.custom_jvp
def replaced(hard: Array, soft: Array) -> Array:
    """`hard`, differentiated as `soft`."""
    del soft
    return hard


@replaced.defjvp
def _replaced_jvp(
    primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    return primals[0], tangents[1]
