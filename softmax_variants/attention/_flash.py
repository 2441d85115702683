"""Attention in blocks: softmax's and entmax's, with memory that is linear in the sequence."""

import functools
from typing import Literal

import jax
import jax.numpy as jnp

from softmax_variants._numerics import compute_dtype
from softmax_variants._sharding import examples_of, over_devices
from softmax_variants._typing import Array, ArrayLike
from softmax_variants._validation import as_count, as_parameter
from softmax_variants.attention._arguments import (
    Arguments,
    Window,
    as_arguments,
    as_row_parameter,
)
from softmax_variants.attention._canonical import attended, from_canonical
from softmax_variants.attention._clean import spoil
from softmax_variants.attention._state import AttentionState
from softmax_variants.attention._weights import EXPONENTS, Kind

Implementation = Literal["xla", "triton", "mosaic_gpu", "mosaic_tpu"]


def flash_attention(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    bias: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    *,
    alpha: ArrayLike = 1.0,
    scale: ArrayLike | None = None,
    is_causal: bool = False,
    query_seq_lengths: ArrayLike | None = None,
    key_value_seq_lengths: ArrayLike | None = None,
    local_window_size: Window | None = None,
    n: ArrayLike | None = None,
    block_size: int | tuple[int, int] | None = None,
    implementation: Implementation | None = None,
) -> Array:
    r"""Attention in blocks: softmax's or entmax's, with memory linear in the sequence.

    .. math:: o_i = \sum_j p_{ij} v_j, \qquad
              p_i = \mathrm{entmax}_\alpha(s_i \langle q_i, k_\cdot \rangle + b_i)

    No direction of differentiation keeps the scores of all queries: forward and backward work out
    those of a block of queries, and leave out the blocks of keys that none of these sees (those
    above the diagonal, outside the window, beyond the lengths, masked) and, for alpha > 1, the sums
    over blocks in which none has a weight. All derivatives exist, of every order and in both modes.

    Args:
      query: [..., T, N, H], any floating dtype; sums are in at least float32.
      key: [..., S, K, H], N a multiple of K: each key head serves N / K query heads.
      value: [..., S, K, D].
      bias: broadcasts to [..., N, T, S], is added to the scaled scores; `-inf` masks. Its gradient
        has its shape.
      mask: boolean (or of the numbers 0 and 1), broadcasts to [..., N, T, S]; True takes part.
      alpha: entmax's, in [1, infinity): 1 is softmax, 2 sparsemax. A number, or an array that
        broadcasts to [..., N, T, 1], such as [N, 1, 1] for one a head; differentiable. A Python
        number of 1, 1.25, 1.5 or 2 is faster. A traced alpha outside gives NaN in its rows.
      scale: the factor of the products of queries and keys, a number or an array that broadcasts to
        [..., N, T, 1]; differentiable. By default 1 / sqrt(H).
      is_causal: query t sees the keys s <= t.
      query_seq_lengths: integers [...]; queries beyond their length give 0.
      key_value_seq_lengths: integers [...]; keys beyond their length take no part.
      local_window_size: w or (left, right): query t sees the keys t - left <= s <= t + right.
      n: how many further scores of 0 with values of 0 there are (attention sinks), in
        [0, infinity), a number or an array that broadcasts to [..., N, T, 1]; differentiable.
      block_size: queries and keys of a block, one count or a pair; by default chosen from the
        shapes. The result depends on it by rounding only.
      implementation: None or "xla"; no other exists yet.

    Returns:
      [..., T, N, D] in the floating dtype of the inputs; 0, with gradient 0, for a query that sees
      no key. What is not finite in a key or a value reaches the queries that see it alone.

    Raises:
      NotImplementedError: an implementation that has no kernel.
      TypeError: a dtype that does not fit; the message names the argument.
      ValueError: a shape that does not fit, such as heads that do not divide; a value out of range.

    Example:
      >>> import jax.numpy as jnp
      >>> import softmax_variants as sv
      >>> query, keys = jnp.ones((1, 1, 1)), jnp.array([1.0, 0.0, -4.0]).reshape(3, 1, 1)
      >>> print(sv.flash_attention(query, keys, keys)[0, 0])
      [0.7078684]
      >>> print(sv.flash_attention(query, keys, keys, alpha=1.5)[0, 0])
      [0.83071893]

    References:
      Dao et al., `FlashAttention <https://arxiv.org/abs/2205.14135>`_, 2022; Goncalves, Treviso and
      Martins, `AdaSplash: Adaptive Sparse Flash Attention <https://arxiv.org/abs/2502.12082>`_,
      2025; Correia, Niculae and Martins, `Adaptively Sparse Transformers
      <https://arxiv.org/abs/1909.00015>`_, 2019.
    """
    arguments = as_arguments(
        query,
        key,
        value,
        bias,
        mask,
        scale=scale,
        is_causal=is_causal,
        query_seq_lengths=query_seq_lengths,
        key_value_seq_lengths=key_value_seq_lengths,
        local_window_size=local_window_size,
    )
    _check_implementation(implementation)
    order = _as_row(as_parameter(alpha, "alpha", low=1, high_open=True), "alpha", arguments)
    sinks = None
    if n is not None:
        sinks = _as_row(as_parameter(n, "n", low=0, high_open=True), "n", arguments)
    kind = _kind_of(alpha)
    if kind.exponent is not None:
        order = None
    run = functools.partial(_flash, kind=kind, block=_as_block(block_size))
    return over_devices(run, arguments, order, sinks, split=examples_of(arguments.query))


def attention_state(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    bias: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    *,
    scale: ArrayLike | None = None,
    is_causal: bool = False,
    query_seq_lengths: ArrayLike | None = None,
    key_value_seq_lengths: ArrayLike | None = None,
    local_window_size: Window | None = None,
    block_size: int | tuple[int, int] | None = None,
) -> AttentionState:
    r"""The state of softmax attention over some of the keys, which merges with that over others.

    .. math:: m_i = \max_j x_{ij}, \quad s_i = \sum_j e^{x_{ij} - m_i}, \quad
              \sum_j e^{x_{ij} - m_i} v_j, \qquad x_{ij} = c_i \langle q_i, k_j \rangle + b_{ij}

    `merge_attention_states` joins the states of disjoint sets of keys, `attention_output` gives the
    outputs. It is worked out in blocks like `flash_attention`, and differentiable; the largest
    score counts as a constant, on which no output depends.

    Args:
      query: [..., T, N, H], any floating dtype.
      key: [..., S, K, H], the keys that this state is of.
      value: [..., S, K, D].
      bias: broadcasts to [..., N, T, S].
      mask: boolean (or of the numbers 0 and 1), broadcasts to [..., N, T, S]; True takes part.
      scale: as in `flash_attention`.
      is_causal: query t sees the keys s <= t, counted from the first of these keys.
      query_seq_lengths: integers [...].
      key_value_seq_lengths: integers [...].
      local_window_size: w or (left, right), counted from the first of these keys.
      block_size: as in `flash_attention`.

    Returns:
      The state, in at least float32: `max` and `sum` [..., T, N, 1], `value` [..., T, N, D].

    Raises:
      TypeError: a dtype that does not fit; the message names the argument.
      ValueError: a shape that does not fit, a value out of range.

    Example:
      >>> import jax.numpy as jnp
      >>> import softmax_variants as sv
      >>> query, keys = jnp.ones((1, 1, 1)), jnp.zeros((3, 1, 1))
      >>> state = sv.attention_state(query, keys, jnp.ones((3, 1, 1)))
      >>> print(*(array.item() for array in state))
      0.0 3.0 3.0

    References:
      Milakov and Gimelshein, `Online normalizer calculation for softmax
      <https://arxiv.org/abs/1805.02867>`_, 2018.
    """
    arguments = as_arguments(
        query,
        key,
        value,
        bias,
        mask,
        scale=scale,
        is_causal=is_causal,
        query_seq_lengths=query_seq_lengths,
        key_value_seq_lengths=key_value_seq_lengths,
        local_window_size=local_window_size,
    )
    run = functools.partial(_state, block=_as_block(block_size))
    return over_devices(run, arguments, split=examples_of(arguments.query))


def _as_row(array: Array, name: str, arguments: Arguments) -> Array | None:
    """A number for each query of each head, [..., N, T, 1] up to broadcasting."""
    *batch, queries, heads, _ = arguments.query.shape
    return as_row_parameter(array, name, (*batch, heads, queries, 1), arguments.query)


def _kind_of(alpha: ArrayLike) -> Kind:
    """The formula of the weights: a Python number may have one of its own."""
    if not isinstance(alpha, int | float):
        return Kind(None)
    return Kind(0) if alpha == 1 else Kind(EXPONENTS.get(float(alpha)))


@functools.partial(jax.jit, static_argnames=("kind", "block"))
def _flash(
    arguments: Arguments,
    alpha: Array | None,
    sinks: Array | None,
    kind: Kind,
    block: tuple[int, int] | None,
) -> Array:
    *batch, queries, heads, _ = arguments.query.shape
    size = arguments.value.shape[-1]
    if arguments.query.size == 0 or arguments.value.size == 0:
        return jnp.zeros((*batch, queries, heads, size), arguments.query.dtype)
    # What is outside the range is known at run time only, and then the row is NaN.
    if alpha is not None:
        alpha = jnp.where((alpha >= 1) & (alpha < jnp.inf), alpha, jnp.nan)
    if sinks is not None:
        sinks = jnp.where((sinks >= 0) & (sinks < jnp.inf), sinks, jnp.nan)
    found, spoiled = attended(arguments, alpha, sinks, kind, block)
    output = spoil(found.output, spoiled)
    return from_canonical(output, tuple(batch)).astype(arguments.query.dtype)


@functools.partial(jax.jit, static_argnames=("block",))
def _state(arguments: Arguments, block: tuple[int, int] | None) -> AttentionState:
    *batch, queries, heads, _ = arguments.query.shape
    size = arguments.value.shape[-1]
    if arguments.query.size == 0 or arguments.value.size == 0:
        dtype = compute_dtype(arguments.query.dtype)
        zero = jnp.zeros((*batch, queries, heads, 1), dtype)
        value = jnp.zeros((*batch, queries, heads, size), dtype)
        return AttentionState(zero - jnp.inf, zero, value)
    found, spoiled = attended(arguments, None, None, Kind(0), block)
    seen = found.row.scale > 0
    total = jnp.where(seen, jnp.exp(found.row.threshold), 0)
    state = AttentionState(
        jnp.where(seen, found.row.top, -jnp.inf),
        spoil(total, spoiled),
        spoil(found.output * total, spoiled),
    )
    return jax.tree.map(lambda x: from_canonical(x, tuple(batch)), state)


def _as_block(block_size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    if block_size is None:
        return None
    if isinstance(block_size, tuple | list):
        if len(block_size) != 2:
            raise ValueError(
                f"block_size must be a count or a pair (queries, keys), got {block_size!r}"
            )
        queries, keys = (as_count(size, "block_size") for size in block_size)
        return queries, keys
    size = as_count(block_size, "block_size")
    return size, size


def _check_implementation(implementation: str | None) -> None:
    if implementation is None or implementation == "xla":
        return
    if implementation in ("triton", "mosaic_gpu", "mosaic_tpu"):
        raise NotImplementedError(
            f"implementation {implementation!r} has no kernel here yet; 'xla' runs on every device"
        )
    raise ValueError(
        f"implementation must be None, 'xla', 'triton', 'mosaic_gpu' or 'mosaic_tpu', got "
        f"{implementation!r}"
    )
