"""The losses of an output layer whose classes are split over devices and do not divide by them."""

import contextlib
import math
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import softmax_variants as sv

CLASSES, PADDED, EXAMPLES, FEATURES = 13, 40, 4, 6


def arrays() -> tuple[np.ndarray[Any, Any], ...]:
    rng = np.random.default_rng(0)
    h, w, b = (
        rng.normal(size=s).astype(np.float32)
        for s in ((EXAMPLES, FEATURES), (CLASSES, FEATURES), (CLASSES,))
    )
    return h, w, b, rng.integers(0, CLASSES, size=EXAMPLES).astype(np.int32)


def close(found: Any, expected: Any) -> None:
    for left, right in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(left, right, rtol=0, atol=1e-5)


def gathered(text: str) -> list[int]:
    """The sizes of what any device gets from the others other than by a sum."""
    found = re.findall(r"= (.+?) (?:all-gather|all-to-all|collective-permute)\(", text)
    shapes = [re.findall(r"\[([\d,]*)\]", results) for results in found]
    return [sum(int(np.prod([int(n) for n in s.split(",") if n])) for s in some) for some in shapes]


@pytest.mark.parametrize("labels", ["ids", "distributions"])
@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit], ids=lambda k: k.name)
def test_a_padded_table_split_over_eight_devices(kind: AxisType, labels: str) -> None:
    """13 classes as 40 rows of which `where` leaves out the others: the loss is that of 13."""
    h, w, b, y = arrays()
    target = np.eye(CLASSES, dtype=np.float32)[y] * 0.7 + 0.3 / CLASSES
    extra = PADDED - CLASSES

    def total(h: Any, w: Any, b: Any, y: Any, where: Any = None) -> jax.Array:
        # Two blocks of the padded table with two classes of every device, and one with one.
        options: dict[str, Any] = {"label_smoothing": 0.1, "z_loss": 0.01, "block_size": 16}
        return jnp.sum(sv.linear_cross_entropy(h, y, w, b, where=where, **options))

    derived = jax.value_and_grad(total, (0, 1, 2))
    y = y if labels == "ids" else target
    expected = jax.tree.map(np.asarray, jax.jit(derived)(h, w, b, y))
    # Whatever the padding holds: it never counts.
    w = np.pad(w, ((0, extra), (0, 0)), constant_values=np.nan)
    b, where = np.pad(b, (0, extra)), np.arange(PADDED) < CLASSES
    spec = P()
    if labels == "distributions":
        y, spec = np.pad(y, ((0, 0), (0, extra))), P(None, "model")
    mesh = jax.make_mesh((8,), ("model",), axis_types=(kind,))
    specs = (P(), P("model", None), P("model"), spec, P("model"))
    with jax.set_mesh(mesh):
        split = [
            jax.device_put(x, NamedSharding(mesh, s))
            for x, s in zip((h, w, b, y, where), specs, strict=True)
        ]
        program = jax.jit(derived).lower(*split).compile()
        value, gradients = jax.tree.map(np.asarray, program(*split))
        text = program.as_text() or ""
    assert not gradients[1][CLASSES:].any()
    cut = (gradients[0], gradients[1][:CLASSES], gradients[2][:CLASSES])
    close((value, cut), expected)
    assert "all-reduce" in text
    assert gathered(text) == []


@pytest.mark.parametrize(
    ("loss", "mesh_of_context", "block_size"),
    [
        (sv.linear_cross_entropy, AxisType.Auto, None),
        (sv.linear_cross_entropy, AxisType.Explicit, 6283),
        (sv.linear_entmax_loss, None, None),
    ],
    ids=["default", "prime-block", "entmax-no-context"],
)
def test_a_table_of_any_size_stays_split(
    loss: Any, mesh_of_context: AxisType | None, block_size: int | None
) -> None:
    """50,257 classes padded to the next multiple of eight, which has no divisor of a block's size.

    Compiled, not run: no device has the table, and none has a block's logits of all classes.
    """
    kind = mesh_of_context or AxisType.Auto
    mesh = jax.make_mesh((8,), ("model",), axis_types=(kind,))
    classes, examples, features = 50264, 1024, 64

    def total(h: jax.Array, w: jax.Array, b: jax.Array, y: jax.Array) -> jax.Array:
        return jnp.sum(loss(h, y, w, b, block_size=block_size))

    shapes: list[tuple[tuple[int, ...], Any]] = [
        ((examples, features), P()),
        ((classes, features), P("model", None)),
        ((classes,), P("model")),
        ((examples,), P()),
    ]
    dtypes = [np.float32] * 3 + [np.int32]
    with jax.set_mesh(mesh) if mesh_of_context else contextlib.nullcontext():
        arguments = [
            jax.ShapeDtypeStruct(shape, dtype, sharding=NamedSharding(mesh, spec))
            for (shape, spec), dtype in zip(shapes, dtypes, strict=True)
        ]
        program = jax.jit(jax.value_and_grad(total, (0, 1, 2))).lower(*arguments).compile()
    # Entmax begins with the largest scores of 32 classes each, and of what a device has left over.
    groups = math.ceil(classes // 8 / 32)
    limit = examples * groups if loss is sv.linear_entmax_loss else 0
    assert max(gathered(program.as_text() or ""), default=0) <= limit
    memory = program.memory_analysis()
    assert memory is not None
    assert memory.temp_size_in_bytes < 4 * classes * features


def test_a_weight_of_each_of_several_problems() -> None:
    """`vmap` over the weights; no example at all, one class alone, a block larger than all."""
    h, w, _, y = (jnp.asarray(x) for x in arrays())

    def loss(h: jax.Array, w: jax.Array, y: jax.Array) -> jax.Array:
        return sv.linear_cross_entropy(h, y, w, block_size=5)

    several = jnp.stack([w, -2 * w])
    found = jax.vmap(jax.grad(lambda w: loss(h, w, y).sum()))(several)
    plain = jax.grad(lambda w: sv.cross_entropy_loss(h @ w.T, y).sum())
    close(found, jnp.stack([plain(w) for w in several]))
    assert loss(h[:0], w, y[:0]).shape == (0,)
    assert not np.any(jax.grad(lambda w: loss(h[:0], w, y[:0]).sum())(w))
    value, gradient = jax.value_and_grad(lambda h: loss(h, w[:1], 0 * y).sum())(h)
    assert value == 0
    assert not np.any(gradient)


def test_float64() -> None:
    h, w, b, y = arrays()
    with jax.enable_x64(True):
        wide = [jnp.asarray(x, jnp.float64) for x in (h, w, b)]
        x = np.asarray(h, np.float64) @ np.asarray(w, np.float64).T + np.asarray(b, np.float64)
        p = np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True)

        def total(h: jax.Array, w: jax.Array, b: jax.Array) -> jax.Array:
            return jnp.sum(sv.linear_cross_entropy(h, jnp.asarray(y), w, b, block_size=5))

        value, (_, dw, db) = jax.value_and_grad(total, (0, 1, 2))(*wide)
        assert value.dtype == dw.dtype == jnp.float64
        np.testing.assert_allclose(value, -np.log(p[np.arange(EXAMPLES), y]).sum(), rtol=1e-14)
        rest = p - np.eye(CLASSES)[y]
        np.testing.assert_allclose(dw, rest.T @ np.asarray(h, np.float64), rtol=0, atol=1e-14)
        np.testing.assert_allclose(db, rest.sum(axis=0), rtol=0, atol=1e-14)
