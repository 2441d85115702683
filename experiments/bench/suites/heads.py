"""Every output layer, on hidden states and labels, beside the form that writes all logits down."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import softmax_variants as sv
from experiments.bench import torch_side
from experiments.bench.case import OURS, Case, Group, Wanted, normal, passes

SIZES = (1024, 256, 32_000)
QUICK = (256, 64, 8_000)
SAMPLES = 1024
_WRITES_ALL = "logits, optax cross_entropy"


def groups(wanted: Wanted) -> list[Group]:
    """Forward, and backward to the hidden states and to all parameters."""
    examples, features, classes = QUICK if wanted.quick else SIZES
    shape = {"examples": examples, "features": features, "classes": classes}
    return passes("heads", shape, wanted.dtype, cases(examples, features, classes, wanted))


def heads(features: int, classes: int) -> dict[str, Any]:
    """One of each kind, for classes by falling frequency as words have it."""
    counts = np.ceil(1e8 / np.arange(1, classes + 1))
    log_uniform = sv.LogUniformSampler(classes)
    sampled = {"sampler": log_uniform, "num_sampled": min(SAMPLES, classes // 4)}
    cutoffs = (classes // 50, classes // 5)
    half = features // 2
    return {
        "FullSoftmax": sv.FullSoftmax(classes, features),
        "LinearEntmax, alpha = 1.5": sv.LinearEntmax(classes, features, alpha=1.5),
        "SampledSoftmax": sv.SampledSoftmax(classes, features, **sampled),
        "NCE": sv.NCE(classes, features, **sampled),
        "NegativeSampling": sv.NegativeSampling(
            classes, features, sampler=sv.UnigramSampler(counts), num_sampled=16
        ),
        "ImportanceSampled": sv.ImportanceSampled(classes, features, **sampled),
        "InBatchSoftmax": sv.InBatchSoftmax(classes, features, sampler=log_uniform),
        "HierarchicalSoftmax": sv.HierarchicalSoftmax(
            tree=sv.huffman_tree(counts), features=features
        ),
        "AdaptiveSoftmax": sv.AdaptiveSoftmax(features, classes, cutoffs),
        "DifferentiatedSoftmax": sv.DifferentiatedSoftmax(
            features, classes, cutoffs, (half, half // 2, features - half - half // 2)
        ),
    }


def cases(examples: int, features: int, classes: int, wanted: Wanted) -> list[Case]:
    """All heads, their losses one an example, the reference first."""
    batch = functools.partial(inputs, examples, features, classes, wanted.dtype)
    weights = functools.partial(layer, features, classes, wanted.dtype)
    # The products of hidden states with the weights of every class.
    every = 2.0 * examples * features * classes
    found = [Case(_WRITES_ALL, "optax", plain, lambda: (weights(), *batch()), flops=every)]
    for name, head in heads(features, classes).items():
        of_all = name.startswith(("FullSoftmax", "LinearEntmax"))
        found.append(
            Case(
                name,
                OURS,
                loss_of,
                functools.partial(of_head, head, batch, wanted.dtype),
                differentiated=(0, 1),
                flops=every if of_all else None,
            )
        )
    if wanted.with_peers and torch_side.device():
        arguments = lambda: (*weights(), *batch())  # noqa: E731 # torch takes no tree of arrays
        found.append(Case("torch", "torch", torchs, arguments, True, (0, 1, 2), every))
    return found
