"""Text goes on as in a plain loop, and each map narrows down what is drawn."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from experiments.shakespeare.config import SampleConfig
from experiments.shakespeare.sample import compile_sampler, generate, probabilities
from experiments.shakespeare.train import Variant, initial
from tests.experiments.shakespeare.tiny import CONFIG


def test_text_goes_on_from_the_last_tokens_as_in_a_plain_loop() -> None:
    variant, request = Variant("softmax", "cross_entropy"), SampleConfig(temperature=0.0, tokens=40)
    graph, params = initial(CONFIG, variant, 13, 5)
    # Larger weights, so that every token of the window matters.
    params = jax.tree.map(lambda leaf: 6.0 * leaf, params)
    program = compile_sampler(CONFIG, variant, graph, params, request)
    run = jax.jit(lambda params, tokens: nnx.merge(graph, params)(tokens))
    table = np.asarray(nnx.merge(graph, params).table)
    prompt = np.asarray([3, 1, 4], np.int32)
    written = [t for piece in generate(program, CONFIG, params, prompt, request) for t in piece]
    tokens = prompt.tolist()
    for _ in range(40):
        seen = tokens[-CONFIG.context :]
        padded = jnp.asarray([seen + [0] * (CONFIG.context - len(seen))], jnp.int32)
        hidden = np.asarray(run(params, padded))[0, len(seen) - 1]
        tokens.append(int((table @ hidden).argmax()))
    assert len(set(tokens)) > 3
    assert written == tokens[3:]


def test_maps_narrow_down_what_is_drawn(rng: np.random.Generator) -> None:
    logits = jnp.asarray(rng.normal(size=(5, 12)) * 2, jnp.float32)
    dense, sparse = Variant("softmax", "cross_entropy"), Variant("softmax", "entmax15")

    def kept(variant: Variant = dense, **changes: Any) -> np.ndarray:
        p = np.asarray(probabilities(logits, SampleConfig(**changes), variant))
        np.testing.assert_allclose(p.sum(-1), 1.0, rtol=1e-5)
        return np.asarray((p > 0).sum(-1))

    assert (kept() == 12).all()
    assert (kept(top_k=3) == 3).all()
    assert (kept(top_p=0.5) < 12).all()
    assert (kept(top_p=0.5, top_k=3) <= kept(top_p=0.5)).all()
    assert (kept(min_p=0.3) < 12).all()
    assert (kept(temperature=0.0) == 1).all()
    assert (kept(alpha=2.0) <= kept(alpha=1.5)).all()
    np.testing.assert_array_equal(kept(sparse), kept(alpha=1.5))
    assert (kept(sparse, alpha=1.0) == 12).all()
