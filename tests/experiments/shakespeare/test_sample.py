"""Text goes on as in a plain loop, and each map narrows down what is drawn."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from experiments.shakespeare.config import LossName, SampleConfig
from experiments.shakespeare.model import initial
from experiments.shakespeare.sample import probabilities, written
from tests.experiments.shakespeare.tiny import CONFIG


def test_text_goes_on_from_the_last_tokens_as_in_a_plain_loop() -> None:
    request = SampleConfig(temperature=0.0, tokens=40)
    graph, params = initial(CONFIG, "softmax", 13, 5)
    # Larger weights, so that every token of the window matters.
    params = jax.tree.map(lambda leaf: 6.0 * leaf, params)
    run = jax.jit(lambda params, tokens: nnx.merge(graph, params)(tokens))
    table = np.asarray(nnx.merge(graph, params).table)
    prompt = np.asarray([3, 1, 4], np.int32)
    found = written(CONFIG, "cross_entropy", graph, params, prompt, request)
    tokens = prompt.tolist()
    for _ in range(40):
        seen = tokens[-CONFIG.context :]
        padded = jnp.asarray([seen + [0] * (CONFIG.context - len(seen))], jnp.int32)
        hidden = np.asarray(run(params, padded))[0, len(seen) - 1]
        tokens.append(int((table @ hidden).argmax()))
    assert len(set(tokens)) > 3
    assert found == tokens[3:]


def test_maps_narrow_down_what_is_drawn(rng: np.random.Generator) -> None:
    logits = jnp.asarray(rng.normal(size=(5, 12)) * 2, jnp.float32)
    sparse: LossName = "entmax15"

    def kept(loss: LossName = "cross_entropy", **changes: Any) -> np.ndarray:
        p = np.asarray(probabilities(logits, SampleConfig(**changes), loss))
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
