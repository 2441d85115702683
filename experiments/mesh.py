"""The one mesh of devices that training runs on, and where the parts of its arrays lie.

Models that are trained together are split over `seeds`, the examples of a batch over `data`, and
the classes of a large output layer over `classes`. Everything a process does is the same program
on the same mesh; only the rows of a batch that its own devices hold are its own.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from experiments.errors import UserError

# The outermost first: models never talk, the examples of a batch do once a step, and classes all
# the time, so that devices which are neighbours share the classes.
AXES = ("seeds", "data", "classes")
SEEDS, DATA, CLASSES = AXES


def make_mesh(
    seeds: int = 1, data: int = 1, classes: int = 1, devices: Sequence[jax.Device] | None = None
) -> Mesh:
    """Returns the mesh of these sizes, in the axes `AXES`.

    Args:
      seeds: Over how many devices the models are split that are trained together.
      data: Over how many devices the examples of a batch are split.
      classes: Over how many devices the classes of an output layer are split.
      devices: The devices; those of all processes where it is None. One process alone may leave
        some of them idle, as jax does; of several, each needs a part.

    A size of 0 means all devices that the other axes leave, at most once.
    """
    there = jax.devices() if devices is None else list(devices)
    sizes = _sizes({SEEDS: seeds, DATA: data, CLASSES: classes}, len(there))
    count = math.prod(sizes)
    processes = len({device.process_index for device in there})
    if processes > 1 and count != len(there):
        raise UserError(
            f"{_named(sizes)}: expected sizes whose product is the {len(there)} devices of "
            f"{processes} processes, got {count}"
        )
    try:
        return jax.make_mesh(sizes, AXES, (AxisType.Auto,) * len(AXES), devices=there)
    except AssertionError as error:
        # So jax says that some devices of a TPU make no mesh without the others.
        expected = f"expected sizes whose product is {len(there)}"
        raise UserError(
            f"{_named(sizes)}: no such mesh on {len(there)} devices of a TPU; {expected}"
        ) from error
    except (NotImplementedError, ValueError) as error:
        # Not every size can be laid out on the wires of a TPU, nor on several slices of one.
        why = " ".join(str(error).split())
        raise UserError(f"{_named(sizes)}: no such mesh on these devices: {why}") from error


def describe(mesh: Mesh) -> str:
    """Returns the mesh in a few words: `seeds=4, data=2 (8 cpu devices, 1 process)`."""
    sizes = [f"{axis}={size}" for axis, size in mesh.shape.items() if size > 1]
    platform = mesh.devices.flat[0].platform
    devices = f"{mesh.size} {platform} device{'s' * (mesh.size > 1)}"
    processes = len({device.process_index for device in mesh.devices.flat})
    shown = f"{devices}, {processes} process{'es' * (processes > 1)}"
    return f"{', '.join(sizes) or 'not split'} ({shown})"


def expect_divides(mesh: Mesh, axis: str, count: int, counted: str) -> None:
    """Raises a UserError unless the devices of an axis share what is counted evenly."""
    size = mesh.shape[axis]
    if count % size:
        raise UserError(f"mesh_{axis}: expected a divisor of {counted} ({count}), got {size}")


def sharding(mesh: Mesh, *axes: str | None) -> NamedSharding:
    """Returns where an array lies whose leading axes are split as named, the others not."""
    return NamedSharding(mesh, PartitionSpec(*axes))


def replicated(mesh: Mesh) -> NamedSharding:
    """Returns where an array lies that every device holds whole."""
    return sharding(mesh)


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Returns where batches `[steps, models, examples, ...]` lie: each device has its rows."""
    return sharding(mesh, None, SEEDS, DATA)


def model_shardings(mesh: Mesh, partition: Any) -> Any:
    """Returns where the parameters of models `[models, ...]` lie.

    Args:
      mesh: The mesh.
      partition: A pytree of PartitionSpecs of one model, without the axis of the models; a spec
        may stand for a whole subtree. `PartitionSpec()` for everything is a model that every
        device of its seed holds whole.
    """
    return jax.tree.map(
        lambda spec: sharding(mesh, SEEDS, *spec),
        partition,
        is_leaf=lambda node: isinstance(node, PartitionSpec),
    )


def expect_partition(mesh: Mesh, partition: Any, params: Any) -> bool:
    """Raises a UserError unless the devices can share the weights of a model as it says.

    Returns whether anything is shared.
    """
    found = jax.tree_util.tree_leaves_with_path(
        partition, is_leaf=lambda node: isinstance(node, PartitionSpec)
    )
    shared = False
    for (path, spec), leaf in zip(found, jax.tree.leaves(params), strict=True):
        name, shape = f"partition{jax.tree_util.keystr(path)}", np.shape(leaf)
        known = len(spec) <= len(shape) and set(spec) <= {None, CLASSES}
        if not known or spec.count(CLASSES) > 1:
            expected = f"{CLASSES!r} or None for each axis of {shape}, {CLASSES!r} once at most"
            raise UserError(f"{name}: expected {expected}, got {spec}")
        if CLASSES in spec:
            expect_divides(mesh, CLASSES, shape[spec.index(CLASSES)], f"the classes of {name}")
            shared = True
    return shared


def part_of(where: NamedSharding, shape: Sequence[int]) -> tuple[slice, ...]:
    """Returns the smallest box of an array that has all that the devices of this process hold.

    A process makes only this box of a batch on its host, and gives it to `place_part`.
    """
    boxes = where.addressable_devices_indices_map(tuple(shape)).values()
    filled = [[part.indices(n) for part, n in zip(box, shape, strict=True)] for box in boxes if box]
    if not filled:
        return tuple(slice(0, n) for n in shape)
    ranges = zip(*filled, strict=True)
    return tuple(slice(min(p[0] for p in axis), max(p[1] for p in axis)) for axis in ranges)


def place(tree: Any, where: Any) -> Any:
    """Returns host arrays, whole and equal in every process, on the devices of the mesh.

    Args:
      tree: A pytree of arrays.
      where: One sharding for all of them, or a pytree of shardings in which one stands for a
        subtree.
    """

    def put(each: NamedSharding, leaves: Any) -> Any:
        return jax.tree.map(
            lambda leaf: jax.make_array_from_process_local_data(
                each, np.asarray(leaf), np.shape(leaf)
            ),
            leaves,
        )

    return jax.tree.map(put, where, tree)


def place_part(tree: Any, leading: Sequence[int], where: NamedSharding) -> Any:
    """Returns arrays on the mesh of which each process has made only its own box.

    Args:
      tree: A pytree of host arrays: the box that `part_of(where, leading)` names.
      leading: The leading sizes of the whole arrays; the axes after them are whole.
      where: How the leading axes are split.
    """
    box = part_of(where, leading)

    def put(leaf: Any) -> jax.Array:
        shape = (*leading, *np.shape(leaf)[len(leading) :])

        def rows(index: tuple[slice, ...] | None) -> Any:
            wanted = (index or ())[: len(leading)]
            starts = [part.indices(n)[:2] for part, n in zip(wanted, leading, strict=False)]
            moved = zip(starts, box, strict=False)
            return leaf[tuple(slice(a - b.start, z - b.start) for (a, z), b in moved)]

        return jax.make_array_from_callback(shape, where, rows)

    return jax.tree.map(put, tree)


def fetch(tree: Any) -> Any:
    """Returns arrays of the mesh as NumPy arrays, whole in every process.

    All processes have to call it together: what lies on another's devices is sent.
    """
    from jax.experimental import multihost_utils

    def whole(leaf: Any) -> Any:
        if not isinstance(leaf, jax.Array) or leaf.is_fully_addressable:
            return np.asarray(leaf)
        return multihost_utils.process_allgather(leaf, tiled=True)

    return jax.tree.map(whole, tree)


def _sizes(given: dict[str, int], devices: int) -> tuple[int, ...]:
    for axis, size in given.items():
        if isinstance(size, bool) or not isinstance(size, int) or size < 0:
            expected = "a number of devices, or 0 for all that are left"
            raise UserError(f"mesh_{axis}: expected {expected}, got {size!r}")
    open_axes = [axis for axis, size in given.items() if size == 0]
    if len(open_axes) > 1:
        names = " and ".join(f"mesh_{axis}" for axis in open_axes)
        raise UserError(f"{names}: expected 0 (all devices that are left) at most once")
    fixed = math.prod(size for size in given.values() if size)
    if fixed > devices or (open_axes and devices % fixed):
        kind = "divides" if open_axes else "is at most"
        sizes = _named(tuple(given.values()))
        raise UserError(
            f"{sizes}: expected sizes whose product {kind} the {devices} devices, got {fixed}"
        )
    return tuple(size or devices // fixed for size in given.values())


def _named(sizes: tuple[int, ...]) -> str:
    return ", ".join(f"mesh_{axis}={size}" for axis, size in zip(AXES, sizes, strict=True))
