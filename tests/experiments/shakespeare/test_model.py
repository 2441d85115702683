"""The model against an oracle in NumPy, and what holds for every attention normaliser."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import special

import softmax_variants as sv
from experiments.shakespeare.attention import NORMALISERS, Weights
from experiments.shakespeare.config import AttentionName
from experiments.shakespeare.layers import dot_general, product
from experiments.shakespeare.losses import LOSSES, measured, objective
from experiments.shakespeare.model import GPT, dropped, graph_of, initial
from tests.experiments.shakespeare.tiny import CONFIG

VOCABULARY = 11
# The token that is changed.
CHANGED = 5


def model(name: AttentionName, **changes: Any) -> GPT:
    config = dataclasses.replace(CONFIG, **changes)
    return GPT(config, VOCABULARY, name, rngs=nnx.Rngs(params=0))


class Ran(NamedTuple):
    """What a model gives for the tokens, for tokens that differ at one place, and its weights."""

    hidden: Any
    changed: Any
    weights: Any


@pytest.fixture(scope="module")
def tokens() -> np.ndarray:
    return np.random.default_rng(0).integers(VOCABULARY, size=(2, CONFIG.context), dtype=np.int32)


@pytest.fixture(scope="module")
def ran(tokens: np.ndarray) -> dict[AttentionName, Ran]:
    """All models in one program: one by one they take much longer to compile."""
    divided = {name: nnx.split(model(name), nnx.Param) for name in NORMALISERS}
    other = tokens.copy()
    other[:, CHANGED] = (other[:, CHANGED] + 1) % VOCABULARY

    @jax.jit
    def run(params: dict[AttentionName, Any]) -> dict[AttentionName, Ran]:
        found = {}
        for name in NORMALISERS:
            weights = Weights()
            both = jnp.concatenate([jnp.asarray(tokens), jnp.asarray(other)])
            hidden = nnx.merge(divided[name][0], params[name])(both, weights=weights)
            found[name] = Ran(hidden[:2], hidden[2:], weights.layers[0][:2])
        return found

    return jax.tree.map(np.asarray, run({name: divided[name][1] for name in NORMALISERS}))


def layer_norm(x: np.ndarray, scale: Any) -> np.ndarray:
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * wide(scale)


def wide(array: Any) -> np.ndarray:
    return np.asarray(array, np.float64)


def oracle(gpt: GPT, tokens: np.ndarray) -> np.ndarray:
    """The logits of one sequence, token by token and head by head, in float64."""
    embedding = wide(gpt.tokens.embedding)
    x = embedding[tokens] + wide(gpt.positions.embedding)[: tokens.size]
    for block in gpt.blocks:
        joint = layer_norm(x, block.attention_norm.scale) @ wide(block.attention.joint.kernel)
        query, key, value = np.split(joint, 3, axis=-1)
        size = query.shape[-1] // CONFIG.heads
        mixed = np.zeros_like(query)
        for head in range(CONFIG.heads):
            part = slice(head * size, (head + 1) * size)
            for t in range(tokens.size):
                scores = key[: t + 1, part] @ query[t, part] / np.sqrt(size)
                weights = np.exp(scores - scores.max())
                mixed[t, part] = weights / weights.sum() @ value[: t + 1, part]
        x = x + mixed @ wide(block.attention.output.kernel)
        inner = layer_norm(x, block.perceptron_norm.scale) @ wide(block.up.kernel)
        inner = inner * special.ndtr(inner)  # GELU
        x = x + inner @ wide(block.down.kernel)
    return layer_norm(x, gpt.norm.scale) @ embedding.T


def test_hidden_states_give_the_logits_of_the_oracle(
    tokens: np.ndarray, ran: dict[AttentionName, Ran]
) -> None:
    gpt = model("softmax")
    logits = ran["softmax"].hidden @ np.asarray(gpt.table).T
    for row, sequence in zip(logits, tokens, strict=True):
        np.testing.assert_allclose(row, oracle(gpt, sequence), rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("name", NORMALISERS)
def test_no_normaliser_sees_later_tokens(
    name: AttentionName, ran: dict[AttentionName, Ran]
) -> None:
    changed = (ran[name].hidden != ran[name].changed).any(axis=(0, 2))
    assert not changed[:CHANGED].any()
    assert changed[CHANGED:].all()


def test_normalisers_are_the_librarys_maps_of_their_names(
    tokens: np.ndarray, ran: dict[AttentionName, Ran]
) -> None:
    """Weights that are sown, against the maps on the scores of softmax."""
    gpt, causal = model("softmax"), np.tril(np.ones((8, 8), bool))
    hidden = wide(gpt.tokens.embedding)[tokens] + wide(gpt.positions.embedding)
    attention, norm = gpt.blocks[0].attention, gpt.blocks[0].attention_norm
    joint = layer_norm(hidden, norm.scale) @ wide(attention.joint.kernel)
    query, key = (joint.reshape(2, 8, 3, 2, 8)[:, :, i] for i in range(2))
    exact = np.einsum("bqhd,bkhd->bhqk", query, key) / np.sqrt(8)
    first = 1 / np.mean(np.log(np.arange(1, 9)))
    grown = exact * first * np.log(np.arange(1, 9))[:, None]
    scores, grown = (jnp.asarray(array, jnp.float32) for array in (exact, grown))
    expected = {
        "softmax": sv.softmax(scores, where=causal),
        "entmax15": sv.entmax15(scores, where=causal),
        "learned_alpha": sv.entmax(scores, where=causal, alpha=1.5),
        "sparsemax": sv.sparsemax(scores, where=causal),
        "softmax_n": sv.softmax_n(scores, where=causal, n=1.0),
        "softpick": sv.softpick(scores, where=causal),
        "ssmax": sv.softmax(grown, where=causal),
    }
    for name in NORMALISERS:
        np.testing.assert_allclose(ran[name].weights, expected[name], atol=2e-5, err_msg=name)


def test_learned_alpha_never_leaves_its_range(tokens: np.ndarray) -> None:
    gpt = model("learned_alpha")
    graph, params = nnx.split(gpt, nnx.Param)

    @jax.jit
    def run(params: Any, logit: jax.Array) -> tuple[jax.Array, jax.Array]:
        changed = nnx.merge(graph, params)
        attention = changed.blocks[0].attention
        attention.alpha_logit[...] = jnp.full(CONFIG.heads, logit)
        return attention.alphas(), changed(jnp.asarray(tokens))

    for logit in (-1e4, -3.0, 0.0, 1e4):
        alphas, hidden = run(params, jnp.float32(logit))
        assert ((np.asarray(alphas) >= 1) & (np.asarray(alphas) <= 2)).all()
        np.testing.assert_allclose(alphas, 1 + special.expit(logit), rtol=1e-6)
        assert np.isfinite(np.asarray(hidden)).all()


def test_variants_begin_with_the_same_weights() -> None:
    one, two = (nnx.state(model(name), nnx.Param) for name in ("softmax", "learned_alpha"))
    plain = nnx.to_pure_dict(two)
    for block in plain["blocks"].values():
        del block["attention"]["alpha_logit"]
    jax.tree.map(np.testing.assert_array_equal, nnx.to_pure_dict(one), plain)


def test_residual_layers_begin_smaller_and_first_weights_follow_the_config() -> None:
    for rule, deviation in (("fan_in", 1 / np.sqrt(64)), ("nanogpt", 0.02)):
        gpt = model("softmax", width=64, first_weights=rule)
        block = gpt.blocks[0]
        assert np.asarray(block.up.kernel).std() == pytest.approx(deviation, rel=0.03)
        assert np.asarray(block.attention.output.kernel).std() == pytest.approx(
            deviation / np.sqrt(2), rel=0.05
        )


def test_product_and_its_gradients_are_those_of_a_matrix_product(
    rng: np.random.Generator,
) -> None:
    inputs = jnp.asarray(rng.normal(size=(2, 3, 4)), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=(4, 5)), jnp.float32)
    upstream = jnp.asarray(rng.normal(size=(2, 3, 5)), jnp.float32)
    value, pullback = jax.vjp(product, inputs, kernel)
    expected, of_matmul = jax.vjp(jnp.matmul, inputs, kernel)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    for one, two in zip(pullback(upstream), of_matmul(upstream), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5)
    with pytest.raises(NotImplementedError, match="a product over"):
        dot_general(inputs, kernel, (((0,), (0,)), ((), ())))


def test_dropout_keeps_the_mean_and_acts_only_with_a_key(
    tokens: np.ndarray, key: jax.Array, ran: dict[AttentionName, Ran]
) -> None:
    plain = ran["softmax"].hidden
    values = jnp.ones((100, 100))
    kept = np.asarray(dropped(values, 0.2, key))
    assert set(np.unique(kept)) == {np.float32(0.0), np.float32(1.25)}
    assert kept.mean() == pytest.approx(1.0, abs=0.02)
    graph, params = nnx.split(model("softmax", dropout=0.5), nnx.Param)
    run = jax.jit(lambda params, key: nnx.merge(graph, params)(jnp.asarray(tokens), key))
    one, two, other = (np.asarray(run(params, k)) for k in (key, key, jax.random.split(key)[0]))
    np.testing.assert_array_equal(one, two)
    assert (one != other).any()
    assert (one != plain).any()


def test_what_is_measured_of_predictions(rng: np.random.Generator) -> None:
    hidden = jnp.asarray(rng.normal(size=(6, 4)) * 2, jnp.float32)
    table = jnp.asarray(rng.normal(size=(VOCABULARY, 4)), jnp.float32)
    labels = jnp.asarray(rng.integers(VOCABULARY, size=6), jnp.int32)
    logits, epsilon = wide(hidden) @ wide(table).T, 1e-3
    found = {name: measured(name, hidden, table, labels, epsilon) for name in LOSSES}
    for name in LOSSES:
        if name == "entmax15":
            p = wide(sv.entmax15(jnp.asarray(logits, jnp.float32)))
            assert (p == 0).any()
        else:
            p = special.softmax(logits, axis=-1)
        at = p[np.arange(6), np.asarray(labels)]
        smoothed = -np.log((at + epsilon) / (1 + epsilon * VOCABULARY))
        np.testing.assert_allclose(found[name].smoothed, smoothed, rtol=1e-4, atol=1e-6)
        with np.errstate(divide="ignore"):
            np.testing.assert_allclose(found[name].nll, -np.log(at), rtol=1e-4, atol=1e-6)
        np.testing.assert_array_equal(found[name].support, (p > 0).sum(-1))
        np.testing.assert_array_equal(found[name].correct, logits.argmax(-1) == np.asarray(labels))
    losses = {name: np.asarray(objective(name, hidden, table, labels)) for name in LOSSES}
    for name in ("cross_entropy", "fused"):
        np.testing.assert_allclose(losses[name], found[name].nll, rtol=1e-5)
    assert (losses["entmax15"] <= losses["fused"] + 1e-6).all()


def test_graph_alone_is_that_of_a_whole_model() -> None:
    assert graph_of(CONFIG, "ssmax", 5) == initial(CONFIG, "ssmax", 5, 0)[0]
