"""Independent answers that the tests compare with: 50-digit arithmetic and brute force.

Nothing here calls the library. The rows that are too long for mpmath have float64 references in
`experiments.references`, re-exported below; `test_oracles.py` holds the two against each other.
Rows are one-dimensional; `by_row` lifts any of these functions to the last axis of an array, and to
masks by deleting the masked entries.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import TypeAlias

import mpmath
import numpy as np
from numpy.typing import ArrayLike, NDArray

from experiments.references import alpha_derivative as alpha_derivative
from experiments.references import entmax as entmax
from experiments.references import entmax_loss as entmax_loss
from experiments.references import jacobian_product as jacobian_product
from experiments.references import loss_alpha_derivative as loss_alpha_derivative
from experiments.references import normmax as normmax
from experiments.references import normmax_loss as normmax_loss
from experiments.references import second_derivative as second_derivative

Float64 = NDArray[np.float64]
Row = Callable[[Float64], ArrayLike]
Mpf: TypeAlias = mpmath.mpf
Digits = list[Mpf]

DIGITS = 50
BISECTIONS = 190  # halvings: more than 50 digits


def by_row(f: Row, x: ArrayLike, *, axis: int = -1, where: ArrayLike | None = None) -> Float64:
    """Apply f, which keeps a row's length, to what `where` keeps; zeros elsewhere."""
    moved = np.moveaxis(np.asarray(x, dtype=np.float64), axis, -1)
    kept = np.isfinite(moved) | (moved == np.inf)
    if where is not None:
        mask = np.broadcast_to(np.asarray(where), np.shape(x))
        kept &= np.moveaxis(mask, axis, -1)
    out = np.zeros(moved.shape)
    for index in np.ndindex(moved.shape[:-1]):
        if kept[index].any():
            out[index][kept[index]] = f(moved[index][kept[index]])
    return np.moveaxis(out, -1, axis)


def softmax(x: ArrayLike, temperature: float = 1.0) -> Float64:
    return entmax(np.asarray(x, dtype=np.float64) / temperature, 1.0)


def simplex_projection(x: ArrayLike, budget: float = 1.0) -> Float64:
    """The Euclidean projection onto `{p >= 0, sum p = budget}` by sorting."""
    row = np.asarray(x, dtype=np.longdouble)
    row = row - row.max()
    descending = np.sort(row)[::-1]
    thresholds = (np.cumsum(descending) - budget) / np.arange(1, row.size + 1)
    size = np.flatnonzero(descending > thresholds)[-1]
    return np.asarray(np.maximum(row - thresholds[size], 0), dtype=np.float64)


def capped_simplex_projection(x: ArrayLike, budget: float = 1.0, upper: float = 1.0) -> Float64:
    """The Euclidean projection onto `{0 <= p <= upper, sum p = budget}` from its breakpoints."""
    row = np.asarray(x, dtype=np.longdouble)
    row = row - row.max()
    breakpoints = np.sort(np.concatenate([row, row - upper]))

    def mass(threshold: np.longdouble) -> np.longdouble:
        return np.longdouble(np.clip(row - threshold, 0, upper).sum())

    # The mass falls from n * upper to 0 and is linear between breakpoints.
    low, high = 0, breakpoints.size - 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if mass(breakpoints[middle]) >= budget else (low, middle)
    left, right = breakpoints[low], breakpoints[high]
    drop = mass(left) - mass(right)
    share = (mass(left) - budget) / drop if drop > 0 else np.longdouble(0)
    return np.asarray(np.clip(row - (left + share * (right - left)), 0, upper), dtype=np.float64)


def sparsemax_by_enumeration(x: Sequence[float]) -> Float64:
    """Brute force over all supports: the feasible point that is closest to x."""
    row = np.asarray(x, dtype=np.float64)
    best, nearest = None, np.inf
    for size in range(1, row.size + 1):
        for chosen in itertools.combinations(range(row.size), size):
            support = list(chosen)
            p = np.zeros_like(row)
            p[support] = row[support] - (row[support].sum() - 1) / size
            distance = float(((p - row) ** 2).sum())
            if p.min() >= 0 and distance < nearest:
                best, nearest = p, distance
    assert best is not None
    return best


def mp_row(x: ArrayLike) -> Digits:
    """One row of floats, exactly, as 50-digit numbers."""
    mpmath.mp.dps = DIGITS
    return [Mpf(float(value)) for value in np.asarray(x, dtype=np.float64)]


def mp_entmax(x: Digits, alpha: Mpf | float) -> Digits:
    """Entmax in 50 digits, by bisection on `t` in `p = [eps y - t]_+ ** (1 / eps)`."""
    mpmath.mp.dps = DIGITS
    top, eps = max(x), Mpf(alpha) - 1
    y = [value - top for value in x]
    if eps == 0:
        weights = [mpmath.exp(value) for value in y]
        return [weight / mpmath.fsum(weights) for weight in weights]

    def probabilities(t: Mpf) -> Digits:
        bases = [eps * value - t for value in y]
        return [base ** (1 / eps) if base > 0 else Mpf(0) for base in bases]

    # The largest probability is (-t) ** (1 / eps), between 1 / n and 1.
    low, high = sorted((Mpf(-1), -(Mpf(len(x)) ** (-eps))))
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        too_much = mpmath.fsum(probabilities(middle)) > 1
        # For alpha < 1 the exponent is negative, so the mass grows with t.
        low, high = (middle, high) if too_much == (eps > 0) else (low, middle)
    p = probabilities((low + high) / 2)
    return [value / mpmath.fsum(p) for value in p]


def mp_negative_entropy(p: Digits, alpha: Mpf | float) -> Mpf:
    a = Mpf(alpha)
    if a == 1:
        return mpmath.fsum(value * mpmath.log(value) for value in p if value > 0)
    return (mpmath.fsum(value**a for value in p) - 1) / (a * (a - 1))


def mp_entmax_loss(x: Digits, target: Digits, alpha: Mpf | float) -> Mpf:
    """`Omega*(x) + Omega(target) - <x, target>`, term by term as it is defined."""
    p = mp_entmax(x, alpha)
    conjugate = mpmath.fdot(p, x) - mp_negative_entropy(p, alpha)
    return conjugate + mp_negative_entropy(target, alpha) - mpmath.fdot(target, x)


def mp_derivative(f: Callable[[Mpf], Sequence[Mpf]], at: float) -> Float64:
    """The central difference of f, whose error of 1e-28 no float64 can tell from 0."""
    mpmath.mp.dps = DIGITS
    step, middle = Mpf(10) ** -14, Mpf(at)
    after, before = f(middle + step), f(middle - step)
    return np.array([float((a - b) / (2 * step)) for a, b in zip(after, before, strict=True)])


def mp_jacobian_product(x: Digits, alpha: float, v: ArrayLike) -> Float64:
    direction = mp_row(v)

    def moved(t: Mpf) -> Digits:
        return mp_entmax([a + t * b for a, b in zip(x, direction, strict=True)], alpha)

    return mp_derivative(moved, 0.0)
