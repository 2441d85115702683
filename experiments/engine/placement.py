"""The mesh of a comparison, checked before its run begins."""

import math
from collections.abc import Sequence
from typing import Any

import jax
from jax.sharding import Mesh

from experiments import mesh as meshes
from experiments.engine.config import EngineConfig
from experiments.engine.task import Task, Variant
from experiments.errors import UserError


def mesh_of(
    config: EngineConfig,
    task: Task,
    variants: Sequence[Variant],
    devices: Sequence[Any] | None = None,
) -> Mesh:
    """Returns the mesh of a config; what its devices cannot share evenly is a UserError."""
    devices = jax.devices() if devices is None else devices
    seeds = config.mesh_seeds or _seeds_of(config, len(devices))
    mesh = meshes.make_mesh(seeds, config.mesh_data, config.mesh_classes, devices)
    meshes.expect_divides(mesh, meshes.SEEDS, config.seeds, "seeds")
    if config.trials > 1:
        models = config.trials * config.tuning_seeds
        meshes.expect_divides(mesh, meshes.SEEDS, models, "trials times tuning_seeds")
    meshes.expect_divides(mesh, meshes.DATA, config.batch_size, "batch_size")
    if mesh.shape[meshes.CLASSES] > 1:
        _expect_shared(mesh, config, task, variants)
    return mesh


def _seeds_of(config: EngineConfig, devices: int) -> int:
    """Returns the largest number of the devices left that share all that is trained at once."""
    if config.mesh_data == 0:
        return 1
    left = devices // (config.mesh_data * config.mesh_classes)
    models = math.gcd(config.seeds, config.trials * config.tuning_seeds)
    even = models if config.trials > 1 else config.seeds
    return max((n for n in range(1, left + 1) if even % n == 0), default=1)


def _expect_shared(
    mesh: Mesh, config: EngineConfig, task: Task, variants: Sequence[Variant]
) -> None:
    weights = [task.initial(config.first_seed, variant.settings) for variant in variants]
    shared = [meshes.expect_partition(mesh, task.partition(one), one) for one in weights]
    if not any(shared):
        raise UserError(
            f"mesh_classes: expected 1, for {type(task).__name__}.partition shares no weights, "
            f"got {mesh.shape[meshes.CLASSES]}"
        )
