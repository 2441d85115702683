"""Attention with every map as its normaliser, and blockwise, beside `jax.nn`'s and torch's."""

import functools
from typing import Any

import jax

import softmax_variants as sv
from experiments.bench import torch_side
from experiments.bench.case import OURS, Case, Group, Wanted, normal, passes
from softmax_variants.variants import VARIANTS

# Batch, positions, heads, features of a head.
SIZES = (1, 1024, 4, 64)
QUICK = (1, 256, 4, 64)
ALPHAS = (1.0, 1.5)


def groups(wanted: Wanted) -> list[Group]:
    """Self-attention over all keys, forward, and backward to queries, keys and values."""
    sizes = QUICK if wanted.quick else SIZES
    shape = dict(zip(("batch", "positions", "heads", "features"), sizes, strict=True))
    return passes("attention", shape, wanted.dtype, cases(sizes, wanted))


def cases(sizes: tuple[int, int, int, int], wanted: Wanted) -> list[Case]:
    """Every way, the reference first."""
    batch, length, heads, features = sizes
    case = functools.partial(
        Case,
        arguments=functools.partial(inputs, sizes, wanted.dtype),
        differentiated=(0, 1, 2),
        # The scores, and what they weigh.
        flops=4.0 * batch * heads * length**2 * features,
    )
    found = [case("jax.nn.dot_product_attention", "jax", jax.nn.dot_product_attention)]
    for name, variant in VARIANTS.items():
        # Scores have a sign, which sum_normalize does not take.
        if not variant.nonnegative_input:
            keywords: dict[str, Any] = {"rng": jax.random.key(0)} if variant.stochastic else {}
            call = functools.partial(sv.dot_product_attention, normalizer=variant, **keywords)
            found.append(case(f"dot_product_attention, {name}", OURS, call))
    for alpha in ALPHAS:
        flash = functools.partial(sv.flash_attention, alpha=alpha)
        found.append(case(f"flash_attention, alpha = {alpha:g}", OURS, flash))
    if wanted.with_peers and torch_side.device():
        found.append(case("torch scaled_dot_product_attention", "torch", torchs, torch=True))
    return found


def inputs(sizes: tuple[int, int, int, int], dtype: str) -> tuple[jax.Array, ...]:
    """Queries, keys and values of N(0, 1)."""
    return tuple(normal(seed, sizes, dtype) for seed in range(3))


def torchs(query: Any, key: Any, value: Any) -> Any:
    """Torch has the heads before the positions."""
    from torch.nn import functional

    arranged = (x.transpose(1, 2) for x in (query, key, value))
    return functional.scaled_dot_product_attention(*arranged).transpose(1, 2)
