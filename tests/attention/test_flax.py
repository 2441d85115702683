"""`dot_product_attention` as the `attention_fn` of Flax's own layers, in NNX and in Linen."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import softmax_variants as sv

pytest.importorskip("flax", reason="these are layers of Flax")
from flax import linen as nn
from flax import nnx

HEADS, FEATURES, LENGTH, SEEN = 2, 4, 5, 3
Apply = Callable[..., Any]
entmax15_attention = functools.partial(sv.dot_product_attention, normalizer=sv.entmax15)


def nnx_layer(attention_fn: Any) -> Apply:
    return nnx.MultiHeadAttention(
        HEADS, FEATURES, attention_fn=attention_fn, decode=False, rngs=nnx.Rngs(0)
    )


def linen_layer(attention_fn: Any) -> Apply:
    layer = nn.MultiHeadDotProductAttention(HEADS, attention_fn=attention_fn)
    variables = layer.init(jax.random.key(0), jnp.ones((1, LENGTH, FEATURES)))

    def apply(x: jax.Array, *, is_causal: bool = False, **keywords: Any) -> Any:
        if is_causal:  # a mask of the numbers 0 and 1 is all that Linen has
            keywords["mask"] = nn.make_causal_mask(x[..., 0])
        return layer.apply(variables, x, **keywords)

    return apply


def causal_linen_layer(attention_fn: Any) -> Apply:
    """Linen has no `is_causal`: it stands in the function."""
    apply = linen_layer(functools.partial(attention_fn, is_causal=True))
    return lambda x, *, is_causal: apply(x)


LAYERS = {"nnx": nnx_layer, "linen": linen_layer, "linen partial": causal_linen_layer}


@pytest.mark.parametrize("build", [nnx_layer, linen_layer])
def test_softmax_gives_what_flax_gives(build: Any, rng: np.random.Generator) -> None:
    x = jnp.asarray(rng.normal(size=(2, LENGTH, FEATURES)), jnp.float32)
    own = nnx.dot_product_attention if build is nnx_layer else nn.dot_product_attention
    layers = build(sv.dot_product_attention), build(own)
    ours, theirs = jax.jit(lambda x: [layer(x, is_causal=True) for layer in layers])(x)
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize("build", LAYERS.values(), ids=LAYERS)
def test_nothing_leaks_from_a_masked_position(build: Any, rng: np.random.Generator) -> None:
    """Whatever comes later, NaN too: earlier outputs and their gradients are those without it."""
    layer = build(entmax15_attention)

    @jax.jit
    def early(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        def loss(x: jax.Array) -> tuple[jax.Array, jax.Array]:
            out = layer(x, is_causal=True)[:, :SEEN]
            return jnp.sum(jnp.sin(out)), out

        gradient, out = jax.grad(loss, has_aux=True)(x)
        return gradient, out

    x = jnp.asarray(rng.normal(size=(2, LENGTH, FEATURES)), jnp.float32)
    gradient, out = early(x)
    for filling in (7.0, np.nan, np.inf):
        changed, same = early(x.at[:, SEEN:].set(filling))
        np.testing.assert_allclose(same, out, atol=1e-6)
        np.testing.assert_allclose(changed[:, :SEEN], gradient[:, :SEEN], atol=1e-6)


def test_decoding_step_by_step_is_the_causal_pass(rng: np.random.Generator) -> None:
    """The cache beyond the step holds NaN: no step may see it."""
    x = jnp.asarray(rng.normal(size=(2, LENGTH, FEATURES)), jnp.float32)
    attention_fn = sv.dot_product_attention
    of_nnx: Any = nnx_layer(attention_fn)
    want = of_nnx(x, is_causal=True)
    of_nnx.init_cache(x.shape)
    for cache in (of_nnx.cached_key, of_nnx.cached_value):
        cache[...] = jnp.full_like(cache[...], jnp.nan)
    steps = [of_nnx(x[:, t : t + 1], decode=True) for t in range(LENGTH)]
    np.testing.assert_allclose(jnp.concatenate(steps, 1), want, atol=1e-6)

    of_linen = nn.MultiHeadDotProductAttention(HEADS, attention_fn=attention_fn, decode=True)
    variables = of_linen.init(jax.random.key(0), x)
    plain: Any = nn.MultiHeadDotProductAttention(HEADS, attention_fn=attention_fn)
    want = plain.apply({"params": variables["params"]}, x, mask=nn.make_causal_mask(x[..., 0]))
    cache = {
        name: jnp.full_like(value, jnp.nan) if value.ndim else value
        for name, value in variables["cache"].items()
    }
    step = jax.jit(
        lambda cache, x: of_linen.apply(
            {"params": variables["params"], "cache": cache}, x, mutable="cache"
        )
    )
    steps = []
    for t in range(LENGTH):
        out, changed = step(cache, x[:, t : t + 1])
        cache = changed["cache"]
        steps.append(out)
    np.testing.assert_allclose(jnp.concatenate(steps, 1), want, atol=1e-6)


class _Anything(dict[str, Any]):
    def __contains__(self, name: object) -> bool:
        return True


class _TakesAnything(inspect.Signature):
    parameters = property(lambda self: _Anything())


def test_the_signature_names_every_keyword_that_flax_passes() -> None:
    """Linen drops, without a word, what a signature does not name."""
    passed: set[str] = set()

    def record(query: Any, key: Any, value: Any, **keywords: Any) -> Any:
        passed.update(keywords)
        return query

    record.__signature__ = _TakesAnything()  # type: ignore[attr-defined] # read by `inspect`
    x = jnp.ones((1, LENGTH, FEATURES))
    for build in (nnx_layer, linen_layer):
        build(record)(x, sow_weights=True)
    assert {"mask", "is_causal", "module", "dropout_rng", "force_fp32_for_softmax"} <= passed
    assert passed <= set(inspect.signature(sv.dot_product_attention).parameters)


def test_the_weights_are_sown(rng: np.random.Generator) -> None:
    x = jnp.asarray(rng.normal(size=(2, LENGTH, FEATURES)), jnp.float32)
    attention_fn = sv.dot_product_attention
    sown: list[Any] = []
    capture: Any = nnx.capture(nnx.Intermediate)
    forward = capture(lambda layer, x: layer(x, is_causal=True, sow_weights=True))
    _, captured = forward(nnx_layer(attention_fn), x)
    sown.append(captured["attention_weights"][0])
    _, state = linen_layer(attention_fn)(
        x, is_causal=True, sow_weights=True, mutable=["intermediates"]
    )
    sown.append(state["intermediates"]["attention_weights"][0])
    for weights in sown:
        assert weights.shape == (2, HEADS, LENGTH, LENGTH)
        np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-6)
        assert (jnp.triu(weights, 1) == 0).all()


def test_the_einsums_of_linen_are_used(rng: np.random.Generator) -> None:
    x = jnp.asarray(rng.normal(size=(2, LENGTH, FEATURES)), jnp.float32)
    calls: list[str] = []

    def einsum(text: str, *operands: Any) -> jax.Array:
        calls.append(text)
        return jnp.einsum(text, *operands)

    layers: list[Any] = [
        nn.MultiHeadDotProductAttention(
            HEADS,
            attention_fn=sv.dot_product_attention,
            qk_attn_weights_einsum_cls=made,
            attn_weights_value_einsum_cls=made,
        )
        for made in (None, lambda: einsum)
    ]
    variables = layers[0].init(jax.random.key(0), x)
    plain, counted = (layer.apply(variables, x) for layer in layers)
    np.testing.assert_allclose(counted, plain, atol=1e-6)
    assert calls == ["...qhd,...khd->...hqk", "...hqk,...khd->...qhd"]
