"""The mesh of training: its sizes, and which device holds which part of an array."""

from typing import Any

import jax
import numpy as np
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from experiments import mesh as meshes
from experiments.errors import UserError
from experiments.mesh import make_mesh


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ({}, (1, 1, 1)),
        ({"seeds": 2, "data": 4}, (2, 4, 1)),
        ({"seeds": 2, "data": 0}, (2, 4, 1)),
        ({"data": 2, "classes": 0}, (1, 2, 4)),
        ({"seeds": 0, "data": 8}, (1, 8, 1)),
        ({"data": 3}, (1, 3, 1)),
    ],
)
def test_a_size_of_zero_takes_what_is_left(sizes: Any, expected: tuple[int, ...]) -> None:
    mesh = make_mesh(**sizes)
    assert tuple(mesh.shape.items()) == tuple(
        zip(("seeds", "data", "classes"), expected, strict=True)
    )
    assert mesh.axis_types == (AxisType.Auto,) * 3
    # Auto with as many devices as asked for, each once.
    assert len({device.id for device in mesh.devices.flat}) == np.prod(expected)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        (
            {"seeds": -1},
            "mesh_seeds: expected a number of devices, or 0 for all that are left, got -1",
        ),
        ({"data": True}, "mesh_data: expected a number of devices, or 0 .*, got True"),
        ({"data": 2.0}, "mesh_data: expected a number of devices, or 0 .*, got 2.0"),
        ({"seeds": 0, "data": 0}, "mesh_seeds and mesh_data: expected 0 .* at most once"),
        (
            {"seeds": 4, "data": 4},
            "mesh_seeds=4, mesh_data=4, mesh_classes=1: expected sizes whose product is at most "
            "the 8 devices, got 16",
        ),
        (
            {"seeds": 3, "data": 0},
            "mesh_seeds=3, mesh_data=0, .* whose product divides the 8 devices, got 3",
        ),
    ],
)
def test_a_mesh_that_cannot_be_is_one_clear_error(sizes: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_mesh(**sizes)


class _Elsewhere:
    """A device of another process, as far as the sizes of a mesh look at it."""

    process_index = 1


def test_of_several_processes_each_has_a_part() -> None:
    with pytest.raises(UserError, match="product is the 2 devices of 2 processes, got 1"):
        make_mesh(devices=[jax.devices()[0], _Elsewhere()])


def test_a_count_that_the_devices_cannot_share_is_an_error() -> None:
    mesh = make_mesh(seeds=2, data=4)
    meshes.expect_divides(mesh, "data", 12, "batch_size")
    with pytest.raises(
        UserError, match=r"mesh_data: expected a divisor of batch_size \(10\), got 4"
    ):
        meshes.expect_divides(mesh, "data", 10, "batch_size")


def test_a_mesh_says_how_it_is_split() -> None:
    assert meshes.describe(make_mesh()) == "not split (1 cpu device, 1 process)"
    shown = meshes.describe(make_mesh(seeds=4, classes=2))
    assert shown == "seeds=4, classes=2 (8 cpu devices, 1 process)"


def shards(array: jax.Array) -> dict[int, tuple[slice, ...]]:
    return {shard.device.id: shard.index for shard in array.addressable_shards}


def test_each_device_holds_its_rows_only() -> None:
    mesh = make_mesh(seeds=2, data=4)
    batch = {"x": np.arange(2 * 4 * 8 * 3).reshape(2, 4, 8, 3), "y": np.arange(64).reshape(2, 4, 8)}
    where = meshes.batch_sharding(mesh)
    for placed in (
        meshes.place(batch, where),
        meshes.place_part(batch, (2, 4, 8), where),
    ):
        for name, leaf in placed.items():
            assert leaf.sharding.is_equivalent_to(where, leaf.ndim)
            assert {shard.data.size for shard in leaf.addressable_shards} == {batch[name].size // 8}
            np.testing.assert_array_equal(meshes.fetch(leaf), batch[name])
        rows = shards(placed["y"])[mesh.devices[1, 2, 0].id]
        assert rows == (slice(None), slice(2, 4), slice(4, 6))


def test_one_process_makes_the_whole_batch() -> None:
    where = meshes.batch_sharding(make_mesh(seeds=2, data=4))
    assert meshes.part_of(where, (2, 4, 8)) == (slice(0, 2), slice(0, 4), slice(0, 8))
    assert meshes.part_of(meshes.replicated(make_mesh()), (5, 3)) == (slice(0, 5), slice(0, 3))


def test_weights_that_the_devices_cannot_share_are_an_error() -> None:
    mesh, params = make_mesh(data=2, classes=4), {"body": np.ones(3), "table": np.ones((6, 8))}
    whole = {"body": P(), "table": P()}
    assert not meshes.expect_partition(mesh, whole, params)
    assert meshes.expect_partition(mesh, whole | {"table": P(None, "classes")}, params)
    message = (
        r"mesh_classes: expected a divisor of the classes of partition\['table'\] \(6\), got 4"
    )
    with pytest.raises(UserError, match=message):
        meshes.expect_partition(mesh, whole | {"table": P("classes")}, params)
    for spec in (P("data"), P(None, None, "classes"), P("classes", "classes")):
        with pytest.raises(UserError, match=r"partition\['table'\]: expected 'classes' or None"):
            meshes.expect_partition(mesh, whole | {"table": spec}, params)


def test_models_lie_on_their_seeds_and_split_where_their_partition_says() -> None:
    mesh = make_mesh(seeds=2, data=2, classes=2)
    params = {"head": np.ones((4, 6, 10)), "body": {"w": np.ones((4, 3)), "b": np.ones(4)}}
    where = meshes.model_shardings(mesh, {"head": P(None, "classes"), "body": P()})
    placed = meshes.place(params, where)
    assert placed["head"].addressable_shards[0].data.shape == (2, 6, 5)
    assert placed["body"]["w"].addressable_shards[0].data.shape == (2, 3)
    assert placed["body"]["b"].addressable_shards[0].data.shape == (2,)
    assert jax.tree.all(jax.tree.map(np.array_equal, meshes.fetch(placed), params))
