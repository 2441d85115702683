"""What a suite is made of: programs in groups that are compared with each other."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

FORWARD, BOTH, STEP = "forward", "forward + backward", "step"
OURS = "softmax-variants"


@dataclasses.dataclass(frozen=True)
class Case:
    """A program that is measured.

    Attributes:
      name: how tables call it; a filter looks into it.
      package: where it comes from.
      function: what is timed.
      arguments: makes what it is called with; on jax arrays, unless it is torch's.
      torch: whether it is called with torch tensors.
      differentiated: the arguments that a backward pass differentiates by; none: forward only.
      reads_all: whether every byte that goes in is read: only then do these bytes bound the time.
      flops: of the matrix products that it cannot do without, in a forward pass; None where
        counting the operations of the program says it.
      donated: the argument whose memory the program uses again; its result begins with what takes
        that argument's place in the next call.
      sizes: what is added to the sizes of the group.
      options: of the compiler.
    """

    name: str
    package: str
    function: Callable[..., Any]
    arguments: Callable[[], tuple[Any, ...]]
    torch: bool = False
    differentiated: tuple[int, ...] = (0,)
    reads_all: bool = True
    flops: float | None = None
    donated: int | None = None
    sizes: Mapping[str, int] = dataclasses.field(default_factory=dict)
    options: Mapping[str, str | bool] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Group:
    """Programs that answer the same question, in one shape: the first is the reference.

    Attributes:
      suite: the suite it belongs to.
      mode: forward, forward + backward, or step.
      shape: its sizes and their names.
      dtype: of the inputs.
      cases: the programs.
    """

    suite: str
    mode: str
    shape: Mapping[str, int]
    dtype: str
    cases: tuple[Case, ...]

    @property
    def label(self) -> str:
        """What is shown while it is measured."""
        sizes = ", ".join(f"{size:,} {name}" for name, size in self.shape.items())
        programs = f"{self.cases[0].name} and {len(self.cases) - 1} more"
        return f"{self.suite}, {self.mode}, {sizes}: {programs}"


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What of a suite is measured.

    Attributes:
      dtype: of the inputs.
      quick: whether one small shape is enough.
      with_peers: whether other packages take part.
    """

    dtype: str = "float32"
    quick: bool = False
    with_peers: bool = True


def passes(suite: str, shape: Mapping[str, int], dtype: str, cases: list[Case]) -> list[Group]:
    """The group forward, and the same forward and backward without what has no gradient."""
    backward = tuple(case for case in cases if case.differentiated)
    return [
        Group(suite, FORWARD, shape, dtype, tuple(cases)),
        Group(suite, BOTH, shape, dtype, backward),
    ]


def value_and_gradient(
    function: Callable[..., Any], differentiated: tuple[int, ...]
) -> Callable[..., Any]:
    """The sum of the function's results, weighted by one more argument, and its gradient."""

    def weighted(*arguments: Any) -> jax.Array:
        *inputs, weights = arguments
        return jnp.sum(function(*inputs) * weights)

    return jax.value_and_grad(weighted, differentiated)


def normal(seed: int, shape: tuple[int, ...], dtype: str) -> jax.Array:
    """Numbers of N(0, 1)."""
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)
