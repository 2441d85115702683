"""Every output layer with a batch, or a sequence, split over devices.

The same under both kinds of mesh axis, and under `shard_map` what each device has by itself. All
layers are one program, for each way of splitting.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import softmax_variants as sv

CLASSES, FEATURES, DEVICES = 12, 4, 2
TREE = sv.huffman_tree(np.arange(1, CLASSES + 1))


def arrays(*batch: int) -> tuple[jax.Array, ...]:
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(*batch, FEATURES)).astype(np.float32)
    weight = rng.normal(size=(CLASSES, FEATURES)).astype(np.float32)
    labels = rng.integers(0, CLASSES, size=batch).astype(np.int32)
    return jnp.asarray(hidden), jnp.asarray(labels), jnp.asarray(weight)


def layers(w: jax.Array) -> dict[str, tuple[Any, Any]]:
    """Heads and their parameters, all made of one table."""
    one: dict[str, Any] = {"classes": CLASSES, "features": FEATURES, "use_bias": False}
    sampler = sv.LogUniformSampler(CLASSES)
    adaptive = sv.AdaptiveSoftmax(features=FEATURES, classes=CLASSES, cutoffs=(4, 7), div_value=2.0)
    parts = {
        "projection_0": w[:2],
        "tail_0": w[:3, :2],
        "projection_1": w[2:3],
        "tail_1": w[:5, :1],
    }
    return {
        "softmax": (sv.FullSoftmax(**one), {"weight": w}),
        "entmax": (sv.LinearEntmax(**one), {"weight": w}),
        "sampled": (sv.SampledSoftmax(**one, sampler=sampler, num_sampled=5), {"weight": w}),
        "nce": (sv.NCE(**one, sampler=sampler, num_sampled=5), {"weight": w}),
        "in_batch": (sv.InBatchSoftmax(**one, sampler=sampler), {"weight": w}),
        "adaptive": (adaptive, {"head": w[:6], **parts}),
        "hierarchical": (
            sv.HierarchicalSoftmax(tree=TREE, features=FEATURES, use_bias=False),
            {"node_weight": w[1:]},
        ),
    }


def losses(h: jax.Array, y: jax.Array, w: jax.Array) -> dict[str, jax.Array]:
    key = jax.random.key(1)
    found = {
        name: head.loss(params, h, y, key=key, where=y != 3)
        for name, (head, params) in layers(w).items()
    }
    ids = jnp.arange(CLASSES, dtype=jnp.int32)
    parts = [w[:5, :3], w[5:, :1]]
    log_prob = jnp.full(y.shape, -1.0)
    options: dict[str, Any] = {"label_smoothing": 0.1, "ignore_index": 2, "block_size": 5}
    return found | {
        "linear": sv.linear_cross_entropy(h, y, w, z_loss=0.1, softcap=3.0, **options),
        "linear_entmax": sv.linear_entmax_loss(h, y, w, alpha=jnp.full(y.shape, 1.3), **options),
        "differentiated": sv.differentiated_softmax_loss(h, y, parts),
        "function": sv.sampled_softmax_loss(None, h, y, w, candidates=(ids, jnp.zeros(CLASSES))),
        "targets": sv.target_sampled_softmax_loss(h, y, w, subset=ids[2:]),
        "items": sv.in_batch_softmax_loss(h, y, items=h[..., ::-1], log_prob=log_prob),
    }


@jax.jit
def losses_and_gradients(h: jax.Array, y: jax.Array, w: jax.Array) -> Any:
    def total(h: jax.Array, w: jax.Array) -> Any:
        found = losses(h, y, w)
        # A label outside of the subset has no loss.
        kept = (jnp.sum(jnp.where(jnp.isnan(x), 0, x)) for x in found.values())
        return functools.reduce(jnp.add, kept), found

    (_, found), gradients = jax.value_and_grad(total, (0, 1), has_aux=True)(h, w)
    return (found, gradients[0]), gradients[1]


@jax.jit
def evaluations(h: jax.Array, y: jax.Array, w: jax.Array) -> Any:
    key = jax.random.key(2)
    return {
        name: (
            head.log_prob(params, h, y),
            head.top_k(params, h, 3),
            head.sample(params, h, key),
        )
        for name, (head, params) in layers(w).items()
        if name not in ("sampled", "nce", "in_batch")  # they are evaluated as softmax is
    }


def same(found: Any, expected: Any) -> None:
    for (path, left), right in zip(
        jax.tree.leaves_with_path(found), jax.tree.leaves(expected), strict=True
    ):
        name = jax.tree_util.keystr(path)
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-5, err_msg=name)


def mesh_of(kind: AxisType) -> jax.sharding.Mesh:
    return jax.make_mesh((DEVICES,), ("d",), axis_types=(kind,), devices=jax.devices()[:DEVICES])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("f", "spec"),
    [
        (losses_and_gradients, P("d")),
        (losses_and_gradients, P(None, "d")),
        (evaluations, P(None, "d")),
    ],
    ids=["losses-rows", "losses-sequence", "evaluations-sequence"],
)
def test_examples_split_over_explicit_axes(f: Any, spec: Any) -> None:
    h, y, w = arrays(4, 2)
    mesh = mesh_of(AxisType.Explicit)
    with jax.set_mesh(mesh):
        split = [jax.device_put(x, NamedSharding(mesh, s)) for x, s in ((h, spec), (y, spec))]
        found = f(*split, jax.device_put(w, NamedSharding(mesh, P())))
        of_examples = found[0] if f is losses_and_gradients else found
        for leaf in jax.tree.leaves(of_examples):
            assert jax.typeof(leaf).sharding.spec[:2] == (*spec, None)[:2]
        found = jax.tree.map(np.asarray, found)
    same(found, f(h, y, w))


@pytest.mark.slow
@pytest.mark.parametrize("f", [losses_and_gradients, evaluations], ids=["losses", "evaluations"])
def test_each_device_has_its_own_examples_under_shard_map(f: Any) -> None:
    h, y, w = arrays(8)
    out = ((P("d"), P("d")), P()) if f is losses_and_gradients else P("d")
    mesh = mesh_of(AxisType.Auto)
    run = jax.shard_map(f, mesh=mesh, in_specs=(P("d"), P("d"), P()), out_specs=out)
    found = jax.tree.map(np.asarray, jax.jit(run)(h, y, w))
    halves = [f(h[i : i + 4], y[i : i + 4], w) for i in (0, 4)]
    if f is losses_and_gradients:
        # The table is the same on all devices: its gradients add up.
        expected = (
            jax.tree.map(lambda *x: jnp.concatenate(x), *(of for of, _ in halves)),
            halves[0][1] + halves[1][1],
        )
    else:
        expected = jax.tree.map(lambda *x: jnp.concatenate(x), *halves)
    same(found, expected)
