"""Every map of the table of variants, and the draws, beside `jax.nn.softmax` and the peers."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

import softmax_variants as sv
from experiments import peers
from experiments.bench import torch_side
from experiments.bench.case import OURS, Case, Group, Wanted, normal, passes
from softmax_variants.variants import VARIANTS

SHAPES = ((1024, 1000), (64, 32_000))
QUICK = ((1024, 1000),)
# Draws of classes have no gradient.
DRAWS: dict[str, Callable[..., jax.Array]] = {
    "categorical": sv.categorical,
    "gumbel_max": sv.gumbel_max,
    "gumbel_top_k, k = 8": functools.partial(sv.gumbel_top_k, k=8),
}
# Of the peers that take any alpha.
ALPHA = 1.5
COMPONENTS = 4
TEMPERATURE = 0.5


def groups(wanted: Wanted) -> list[Group]:
    """Forward and backward, in each shape."""
    return [
        group
        for rows, classes in (QUICK if wanted.quick else SHAPES)
        for group in passes(
            "maps",
            {"rows": rows, "classes": classes},
            wanted.dtype,
            cases((rows, classes), wanted),
        )
    ]


def cases(shape: tuple[int, int], wanted: Wanted) -> list[Case]:
    """All maps on logits of one shape, the reference first."""
    plain = functools.partial(logits, shape, wanted.dtype)
    keyed = functools.partial(with_key, plain)
    found = [
        Case("jax.nn.softmax", "jax", jax.nn.softmax, plain),
        Case("jax.nn.log_softmax", "jax", jax.nn.log_softmax, plain),
        Case("log_softmax", OURS, sv.log_softmax, plain),
    ]
    for name, variant in VARIANTS.items():
        if variant.stochastic:
            found.append(Case(name, OURS, variant, keyed, differentiated=(1,)))
        else:
            made = functools.partial(positive, plain) if variant.nonnegative_input else plain
            found.append(Case(name, OURS, variant, made))
    found += [Case(name, OURS, draw, keyed, differentiated=()) for name, draw in DRAWS.items()]
    found += of_more(shape, wanted.dtype)
    return found + (of_peers(plain) if wanted.with_peers else [])


def of_more(shape: tuple[int, int], dtype: str) -> list[Case]:
    """What takes more than logits: mixed components, a hard and a soft map, a sample's density."""
    plain = functools.partial(logits, shape, dtype)
    return [
        Case(
            "mixture_of_softmaxes",
            OURS,
            mixed,
            functools.partial(components, shape, dtype),
            differentiated=(0, 1),
            sizes={"components": COMPONENTS},
        ),
        Case("straight_through, hardmax as softmax", OURS, decided, plain),
        Case(
            "concrete_log_prob",
            OURS,
            functools.partial(sv.concrete_log_prob, temperature=TEMPERATURE),
            functools.partial(relaxed, plain),
            differentiated=(0, 1),
        ),
    ]


def mixed(logits: jax.Array, mixture_logits: jax.Array) -> jax.Array:
    """Every component has logits of its own."""
    return sv.mixture_of_softmaxes(logits, mixture_logits=mixture_logits)


def decided(logits: jax.Array) -> jax.Array:
    """By itself `straight_through` would be a copy: it is measured with what it joins."""
    return sv.straight_through(sv.hardmax(logits), sv.softmax(logits))


def components(shape: tuple[int, int], dtype: str) -> tuple[jax.Array, jax.Array]:
    """Logits of all components, and those of their shares."""
    rows, classes = shape
    return normal(0, (rows, COMPONENTS, classes), dtype), normal(1, (rows, COMPONENTS), dtype)


def relaxed(plain: Callable[[], tuple[Any, ...]]) -> tuple[Any, ...]:
    """The logarithm of a relaxed sample, and the logits that it is drawn from."""
    (x,) = plain()
    noise = jax.random.gumbel(jax.random.key(0), x.shape, x.dtype)
    return sv.log_softmax(x + noise, temperature=TEMPERATURE), x


def logits(shape: tuple[int, int], dtype: str) -> tuple[jax.Array]:
    """Logits of N(0, 1)."""
    return (normal(0, shape, dtype),)


def with_key(plain: Callable[[], tuple[Any, ...]]) -> tuple[Any, ...]:
    """The same behind a key."""
    return (jax.random.key(0), *plain())


def positive(plain: Callable[[], tuple[Any, ...]]) -> tuple[Any, ...]:
    """The same without a sign."""
    return tuple(jnp.abs(x) for x in plain())


def of_peers(plain: Callable[[], tuple[Any, ...]]) -> list[Case]:
    """The maps of other packages that are installed."""
    found = []
    if torch_side.device():
        import torch

        found.append(
            Case("torch softmax", "torch", lambda x: torch.softmax(x, -1), plain, torch=True)
        )
    for peer in peers.installed():
        if peer.backend == "torch" and not torch_side.device():
            continue
        call = functools.partial(_of_logits, peer.call)
        found.append(Case(peer.name, peer.package, call, plain, torch=peer.backend == "torch"))
    return found


def _of_logits(call: Callable[[Any, float], Any], x: Any) -> Any:
    return call(x, ALPHA)
