"""Order statistics by counting are those of a sort, bit for bit."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from softmax_variants import _selection

AWKWARD = np.array(
    [0.0, -0.0, 1e-45, -1e-45, 1e-38, 1.0, 1.0, -1.0, 3.4e38, -3.4e38, np.inf, -np.inf, 2.5, -2.5],
    np.float32,
)
kth_largest = jax.jit(_selection.kth_largest)


def bits(x: np.typing.ArrayLike) -> np.typing.NDArray[np.uint32]:
    return np.asarray(x, np.float32).view(np.uint32)


def test_keys_are_ordered_and_invertible() -> None:
    ordered = np.sort(AWKWARD)
    keys = np.asarray(_selection.to_keys(jnp.asarray(ordered)))
    assert (np.diff(keys.astype(np.int64)) >= 0).all()
    back = _selection.from_keys(jnp.asarray(keys), jnp.dtype(jnp.float32))
    np.testing.assert_array_equal(bits(back), bits(ordered))


@pytest.mark.parametrize("row", ["awkward", "random", "ties"])
def test_every_rank_of_a_row(rng: np.random.Generator, row: str) -> None:
    x = {
        "awkward": AWKWARD,
        "random": rng.normal(size=14).astype(np.float32),
        "ties": rng.integers(-1, 2, size=14).astype(np.float32),
    }[row]
    descending = np.sort(x)[::-1]
    rows = np.broadcast_to(x, (14, 14))
    found = np.asarray(kth_largest(jnp.asarray(rows), jnp.arange(1, 15)[:, None]))[:, 0]
    np.testing.assert_array_equal(found, descending)
    assert set(bits(found)) <= set(bits(x))


def test_ranks_outside_the_row_and_rows_with_nan() -> None:
    x = np.broadcast_to(AWKWARD, (14, 14)).copy()
    x[3, 5] = np.nan
    k = np.full((14, 1), 3, np.int32)
    k[0], k[1], k[2] = 0, -5, 15
    found = np.asarray(kth_largest(jnp.asarray(x), jnp.asarray(k)))[:, 0]
    assert found[0] == found[1] == np.inf
    assert found[2] == -np.inf
    assert np.isnan(found[3])
    np.testing.assert_array_equal(found[4:], np.float32(3.4e38) if k[4] == 2 else 2.5)


def test_float64_takes_all_its_bits(rng: np.random.Generator) -> None:
    with jax.enable_x64(True):
        x = 1 + rng.normal(size=9) * 1e-12
        k = jnp.asarray([[4]])
        found = _selection.kth_largest(jnp.asarray(x)[None], k)
        assert float(found[0, 0]) == np.sort(x)[-4]


def test_the_largest_threshold_of_a_predicate(rng: np.random.Generator) -> None:
    rows = jnp.asarray(np.abs(rng.normal(size=(5, 16))).astype(np.float32))
    half = jnp.sum(rows, axis=-1, keepdims=True) / 2

    def enough(v: jax.Array) -> jax.Array:
        return jnp.sum(jnp.where(rows >= v, rows, 0), axis=-1, keepdims=True) >= half

    found = np.asarray(_selection.largest_threshold(enough, rows))
    for row, v in zip(np.asarray(rows), found[:, 0], strict=True):
        assert v in row
        assert row[row >= v].sum() >= row.sum() * (0.5 - 1e-6)
        assert row[row > v].sum() < row.sum() * (0.5 + 1e-6)
    never = _selection.largest_threshold(lambda v: jnp.zeros_like(v, jnp.bool_), rows)
    always = _selection.largest_threshold(lambda v: jnp.ones_like(v, jnp.bool_), rows)
    assert (np.asarray(never) == -np.inf).all()
    assert (np.asarray(always) == np.inf).all()
    root = _selection.largest_threshold(lambda v: v * v <= 2, rows)
    assert (np.asarray(root) == np.sqrt(np.float32(2))).all()


def test_empty_rows_and_batches() -> None:
    k = jnp.asarray(1)
    assert kth_largest(jnp.zeros((0, 4)), k).shape == (0, 1)
    assert kth_largest(jnp.zeros((2, 0)), k).tolist() == [[-np.inf], [-np.inf]]


def test_no_gradient_and_vmap(rng: np.random.Generator) -> None:
    x = jnp.asarray(rng.normal(size=(3, 14)).astype(np.float32))
    k = jnp.asarray([[1], [5], [14]])
    gradient = jax.grad(lambda x: kth_largest(x, k).sum())(x)
    assert not np.asarray(gradient).any()
    np.testing.assert_array_equal(jax.vmap(kth_largest)(x, k), kth_largest(x, k))


@pytest.mark.parametrize("kind", [jax.sharding.AxisType.Auto, jax.sharding.AxisType.Explicit])
def test_the_class_axis_may_be_sharded(
    rng: np.random.Generator, kind: jax.sharding.AxisType
) -> None:
    x = rng.normal(size=(2, 16)).astype(np.float32)
    k = jnp.asarray(5)
    mesh = jax.make_mesh((8,), ("classes",), axis_types=(kind,))
    with jax.set_mesh(mesh):
        sharded = jax.device_put(x, NamedSharding(mesh, PartitionSpec(None, "classes")))
        found = np.asarray(kth_largest(sharded, k))
    np.testing.assert_array_equal(found[:, 0], np.sort(x)[:, -5])


def test_inside_shard_map(rng: np.random.Generator) -> None:
    x = rng.normal(size=(8, 6)).astype(np.float32)
    mesh: Mesh = jax.make_mesh((8,), ("rows",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = PartitionSpec("rows")
    mapped: Callable[[jax.Array], jax.Array] = jax.shard_map(
        lambda rows: _selection.kth_largest(rows, jnp.asarray(2)),
        mesh=mesh,
        in_specs=spec,
        out_specs=spec,
    )
    np.testing.assert_array_equal(np.asarray(mapped(jnp.asarray(x)))[:, 0], np.sort(x)[:, -2])
