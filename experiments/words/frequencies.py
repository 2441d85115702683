"""First biases by the frequencies of the words, so that no head has to learn those from nothing."""

import math
from typing import Any

import numpy as np
from jaxtyping import Float, Int

import softmax_variants as sv

Biases = dict[str, Float[np.ndarray, " rows"]]


def frequency_biases(head: Any, counts: Int[np.ndarray, " classes"]) -> Biases:
    """Returns the biases with which a head's distribution is that of the counts, near enough.

    Within a tail of adaptive softmax, which has no bias, the words stay equally frequent.
    """
    log_p = np.log(counts / counts.sum())
    match head:
        case sv.HierarchicalSoftmax():
            found = {"node_bias": node_biases(np.asarray(head.tree.children), counts)}
        case sv.AdaptiveSoftmax():
            first = head.cutoffs[0]
            tails = np.add.reduceat(counts, head.cutoffs) / counts.sum()
            found = {"bias": np.concatenate([log_p[:first], np.log(tails)])}
        case sv.NegativeSampling():
            # Its score of a class is to become log(p / q) - log k.
            log_q = np.asarray(head.sampler.log_prob(np.arange(counts.size, dtype=np.int32)))
            found = {"bias": log_p - log_q - math.log(head.num_sampled)}
        case _:
            found = {"bias": log_p}
    return {name: bias.astype(np.float32) for name, bias in found.items()}


def node_biases(
    children: Int[np.ndarray, "nodes 2"], counts: Int[np.ndarray, " classes"]
) -> Float[np.ndarray, " nodes"]:
    """Returns the score of each node at which it goes left as often as the counts do.

    Nodes are numbered breadth first, as in a `Tree`, so that every level is one range.
    """
    levels = [(0, 1)]
    while levels[-1][0] < levels[-1][1]:
        first, end = levels[-1]
        below = int(np.count_nonzero(children[first:end] >= counts.size))
        levels.append((end, end + below))
    mass = np.concatenate([counts.astype(np.float64), np.zeros(children.shape[0])])
    for first, end in reversed(levels):
        mass[counts.size + first : counts.size + end] = mass[children[first:end]].sum(axis=1)
    left, right = mass[children].T
    biases: np.ndarray = np.log(left) - np.log(right)
    return biases
