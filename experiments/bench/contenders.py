"""What is timed: the library's maps, `jax.nn.softmax` as the reference, and the installed peers."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import softmax_variants as sv
from experiments import peers
from experiments.bench.programs import Program, blocking, compiled
from experiments.bench.torch_side import device, tensor, waited_for

REFERENCE = "jax.nn.softmax"
TARGET = 3.0
FORWARD, BOTH = "forward", "forward + backward"
MODES = (FORWARD, BOTH)


class Contender(NamedTuple):
    """A map of `(logits, alpha)` that is timed.

    Attributes:
      name: how tables call it.
      package: where it comes from.
      call: `(logits, alpha) -> probabilities`, alpha a traced scalar that the map may ignore.
      alpha: the alpha it is given.
      alpha_gradient: whether the backward pass also differentiates by alpha.
      target: the largest ratio to the reference that is aimed at.
      torch: whether it is called with torch tensors.
    """

    name: str
    package: str
    call: Callable[[Any, Any], Any]
    alpha: float = 1.5
    alpha_gradient: bool = False
    target: float | None = None
    torch: bool = False


class Prepared(NamedTuple):
    """A contender made ready for one input and mode, and what preparing it showed."""

    call: Callable[[], None]
    compile_seconds: float | None = None
    temporary_bytes: int | None = None


def _entmax(x: jax.Array, alpha: jax.Array) -> jax.Array:
    return sv.entmax(x, alpha=alpha)


LIBRARY = (
    Contender(REFERENCE, "jax", lambda x, _: jax.nn.softmax(x)),
    Contender("softmax", "softmax-variants", lambda x, _: sv.softmax(x)),
    Contender("sparsemax", "softmax-variants", lambda x, _: sv.sparsemax(x), target=TARGET),
    Contender("entmax15", "softmax-variants", lambda x, _: sv.entmax15(x), target=TARGET),
    *(
        Contender(f"entmax, alpha = {alpha:g}", "softmax-variants", _entmax, alpha, target=TARGET)
        for alpha in (1.25, 1.5, 1.75, 2.0)
    ),
    Contender("entmax 1.5, with alpha's gradient", "softmax-variants", _entmax, 1.5, True),
)


def contenders(with_peers: bool) -> list[Contender]:
    """All of them, the reference first."""
    found = [p for p in peers.installed() if with_peers and (p.backend != "torch" or device())]
    # Bisection takes the same passes whatever alpha is; at 1.5 it stands for all of them.
    return [
        *LIBRARY,
        *(
            Contender(peer.name, peer.package, peer.call, alpha=1.5, torch=peer.backend == "torch")
            for peer in found
        ),
    ]


def prepare(contender: Contender, mode: str, x: np.ndarray, g: np.ndarray) -> Prepared:
    """Compiles the contender and puts its inputs on the device."""
    if contender.torch:
        return _prepare_torch(contender, mode, x, g)
    program = _compile(contender.call, contender.alpha_gradient, mode, x.shape)
    inputs = jax.device_put((x, g, np.float32(contender.alpha)))
    call = blocking(program.run, *inputs)
    return Prepared(call, program.compile_seconds, program.temporary_bytes)


@functools.cache
def _compile(
    call: Callable[[Any, Any], Any], alpha_gradient: bool, mode: str, shape: tuple[int, ...]
) -> Program:
    """The program; alpha is traced, so one serves every alpha.

    Forward plus backward is the gradient of `sum(p * g)` by the logits (and by alpha).
    """

    def forward(logits: jax.Array, weights: jax.Array, alpha: jax.Array) -> jax.Array:
        return jnp.asarray(call(logits, alpha))

    def weighted(logits: jax.Array, weights: jax.Array, alpha: jax.Array) -> jax.Array:
        return jnp.sum(forward(logits, weights, alpha) * weights)

    program = forward if mode == FORWARD else jax.grad(weighted, (0, 2) if alpha_gradient else 0)
    rows = jax.ShapeDtypeStruct(shape, jnp.float32)
    return compiled(program, rows, rows, jax.ShapeDtypeStruct((), jnp.float32))


def _prepare_torch(contender: Contender, mode: str, x: np.ndarray, g: np.ndarray) -> Prepared:
    import torch

    logits, weights = tensor(x), tensor(g)

    def forward() -> None:
        with torch.no_grad():
            contender.call(logits, contender.alpha)

    def both() -> None:
        leaf = logits.detach().requires_grad_()
        torch.autograd.grad((contender.call(leaf, contender.alpha) * weights).sum(), leaf)

    return Prepared(waited_for(forward if mode == FORWARD else both))


def residual_bytes(contender: Contender, x: np.ndarray) -> int | None:
    """Bytes that the forward pass keeps for the backward pass; None for torch."""
    if contender.torch:
        return None
    alpha = jnp.float32(contender.alpha)
    if contender.alpha_gradient:
        pull = jax.vjp(contender.call, jnp.asarray(x), alpha)[1]
    else:
        pull = jax.vjp(lambda logits: contender.call(logits, alpha), jnp.asarray(x))[1]
    kept = {
        leaf.unsafe_buffer_pointer(): leaf.nbytes
        for leaf in jax.tree.leaves(pull)
        if isinstance(leaf, jax.Array)
    }
    return sum(kept.values())
