"""What all maps share: axis, dtype and mask handling, the shift by the maximum, and one tangent.

A kernel sees rows: a float32 (or float64) array whose last axis is the class axis, in which `-inf`
marks what is masked. It returns an array of the same shape. Everything else happens here.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from softmax_variants._sharding import is_split
from softmax_variants._typing import Array, ArrayLike, Axis
from softmax_variants._validation import as_axes, as_logits, as_mask, check_broadcastable

Kernel = Callable[..., Array]

_LONG = 128  # classes from which a row is summed in stages
_TERMS = 16  # terms of a stage
_LANES = 1 << 16  # values from which a library sums them on the CPU, in lanes of its own


def on_rows(
    kernel: Kernel,
    logits: ArrayLike,
    axis: Axis = -1,
    where: ArrayLike | None = None,
    parameters: Mapping[str, Array] | None = None,
    *,
    elementwise: tuple[str, ...] = (),
    key: Array | None = None,
    **static: Any,
) -> Array:
    """Applies `kernel(rows, **parameters, **static)` along `axis` and puts the result back.

    Parameters broadcast against the logits with size 1 on `axis`, except those named in
    `elementwise`, which may differ from class to class. A random kernel takes the key as `key`.
    The result has the logits' dtype.
    """
    logits, mask, parameters, axes = _checked(logits, axis, where, parameters, elementwise)
    return _on_rows(
        kernel, logits, mask, parameters, key, axes, elementwise, tuple(sorted(static.items()))
    )


def reduce_rows(
    kernel: Kernel,
    logits: ArrayLike,
    axis: Axis = -1,
    where: ArrayLike | None = None,
    parameters: Mapping[str, Array] | None = None,
    *,
    elementwise: tuple[str, ...] = (),
    key: Array | None = None,
    **static: Any,
) -> Array:
    """Like `on_rows` for a kernel that answers with one value a row, or with some number of them.

    One value a row leaves out `axis`; m values on the kernel's last axis stand on `axis` (on the
    first of several). The result has the dtype that the kernel gives it.
    """
    logits, mask, parameters, axes = _checked(logits, axis, where, parameters, elementwise)
    return _reduce_rows(
        kernel, logits, mask, parameters, key, axes, elementwise, tuple(sorted(static.items()))
    )


def _checked(
    logits: ArrayLike,
    axis: Axis,
    where: ArrayLike | None,
    parameters: Mapping[str, Array] | None,
    elementwise: tuple[str, ...],
) -> tuple[Array, Array | None, dict[str, Array], tuple[int, ...]]:
    """The traced arguments and the axes, after the checks that all maps share."""
    logits = as_logits(logits)
    axes = as_axes(axis, logits.ndim)
    mask = as_mask(where, logits.shape)
    parameters = dict(parameters or {})
    for name, value in parameters.items():
        target = list(logits.shape)
        if name not in elementwise:
            for a in axes:
                target[a] = 1
        check_broadcastable(value.shape, tuple(target), name)
    return logits, mask, parameters, axes


@functools.partial(jax.jit, static_argnames=("kernel", "axes", "elementwise", "static"))
def _on_rows(
    kernel: Kernel,
    logits: Array,
    mask: Array | None,
    parameters: Mapping[str, Array],
    key: Array | None,
    axes: tuple[int, ...],
    elementwise: tuple[str, ...],
    static: tuple[tuple[str, Any], ...],
) -> Array:
    def result(logits: Array, mask: Array | None, parameters: Mapping[str, Array]) -> Array:
        rows, values = _row_arguments(logits, mask, parameters, key, axes, elementwise)
        return from_rows(kernel(rows, **values, **dict(static)), logits, axes)

    if logits.dtype != compute_dtype(logits.dtype):
        # Half-precision logits are half the size of what the kernel would store for the reverse
        # pass: they are stored in its place, and the rows worked out again.
        result = jax.checkpoint(result)
    return result(logits, mask, parameters)


@functools.partial(jax.jit, static_argnames=("kernel", "axes", "elementwise", "static"))
def _reduce_rows(
    kernel: Kernel,
    logits: Array,
    mask: Array | None,
    parameters: Mapping[str, Array],
    key: Array | None,
    axes: tuple[int, ...],
    elementwise: tuple[str, ...],
    static: tuple[tuple[str, Any], ...],
) -> Array:
    rows, values = _row_arguments(logits, mask, parameters, key, axes, elementwise)
    result = kernel(rows, **values, **dict(static))
    return result if result.ndim < rows.ndim else jnp.moveaxis(result, -1, min(axes))


def _row_arguments(
    logits: Array,
    mask: Array | None,
    parameters: Mapping[str, Array],
    key: Array | None,
    axes: tuple[int, ...],
    elementwise: tuple[str, ...],
) -> tuple[Array, dict[str, Array]]:
    """What a kernel takes: the rows, the parameters laid out like them, and the key if any."""
    rows = to_rows(logits, mask, axes)
    values = {} if key is None else {"key": key}
    for name, value in parameters.items():
        value = value.astype(rows.dtype)
        value = value.reshape((1,) * (logits.ndim - value.ndim) + value.shape)
        if name in elementwise:
            value = jnp.broadcast_to(value, logits.shape)
        values[name] = classes_last(value, axes)
    return rows, values


def compute_dtype(dtype: Any) -> Any:
    """At least float32."""
    return dtype if jnp.finfo(dtype).bits >= 32 else jnp.float32


def classes_last(array: Array, axes: tuple[int, ...]) -> Array:
    """Moves `axes` to the end and merges them into one."""
    if axes == (array.ndim - 1,):
        return array
    array = jnp.moveaxis(array, axes, range(-len(axes), 0))
    return array if len(axes) == 1 else array.reshape(*array.shape[: -len(axes)], -1)


def to_rows(logits: Array, mask: Array | None, axes: tuple[int, ...]) -> Array:
    """Logits as rows in the compute dtype, masked entries `-inf`."""
    rows = logits.astype(compute_dtype(logits.dtype))
    if mask is not None:
        # A select, not a product: whatever sits in a masked entry, value and gradient, is dropped.
        rows = jnp.where(jnp.broadcast_to(mask, rows.shape), rows, -jnp.inf)
    return classes_last(rows, axes)


def from_rows(rows: Array, logits: Array, axes: tuple[int, ...]) -> Array:
    """The inverse of `to_rows` on a result that has the logits' shape."""
    if axes != (logits.ndim - 1,):
        if len(axes) > 1:
            rows = rows.reshape(*rows.shape[:-1], *(logits.shape[a] for a in axes))
        rows = jnp.moveaxis(rows, range(-len(axes), 0), axes)
    return rows.astype(logits.dtype)


def row_max(x: Array) -> Array:
    """Maximum over the last axis, kept; `-inf` for an empty axis, NaN for a row with a NaN."""
    return spoil(jnp.max(x, axis=-1, keepdims=True, initial=-jnp.inf), x)


def spoil(value: Array, x: Array) -> Array:
    """`value`, one a row, and NaN where the row has a NaN.

    The library that XLA's CPU compiler gives large reductions to takes a NaN for missing in a
    maximum or minimum; in a sum it does not.
    """
    doubtful = jnp.isnan(row_sum(lax.stop_gradient(x)))
    # Infinities of both signs also add up to NaN: only where a row is in doubt is every entry seen.
    spoiled = lax.cond(
        jnp.any(doubtful),
        lambda x: jnp.any(jnp.isnan(x), axis=-1, keepdims=True),
        lambda x: jnp.zeros_like(doubtful),
        lax.stop_gradient(x),
    )
    return jnp.where(spoiled, jnp.nan, value)


def apart(*values: Array) -> tuple[Array, ...]:
    """Copies of numbers a row that no other pass over the rows shares.

    XLA's CPU compiler works out what a reduction sums inside the reduction, from comparisons and
    selects apart, but a broadcast (be it of a constant) that two passes share it writes to memory
    at full size first.
    """
    return lax.optimization_barrier(values)


def row_sum(x: Array) -> Array:
    """Sum over the last axis, kept."""
    return jnp.sum(x, axis=-1, keepdims=True)


def staged_sum(x: Array) -> Array:
    """Sum over the last axis, kept; a long row in stages of a few terms each.

    Compilers add the terms of a row one after another where the sum is fused with what it sums: a
    hundred thousand equal terms then drift by 1e-4, which no accuracy before the sum can mend.
    """
    n = x.shape[-1]
    whole = n - n % _TERMS
    if n < _LONG or is_split(x, -1):
        return row_sum(x)
    # The barrier keeps the compiler from merging the stages into one.
    parts = jnp.sum(x[..., :whole].reshape(*x.shape[:-1], _TERMS, whole // _TERMS), axis=-2)
    total = staged_sum(lax.optimization_barrier(parts))
    return total if whole == n else total + row_sum(x[..., whole:])


def sums_in_lanes(x: Array) -> bool:
    """Whether a sum of this size is left to a library on the CPU, which does not drift.

    It is if nothing but arithmetic and exponentials go into it, and from fewer values on; but a
    device may hold a part of the array only.
    """
    return x.size >= _LANES


def shift(x: Array, top: Array | None = None) -> Array:
    """`x - max(x)`: at most 0; entries of `+inf` tie at 0; a row of `-inf` stays `-inf`."""
    top = row_max(x) if top is None else top
    top = jnp.where(top == -jnp.inf, 0, top)
    return jnp.where(x == top, 0, x - top)


def finite_top(top: Array) -> Array:
    """A row's maximum as what is subtracted: 0 if nothing is kept, the largest float for `+inf`."""
    return jnp.where(top == -jnp.inf, 0, jnp.minimum(top, jnp.finfo(top.dtype).max))


def below_top(x: Array, top: Array, *after: Array) -> Array:
    """`shift(x)` for the reduction that takes it in, worked out there from the row's maximum.

    Without comparisons, and tied to what it comes `after`: what does not change from pass to pass
    of a loop the compiler would take out of it, and write to memory. Where the maximum is `+inf`,
    what is finite is as far below it as the dtype allows.
    """
    top = finite_top(top)
    top, zero, *_ = apart(top, jnp.zeros_like(top), *after)
    return jnp.minimum(x - top, zero)


def unit_of(size: Array) -> Array:
    """A power of two that brings sizes near the ends of the dtype's range well inside it.

    A division by one number a row may be compiled to a product with its reciprocal, which is no
    normal number for the largest floats and overflows for the smallest.
    """
    return jnp.where(size > 2.0**64, 2.0**-64, jnp.where(size < 2.0**-64, 2.0**64, 1))


def masked(x: Array) -> Array:
    """Which entries of `rows` are masked out."""
    return x == -jnp.inf


def zero_masked(x: Array, value: Array) -> Array:
    """Exactly 0 where `x` is masked, also in a row that a NaN has spoiled."""
    return jnp.where(masked(x), 0, value)


def safe_divide(numerator: Array, denominator: Array) -> Array:
    """Quotient, 0 where the denominator is 0, with a derivative that is finite there."""
    zero = denominator == 0
    return jnp.where(zero, 0, numerator / jnp.where(zero, 1, denominator))


# Only the weights are stored for the reverse pass: what follows from them is computed again.
@functools.partial(jax.checkpoint, prevent_cse=False)
def centered_product(s: Array, v: Array) -> Array:
    """`(diag(s) - s s^T / sum(s)) v` over the last axis, for weights `s >= 0`.

    This is the Jacobian of every map here, applied. It is written as `A^T diag(s) A` with the
    projection `A v = v - <s, v> / sum(s)`: transposing gives the same program, so forward and
    reverse mode agree to the last bit, and the second centring keeps what one pass cancels away
    (the large class's entry when the others' mass is below one rounding error).
    """
    off = s == 0
    inverse = safe_divide(jnp.ones((), s.dtype), row_sum(s))
    v = jnp.where(off, 0, v)
    centered = v - row_sum(s * v) * inverse
    product = jnp.where(off, 0, s * centered)
    return jnp.where(off, 0, product - s * (row_sum(product) * inverse))
