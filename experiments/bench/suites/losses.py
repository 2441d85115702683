"""Every loss on logits and labels beside optax's cross-entropy and the peers' losses."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import softmax_variants as sv
from experiments import peers
from experiments.bench import torch_side
from experiments.bench.case import OURS, Case, Group, Wanted, normal, passes
from experiments.bench.suites.maps import ALPHA
from softmax_variants.variants import VARIANTS

SHAPES = ((1024, 1000), (64, 32_000))
QUICK = ((1024, 1000),)
GEOMETRIES = {
    "SHANNON": sv.SHANNON,
    "GINI": sv.GINI,
    "tsallis(1.5)": sv.tsallis(1.5),
    "norm(2)": sv.norm(2.0),
}

Loss = Callable[[Any, Any], Any]


def groups(wanted: Wanted) -> list[Group]:
    """Forward and backward, in each shape."""
    return [
        group
        for rows, classes in (QUICK if wanted.quick else SHAPES)
        for group in passes(
            "losses",
            {"examples": rows, "classes": classes},
            wanted.dtype,
            cases((rows, classes), wanted),
        )
    ]


def cases(shape: tuple[int, int], wanted: Wanted) -> list[Case]:
    """All losses, one an example, the reference first."""
    found: dict[tuple[str, str], Loss] = {
        ("optax cross_entropy", "optax"): optax.softmax_cross_entropy_with_integer_labels
    }
    for variant in VARIANTS.values():
        if variant.loss is not None:
            loss = functools.partial(variant.loss, **variant.parameters, **variant.static)
            found[variant.loss.__name__, OURS] = loss
    for name, geometry in GEOMETRIES.items():
        loss = functools.partial(sv.fenchel_young_loss, geometry=geometry)
        found[f"fenchel_young_loss, {name}", OURS] = loss
    made = functools.partial(examples, shape, wanted.dtype)
    every = [Case(*names, loss, made) for names, loss in found.items()]
    return every + (of_peers(made) if wanted.with_peers else [])


def examples(shape: tuple[int, int], dtype: str) -> tuple[jax.Array, jax.Array]:
    """Logits of N(0, 1) and the ids of classes."""
    labels = np.random.default_rng(1).integers(0, shape[1], size=shape[0])
    return normal(0, shape, dtype), jnp.asarray(labels, jnp.int32)


def of_peers(made: Callable[[], tuple[Any, ...]]) -> list[Case]:
    """The losses of other packages that are installed."""
    found = [
        Case(
            "optax multiclass_sparsemax_loss",
            "optax",
            optax.losses.multiclass_sparsemax_loss,
            made,
        )
    ]
    if torch_side.device():
        import torch

        loss = functools.partial(torch.nn.functional.cross_entropy, reduction="none")
        found.append(Case("torch cross_entropy", "torch", loss, made, torch=True))
    for peer in peers.installed():
        if peer.loss is None or (peer.backend == "torch" and not torch_side.device()):
            continue
        call = functools.partial(_of_examples, peer.loss)
        name = f"{peer.name} loss"
        found.append(Case(name, peer.package, call, made, torch=peer.backend == "torch"))
    return found


def _of_examples(loss: Callable[[Any, Any, float], Any], x: Any, y: Any) -> Any:
    return loss(x, y, ALPHA)
