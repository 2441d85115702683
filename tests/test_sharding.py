"""A class axis or a batch split over eight devices, under both kinds of mesh axis.

The devices are fake (see `conftest.py`), the partitioned programs are the real ones.
"""

import functools
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from softmax_variants.variants import VARIANTS, Variant
from tests.conformance.cases import DETERMINISTIC, Floats, close, over, scores
from tests.conformance.loss_cases import loss_of

DEVICES = 8
CORES = ("softmax", "sparsemax", "entmax15", "entmax")

# A map over a chain of classes looks at neighbours, which lie on other devices.
sharded = over([row for row in DETERMINISTIC if row.permutation_equivariant])
lossy = over([row for row in DETERMINISTIC if row.loss is not None])
kinds = pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit], ids=lambda k: k.name)


def mesh_of(kind: AxisType) -> Mesh:
    assert jax.device_count() >= DEVICES
    return jax.make_mesh((2, 4), ("data", "model"), axis_types=(kind, kind))


def split(x: Floats, mesh: Mesh, spec: Any) -> jax.Array:
    return jax.device_put(x, NamedSharding(mesh, spec))


def compiled(f: Callable[..., Any], mesh: Mesh, *arguments: jax.Array) -> tuple[str, Any]:
    """The partitioned program and its result."""
    with jax.set_mesh(mesh):
        program = jax.jit(f).lower(*arguments).compile()
        return program.as_text() or "", jax.tree.map(np.asarray, program(*arguments))


@functools.cache
def inputs(name: str, n: int = 64) -> tuple[Floats, Floats, Floats]:
    x = scores(VARIANTS[name], (4, n))
    rng = np.random.default_rng(2)
    w = rng.normal(size=x.shape).astype(np.float32)
    labels = rng.integers(0, n, size=4)
    return x, w, labels


def value_and_gradient(variant: Variant) -> Callable[..., Any]:
    def f(x: jax.Array, w: jax.Array) -> Any:
        p, pull = jax.vjp(lambda x: variant(x), x)
        return p, pull(w)[0]

    return f


def same(found: Any, expected: Any) -> None:
    for left, right in zip(found, expected, strict=True):
        close(left, right, atol=1e-6 * max(1, np.abs(right).max()))


@functools.cache
def unsharded(name: str) -> Any:
    x, w, _ = inputs(name)
    return jax.tree.map(np.asarray, jax.jit(value_and_gradient(VARIANTS[name]))(x, w))


@sharded
@kinds
def test_a_sharded_class_axis_changes_nothing(variant: Variant, kind: AxisType) -> None:
    x, w, _ = inputs(variant.name)
    mesh = mesh_of(kind)
    spec = P("data", "model")
    _, found = compiled(
        value_and_gradient(variant), mesh, split(x, mesh, spec), split(w, mesh, spec)
    )
    same(found, unsharded(variant.name))


@over([VARIANTS[name] for name in CORES])
@kinds
@pytest.mark.parametrize("n", [64, 1024])
def test_thresholds_are_found_by_reductions_alone(variant: Variant, kind: AxisType, n: int) -> None:
    """Neither a gather of the classes nor a sort across devices: only all-reduce."""
    x, w, _ = inputs(variant.name, n)
    mesh = mesh_of(kind)
    spec = P(None, "model")
    program, found = compiled(
        value_and_gradient(variant), mesh, split(x, mesh, spec), split(w, mesh, spec)
    )
    assert "all-reduce" in program
    used = re.findall(r"\b(all-gather|all-to-all|collective-permute|sort)\b", program)
    assert used == []
    same(found, jax.jit(value_and_gradient(variant))(x, w))


def test_the_search_of_a_program_finds_a_gather() -> None:
    mesh = mesh_of(AxisType.Auto)
    x = split(np.zeros((4, 64), np.float32), mesh, P(None, "model"))
    program, _ = compiled(lambda x: jnp.sort(x, axis=-1), mesh, x)
    assert re.search(r"\ball-(gather|to-all)\b", program)
    assert re.search(r"\bsort\b", program)


@pytest.mark.slow
@sharded
def test_each_device_has_its_own_rows_under_shard_map(variant: Variant) -> None:
    x, w, _ = inputs(variant.name)
    mesh = mesh_of(AxisType.Auto)
    spec = P("data", None)
    f = jax.shard_map(
        value_and_gradient(variant), mesh=mesh, in_specs=(spec, spec), out_specs=(spec, spec)
    )
    _, found = compiled(f, mesh, split(x, mesh, spec), split(w, mesh, spec))
    same(found, unsharded(variant.name))


@over([VARIANTS[name] for name in CORES])
@kinds
def test_a_sharded_batch_needs_no_communication(variant: Variant, kind: AxisType) -> None:
    """Apart from the question whether any row, on any device, wants another pass."""
    x, w, _ = inputs(variant.name)
    mesh = mesh_of(kind)
    spec = P("data", None)
    program, found = compiled(
        value_and_gradient(variant), mesh, split(x, mesh, spec), split(w, mesh, spec)
    )
    assert not re.search(r"\b(all-gather|all-to-all|collective-permute)\b", program)
    for shape in re.findall(r"= (\S+) all-reduce\(", program):
        assert re.match(r"(pred|s32|f32)\[\]", shape), shape
    same(found, unsharded(variant.name))


def loss_and_gradient(variant: Variant) -> Callable[..., Any]:
    def f(x: jax.Array, labels: jax.Array) -> Any:
        loss, pull = jax.vjp(lambda x: loss_of(variant, x, labels), x)
        return loss, pull(jnp.ones_like(loss))[0]

    return f


@pytest.mark.slow
@lossy
@kinds
def test_a_loss_over_a_sharded_class_axis(variant: Variant, kind: AxisType) -> None:
    x, _, labels = inputs(variant.name)
    expected = jax.tree.map(np.asarray, jax.jit(loss_and_gradient(variant))(x, labels))
    mesh = mesh_of(kind)
    arguments = split(x, mesh, P("data", "model")), split(labels, mesh, P("data"))
    _, found = compiled(loss_and_gradient(variant), mesh, *arguments)
    same(found, expected)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        (AxisType.Auto, P("data", "model")),
        (AxisType.Explicit, P("data", "model")),
        (AxisType.Explicit, P("data", None)),
    ],
    ids=["Auto-classes", "Explicit-classes", "Explicit-rows"],
)
def test_a_chain_of_classes_may_be_split(kind: AxisType, spec: Any) -> None:
    """Fusedmax follows neighbours one by one: a split class axis is gathered for it."""
    x, w, _ = inputs("fusedmax")
    mesh = mesh_of(kind)
    f = value_and_gradient(VARIANTS["fusedmax"])
    _, found = compiled(f, mesh, split(x, mesh, spec), split(w, mesh, spec))
    for actual, expected in zip(found, f(jnp.asarray(x), jnp.asarray(w)), strict=True):
        close(actual, expected, atol=1e-6)
