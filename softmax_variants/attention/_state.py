"""States of softmax attention over some of the keys, which merge into those over all."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from softmax_variants._numerics import finite_top, safe_divide
from softmax_variants._typing import Array, ArrayLike
from softmax_variants._validation import as_parameter, check_broadcastable


class AttentionState(NamedTuple):
    """What softmax attention over some of the keys leaves for the others.

    States of disjoint sets of keys merge in any order and any grouping into the state of their
    union: keys may be split over devices or come one block after another.

    Attributes:
      max: the largest score of each query, [..., T, N, 1]; `-inf` where it has seen no key.
      sum: the sum of `exp(score - max)`, [..., T, N, 1]; 0 where it has seen no key.
      value: the sum of `exp(score - max) * value`, [..., T, N, D].
    """

    max: Array
    sum: Array
    value: Array


def merge_attention_states(a: AttentionState, b: AttentionState) -> AttentionState:
    r"""Merges the states of two disjoint sets of keys into that of their union.

    .. math:: m = \max(m_a, m_b), \quad s = s_a e^{m_a - m} + s_b e^{m_b - m}, \quad
              v = v_a e^{m_a - m} + v_b e^{m_b - m}

    The operation is associative and commutative up to rounding. Its identity is the state of no
    key, `AttentionState(-inf, 0, 0)`.

    Args:
      a: a state of `attention_state`, or of an earlier merge.
      b: another, of the same queries.

    Returns:
      The state of the keys of both. Scores of infinity tie, as in `softmax`.

    Raises:
      ValueError: the shapes of the states do not match.

    Example:
      >>> import functools
      >>> import jax.numpy as jnp
      >>> import softmax_variants as sv
      >>> query, keys = jnp.ones((1, 1, 1)), jnp.arange(4.0).reshape(4, 1, 1)
      >>> halves = [sv.attention_state(query, k, k) for k in (keys[:2], keys[2:])]
      >>> merged = functools.reduce(sv.merge_attention_states, halves)
      >>> print(sv.attention_output(merged)[0, 0])
      [2.4926527]
      >>> print(sv.flash_attention(query, keys, keys)[0, 0])
      [2.4926527]

    References:
      Milakov and Gimelshein, `Online normalizer calculation for softmax
      <https://arxiv.org/abs/1805.02867>`_, 2018; Liu, Zaharia and Abbeel, `Ring Attention with
      Blockwise Transformers <https://arxiv.org/abs/2310.01889>`_, 2023.
    """
    for name, x, y in zip(AttentionState._fields, a, b, strict=True):
        if x.shape != y.shape:
            raise ValueError(f"a and b must have {name} of one shape, got {x.shape} and {y.shape}")
    return merged(a, b)


@jax.jit
def merged(a: AttentionState, b: AttentionState) -> AttentionState:
    """`merge_attention_states` for any leading dimensions."""
    top = jnp.maximum(a.max, b.max)
    left, right = jnp.exp(drop(a.max, top)), jnp.exp(drop(b.max, top))
    return AttentionState(top, left * a.sum + right * b.sum, left * a.value + right * b.value)


def drop(old: Array, new: Array) -> Array:
    """`old - new` where something is in the state; nothing has no sum to shrink.

    Scores of infinity are as far above all others as the dtype allows.
    """
    return jnp.where(old == -jnp.inf, 0, finite_top(old) - finite_top(new))


def beside_sinks(state: AttentionState, n: Array) -> AttentionState:
    """The state with `n` further scores of 0 whose values are 0, relative to what is finite.

    That is the larger of the scores' largest and of log n, the sinks' common score.
    """
    n = jnp.broadcast_to(jnp.where((n >= 0) & (n < jnp.inf), n, jnp.nan), state.sum.shape)
    log_n = jnp.where(n > 0, jnp.log(jnp.where(n > 0, n, 1)), -jnp.inf)
    top = finite_top(lax.stop_gradient(jnp.maximum(state.max, log_n)))
    left = jnp.exp(drop(state.max, top))
    # Beyond the range of the dtype only without sinks, where it is a derivative alone.
    one = jnp.minimum(jnp.exp(-top), jnp.finfo(top.dtype).max ** 0.5)
    return AttentionState(top, left * state.sum + n * one, left * state.value)


def attention_output(state: AttentionState, *, n: ArrayLike | None = None) -> Array:
    r"""The outputs of softmax attention from the state of all keys.

    .. math:: o = v / (s + n e^{-m})

    Args:
      state: of all keys that the queries see.
      n: how many further scores of 0 with values of 0 there are (attention sinks), in
        [0, infinity), a scalar or an array that broadcasts to [..., T, N, 1]; differentiable.

    Returns:
      [..., T, N, D] in the state's dtype; 0 for a query that has seen no key.

    Raises:
      TypeError: n is not real.
      ValueError: n is negative or infinite, or does not broadcast.

    Example:
      >>> import jax.numpy as jnp
      >>> import softmax_variants as sv
      >>> query, keys = jnp.ones((1, 1, 1)), jnp.zeros((3, 1, 1))
      >>> state = sv.attention_state(query, keys, jnp.ones((3, 1, 1)))
      >>> print(sv.attention_output(state, n=1.0)[0, 0])
      [0.75]

    References:
      Miller, `Attention Is Off By One
      <https://www.evanmiller.org/attention-is-off-by-one.html>`_, 2023.
    """
    if n is not None:
        count = as_parameter(n, "n", low=0, high_open=True).astype(state.sum.dtype)
        check_broadcastable(count.shape, state.sum.shape, "n")
        lead = (1,) * (state.sum.ndim - count.ndim)
        state = beside_sinks(state, count.reshape(lead + count.shape))
    return state.value * safe_divide(jnp.ones_like(state.sum), state.sum)
