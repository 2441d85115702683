"""The layers for Flax give what the functions give, in NNX and in Linen alike."""

import functools
from collections.abc import Callable
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

HEADS, SIZE, LENGTH = 2, 3, 5
MASK = np.array([True, True, False, True])


def sigmoid(x: jax.Array) -> Any:
    return 1 / (1 + np.exp(-np.asarray(x)))


MAPS: dict[str, tuple[dict[str, Any], Callable[..., Any]]] = {
    "Softmax": (
        {"shape": (HEADS, 1, 1)},
        lambda p, *x: sv.softmax(*x, temperature=np.exp(p["log_temperature"])),
    ),
    "Entmax": (
        {"shape": (HEADS, 1, 1), "low": 1.1, "high": 1.9},
        lambda p, *x: sv.entmax(*x, alpha=1.1 + 0.8 * sigmoid(p["raw_alpha"])),
    ),
    "MultiMax": (
        {"shape": (HEADS, 1)},
        lambda p, *x: sv.multimax(*x, temperatures=p["temperatures"], thresholds=p["thresholds"]),
    ),
}


def randomized(layer: nnx.Module, rng: np.random.Generator) -> dict[str, jax.Array]:
    """New values for all parameters, by their names."""
    for _, param in nnx.to_flat_state(nnx.state(layer, nnx.Param)):
        param[...] = jnp.asarray(rng.normal(size=param.shape), jnp.float32)
    nnx.update(layer, nnx.state(layer, nnx.Param))
    return {
        str(path[-1]): param[...] for path, param in nnx.to_flat_state(nnx.state(layer, nnx.Param))
    }


@pytest.mark.parametrize("name", MAPS)
def test_a_map_with_parameters_is_the_function(name: str, rng: np.random.Generator) -> None:
    keywords, function = MAPS[name]
    layer: Any = getattr(svn, name)(**keywords)
    params = randomized(layer, rng)
    x = jnp.asarray(rng.normal(size=(HEADS, LENGTH, 4)), jnp.float32)
    found = layer(x, -1, MASK)
    np.testing.assert_allclose(found, function(params, x, -1, MASK), atol=1e-6)
    of_linen = getattr(svl, name)(**keywords)
    np.testing.assert_array_equal(of_linen.apply({"params": params}, x, -1, MASK), found)
    first = of_linen.init(jax.random.key(0), x)["params"]
    assert jax.tree.map(jnp.shape, first) == jax.tree.map(jnp.shape, params)


def test_the_first_values_are_those_asked_for() -> None:
    np.testing.assert_allclose(svn.Softmax(temperature=0.3).temperature, 0.3, rtol=1e-6)
    np.testing.assert_allclose(svn.Entmax(alpha=1.05).alpha, 1.05, rtol=1e-6)
    np.testing.assert_allclose(svn.Entmax((2, 1), alpha=3.0, high=5.0).alpha, 3.0, rtol=1e-6)
    x = jnp.array([1.0, 2.0, 4.0])
    np.testing.assert_allclose(svn.MultiMax()(x), sv.softmax(x), atol=1e-6)


def test_alpha_stays_in_its_range_wherever_a_step_takes_it() -> None:
    layer = svn.Entmax()
    for raw in (-1e30, -50.0, 50.0, 1e30):
        layer.raw_alpha[...] = jnp.float32(raw)
        assert 1 <= layer.alpha <= 2
        assert jnp.isfinite(layer(jnp.array([3.0, 1.0]))).all()


SCHEDULE = optax.exponential_decay(2.0, 1, 0.5)


@pytest.mark.parametrize("hard", [False, True])
def test_gumbel_softmax_draws_from_its_stream_and_cools(hard: bool) -> None:
    x = jnp.array([[0.3, -0.2, 1.0, 0.0]])
    layer = svn.GumbelSoftmax(SCHEDULE, hard=hard, rngs=nnx.Rngs(0, sample=1))
    of_linen = svl.GumbelSoftmax(SCHEDULE, hard=hard)
    variables: Any = of_linen.init(jax.random.key(0), x)
    for call in range(2):
        rngs = {"sample": jax.random.key(call)}
        keys = nnx.clone(layer).rngs(), of_linen.bind(variables, rngs=rngs).make_rng("sample")
        of_nnx = layer(x)
        of_the_other, changed = of_linen.apply(variables, x, rngs=rngs, mutable="counts")
        variables = {**variables, **changed}
        for found, key in zip((of_nnx, of_the_other), keys, strict=True):
            want = sv.gumbel_softmax(key, x, temperature=2.0 * 0.5**call, hard=hard)
            np.testing.assert_allclose(found, want, atol=1e-6)
    assert layer.count is not None
    assert layer.count[...] == variables["counts"]["count"] == 2
    # At a step of one's own nothing is counted; without noise nothing is drawn.
    layer(x, step=7)
    layer.deterministic = True
    quiet: list[Any] = [layer(x, step=1), layer(x, step=1)]
    quiet.append(of_linen.apply(variables, x, step=1, deterministic=True))
    want = jax.nn.one_hot(jnp.array([2]), 4) if hard else sv.softmax(x)
    for found in quiet:
        np.testing.assert_allclose(found, want, atol=1e-6)
    assert layer.count[...] == 2


def test_a_mixture_of_softmaxes_is_mixed_as_it_says(rng: np.random.Generator) -> None:
    layer = svn.MixtureOfSoftmaxes(4, 6, 3, rngs=nnx.Rngs(0))
    params = randomized(layer, rng)
    hidden = rng.normal(size=(2, 4)).astype(np.float32)
    p = {name: np.asarray(value, np.float64) for name, value in params.items()}
    want = np.zeros((2, 6))
    for b in range(2):
        prior = np.exp(p["prior_weight"] @ hidden[b])
        for k in range(3):
            latent = np.tanh(p["latent_weight"][k] @ hidden[b] + p["latent_bias"][k])
            scores = np.exp(p["weight"] @ latent + p["bias"])
            want[b] += prior[k] / prior.sum() * scores / scores.sum()
    of_linen: Any = svl.MixtureOfSoftmaxes(4, 6, 3)

    @jax.jit
    def of_both(params: Any, hidden: jax.Array) -> Any:
        variables = {"params": {"mixture": params}}
        of_linens = [of_linen.apply(variables, hidden, method=m) for m in (None, "log_probs")]
        return [layer(hidden), layer.log_probs(hidden)], of_linens

    for found, logs in of_both(params, hidden):
        np.testing.assert_allclose(found, want, atol=1e-6)
        np.testing.assert_allclose(logs, np.log(want), atol=1e-5)


ATTENTION: dict[str, dict[str, Any]] = {
    "sinks": {"sinks": 0.5},
    "ssmax": {"normalizer": "entmax15", "position_scale": "ssmax"},
    "asentmax": {"normalizer": "sparsemax", "position_scale": "asentmax"},
}


def attention_of(case: str, params: dict[str, jax.Array]) -> Callable[..., jax.Array]:
    """The function with the keywords that the parameters stand for."""
    counts = sv.visible_counts(LENGTH, LENGTH, is_causal=True, local_window_size=2)
    match case:
        case "sinks":
            keywords: dict[str, Any] = {"n": jnp.exp(params["log_sinks"])}
        case "ssmax":
            scale = sv.scalable_softmax_scale(counts, params["s"], head_size=SIZE)
            keywords = {"normalizer": sv.entmax15, "scale": scale}
        case _:
            beta = jnp.log1p(jnp.exp(params["raw_beta"]))
            gamma = 3 * jnp.tanh(params["raw_gamma"])
            scale = sv.asentmax_scale(counts, params["delta"], beta, gamma, head_size=SIZE)
            keywords = {"normalizer": sv.sparsemax, "scale": scale}
    return functools.partial(sv.dot_product_attention, **keywords)


@pytest.mark.parametrize("case", ATTENTION)
def test_attention_with_parameters_is_the_function(case: str, rng: np.random.Generator) -> None:
    layer = svn.DotProductAttention(HEADS, **ATTENTION[case])
    params = randomized(layer, rng)
    q, k, v = (rng.normal(size=(2, LENGTH, HEADS, SIZE)).astype(np.float32) for _ in range(3))
    found = layer(q, k, v, is_causal=True, local_window_size=2)
    want = attention_of(case, params)(q, k, v, is_causal=True, local_window_size=2)
    np.testing.assert_allclose(found, want, atol=1e-6)
    of_linen: Any = svl.DotProductAttention(HEADS, is_causal=True, **ATTENTION[case])
    near = np.arange(LENGTH)[:, None] - np.arange(LENGTH) <= 2
    windowed = of_linen.apply({"params": params}, q, k, v, mask=near)
    np.testing.assert_array_equal(windowed, found)


@pytest.mark.slow
def test_attention_in_blocks_has_the_same_parameters(rng: np.random.Generator) -> None:
    """Learned sinks with a learned alpha, which only the blocks have, and position scales."""
    keywords: dict[str, Any] = {"sinks": 0.5, "position_scale": "ssmax", "flash": True}
    layer: Any = svn.DotProductAttention(
        HEADS, normalizer=svn.Entmax((HEADS, 1, 1), alpha=1.3), **keywords
    )
    shape = (2, LENGTH, HEADS, SIZE)
    q, k, v = (jnp.asarray(rng.normal(size=shape), jnp.float32) for _ in range(3))
    s = jnp.array([0.4, 0.8]).reshape(HEADS, 1, 1)
    layer.params["s"][...] = s
    of_linen: Any = svl.DotProductAttention(
        HEADS, normalizer=svl.Entmax((HEADS, 1, 1), alpha=1.3), is_causal=True, **keywords
    )
    params = dict(of_linen.init(jax.random.key(0), q, k, v)["params"]) | {"s": s}

    @jax.jit
    def all_ways(q: jax.Array, k: jax.Array, v: jax.Array) -> list[jax.Array]:
        counts = sv.visible_counts(LENGTH, LENGTH, is_causal=True)
        scale = sv.scalable_softmax_scale(counts, s, head_size=SIZE)
        return [
            sv.flash_attention(
                q, k, v, alpha=layer.normalizer.alpha, n=0.5, scale=scale, is_causal=True
            ),
            layer(q, k, v, is_causal=True),
            of_linen.apply({"params": params}, q, k, v),
        ]

    want, of_nnx, of_the_other = all_ways(q, k, v)
    np.testing.assert_allclose(of_nnx, want, atol=1e-6)
    np.testing.assert_allclose(of_the_other, want, atol=1e-6)
    # What both ways can do, both do alike.
    plain, blocks = (
        svn.DotProductAttention(HEADS, normalizer="entmax15", flash=flash)
        for flash in (False, True)
    )
    rule: dict[str, Any] = {"key_value_seq_lengths": jnp.array([2, 4]), "local_window_size": 2}
    np.testing.assert_allclose(plain(q, k, v, **rule), blocks(q, k, v, **rule), atol=1e-6)
    with pytest.raises(TypeError, match="windw"):
        blocks(q, k, v, windw=2)
    with pytest.raises(ValueError, match="dropout_rate must be 0"):
        layer(q, k, v, dropout_rate=0.1, dropout_rng=jax.random.key(0))
    with pytest.raises(ValueError, match="module must be None"):
        layer(q, k, v, module=layer)


def test_multi_head_attention_is_flaxs_with_another_normalizer(rng: np.random.Generator) -> None:
    x = jnp.asarray(rng.normal(size=(2, LENGTH, 4)), jnp.float32)
    layer: Any = svn.MultiHeadAttention(
        HEADS, 4, normalizer=svn.Softmax((HEADS, 1, 1)), is_causal=True, rngs=nnx.Rngs(0)
    )
    temperature = jnp.array([0.3, 2.0]).reshape(HEADS, 1, 1)
    layer.attention_fn.normalizer.log_temperature[...] = jnp.log(temperature)
    plain = nnx.MultiHeadAttention(HEADS, 4, decode=False, rngs=nnx.Rngs(0))
    for name in ("query", "key", "value", "out"):
        setattr(plain, name, getattr(layer, name))
    plain.attention_fn = functools.partial(
        sv.dot_product_attention,
        normalizer=functools.partial(sv.softmax, temperature=temperature),
    )
    found, want = jax.jit(lambda x: [layer(x), plain(x, is_causal=True)])(x)
    np.testing.assert_allclose(found, want, atol=1e-6)
    # Decoding sees the cache and nothing else, in whatever way Flax passes `is_causal` on.
    layer.init_cache(x.shape)
    step = nnx.jit(lambda layer, x: layer(x, decode=True))
    steps = [step(layer, x[:, t : t + 1]) for t in range(LENGTH)]
    np.testing.assert_allclose(jnp.concatenate(steps, 1), want, atol=1e-6)

    of_linen: Any = svl.MultiHeadAttention(
        HEADS, normalizer=svl.Softmax((HEADS, 1, 1)), is_causal=True
    )
    variables: Any = jax.jit(of_linen.init)(jax.random.key(0), x)
    projections = {
        name: {"kernel": getattr(layer, name).kernel[...], "bias": getattr(layer, name).bias[...]}
        for name in ("query", "key", "value", "out")
    }
    params = {**variables["params"], "heads": projections}
    params["normalizer"] = {"log_temperature": jnp.log(temperature)}
    np.testing.assert_allclose(of_linen.apply({"params": params}, x), want, atol=1e-6)
    decoder = of_linen.clone(decode=True)
    cache = jax.jit(decoder.init)(jax.random.key(0), x)["cache"]
    of_cache = jax.jit(
        lambda cache, x: decoder.apply({"params": params, "cache": cache}, x, mutable="cache")
    )
    steps = []
    for t in range(LENGTH):
        out, changed = of_cache(cache, x[:, t : t + 1])
        cache = changed["cache"]
        steps.append(out)
    np.testing.assert_allclose(jnp.concatenate(steps, 1), want, atol=1e-6)


CLASSES, FEATURES = 9, 4
COUNTS = np.arange(1, CLASSES + 1)[::-1]
LAYERS: dict[str, Any] = {
    "full": sv.FullSoftmax(CLASSES, FEATURES),
    "sampled": sv.SampledSoftmax(
        CLASSES, FEATURES, sampler=sv.UnigramSampler(COUNTS), num_sampled=4
    ),
    "in batch": sv.InBatchSoftmax(CLASSES, FEATURES, sampler=sv.UnigramSampler(COUNTS, 1.0)),
    "hierarchical": sv.HierarchicalSoftmax(tree=sv.huffman_tree(COUNTS), features=FEATURES),
    "adaptive": sv.AdaptiveSoftmax(features=FEATURES, classes=CLASSES, cutoffs=(3,)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_an_output_layer_is_its_head(name: str, rng: np.random.Generator) -> None:
    head = LAYERS[name]
    layer: Any = svn.OutputLayer(head, rngs=nnx.Rngs(0))
    params = randomized(layer, rng)
    hidden = rng.normal(size=(5, FEATURES)).astype(np.float32)
    labels, where = np.array([0, 2, 4, 8, 3]), np.array([True, True, False, True, True])
    of_linen: Any = svl.OutputLayer(head)
    variables: Any = of_linen.init(jax.random.key(0), hidden, labels)
    variables = {**variables, "params": {"head": params}}
    rngs = {"sample": jax.random.key(5)}
    keys = nnx.clone(layer).rngs(), of_linen.bind(variables, rngs=rngs).make_rng("sample")
    losses = (
        layer(hidden, labels, where=where),
        of_linen.apply(variables, hidden, labels, where=where, rngs=rngs),
    )
    for found, key in zip(losses, keys, strict=True):
        want = head.loss(params, hidden, labels, key=key, where=where)
        np.testing.assert_allclose(found, want, atol=1e-6)
    if name not in ("hierarchical", "sampled"):
        return
    key = nnx.clone(layer).rngs()
    np.testing.assert_array_equal(layer.sample(hidden), head.sample(params, hidden, key))
    for method, arguments in (("log_prob", (labels,)), ("log_probs", ()), ("top_k", (3,))):
        answer = getattr(head, method)(params, hidden, *arguments)
        for found in (
            getattr(layer, method)(hidden, *arguments),
            of_linen.apply(variables, hidden, *arguments, method=method),
        ):
            jax.tree.map(np.testing.assert_array_equal, found, answer)


def test_a_missing_stream_is_named() -> None:
    """One error for each, at the latest where the key is needed."""
    x, labels = jnp.zeros((2, FEATURES)), jnp.zeros(2, jnp.int32)
    heads = jnp.zeros((1, 2, HEADS, SIZE))
    sampled = svl.OutputLayer(LAYERS["sampled"])
    variables = sampled.init(jax.random.key(0), x, labels)
    random: Any = svl.DotProductAttention(HEADS, normalizer="gumbel_softmax")
    calls: list[Callable[[], Any]] = [
        lambda: svn.GumbelSoftmax(rngs=nnx.Rngs(params=0)),
        lambda: svn.OutputLayer(LAYERS["sampled"], rngs=nnx.Rngs(params=0))(x, labels),
        lambda: svn.OutputLayer(LAYERS["full"], rngs=nnx.Rngs(params=0)).sample(x),
        lambda: svn.DotProductAttention(HEADS, normalizer="gumbel_softmax"),
        lambda: svl.GumbelSoftmax().apply({}, x),
        lambda: sampled.apply(variables, x, labels),
        lambda: random.apply({}, heads, heads, heads),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="stream 'sample'"):
            call()
    drawn = random.apply({}, heads, heads, heads, rngs={"sample": jax.random.key(0)})
    assert drawn.shape == heads.shape
    # The loss of this head draws nothing: it needs no stream.
    svn.OutputLayer(LAYERS["full"], rngs=nnx.Rngs(params=0))(x, labels)


@pytest.mark.parametrize("module", [svn, svl], ids=["nnx", "linen"])
@pytest.mark.parametrize(
    ("name", "keywords", "text"),
    [
        ("Softmax", {"temperature": 0.0}, "temperature must lie in"),
        ("Entmax", {"alpha": 2.0}, "alpha must lie in"),
        ("Entmax", {"low": 2.0, "high": 1.0}, "low must be"),
        ("DotProductAttention", {"num_heads": 2, "sinks": -1.0}, "sinks must lie in"),
        ("DotProductAttention", {"num_heads": 2, "normalizer": "softmx"}, "normalizer must be one"),
        ("DotProductAttention", {"num_heads": 2, "position_scale": "log"}, "position_scale must"),
        (
            "DotProductAttention",
            {"num_heads": 2, "normalizer": "softpick", "flash": True},
            "flash must be False",
        ),
        (
            "DotProductAttention",
            {"num_heads": 2, "normalizer": "entmax15", "sinks": 1.0},
            "sinks must be None",
        ),
    ],
)
def test_an_error_names_the_argument(
    module: Any, name: str, keywords: dict[str, Any], text: str
) -> None:
    x = jnp.zeros((1, 2, 2, 3))
    inputs = (x, x, x) if name == "DotProductAttention" else (x,)

    def build() -> None:
        layer = getattr(module, name)(**keywords)
        if isinstance(layer, nn.Module):
            layer.init(jax.random.key(0), *inputs)

    with pytest.raises(ValueError, match=text):
        build()
