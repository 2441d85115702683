"""A class axis that is split over devices: which blocks keep it split, and both kinds of axis."""

import math
from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import PartitionSpec

from softmax_variants.heads._blocks import Layout
from softmax_variants.heads._linear_targets import Problem


# Numbers of devices that divide this keep a split class axis split where no mesh says how many.
_DEVICES = 64


def layout_of(problem: Problem, block_size: int | None) -> Layout:
    """Blocks that are split over the devices as the class axis is.

    Distributions are read faster in neighbouring classes: they are, where there is no mesh.
    """
    layer, mesh = problem.layer, jax.sharding.get_abstract_mesh()
    if not mesh.empty:
        # Under `shard_map` the classes are those of one device.
        devices = math.prod(
            mesh.shape[axis] for axis in mesh.axis_names if axis not in mesh.manual_axes
        )
    elif layer.labels is not None:
        devices = 1
    elif block_size is not None and block_size < _DEVICES:
        devices = math.gcd(block_size, _DEVICES)
    else:
        devices = _DEVICES
    return Layout.of(layer.weight.shape[0], layer.hidden.shape[0], block_size, devices)


def over_devices(f: Callable[..., Any], *arguments: Any, layout: Layout) -> Any:
    """`f(*arguments, layout=layout)`, where the compiler decides which device has what of it.

    Under explicit mesh axes a reshape of a split class axis is refused; inside, axes are automatic.
    """
    if not _explicit(arguments):
        return f(*arguments, layout=layout)
    problem: Problem = arguments[0]
    examples = jax.typeof(problem.layer.hidden).sharding.spec[0]
    run = jax.sharding.auto_axes(
        lambda *arguments: f(*arguments, layout=layout), out_sharding=PartitionSpec(examples)
    )
    return run(*arguments)


def _explicit(arguments: tuple[Any, ...]) -> bool:
    """Whether any argument is split over an explicit axis; the hidden states may be on all."""
    shardings = [jax.typeof(leaf).sharding for leaf in jax.tree.leaves(arguments)]
    return any(part is not None for s in shardings for part in s.spec)
