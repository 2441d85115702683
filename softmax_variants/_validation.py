"""Trace-time checks: every refusal names the argument, what was expected and what came."""

import math
import operator
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from softmax_variants._typing import Array, ArrayLike, Axis


def as_array(value: ArrayLike | Sequence[ArrayLike], name: str) -> Array:
    """Converts what an array can be made of; what cannot is refused by name."""
    try:
        return jnp.asarray(value)
    except OverflowError:
        raise ValueError(
            f"{name} holds an integer that its dtype cannot, got {_described(value)}"
        ) from None
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be an array of numbers, got {_described(value)}") from None


def _described(value: object) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 40 else text[:37] + '...'}"


def as_logits(logits: ArrayLike, name: str = "logits") -> Array:
    """Converts to a real floating array; integers and booleans as in `jax.nn.softmax`."""
    array = as_array(logits, name)
    if jnp.issubdtype(array.dtype, jnp.complexfloating):
        raise TypeError(f"{name} must be real, got dtype {array.dtype}")
    if jnp.issubdtype(array.dtype, jnp.floating):
        return array
    if array.dtype != jnp.bool_ and not jnp.issubdtype(array.dtype, jnp.integer):
        raise TypeError(f"{name} must be a real array, got dtype {array.dtype}")
    return array.astype(jnp.result_type(float))


def as_axes(axis: Axis, ndim: int, name: str = "axis") -> tuple[int, ...]:
    """Canonicalises an axis or a sequence of axes to a tuple of distinct non-negative integers."""
    axes: tuple[int, ...]
    try:
        axes = (operator.index(axis),)  # type: ignore[arg-type] # index() is the test for an integer
    except TypeError:
        try:
            axes = tuple(operator.index(a) for a in axis)  # type: ignore[union-attr] # not an integer
        except TypeError:
            raise TypeError(f"{name} must be an integer or a tuple of them, got {axis!r}") from None
    if not axes:
        raise ValueError(f"{name} must name at least one axis, got an empty sequence")
    for a in axes:
        if not -ndim <= a < ndim:
            raise ValueError(f"{name} {a} is out of bounds for an array of {ndim} dimensions")
    canonical = tuple(a % ndim for a in axes)
    if len(set(canonical)) != len(canonical):
        raise ValueError(f"{name} names an axis twice: {axis!r}")
    return canonical


def as_mask(where: ArrayLike | None, shape: tuple[int, ...], name: str = "where") -> Array | None:
    """Checks a boolean mask that broadcasts to `shape`; `None` keeps everything."""
    if where is None:
        return None
    mask = as_array(where, name)
    if mask.dtype != jnp.bool_:
        raise TypeError(f"{name} must be boolean (True keeps), got dtype {mask.dtype}")
    check_broadcastable(mask.shape, shape, name)
    return mask


def check_broadcastable(shape: tuple[int, ...], target: tuple[int, ...], name: str) -> None:
    """Raises unless an array of `shape` broadcasts to exactly `target`."""
    try:
        fits = np.broadcast_shapes(shape, target) == tuple(target)
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"{name} must broadcast to shape {tuple(target)}, got shape {tuple(shape)}"
        )


def as_parameter(
    value: ArrayLike | Sequence[ArrayLike],
    name: str,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    low_open: bool = False,
    high_open: bool = False,
) -> Array:
    """Converts a real parameter; values known at trace time must lie in the stated interval.

    Traced values, and those that are on other processes' devices too, cannot be checked here:
    kernels answer those outside the interval with NaN.
    """
    if not isinstance(value, jax.Array | np.ndarray | np.generic | int | float | list | tuple):
        raise TypeError(f"{name} must be a real number or an array, got {type(value).__name__}")
    array = as_array(value, name)
    if array.dtype == jnp.bool_ or jnp.issubdtype(array.dtype, jnp.complexfloating):
        raise TypeError(f"{name} must be real, got dtype {array.dtype}")
    if not isinstance(array, jax.core.Tracer) and array.is_fully_addressable:
        values = np.asarray(array, dtype=np.float64)
        below = values <= low if low_open else values < low
        above = values >= high if high_open else values > high
        bad = below | above | np.isnan(values)
        if bad.any():
            interval = f"{'(' if low_open else '['}{low:g}, {high:g}{')' if high_open else ']'}"
            raise ValueError(f"{name} must lie in {interval}, got {values[bad].flat[0]:g}")
    return array


def as_count(value: int, name: str, *, low: int = 1, high: int | None = None) -> int:
    """Checks a static count."""
    try:
        count = operator.index(value)
    except TypeError:
        raise TypeError(
            f"{name} must be a static Python integer, got {type(value).__name__}"
        ) from None
    if isinstance(value, bool):
        raise TypeError(f"{name} must be a static Python integer, got bool")
    if count < low or (high is not None and count > high):
        expected = f"at least {low}" if high is None else f"in [{low}, {high}]"
        raise ValueError(f"{name} must be {expected}, got {count}")
    return count


def as_ignore_index(value: int | None, name: str = "ignore_index") -> int | None:
    """Checks a static class id, an integer of Python or NumPy; any size, and no boolean."""
    if value is None:
        return None
    expected = f"{name} must be a static integer or None"
    if isinstance(value, bool | np.bool_):
        raise TypeError(f"{expected}, got bool")
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{expected}, got {type(value).__name__}") from None


def as_flag(value: bool, name: str) -> bool:
    """Checks a static boolean, Python's or NumPy's."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be a static Python bool, got {type(value).__name__}")
    return bool(value)


def equals_id(ids: Array, value: int) -> Array:
    """Where ids are `value`, which their dtype may not even hold."""
    info = jnp.iinfo(ids.dtype)
    if not int(info.min) <= value <= int(info.max):
        return jnp.zeros(ids.shape, bool)
    return ids == jnp.asarray(value, ids.dtype)


def as_key(key: Array, name: str = "key") -> Array:
    """Checks one random key, typed or raw (uint32 words), and returns it typed."""
    expected = f"{name} must be one key, such as jax.random.key(0)"
    dtype = getattr(key, "dtype", None)
    if dtype is None:
        raise TypeError(f"{expected}, got {type(key).__name__}")
    if not jnp.issubdtype(dtype, jax.dtypes.prng_key):
        try:
            key = jax.random.wrap_key_data(jnp.asarray(key))
        except (TypeError, ValueError):
            raise TypeError(f"{expected}, got shape {key.shape} and dtype {dtype}") from None
    if key.shape:
        raise TypeError(f"{expected}, got an array of keys of shape {key.shape}; use jax.vmap")
    return key
