"""Where a training step lies on devices that need not be there, and what a run keeps beside it."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax
from jax.sharding import Mesh

from experiments import mesh as meshes
from experiments.engine import placement
from experiments.engine.config import EngineConfig
from experiments.engine.step import TrainingStep
from experiments.errors import UserError


def mesh_of(config: EngineConfig, devices: Sequence[Any], given: bool = False) -> Mesh:
    """Returns the mesh of a config as a run on these devices has it.

    Args:
      config: The config; where it says nothing about the mesh all devices share the examples.
      devices: The devices.
      given: Whether a flag says something about it, be it what the config says anyway.
    """
    fields = {field.name: field.default for field in dataclasses.fields(EngineConfig)}
    if not given and all(getattr(config, name) == fields[name] for name in config.placement):
        return meshes.make_mesh(data=0, devices=devices)
    return placement.mesh_of(config, config.make_task(), config.chosen_variants(), devices)


def others_bytes(step: TrainingStep, mesh: Mesh) -> int:
    """Returns what a run keeps on a device besides a step: other models' states, and batches."""

    def size(number: int) -> int:
        def of(where: Any, leaves: Any) -> int:
            shapes = [
                (where.shard_shape(leaf.shape), leaf.dtype) for leaf in jax.tree.leaves(leaves)
            ]
            return sum(math.prod(shape) * dtype.itemsize for shape, dtype in shapes)

        sizes = jax.tree.map(of, _places(step, mesh)[number], step.arguments[number])
        return sum(jax.tree.leaves(sizes))

    states = sum(size(number) for number in step.donate) * (step.kept - step.models)
    batches = sum(size(number) for number in step.batch) * (step.kept * step.block - step.models)
    return (states + batches) // step.models


def _places(step: TrainingStep, mesh: Mesh) -> tuple[Any, ...]:
    """Returns where the arguments of a step lie."""
    if step.placed is not None:
        return step.placed(mesh)
    whole, split = meshes.replicated(mesh), meshes.sharding(mesh, meshes.DATA)
    return tuple(split if i in step.batch else whole for i in range(len(step.arguments)))


def lower(step: TrainingStep, mesh: Mesh) -> Any:
    """Returns a step as a program for the devices of a mesh."""
    shared = mesh.shape[meshes.DATA]
    for number in step.batch:
        for leaf in jax.tree.leaves(step.arguments[number]):
            if leaf.shape[0] % shared:
                raise UserError(
                    f"--topology: expected a number of devices that divides the {leaf.shape[0]} "
                    f"examples of a step of {step.name}, got {shared}"
                )
    inside = _places(step, mesh)
    # What replaces the donated argument lies where it lay, for the next step.
    others = len(jax.eval_shape(step.function, *step.arguments)) - 1
    outside = (inside[step.donate[0]], *[None] * others)
    return jax.jit(
        step.function,
        donate_argnums=step.donate,
        in_shardings=inside,
        out_shardings=outside,
    ).lower(*step.arguments)
