"""Labels and masks of all losses: class ids or distributions, smoothing, ignored examples."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from softmax_variants._numerics import (
    classes_last,
    masked,
    row_sum,
    safe_divide,
    staged_sum,
    to_rows,
)
from softmax_variants._typing import Array, ArrayLike, Axis
from softmax_variants._validation import (
    as_array,
    as_axes,
    as_ignore_index,
    as_logits,
    as_mask,
    as_parameter,
    check_broadcastable,
    equals_id,
)


class Target(NamedTuple):
    """What an example should have been: ids `[..., 1]` or a distribution over the last axis."""

    ids: Array | None
    distribution: Array | None
    smoothing: Array | None

    def dense(self, x: Array) -> Array:
        """The target as a distribution over the classes of the rows `x`.

        An id out of range gives NaN: the loss and the gradient of that example are then NaN, never
        a wrong number.
        """
        if self.ids is None:
            assert self.distribution is not None
            target = self.distribution.astype(x.dtype)
        else:
            classes = jax.lax.broadcasted_iota(self.ids.dtype, x.shape, x.ndim - 1)
            target = (classes == self.ids).astype(x.dtype)
            valid = (self.ids >= 0) & (self.ids < x.shape[-1])
            target = jnp.where(valid, target, jnp.nan)
        if self.smoothing is None:
            return target
        kept = (~masked(x)).astype(x.dtype)
        uniform = safe_divide(kept, row_sum(kept))
        return (1 - self.smoothing) * target + self.smoothing * uniform

    def tangent(self, tangents: "Target", x: Array) -> Array | None:
        """The change of the dense target, linear in its distribution and in its smoothing."""
        moved: Array | None = None
        if self.distribution is not None and not isinstance(tangents.distribution, SymbolicZero):
            assert tangents.distribution is not None
            rest = 1 if self.smoothing is None else 1 - self.smoothing
            moved = rest * tangents.distribution
        if self.smoothing is not None and not isinstance(tangents.smoothing, SymbolicZero):
            assert tangents.smoothing is not None
            uniform = self._replace(smoothing=jnp.ones_like(self.smoothing)).dense(x)
            change = (uniform - self._replace(smoothing=None).dense(x)) * tangents.smoothing
            moved = change if moved is None else moved + change
        return moved

    def is_vertex(self) -> bool:
        """Whether the target is known at trace time to be a single class."""
        return self.ids is not None and self.smoothing is None


def expected_score(target: Array, scores: Array) -> Array:
    """`<t, y>`, in which a class without target mass counts nothing, whatever its score."""
    return staged_sum(jnp.where(target == 0, 0, target * scores))


def per_example(
    rows_loss: Callable[..., Array],
    logits: ArrayLike,
    labels: ArrayLike,
    axis: Axis,
    where: ArrayLike | None,
    *,
    name: str = "labels",
    parameters: Any = None,
    label_smoothing: ArrayLike = 0.0,
    ignore_index: int | None = None,
) -> Array:
    """`rows_loss(rows, target, parameters)` for each example, shaped like the ids of the labels.

    `parameters` is a pytree of real arrays that broadcast against the logits with size 1 on `axis`;
    `name` is what the caller's caller knows the labels by.
    """
    logits = as_logits(logits)
    axes = as_axes(axis, logits.ndim)
    mask = as_mask(where, logits.shape)
    target = list(logits.shape)
    for a in axes:
        target[a] = 1
    for path, value in jax.tree_util.tree_leaves_with_path(parameters):
        parameter = str(getattr(path[-1], "name", path[-1])) if path else "parameters"
        check_broadcastable(value.shape, tuple(target), parameter)
    ignore_index = as_ignore_index(ignore_index)
    labels = _as_labels(labels, logits.shape, axes, name)
    if ignore_index is not None and jnp.issubdtype(labels.dtype, jnp.floating):
        raise ValueError(f"ignore_index needs {name} of integer dtype, got distributions")
    smoothing: Array | None = None
    # Only a literal 0 skips the smoothing, which it then leaves as it is to the last bit.
    if not (isinstance(label_smoothing, float | int) and label_smoothing == 0):
        smoothing = as_parameter(label_smoothing, "label_smoothing", low=0, high=1)
        check_broadcastable(smoothing.shape, tuple(target), "label_smoothing")
    return _per_example(logits, labels, mask, parameters, smoothing, rows_loss, axes, ignore_index)


def _as_labels(
    labels: ArrayLike, shape: tuple[int, ...], axes: tuple[int, ...], name: str
) -> Array:
    labels = as_array(labels, name)
    if jnp.issubdtype(labels.dtype, jnp.floating):
        if labels.shape != shape:
            raise ValueError(
                f"{name} of floating dtype are distributions and must have the logits' shape "
                f"{shape}, got {labels.shape}"
            )
        return labels
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise TypeError(
            f"{name} must be class ids (integer dtype) or distributions (floating dtype), got "
            f"dtype {labels.dtype}"
        )
    expected = tuple(size for a, size in enumerate(shape) if a not in axes)
    if labels.shape != expected:
        raise ValueError(
            f"{name} of integer dtype are class ids and must have shape {expected} (the logits' "
            f"shape {shape} without the class axis), got {labels.shape}"
        )
    return labels


@functools.partial(jax.jit, static_argnames=("rows_loss", "axes", "ignore_index"))
def _per_example(
    logits: Array,
    labels: Array,
    mask: Array | None,
    parameters: Any,
    smoothing: Array | None,
    rows_loss: Callable[..., Array],
    axes: tuple[int, ...],
    ignore_index: int | None,
) -> Array:
    x = to_rows(logits, mask, axes)

    def as_row_parameter(value: Array) -> Array:
        value = value.astype(x.dtype).reshape((1,) * (logits.ndim - value.ndim) + value.shape)
        return classes_last(value, axes)

    parameters = jax.tree_util.tree_map(as_row_parameter, parameters)
    if smoothing is not None:
        smoothing = as_row_parameter(smoothing)
        # A traced one out of its range is NaN, the derivative as well.
        smoothing = smoothing * jnp.where((smoothing >= 0) & (smoothing <= 1), 1, jnp.nan)
    if x.shape[-1] == 0:
        # Of no classes none can be right: every id is out of range. A distribution has no mass.
        hard = not jnp.issubdtype(labels.dtype, jnp.floating)
        loss = jnp.full(x.shape[:-1], jnp.nan if hard else 0, x.dtype)
        return loss if ignore_index is None else jnp.where(equals_id(labels, ignore_index), 0, loss)
    if jnp.issubdtype(labels.dtype, jnp.floating):
        return rows_loss(
            x, Target(None, classes_last(labels, axes).astype(x.dtype), smoothing), parameters
        )[..., 0]
    # Wide enough for the ids and for the number of classes.
    ids = labels[..., None].astype(labels.dtype if labels.dtype.itemsize >= 4 else jnp.int32)
    if ignore_index is None:
        return rows_loss(x, Target(ids, None, smoothing), parameters)[..., 0]
    ignored = equals_id(ids, ignore_index)
    # Selected away before and after: whatever an ignored example holds, it has no gradient.
    x, ids = jnp.where(ignored, 0, x), jnp.where(ignored, 0, ids)
    loss = rows_loss(x, Target(ids, None, smoothing), parameters)
    return jnp.where(ignored, 0, loss)[..., 0]
