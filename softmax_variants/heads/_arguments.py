"""Checks of the arguments that the heads share: hidden states, labels and rows of classes."""

import math
from collections.abc import Sequence

import jax.numpy as jnp

from softmax_variants._typing import Array, ArrayLike
from softmax_variants._validation import (
    as_array,
    as_count,
    as_ignore_index,
    as_parameter,
    check_broadcastable,
    equals_id,
)


def as_floating(value: ArrayLike, name: str, shape: tuple[int | str, ...]) -> Array:
    """An array of floating dtype with the shape, in which a string stands for any size."""
    array = as_array(value, name)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(f"{name} must have a floating dtype, got dtype {array.dtype}")
    fits = array.ndim == len(shape) and all(
        isinstance(want, str) or want == size for want, size in zip(shape, array.shape, strict=True)
    )
    if not fits:
        expected = ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "")
        raise ValueError(f"{name} must have shape ({expected}), got {array.shape}")
    return array


def as_hidden(hidden: ArrayLike, weight: ArrayLike) -> tuple[Array, Array]:
    """The hidden states and the weight, which have to fit each other."""
    hidden = as_array(hidden, "hidden")
    if not jnp.issubdtype(hidden.dtype, jnp.floating):
        raise TypeError(f"hidden must have a floating dtype, got dtype {hidden.dtype}")
    if hidden.ndim == 0:
        raise ValueError("hidden must have shape (..., features), got a scalar")
    features = hidden.shape[-1]
    array = as_array(weight, "weight")
    if array.ndim == 2 and array.shape[1] != features and array.shape[0] == features:
        raise ValueError(
            f"weight must have shape (classes, {features}), one row a class, got {array.shape}: "
            f"transpose it"
        )
    array = as_floating(array, "weight", ("classes", features))
    if array.shape[0] == 0:
        raise ValueError(f"weight must have at least one class, got shape {array.shape}")
    return hidden, array


def as_rows(hidden: Array) -> Array:
    """The hidden states with all examples on one axis, which may be empty as their features may."""
    return hidden.reshape(math.prod(hidden.shape[:-1]), hidden.shape[-1])


def as_targets(
    labels: ArrayLike, batch: tuple[int, ...], classes: int, ignore_index: int | None
) -> Array:
    """Class ids or distributions, checked against the examples."""
    labels = as_array(labels, "labels")
    as_ignore_index(ignore_index)
    if jnp.issubdtype(labels.dtype, jnp.floating):
        if labels.shape != (*batch, classes):
            raise ValueError(
                f"labels of floating dtype are distributions and must have shape "
                f"{(*batch, classes)}, got {labels.shape}"
            )
        if ignore_index is not None:
            raise ValueError("ignore_index needs labels of integer dtype, got distributions")
    elif not jnp.issubdtype(labels.dtype, jnp.integer):
        raise TypeError(
            f"labels must be class ids (integer dtype) or distributions (floating dtype), got "
            f"dtype {labels.dtype}"
        )
    elif labels.shape != batch:
        raise ValueError(
            f"labels of integer dtype are class ids and must have shape {batch} (hidden's shape "
            f"without features), got {labels.shape}"
        )
    return labels


def as_id_labels(labels: ArrayLike, batch: tuple[int, ...]) -> Array:
    """Class ids, one an example."""
    labels = as_array(labels, "labels")
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise TypeError(f"labels must be class ids of integer dtype, got dtype {labels.dtype}")
    if labels.shape != batch:
        raise ValueError(
            f"labels must have shape {batch} (hidden's shape without features), got {labels.shape}"
        )
    return labels


def ignored_ids(labels: Array, where: Array | None, ignore_index: int | None) -> Array | None:
    """Which examples have no loss: those with the id, and those where the mask is False."""
    ignored = None if where is None else ~jnp.broadcast_to(where, labels.shape)
    ignore_index = as_ignore_index(ignore_index)
    if ignore_index is None:
        return ignored
    found = equals_id(labels, ignore_index)
    return found if ignored is None else ignored | found


def as_shares(shares: Sequence[float], count: int, name: str = "tail_shares") -> tuple[float, ...]:
    """Static shares of the examples, one a group."""
    values = tuple(float(share) for share in shares)
    if len(values) != count:
        raise ValueError(f"{name} must have {count} numbers, one a tail, got {len(values)}")
    if not all(0 <= share <= 1 for share in values):
        raise ValueError(f"{name} must lie in [0, 1], got {values}")
    return values


def as_kept(where: ArrayLike | None, classes: int) -> Array | None:
    """A mask of the classes."""
    if where is None:
        return None
    mask = as_array(where, "where")
    if mask.dtype != jnp.bool_:
        raise TypeError(f"where must be boolean (True keeps), got dtype {mask.dtype}")
    if mask.shape != (classes,):
        raise ValueError(
            f"where must have shape ({classes},), one value a class for all examples, got "
            f"{mask.shape}"
        )
    return mask


def as_block_size(block_size: int | None) -> int | None:
    """A static number of classes, or none."""
    return None if block_size is None else as_count(block_size, "block_size")


def per_row(
    value: ArrayLike, name: str, batch: tuple[int, ...], *, high: float = math.inf
) -> Array:
    """A parameter from 0 to `high`, a scalar or one number an example."""
    array = as_parameter(value, name, low=0, high=high)
    check_broadcastable(array.shape, batch, name)
    return array
