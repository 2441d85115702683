"""Every output layer, on hidden states and labels, beside the form that writes all logits down."""

import dataclasses
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
TARGET_SAMPLED = "target_sampled_softmax_loss"


def groups(wanted: Wanted) -> list[Group]:
    """Forward, and backward to the hidden states and to all parameters."""
    examples, features, classes = QUICK if wanted.quick else SIZES
    shape = {"examples": examples, "features": features, "classes": classes}
    return passes("heads", shape, wanted.dtype, cases(examples, features, classes, wanted))


def heads(features: int, classes: int) -> dict[str, Any]:
    """One of each kind, for classes by falling frequency as words have it."""
    counts = np.ceil(1e8 / np.arange(1, classes + 1))
    log_uniform = sv.LogUniformSampler(classes)
    sampled: dict[str, Any] = {"sampler": log_uniform, "num_sampled": min(SAMPLES, classes // 4)}
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
    found = [
        Case(
            "logits, optax cross_entropy",
            "optax",
            writes_all,
            lambda: (*weights(), *batch()),
            differentiated=(0, 1, 2),
            flops=every,
        )
    ]
    for name, head in heads(features, classes).items():
        of_all = isinstance(head, sv.FullSoftmax | sv.LinearEntmax)
        found.append(
            Case(
                name,
                OURS,
                loss_of,
                functools.partial(of_head, head, batch, wanted.dtype),
                differentiated=(0, 1),
                # What has a plan reads the rows that the plan names.
                reads_all=not hasattr(head, "plan"),
                flops=every if of_all else None,
            )
        )
    found.append(of_subset(weights, batch, classes, min(examples, classes)))
    if wanted.with_peers and torch_side.device():
        found.append(dataclasses.replace(found[0], name="logits, torch cross_entropy"))
        found[-1] = dataclasses.replace(found[-1], package="torch", function=torchs, torch=True)
    return found


def of_subset(
    weights: Callable[[], tuple[jax.Array, jax.Array]],
    batch: Callable[[], tuple[jax.Array, jax.Array]],
    classes: int,
    size: int,
) -> Case:
    """Target sampling, which is no head: a training step is given the classes of its stretch."""

    def arguments() -> tuple[jax.Array, ...]:
        hidden, labels = batch()
        (part,) = sv.target_partitions(labels, classes, size)
        return (*weights(), hidden, labels, part.subset)

    return Case(
        TARGET_SAMPLED,
        OURS,
        of_target_sampled,
        arguments,
        differentiated=(0, 1, 2),
        reads_all=False,
        sizes={"subset": size},
    )


def of_target_sampled(
    weight: jax.Array, bias: jax.Array, hidden: jax.Array, labels: jax.Array, subset: jax.Array
) -> jax.Array:
    """The subset is an argument of the program, which serves every stretch of the data."""
    return sv.target_sampled_softmax_loss(hidden, labels, weight, bias, subset=subset)


def inputs(examples: int, features: int, classes: int, dtype: str) -> tuple[jax.Array, jax.Array]:
    """Hidden states, and labels as frequent as words are."""
    rng = np.random.default_rng(1)
    labels = np.exp(rng.random(examples) * np.log(classes)) - 1
    return normal(0, (examples, features), dtype), jnp.asarray(labels, jnp.int32)


def layer(features: int, classes: int, dtype: str) -> tuple[jax.Array, jax.Array]:
    """The weights and the bias of all classes."""
    weight = normal(2, (classes, features), dtype) / np.asarray(features**0.5, dtype)
    return weight, jnp.zeros(classes, dtype)


def of_head(head: Any, batch: Callable[[], tuple[jax.Array, jax.Array]], dtype: str) -> Any:
    """What `loss_of` takes. A head's tree or sampler would else be a constant of the program."""
    params = jax.tree.map(lambda x: x.astype(dtype), head.init(jax.random.key(0)))
    return params, *batch(), head, jax.random.key(1)


def loss_of(
    params: Any, hidden: jax.Array, labels: jax.Array, head: Any, key: jax.Array
) -> jax.Array:
    """The objective of each example."""
    found: jax.Array = head.loss(params, hidden, labels, key=key)
    return found


def writes_all(
    weight: jax.Array, bias: jax.Array, hidden: jax.Array, labels: jax.Array
) -> jax.Array:
    """Cross-entropy from an array of all logits."""
    logits = hidden @ weight.T + bias[None, :]
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels)


def torchs(weight: Any, bias: Any, hidden: Any, labels: Any) -> Any:
    """The same in torch."""
    from torch.nn import functional

    logits = functional.linear(hidden, weight, bias)
    return functional.cross_entropy(logits, labels, reduction="none")
