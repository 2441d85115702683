"""A small run in several processes: `python -m tests.experiments.toy_run OUT --distributed ...`.

It trains linear models with data of which each process makes its own rows, and asks for all that
`experiments.distributed` offers. Process 0 writes what came out.
"""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments import distributed
from experiments import mesh as meshes
from experiments.bandit.config import BanditConfig
from experiments.distributed import DistributedConfig
from experiments.errors import UserError
from experiments.overrides import Parser, add_overrides, given_overrides
from experiments.run_directory import RunDirectory

STEPS, MODELS, EXAMPLES, FEATURES = 3, 2, 8, 4
MESHES = ({"seeds": 2, "data": 2}, {"data": 4}, {"seeds": 2, "classes": 2})
LEADING = (STEPS, MODELS, EXAMPLES)


def batch() -> Any:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(*LEADING, FEATURES)).astype(np.float32)
    return {"x": x, "y": x.sum(-1) + rng.normal(size=LEADING).astype(np.float32)}


def loss(weights: jax.Array, batch: Any) -> jax.Array:
    return jnp.mean((batch["x"] @ weights - batch["y"]) ** 2)


@jax.jit
def step(weights: jax.Array, batch: Any) -> tuple[jax.Array, jax.Array]:
    value, gradient = jax.vmap(jax.value_and_grad(loss))(weights, batch)
    return weights - 0.1 * gradient, value


@jax.jit
def train(weights: jax.Array, batches: Any) -> tuple[jax.Array, jax.Array]:
    return jax.lax.scan(step, weights, batches)


def trained(sizes: dict[str, int]) -> tuple[list[Any], list[Any], list[int]]:
    """Weights and losses, and the shape of the batch that this process made itself."""
    mesh = meshes.make_mesh(**sizes)  # type: ignore[arg-type] # no devices among them
    where = meshes.batch_sharding(mesh)
    box = meshes.part_of(where, LEADING)
    mine = jax.tree.map(lambda leaf: leaf[box], batch())
    batches = meshes.place_part(mine, LEADING, where)
    partition = jax.sharding.PartitionSpec("classes")
    weights = meshes.place(
        np.zeros((MODELS, FEATURES), np.float32), meshes.model_shardings(mesh, partition)
    )
    weights, losses = meshes.fetch(train(weights, batches))
    return weights.tolist(), losses.tolist(), list(mine["x"].shape)


def refusal(work: Callable[[], Any]) -> str:
    """What a UserError says that is raised in this process."""
    try:
        work()
    except UserError as error:
        return str(error)
    raise AssertionError("no error reached this process")


def begin(out: Path) -> None:
    """Begins a run whose processes were started with different flags."""
    RunDirectory.open(out, BanditConfig(first_seed=jax.process_index()))


def refuse() -> None:
    raise UserError(f"refused by {os.getpid()}")


def results(out: Path) -> dict[str, Any]:
    index = jax.process_index()
    return {
        "trained": [trained(sizes) for sizes in MESHES],
        "any": [distributed.any_process(index == 1), distributed.any_process(index == 7)],
        "from_writer": distributed.from_writer({"from": index, "text": "ä" * 3000}),
        "on_writer": distributed.on_writer(lambda: [os.getpid()]),
        "refused": refusal(lambda: distributed.on_writer(refuse)),
        "configs": refusal(lambda: begin(out)),
        "who": distributed.who(),
    }


def main() -> int:
    parser = Parser()
    parser.add_argument("out", type=Path)
    add_overrides(parser, DistributedConfig)
    arguments = parser.parse_args()
    try:
        distributed.initialize(DistributedConfig(**given_overrides(arguments, DistributedConfig)))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return distributed.leave(2)
    found = {**results(arguments.out), "pid": os.getpid()}
    distributed.barrier("all results are there")
    arguments.out.with_suffix(f".{jax.process_index()}").write_text(json.dumps(found))
    return distributed.leave(0)


if __name__ == "__main__":
    sys.exit(main())
