"""Arrays that devices share: explicit mesh axes, and `shard_map`."""

import math
from collections.abc import Callable
from typing import Any

import jax
from jax import lax
from jax.sharding import PartitionSpec

from softmax_variants._typing import Array


def over_devices(f: Callable[..., Any], *arguments: Any, split: PartitionSpec | None = None) -> Any:
    """`f(*arguments)`, where the compiler decides which device has what of it.

    Under explicit mesh axes reshapes and loops over an axis that is split are refused; inside, axes
    are automatic, and the results are split as `split` says, or not at all. Under `shard_map` all
    arguments differ over the devices as soon as one does: so do then the carries of loops.
    """
    arguments = _alike(arguments)
    specs = [jax.typeof(leaf).sharding.spec for leaf in jax.tree.leaves(arguments)]
    if all(part is None for spec in specs for part in spec):
        return f(*arguments)
    out = PartitionSpec() if split is None else split
    return jax.sharding.auto_axes(f, out_sharding=out)(*arguments)


def examples_of(rows: Array) -> PartitionSpec:
    """How the examples of rows [..., features] are split over explicit axes."""
    return PartitionSpec(*jax.typeof(rows).sharding.spec[:-1])


def is_split(x: Array, axis: int) -> bool:
    """Whether an axis is split over an explicit mesh axis, where a reshape is restricted."""
    spec = getattr(jax.typeof(x).sharding, "spec", None)
    return spec is not None and len(spec) == x.ndim and spec[axis] is not None


def device_count() -> int | None:
    """How many devices an axis may be split over; none where no mesh says so."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return None
    # What a `shard_map` has split is already the part of one device.
    return math.prod(mesh.shape[axis] for axis in mesh.axis_names if axis not in mesh.manual_axes)


def _alike(tree: Any) -> Any:
    """The same arrays, all of them varying over the axes that any of them varies over."""

    def varying(leaf: Any) -> frozenset[Any]:
        return jax.typeof(leaf).manual_axis_type.varying

    leaves = jax.tree.leaves(tree)
    axes = frozenset[Any]().union(*map(varying, leaves))
    if all(varying(leaf) == axes for leaf in leaves):
        return tree
    return jax.tree.map(
        lambda leaf: lax.pcast(leaf, tuple(sorted(axes - varying(leaf), key=str)), to="varying"),
        tree,
    )
