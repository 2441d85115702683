"""A class axis that is split over devices: which blocks keep it split, and both kinds of axis."""

from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import PartitionSpec

from softmax_variants.heads._blocks import Layout
from softmax_variants.heads._linear_targets import Problem


def layout_of(problem: Problem, block_size: int | None) -> Layout:
    """Blocks of every k-th class: each is then split over the devices as the class axis is.

    Distributions are read faster in neighbouring classes: they are, where there is no mesh.
    """
    layer = problem.layer
    strided = layer.labels is None or not jax.sharding.get_abstract_mesh().empty
    return Layout.of(layer.weight.shape[0], layer.hidden.shape[0], block_size, strided)


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
