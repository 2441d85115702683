"""Points at which a map is smooth, and float64 central differences: the gradients' references."""

import functools
import zlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from softmax_variants.variants import VARIANTS, Variant
from tests.conformance.cases import admissible, double

Floats = NDArray[np.float64]
Labels = NDArray[Any]

COUNT, CLASSES = 6, 5
STEP = 2e-3
CANDIDATES = 192


def in_double(variant: Variant, x: Floats, **keywords: Any) -> Floats:
    """The map in float64; `x` is padded to one shape so that it compiles once."""
    rows = x.reshape(-1, x.shape[-1])
    padded = np.resize(rows, (CANDIDATES * (-(-len(rows) // CANDIDATES)), x.shape[-1]))
    out = []
    with double():
        for start in range(0, len(padded), CANDIDATES):
            out.append(np.asarray(variant(padded[start : start + CANDIDATES], -1, **keywords)))
    return np.concatenate(out)[: len(rows)].reshape(x.shape)


@functools.cache
def smooth_points(name: str) -> Floats:
    """`[COUNT, CLASSES]` float32 scores around which the map has two derivatives.

    A kink nearby shows as a second difference that depends on the step. Rows with the largest
    supports come first: a one-hot output has nothing to differentiate.
    """
    variant = VARIANTS[name]
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    scale = np.resize([0.3, 0.7, 1.0, 2.0], CANDIDATES)[:, None]
    # Exact in float32, which the derivatives are taken in.
    x = (scale * rng.normal(size=(CANDIDATES, CLASSES))).astype(np.float32).astype(np.float64)
    x = np.asarray(admissible(variant, x), np.float64)
    if variant.nonnegative_input:
        x += 0.05
    p = in_double(variant, x)
    smooth = np.ones(CANDIDATES, np.bool_)
    for direction in (*np.eye(CLASSES), *rng.normal(size=(3, CLASSES))):
        curvature = [
            (in_double(variant, x + h * direction) - 2 * p + in_double(variant, x - h * direction))
            / h**2
            for h in (STEP, STEP / 2)
        ]
        change = np.abs(curvature[0] - curvature[1]).max(axis=-1)
        smooth &= change < 0.02 * (1 + np.abs(curvature[1]).max(axis=-1))
    chosen = np.flatnonzero(smooth)
    assert len(chosen) >= COUNT, f"{name} is smooth at {len(chosen)} of {CANDIDATES} points"
    support = np.count_nonzero(p[chosen], axis=-1)
    # Among the largest supports, those with a zero first: the zeros' rows and columns count too.
    order = np.lexsort((np.arange(len(chosen)), support == CLASSES, -np.minimum(support, 3)))
    return x[chosen[order[:COUNT]]]


def difference(f: Callable[[float], Floats], step: float = 1e-4) -> Floats:
    """`f'(0)` by a central difference of fourth order."""
    near = f(step) - f(-step)
    far = f(2 * step) - f(-2 * step)
    return (8 * near - far) / (12 * step)


def jacobian(variant: Variant, x: Floats) -> Floats:
    """`dp_i / dx_j` in the last two axes, by differences in float64."""
    columns = [
        difference(lambda t, e=e: in_double(variant, x + t * e))  # type: ignore[misc] # bound now
        for e in np.eye(x.shape[-1])
    ]
    return np.stack(columns, axis=-1)


def weights(x: Floats, *, seed: int = 11) -> Floats:
    return np.random.default_rng(seed).normal(size=x.shape)


def on_host(tree: Any) -> Any:
    return jax.tree.map(np.asarray, tree)
