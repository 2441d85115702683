"""References in higher precision for the whole entmax family, in NumPy and one row at a time.

They share no code and, where that is possible, no method with the library: thresholds come from
bisection and support sets from a search over sorted values, both in float64 and polished in long
double, where the library iterates Newton's method in float32. The tests hold them against 50-digit
arithmetic.

Throughout, `y = x - max(x)`, `eps = alpha - 1` and `p_i = [1 + eps (y_i - lam)]_+ ** (1 / eps)`,
where `lam >= 0` makes the sum 1; as alpha -> 1, `lam` tends to `logsumexp(y)`.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Real = NDArray[np.floating[Any]]
Float64 = NDArray[np.float64]
LongDouble = NDArray[np.longdouble]

BISECTIONS = 70
POLISHES = 4


class Solution(NamedTuple):
    """A row of entmax: its probabilities and its threshold, in long double."""

    p: LongDouble
    lam: np.longdouble


def entmax(x: ArrayLike, alpha: float) -> Float64:
    """The entmax probabilities of one row for any alpha in (0, inf]; -inf entries get 0."""
    return np.asarray(solve(x, alpha).p, dtype=np.float64)


def solve(x: ArrayLike, alpha: float) -> Solution:
    """Probabilities and threshold of one row in long double."""
    row = np.asarray(x, dtype=np.longdouble)
    y = row - row.max()
    if alpha == np.inf:
        ties = (y == 0).astype(np.longdouble)
        return Solution(ties / ties.sum(), np.longdouble(0))
    if alpha == 1:
        weights = np.exp(y)
        total = weights.sum()
        return Solution(weights / total, np.log(total))
    if alpha <= 2:
        return _solve_by_bisection(y, np.longdouble(alpha) - 1)
    return _solve_on_the_support(y, np.longdouble(alpha) - 1)


def _powers(y: Real, lam: float | np.longdouble, eps: float | np.longdouble) -> Real:
    """`[1 + eps (y - lam)]_+ ** (1 / eps)`, also for eps < 0 and for eps close to 0."""
    base = eps * (y - lam)
    inside = base > -1
    logs = np.log1p(np.where(inside, base, 0)) / eps
    return np.where(inside, np.exp(logs), 0)


def _solve_by_bisection(y: LongDouble, eps: np.longdouble) -> Solution:
    """Alpha <= 2, where p is a Lipschitz function of the threshold: bisect, then polish."""
    if eps > 0:
        candidate = y > -1 / eps  # lam >= 0 leaves nothing to the others
    else:
        candidate = np.isfinite(y)
    kept = y[candidate]
    coarse = kept.astype(np.float64)
    low, high = 0.0, float(-np.expm1(-eps * np.log(np.longdouble(kept.size))) / eps)
    for _ in range(BISECTIONS):
        middle = 0.5 * (low + high)
        if float(_powers(coarse, middle, float(eps)).sum()) > 1:
            low = middle
        else:
            high = middle
    lam = np.longdouble(0.5 * (low + high))
    p = _powers(kept, lam, eps)
    for _ in range(POLISHES):
        slopes = np.where(p > 0, np.where(p > 0, p, 1) ** (1 - eps), 0)
        lam = lam + (p.sum() - 1) / slopes.sum()
        p = _powers(kept, lam, eps)
    full = np.zeros_like(y)
    full[candidate] = p / p.sum()
    return Solution(full, lam)


def _solve_on_the_support(y: LongDouble, eps: np.longdouble) -> Solution:
    """Alpha > 2, where p is infinitely steep at the threshold: find the support, then its least p.

    With `g = eps (y - min y)` over the support, which is exact, and `v` the smallest probability,
    `p = (g + v ** eps) ** (1 / eps)` depends on v without cancellation.
    """
    order = np.sort(y)[::-1]

    def mass_above(k: int) -> np.longdouble:
        """Total mass if the threshold lay at the k-th largest value: k is in while this is < 1."""
        gaps = eps * (order[:k] - order[k])
        return np.longdouble(np.sum(gaps ** (1 / eps)))

    inside, outside = 0, int(np.isfinite(order).sum())
    while outside - inside > 1:  # the mass grows with k
        middle = (inside + outside) // 2
        if mass_above(middle) < 1:
            inside = middle
        else:
            outside = middle
    smallest = order[inside]
    support = y >= smallest
    gaps = eps * (y[support] - smallest)

    def at(log_v: np.longdouble) -> LongDouble:
        return np.asarray((gaps + np.exp(eps * log_v)) ** (1 / eps))

    low, high = np.longdouble(-600), -np.log(np.longdouble(gaps.size))
    for _ in range(BISECTIONS):
        middle_log = (low + high) / 2
        low, high = (low, middle_log) if at(middle_log).sum() > 1 else (middle_log, high)
    log_v = (low + high) / 2
    full = np.zeros_like(y)
    full[support] = at(log_v)
    # p_max = (1 - eps lam) ** (1 / eps), and the largest entry has the largest gap.
    lam = -np.expm1(eps * np.log(full.max())) / eps
    return Solution(full / full.sum(), np.longdouble(lam))


def slopes(p: ArrayLike, alpha: float) -> LongDouble:
    """`p ** (2 - alpha)` on the support and 0 off it: the Jacobian's diagonal before centring."""
    row = np.asarray(p, dtype=np.longdouble)
    inside = row > 0
    return np.where(inside, np.where(inside, row, 1) ** (2 - np.longdouble(alpha)), 0)


def jacobian_product(p: ArrayLike, alpha: float, v: ArrayLike) -> Float64:
    """The Jacobian of entmax at its output p, times v; the Jacobian is symmetric."""
    s = slopes(p, alpha)
    direction = np.where(s > 0, np.asarray(v, dtype=np.longdouble), 0)
    return np.asarray(s * (direction - (s * direction).sum() / s.sum()), dtype=np.float64)


def second_derivative(p: ArrayLike, alpha: float, w: ArrayLike, v: ArrayLike) -> Float64:
    """The derivative of `jacobian_product(p(x), alpha, w)` with respect to x along v."""
    row, s = np.asarray(p, dtype=np.longdouble), slopes(p, alpha)
    inside = row > 0
    weights = np.where(inside, np.asarray(w, dtype=np.longdouble), 0)
    step = np.asarray(jacobian_product(p, alpha, v), dtype=np.longdouble)
    exponent = 1 - np.longdouble(alpha)
    ds = (
        (2 - np.longdouble(alpha))
        * step
        * np.where(inside, np.where(inside, row, 1) ** exponent, 0)
    )
    total, mean = s.sum(), (s * weights).sum() / s.sum()
    change_of_mean = (ds * (weights - mean)).sum() / total
    return np.asarray(ds * (weights - mean) - s * change_of_mean, dtype=np.float64)


def alpha_derivative(x: ArrayLike, alpha: float) -> Float64:
    """The derivative of one row by alpha, for alpha = 1 exactly or at least 1e-5 away from it.

    This is the published formula, which cancels like 1 / (alpha - 1) ** 2 and so needs long
    double; at alpha = 1 it is that formula's limit.
    """
    p = solve(x, alpha).p
    logs = np.log(np.where(p > 0, p, 1))
    if alpha == 1:
        return np.asarray(p * ((p * logs**2).sum() - logs**2) / 2, dtype=np.float64)
    eps = np.longdouble(alpha) - 1
    s = slopes(p, alpha)
    share = s / s.sum()
    entropies = -p * logs
    first = (p - share) / eps**2
    return np.asarray(first + (entropies - share * entropies.sum()) / eps, dtype=np.float64)


def negative_entropy(p: ArrayLike, alpha: float) -> np.longdouble:
    """`Omega(p) = (sum p ** alpha - 1) / (alpha (alpha - 1))`, and `sum p log p` at alpha = 1."""
    row = np.asarray(p, dtype=np.longdouble)
    logs = np.log(np.where(row > 0, row, 1))
    if alpha == 1:
        return np.longdouble((row * logs).sum())
    eps = np.longdouble(alpha) - 1
    # sum p = 1, so sum p ** alpha - 1 = sum p (p ** eps - 1).
    return np.longdouble((row * np.expm1(eps * logs)).sum() / (eps * (1 + eps)))


def entmax_loss(x: ArrayLike, target: int | ArrayLike, alpha: float) -> float:
    """The Fenchel-Young loss of one row, by definition, for a class or a distribution."""
    row = np.asarray(x, dtype=np.longdouble)
    y = np.where(np.isfinite(row), row - row.max(), 0)
    if isinstance(target, int | np.integer):
        wanted = (np.arange(row.size) == target).astype(np.longdouble)
    else:
        wanted = np.asarray(target, dtype=np.longdouble)
    p = solve(x, alpha).p
    conjugate = (p * y).sum() - negative_entropy(p, alpha)
    return float(conjugate + negative_entropy(wanted, alpha) - (wanted * y).sum())


def loss_alpha_derivative(x: ArrayLike, target: ArrayLike, alpha: float) -> float:
    """The loss's derivative by alpha: by the envelope theorem only Omega's own alpha moves."""
    return _entropy_alpha_derivative(np.asarray(target), alpha) - _entropy_alpha_derivative(
        solve(x, alpha).p, alpha
    )


def _entropy_alpha_derivative(p: ArrayLike, alpha: float) -> float:
    row = np.asarray(p, dtype=np.longdouble)
    logs = np.log(np.where(row > 0, row, 1))
    if alpha == 1:
        return float((row * logs * (logs / 2 - 1)).sum())
    a = np.longdouble(alpha)
    powers = row * np.exp((a - 1) * logs)
    gap = (row * np.expm1((a - 1) * logs)).sum()
    return float((powers * logs).sum() / (a * (a - 1)) - gap * (2 * a - 1) / (a * (a - 1)) ** 2)
