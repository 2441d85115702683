"""A model on the whole validation part, in windows that do not overlap."""

import dataclasses
import functools
import math
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from experiments.shakespeare.attention import Weights
from experiments.shakespeare.config import ShakespeareConfig
from experiments.shakespeare.corpus import Corpus
from experiments.shakespeare.losses import Measured, measured
from experiments.shakespeare.train import Variant

# Tokens that are predicted at once: more of them take memory, and are not faster.
_TOKENS = 4096


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The compiled evaluation of a variant.

    Attributes:
      run: `(params, inputs, labels, seen) -> (Measured, zeros)`, for all windows in one call.
      inputs: [groups, windows, context] ids.
      labels: The token after each.
      seen: Whether the text has that token: the last windows are filled up.
      characters: How many characters the labels are.
      seconds: What compiling took.
    """

    run: Callable[..., tuple[Measured, Array]]
    inputs: Int[Array, "groups windows context"]
    labels: Int[Array, "groups windows context"]
    seen: Array
    characters: int
    seconds: float


def compile_evaluation(
    config: ShakespeareConfig,
    variant: Variant,
    graph: Any,
    params: Any,
    corpus: Corpus,
) -> Evaluation:
    """Cuts the validation part into windows, and compiles its evaluation.

    Every token but the first is predicted exactly once, from those before it in its window: the
    first of a window from one token, the last from `context`.
    """
    began, validation = time.perf_counter(), corpus.validation
    windows = math.ceil((validation.size - 1) / config.context)
    at_once = min(windows, max(1, _TOKENS // config.context))
    shape = (math.ceil(windows / at_once), at_once, config.context)
    padded = np.zeros(math.prod(shape) + 1, np.int32)
    padded[: validation.size] = validation
    inputs, labels = padded[:-1].reshape(shape), padded[1:].reshape(shape)
    seen = (np.arange(labels.size) < validation.size - 1).reshape(shape)
    arrays = jnp.asarray(inputs), jnp.asarray(labels), jnp.asarray(seen)
    run = jax.jit(functools.partial(_evaluate, config, variant, graph))
    compiled = run.lower(params, *arrays).compile()
    return Evaluation(compiled, *arrays, corpus.characters, time.perf_counter() - began)


def evaluate(evaluation: Evaluation, params: Any) -> dict[str, Any]:
    """Returns the figures of a model, ready for JSON; an infinite loss is None.

    `attention_zeros` has for each layer the fraction of visible keys whose weight is exactly 0.
    """
    arrays = evaluation.inputs, evaluation.labels, evaluation.seen
    found, zeros = evaluation.run(params, *arrays)
    seen = np.asarray(evaluation.seen)
    values = {
        name: np.asarray(array)[seen].astype(np.float64) for name, array in found._asdict().items()
    }
    bits = values["smoothed"].size / evaluation.characters / math.log(2.0)
    exact, smoothed = float(values["nll"].mean()), float(values["smoothed"].mean())
    return {
        "loss": _number(float(values["loss"].mean())),
        "nll": _number(exact),
        "bits": _number(exact * bits),
        "smoothed": _number(smoothed),
        "smoothed_bits": _number(smoothed * bits),
        "accuracy": float(values["correct"].mean()),
        "support": float(values["support"].mean()),
        "impossible": float(np.isinf(values["nll"]).mean()),
        "attention_zeros": [_number(float(share)) for share in np.asarray(zeros)],
    }


def _evaluate(
    config: ShakespeareConfig,
    variant: Variant,
    graph: Any,
    params: Any,
    inputs: Array,
    labels: Array,
    seen: Array,
) -> tuple[Measured, Float[Array, " layers"]]:
    model = nnx.merge(graph, params)
    visible = jnp.tril(jnp.ones((config.context, config.context), bool))

    def group(zeros: Array, part: tuple[Array, Array, Array]) -> tuple[Array, Measured]:
        tokens, following, there = part
        weights = Weights()
        hidden = model(tokens, weights=weights)
        # What fills the last windows up is not counted.
        pairs = there[:, None, :, None] & visible[None, None]
        more = [jnp.sum((layer == 0) & pairs, dtype=jnp.float32) for layer in weights.layers]
        found = measured(variant.loss, hidden, model.table, following, config.epsilon)
        return zeros + jnp.stack(more), found

    zeros, found = jax.lax.scan(group, jnp.zeros(config.layers), (inputs, labels, seen))
    total = config.heads * jnp.sum(jnp.where(seen, _visible_keys(config.context), 0.0))
    return found, zeros / total


def _visible_keys(context: int) -> Float[Array, "1 1 context"]:
    return jnp.arange(1.0, context + 1.0)[None, None]


def _number(value: float) -> float | None:
    """Returns a number for JSON, which has no NaN and no infinity."""
    return value if math.isfinite(value) else None
