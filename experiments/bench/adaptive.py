"""Times adaptive softmax beside torch's and beside a full layer, in turns in one process.

`python -m experiments bench adaptive` prints the time of the loss and of all its gradients at
1,024 examples, 256 features and 100,000 classes with labels by Zipf's law. Both sides run on the
same number of threads: as many as the process has cores. Without torch its two lines are missing.
"""

import functools
import importlib.util
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import softmax_variants as sv
from experiments.bench.programs import blocking, compiled
from experiments.bench.torch_side import equal_threads
from experiments.overrides import Parser
from experiments.timing import median_of, ratio_of, rounds_of_one

EXAMPLES, FEATURES, CLASSES, ROUNDS = 1024, 256, 100_000, 9
CUTOFFS, DIVISION = (2_000, 10_000, 50_000), 4

Program = Callable[[], None]
Arrays = dict[str, np.ndarray[Any, Any]]


def arrays(seed: int = 0) -> Arrays:
    """Weights and one batch, which both sides share."""
    rng = np.random.default_rng(seed)

    def table(rows: int, width: int) -> np.ndarray[Any, Any]:
        return (rng.normal(size=(rows, width)) / width**0.5).astype(np.float32)

    found = {"hidden": rng.normal(size=(EXAMPLES, FEATURES)).astype(np.float32)}
    found["full"] = table(CLASSES, FEATURES)
    found["head"] = table(CUTOFFS[0] + len(CUTOFFS), FEATURES)
    bounds = (*CUTOFFS, CLASSES)
    for i in range(len(CUTOFFS)):
        width = FEATURES // DIVISION ** (i + 1)
        found[f"projection_{i}"] = table(width, FEATURES)
        found[f"tail_{i}"] = table(bounds[i + 1] - bounds[i], width)
    mass = 1 / np.arange(1, CLASSES + 1)
    found["labels"] = rng.choice(CLASSES, size=EXAMPLES, p=mass / mass.sum()).astype(np.int32)
    return found


def ours(values: Arrays) -> dict[str, Program]:
    """The loss of adaptive softmax and of a full layer, with the gradients of all parameters."""
    labels = jnp.asarray(values["labels"])
    names = ["head"] + [n for n in values if n.startswith(("projection", "tail"))]

    def adaptive(hidden: jax.Array, p: dict[str, jax.Array]) -> jax.Array:
        tails = [(p[f"projection_{i}"], p[f"tail_{i}"]) for i in range(len(CUTOFFS))]
        return sv.adaptive_softmax_loss(hidden, labels, p["head"], tails=tails).mean()

    def full(hidden: jax.Array, p: dict[str, jax.Array]) -> jax.Array:
        return sv.linear_cross_entropy(hidden, labels, p["full"]).mean()

    def program(loss: Callable[..., jax.Array], kept: list[str]) -> Program:
        hidden = jnp.asarray(values["hidden"])
        parameters = {name: jnp.asarray(values[name]) for name in kept}
        gradient = jax.value_and_grad(loss, argnums=(0, 1))
        return blocking(compiled(gradient, hidden, parameters).run, hidden, parameters)

    return {
        "adaptive_softmax_loss": program(adaptive, names),
        "linear_cross_entropy": program(full, ["full"]),
    }


def torchs(values: Arrays) -> dict[str, Program]:
    """The same in torch."""
    import torch

    equal_threads()
    labels = torch.from_numpy(values["labels"].astype(np.int64))
    hidden = torch.from_numpy(values["hidden"]).requires_grad_()
    module = torch.nn.AdaptiveLogSoftmaxWithLoss(
        FEATURES, CLASSES, list(CUTOFFS), div_value=DIVISION
    )
    with torch.no_grad():
        module.head.weight.copy_(torch.from_numpy(values["head"]))
        for i, (down, up) in enumerate(module.tail):
            down.weight.copy_(torch.from_numpy(values[f"projection_{i}"]))
            up.weight.copy_(torch.from_numpy(values[f"tail_{i}"]))
    weight = torch.from_numpy(values["full"]).requires_grad_()

    def gradient(loss: Callable[[], Any], parameters: list[Any]) -> None:
        for p in (hidden, *parameters):
            p.grad = None
        loss().backward()

    def full() -> Any:
        return torch.nn.functional.cross_entropy(hidden @ weight.T, labels)

    return {
        "torch adaptive": functools.partial(
            gradient, lambda: module(hidden, labels).loss, list(module.parameters())
        ),
        "torch full": functools.partial(gradient, full, [weight]),
    }


def main(argv: Sequence[str]) -> int:
    """Measures all contenders and prints one line for each."""
    Parser(prog="python -m experiments bench adaptive", description=__doc__).parse_args(argv)
    values = arrays()
    programs = ours(values)
    reference = "adaptive_softmax_loss"
    if importlib.util.find_spec("torch") is not None:
        programs |= torchs(values)
        reference = "torch adaptive"
    else:
        print("torch is not installed: only this library is measured")
    rounds = rounds_of_one(programs, ROUNDS)
    for name in programs:
        seconds, ratio = median_of(rounds, name), ratio_of(rounds, name, reference)
        print(f"{name:24} {seconds * 1e3:9.1f} ms  x{ratio:6.2f} of {reference}", flush=True)
    return 0
