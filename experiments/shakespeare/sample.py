"""Text from a trained model, with the library's maps from logits to probabilities."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

import softmax_variants as sv
from experiments.environment import compiler_options
from experiments.shakespeare.config import LossName, SampleConfig, ShakespeareConfig

# Tokens of one call of the compiled program.
_BLOCK = 32


def probabilities(
    logits: Float[Array, "*batch classes"], request: SampleConfig, loss: LossName
) -> Float[Array, "*batch classes"]:
    """Returns what the next token is drawn from."""
    if request.temperature == 0.0:
        return sv.hardmax(logits)
    logits = logits / request.temperature
    classes = logits.shape[-1]
    truncations: list[Callable[..., Array]] = []
    if request.top_k:
        truncations.append(functools.partial(sv.top_k_softmax, k=min(request.top_k, classes)))
    if request.top_p < 1.0:
        truncations.append(functools.partial(sv.top_p_softmax, p=request.top_p))
    if request.min_p > 0.0:
        truncations.append(functools.partial(sv.min_p_softmax, min_p=request.min_p))
    kept = None
    for truncated in truncations:
        kept = truncated(logits, where=kept) > 0
    alpha = request.alpha or (1.5 if loss == "entmax15" else 1.0)
    return sv.entmax(logits, where=kept, alpha=alpha)


def compile_sampler(
    config: ShakespeareConfig, loss: LossName, graph: Any, params: Any, request: SampleConfig
) -> Callable[..., Any]:
    """Compiles `(params, window, length, key, first) -> (window, length, tokens)`.

    The window holds `length` tokens from its start; a full one moves on by a token.
    """

    def run(params: Any, window: Array, length: Array, key: Array, first: Array) -> Any:
        model = nnx.merge(graph, params)

        def step(carry: tuple[Array, Array], number: Array) -> tuple[tuple[Array, Array], Array]:
            window, length = carry
            hidden = model(window[None])[0, length - 1]
            chances = probabilities(model.table @ hidden, request, loss)
            of_step = jax.random.fold_in(key, number)
            token = sv.categorical(of_step, jnp.log(chances), where=chances > 0)
            token = token.astype(jnp.int32)
            full = length == config.context
            window = jnp.where(full, jnp.roll(window, -1), window)
            place = jnp.where(full, length - 1, length)
            return (window.at[place].set(token), place + 1), token

        (window, length), tokens = jax.lax.scan(
            step, (window, length), first + jnp.arange(_BLOCK, dtype=jnp.int32)
        )
        return window, length, tokens

    number = jax.ShapeDtypeStruct((), jnp.int32)
    window = jax.ShapeDtypeStruct((config.context,), jnp.int32)
    key = jax.eval_shape(lambda: jax.random.key(0))
    lowered = jax.jit(run).lower(params, window, number, key, number)
    return lowered.compile(compiler_options=compiler_options(level=0))


def generate(
    program: Callable[..., Any],
    config: ShakespeareConfig,
    params: Any,
    prompt: Int[np.ndarray, " tokens"],
    request: SampleConfig,
) -> Iterator[list[int]]:
    """Yields the tokens after a prompt, of which the last `context` are seen."""
    seen = prompt[-config.context :]
    window = jnp.asarray(np.pad(seen, (0, config.context - seen.size)), jnp.int32)
    length, key = jnp.int32(seen.size), jax.random.key(request.seed)
    for first in range(0, request.tokens, _BLOCK):
        window, length, tokens = program(params, window, length, key, jnp.int32(first))
        yield np.asarray(tokens)[: request.tokens - first].tolist()


def written(
    config: ShakespeareConfig,
    loss: LossName,
    graph: Any,
    params: Any,
    prompt: Int[np.ndarray, " tokens"],
    request: SampleConfig,
) -> list[int]:
    """Returns all tokens after a prompt."""
    program = compile_sampler(config, loss, graph, params, request)
    return [
        token for piece in generate(program, config, params, prompt, request) for token in piece
    ]
