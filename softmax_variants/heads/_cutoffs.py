"""Where adaptive softmax divides the classes: checks, and the choice by a model of the cost."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from softmax_variants._typing import ArrayLike
from softmax_variants._validation import as_count

# The model's cost is in multiply-adds. A product of matrices costs a constant besides its size, and
# never less than a small one; a logit costs its exponential besides its features.
_CALL = 2e5
_SMALLEST = 2e5
_LOGIT = 32.0
_CANDIDATES = 192


def as_cutoffs(cutoffs: Sequence[int], classes: int) -> tuple[int, ...]:
    """The first class of each tail: at least one, rising, all inside the classes."""
    values = tuple(as_count(c, f"cutoffs[{i}]") for i, c in enumerate(cutoffs))
    if not values:
        raise ValueError("cutoffs must have at least one number, the first class of the first tail")
    if any(low >= high for low, high in itertools.pairwise(values)):
        raise ValueError(f"cutoffs must rise and not repeat, got {values}")
    if values[-1] >= classes:
        raise ValueError(f"cutoffs must be less than the {classes} classes, got {values}")
    return values


def tail_widths(features: int, tails: int, div_value: float) -> tuple[int, ...]:
    """The features of each tail: a `div_value`-th of those of the one before it, rounded down."""
    widths = tuple(int(features // div_value ** (i + 1)) for i in range(tails))
    for i, width in enumerate(widths):
        if width < 1:
            raise ValueError(
                f"div_value {div_value:g} leaves tail {i} no feature of {features}: "
                f"a smaller div_value or fewer cutoffs"
            )
    return widths


def choose_cutoffs(
    counts: ArrayLike,
    *,
    features: int,
    tails: int = 3,
    div_value: float = 4.0,
    batch_size: int = 1024,
) -> tuple[int, ...]:
    r"""Cutoffs of adaptive softmax whose step costs least, by a model of the cost.

    .. math:: \min_{c_0 < \dots < c_{K-1}}
              g(B, c_0 + K, D) + \sum_i \big(g(p_i B, d_i, D) + g(p_i B, c_{i+1} - c_i, d_i)\big),
              \qquad g(n, k, d) = \gamma + \max(n k (d + \epsilon), \lambda)

    with B examples, of which the share p_i has a label in tail i, D features and d_i features in
    tail i. It is minimised by dynamic programming over up to 192 candidates for each cutoff, which
    lie densest among the frequent classes; the number of tails is chosen as well. It works on NumPy
    arrays, outside of jit.

    Args:
      counts: how often each class occurs, [classes], falling (not rising) with the class.
      features: of the hidden states, D.
      tails: the largest number of tails.
      div_value: each tail has a `div_value`-th of the features of the one before it.
      batch_size: examples in a batch, B.

    Returns:
      The first class of each tail, rising; as many as the best number of tails.

    Raises:
      TypeError: counts that are not real numbers, sizes that are not integers.
      ValueError: counts that rise, are negative, not finite or all 0; fewer than two classes;
        tails without a feature.

    Example:
      >>> import numpy as np
      >>> import softmax_variants as sv
      >>> counts = 1e6 / np.arange(1, 10001)
      >>> cutoffs = sv.choose_cutoffs(counts, features=64, tails=2)
      >>> print(len(cutoffs), 1 <= cutoffs[0] < cutoffs[1] < 10000)
      2 True

    References:
      Grave et al., `Efficient softmax approximation for GPUs
      <https://arxiv.org/abs/1609.04309>`_, 2017, section 4.
    """
    mass = _as_mass(counts)
    features, tails = as_count(features, "features"), as_count(tails, "tails")
    batch = as_count(batch_size, "batch_size")
    if not div_value > 0:
        raise ValueError(f"div_value must be above 0, got {div_value:g}")
    classes = mass.size
    tails = min(tails, classes - 1)
    widths = tail_widths(features, tails, div_value)
    grid = _candidates(classes)
    below = np.concatenate([[0.0], np.cumsum(mass)])[grid]
    share = below[None, :] - below[:, None]
    size = (grid[None, :] - grid[:, None]).astype(np.float64)
    ahead = np.arange(grid.size)[:, None] < np.arange(grid.size)[None, :]
    best: tuple[float, tuple[int, ...]] | None = None
    for number in range(1, min(tails, grid.size - 1) + 1):
        # rest[j]: the least cost of the tails from this one on, where it starts at candidate j.
        rest = np.full(grid.size, np.inf)
        rest[-1] = 0.0
        following = []
        for width in reversed(widths[:number]):
            inner = _cost(share * batch, width, features) + _cost(share * batch, size, width)
            total = np.where(ahead, inner + rest[None, :], np.inf)
            following.append(np.argmin(total, axis=1))
            rest = np.min(total, axis=1)
        total = rest + _cost(batch, grid + number, features)
        place = int(np.argmin(total))
        if not np.isfinite(total[place]):
            continue
        path = [place]
        for after in reversed(following[1:]):
            path.append(int(after[path[-1]]))
        found = (float(total[place]), tuple(int(grid[p]) for p in path))
        best = found if best is None or found < best else best
    assert best is not None
    return best[1]


def _cost(examples: Any, outputs: Any, inputs: Any) -> Any:
    """Multiply-adds of a product of matrices and of what follows it."""
    return _CALL + np.maximum(examples * outputs * (inputs + _LOGIT), _SMALLEST)


def _candidates(classes: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Where a cutoff may be, and the number of classes."""
    if classes <= _CANDIDATES:
        return np.arange(1, classes + 1)
    spaced = np.geomspace(1, classes, _CANDIDATES)
    return np.unique(np.round(spaced).astype(np.int64))


def _as_mass(counts: ArrayLike) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The share of each class."""
    array = np.asarray(counts)
    if array.dtype.kind not in "iuf":
        raise TypeError(f"counts must be real numbers, got dtype {array.dtype}")
    values = array.astype(np.float64)
    if values.ndim != 1 or values.size < 2:
        raise ValueError(f"counts must have shape (classes,) with two or more, got {values.shape}")
    if not np.isfinite(values).all() or (values < 0).any():
        raise ValueError("counts must be finite and at least 0")
    if (np.diff(values) > 0).any():
        place = int(np.argmax(np.diff(values) > 0))
        raise ValueError(
            f"counts must fall with the class, the most frequent class being class 0, got "
            f"{values[place]:g} and then {values[place + 1]:g} at class {place + 1}"
        )
    if values[0] == 0:
        raise ValueError("counts must not all be 0")
    return values / values.sum()
