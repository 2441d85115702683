"""The layers inside models: compiled, scanned, mapped, trained, split, saved and loaded."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import softmax_variants as sv

pytest.importorskip("flax", reason="these are layers for Flax")
from flax import linen as nn
from flax import nnx

import softmax_variants.linen as svl
import softmax_variants.nnx as svn

HEADS, FEATURES, CLASSES, LENGTH = 2, 4, 9, 5
HEAD = sv.SampledSoftmax(
    CLASSES, FEATURES, sampler=sv.UnigramSampler(np.arange(1, CLASSES + 1)), num_sampled=4
)
SCHEDULE = optax.linear_schedule(1.0, 0.5, 10)
# Steps that take every parameter far away, and not back.
WIDE = optax.sign_sgd(lambda count: 30 / (count + 1))


class Model(nnx.Module):
    """Attention with learned alphas and scales, a learned temperature, a gate, an output layer."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.attention = svn.MultiHeadAttention(
            HEADS,
            FEATURES,
            normalizer=svn.Entmax((HEADS, 1, 1)),
            position_scale="ssmax",
            is_causal=True,
            rngs=rngs,
        )
        self.gate = svn.GumbelSoftmax(SCHEDULE, rngs=rngs)
        self.sharpness = svn.Softmax()
        self.output = svn.OutputLayer(HEAD, rngs=rngs)

    def __call__(self, x: jax.Array, labels: jax.Array) -> jax.Array:
        hidden = self.sharpness(x + self.attention(x)) * self.gate(x)
        return self.output(hidden, labels)


class LinenModel(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array, labels: jax.Array) -> jax.Array:
        attention = svl.MultiHeadAttention(
            HEADS,
            normalizer=svl.MultiMax((HEADS, 1), temperatures=(0.1, 0.1), thresholds=(0.0, 0.0)),
            position_scale="asentmax",
            is_causal=True,
        )
        hidden = svl.Softmax()(x + attention(x)) * svl.GumbelSoftmax(SCHEDULE)(x)
        return svl.OutputLayer(HEAD)(hidden, labels)


def batch(rng: np.random.Generator) -> tuple[jax.Array, jax.Array]:
    x = jnp.asarray(rng.normal(size=(3, LENGTH, FEATURES)), jnp.float32)
    return x, jnp.asarray(rng.integers(0, CLASSES, (3, LENGTH)), jnp.int32)


@nnx.jit
def train(model: Model, optimizer: Any, x: jax.Array, labels: jax.Array) -> jax.Array:
    def loss_of(model: Model) -> jax.Array:
        return jnp.mean(model(x, labels))

    loss, gradients = nnx.value_and_grad(loss_of)(model)
    optimizer.update(model, gradients)
    return loss


@nnx.jit
def losses_of(model: Model, x: jax.Array, labels: jax.Array) -> jax.Array:
    return model(x, labels)


@pytest.mark.slow
def test_nnx_trains_splits_and_loads(tmp_path: Path, rng: np.random.Generator) -> None:
    ocp = pytest.importorskip("orbax.checkpoint", reason="what saves and loads")
    x, labels = batch(rng)
    model = Model(nnx.Rngs(0))
    before = jax.tree.map(np.array, nnx.to_pure_dict(nnx.state(model, nnx.Param)))
    optimizer = nnx.Optimizer(model, WIDE, wrt=nnx.Param)
    losses = [float(train(model, optimizer, x, labels)) for _ in range(2)]
    assert np.isfinite(losses).all()
    after = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    for path, value in jax.tree.leaves_with_path(after):
        # The keys' bias cancels in every row of softmax and entmax.
        moved = np.any(value != dict(jax.tree.leaves_with_path(before))[path])
        assert moved or "key" in str(path), path
    assert model.gate.count is not None
    assert model.gate.count[...] == 2
    alpha = model.attention.attention_fn.normalizer.alpha  # type: ignore[attr-defined] # a layer
    assert ((alpha >= 1) & (alpha <= 2)).all()
    assert (alpha != 1.5).all()

    # Split and merged: the sampler's tables travel with the state, and the same keys are drawn.
    graph: Any
    state: Any
    graph, state = nnx.split(model)
    tables = [leaf for leaf in jax.tree.leaves(HEAD) if leaf.ndim]
    assert tables
    merged = nnx.merge(graph, jax.tree.map(jnp.array, state))
    want = losses_of(nnx.clone(model), x, labels)
    np.testing.assert_array_equal(losses_of(merged, x, labels), want)

    # Keys of random streams are made anew after loading; all else is saved.
    split: Any = nnx.split
    graph, streams, saved = split(model, nnx.RngState, ...)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "nnx", nnx.to_pure_dict(saved))
        checkpointer.wait_until_finished()
        fresh = Model(nnx.Rngs(7))
        _, _, empty = split(fresh, nnx.RngState, ...)
        loaded = checkpointer.restore(tmp_path / "nnx", nnx.to_pure_dict(empty))
    nnx.replace_by_pure_dict(empty, loaded)
    np.testing.assert_array_equal(losses_of(nnx.merge(graph, streams, empty), x, labels), want)


@pytest.mark.slow
def test_linen_trains_and_loads(tmp_path: Path, rng: np.random.Generator) -> None:
    ocp = pytest.importorskip("orbax.checkpoint", reason="what saves and loads")
    x, labels = batch(rng)
    model, key = LinenModel(), jax.random.key(0)
    state, params = _parts(jax.jit(model.init)(key, x, labels))
    first, moments = params, WIDE.init(params)

    @jax.jit
    def step(params: Any, moments: Any, state: Any, key: jax.Array) -> Any:
        def loss_of(params: Any) -> Any:
            losses, changed = model.apply(
                {"params": params, **state}, x, labels, rngs={"sample": key}, mutable="counts"
            )
            return jnp.mean(losses), changed

        (loss, changed), gradients = jax.value_and_grad(loss_of, has_aux=True)(params)
        updates, moments = WIDE.update(gradients, moments)
        return optax.apply_updates(params, updates), moments, {**state, **changed}, loss

    for _ in range(2):
        params, moments, state, loss = step(params, moments, state, key)
        assert jnp.isfinite(loss)
    assert state["counts"]["GumbelSoftmax_0"]["count"] == 2
    before = dict(jax.tree.leaves_with_path(first))
    for path, value in jax.tree.leaves_with_path(params):
        assert np.any(value != before[path]) or "key" in str(path), path
    variables = {"params": params, **state}
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "linen", variables)
        checkpointer.wait_until_finished()
        fresh = jax.eval_shape(lambda: dict(model.init(key, x, labels)))
        loaded = checkpointer.restore(tmp_path / "linen", fresh)
    want, found = (step(v["params"], moments, _parts(v)[0], key)[-1] for v in (variables, loaded))
    np.testing.assert_array_equal(found, want)


def _parts(variables: Any) -> Any:
    """Everything but the parameters, and the parameters."""
    return {name: value for name, value in variables.items() if name != "params"}, variables[
        "params"
    ]


LAYERS = 3


def test_layers_are_stacked_by_vmap_and_run_by_scan(rng: np.random.Generator) -> None:
    x, _ = batch(rng)

    def block(rngs: nnx.Rngs) -> Any:
        normalizer = svn.Softmax((HEADS, 1, 1))
        return svn.MultiHeadAttention(HEADS, FEATURES, normalizer=normalizer, rngs=rngs)

    @nnx.split_rngs(splits=LAYERS)
    @nnx.vmap
    def stacked(rngs: nnx.Rngs) -> Any:
        return block(rngs)

    @nnx.jit
    @nnx.scan(in_axes=(0, nnx.Carry), out_axes=nnx.Carry)
    def forward(layer: Any, x: jax.Array) -> jax.Array:
        return x + layer(x)

    layers = stacked(nnx.Rngs(0))
    found = forward(layers, x)
    graph, state = nnx.split(layers)
    want = x
    one = jax.jit(lambda state, x: x + nnx.merge(graph, state)(x))
    for i in range(LAYERS):
        want = one(jax.tree.map(lambda leaf, i=i: leaf[i], state), want)
    np.testing.assert_allclose(found, want, atol=1e-5)


class Block(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array, _: None) -> tuple[jax.Array, None]:
        normalizer = svl.Softmax((HEADS, 1, 1))
        return x + svl.MultiHeadAttention(HEADS, normalizer=normalizer)(x), None


def test_linen_layers_are_run_by_scan(rng: np.random.Generator) -> None:
    x, _ = batch(rng)
    scanned: Any = nn.scan(
        Block, variable_axes={"params": 0}, split_rngs={"params": True}, length=LAYERS
    )()
    variables = jax.jit(scanned.init)(jax.random.key(0), x, None)
    found, _ = jax.jit(scanned.apply)(variables, x, None)
    want, block = x, jax.jit(Block().apply)
    for i in range(LAYERS):
        want, _ = block(jax.tree.map(lambda leaf, i=i: leaf[i], variables), want, None)
    np.testing.assert_allclose(found, want, atol=1e-5)


def test_an_ensemble_of_maps_under_vmap(rng: np.random.Generator) -> None:
    x = jnp.asarray(rng.normal(size=(2, 6)), jnp.float32)
    raw = jnp.array([-1.0, 0.0, 2.0])
    want = jnp.stack([sv.softmax(x, temperature=jnp.exp(r)) for r in raw])
    layers = svn.Softmax((3,))
    layers.log_temperature[...] = raw
    found = nnx.vmap(lambda layer, x: layer(x), in_axes=(0, None))(layers, x)
    np.testing.assert_allclose(found, want, atol=1e-6)
    of_linen: Any = nn.vmap(
        svl.Softmax, variable_axes={"params": 0}, split_rngs={"params": False}, in_axes=None,
        axis_size=3,
    )()  # fmt: skip
    found = of_linen.apply({"params": {"log_temperature": raw}}, x)
    np.testing.assert_allclose(found, want, atol=1e-6)


def test_a_tree_inside_a_layer_is_an_argument_of_the_compiled_step() -> None:
    """Not a constant of the program: a tree of a million classes is tens of megabytes."""
    head = sv.HierarchicalSoftmax(tree=sv.balanced_tree(1000), features=FEATURES)
    x, labels = jnp.ones((2, FEATURES)), jnp.array([3, 999])
    layer = svn.OutputLayer(head, rngs=nnx.Rngs(0))
    of_linen: Any = svl.OutputLayer(head)
    variables = of_linen.init(jax.random.key(0), x, labels)
    graph, state = nnx.split(layer)
    programs = [
        jax.make_jaxpr(lambda state, *batch: nnx.merge(graph, state)(*batch))(state, x, labels),
        jax.make_jaxpr(of_linen.apply)(variables, x, labels),
    ]
    for program in programs:
        assert all(np.size(constant) < 100 for constant in program.consts)
    np.testing.assert_allclose(
        nnx.merge(graph, state)(x, labels), head.loss(layer.arrays, x, labels), atol=1e-6
    )
