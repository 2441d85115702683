"""Times the losses of an output layer beside the forms that write all logits down.

`python -m experiments bench linear` prints the time of a gradient and the temporary memory of its
program, each also as a ratio to the plain form's, all measured in the same process in turns.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

import softmax_variants as sv
from experiments.bench.programs import blocking, compiled
from experiments.overrides import Parser
from experiments.timing import median_of, ratio_of, rounds_of_one

EXAMPLES, FEATURES, CLASSES, ROUNDS = 1024, 256, 50_257, 9


def plain(h: jax.Array, y: jax.Array, w: jax.Array, b: jax.Array) -> jax.Array:
    """Cross-entropy from the logits of all classes."""
    x = h @ w.T + b[None, :]
    return jax.nn.logsumexp(x, axis=-1) - jnp.take_along_axis(x, y[:, None], axis=-1)[:, 0]


def plain_entmax(h: jax.Array, y: jax.Array, w: jax.Array, b: jax.Array) -> jax.Array:
    """The loss of entmax, alpha 1.5, from the logits of all classes."""
    return sv.entmax_loss(h @ w.T + b[None, :], y)


CONTENDERS: dict[str, tuple[str, Callable[..., jax.Array]]] = {
    "plain logsumexp": ("plain logsumexp", plain),
    "linear_cross_entropy": ("plain logsumexp", sv.linear_cross_entropy),
    "plain entmax_loss": ("plain entmax_loss", plain_entmax),
    "linear_entmax_loss": ("plain entmax_loss", sv.linear_entmax_loss),
}


def _mean(loss: Callable[..., jax.Array], *arguments: jax.Array) -> jax.Array:
    return loss(*arguments).mean()


def main(argv: Sequence[str]) -> int:
    """Measures all contenders and prints one line for each."""
    Parser(prog="python -m experiments bench linear", description=__doc__).parse_args(argv)
    rng = np.random.default_rng(0)
    h = jnp.asarray(rng.normal(size=(EXAMPLES, FEATURES)), jnp.float32)
    w = jnp.asarray(rng.normal(size=(CLASSES, FEATURES)) / FEATURES**0.5, jnp.float32)
    b = jnp.asarray(rng.normal(size=CLASSES), jnp.float32)
    y = jnp.asarray(rng.integers(0, CLASSES, size=EXAMPLES), jnp.int32)
    programs: dict[str, Callable[[], None]] = {}
    memory = {}
    for name, (_, loss) in CONTENDERS.items():
        gradient = jax.value_and_grad(functools.partial(_mean, loss), argnums=(0, 2, 3))
        program = compiled(gradient, h, y, w, b)
        memory[name] = program.temporary_bytes
        programs[name] = blocking(program.run, h, y, w, b)
    rounds = rounds_of_one(programs, ROUNDS)
    for name, (reference, _) in CONTENDERS.items():
        seconds, ratio = median_of(rounds, name), ratio_of(rounds, name, reference)
        print(
            f"{name:24} {seconds * 1e3:9.1f} ms  x{ratio:5.2f}  "
            f"{memory[name] / 1e6:7.1f} MB  1/{memory[reference] / memory[name]:.1f}",
            flush=True,
        )
    return 0
