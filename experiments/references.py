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
COARSE_BISECTIONS = 40
POLISHES = 5
SERIES_BELOW = 0.3
SERIES_TERMS = 16


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
    for _ in range(COARSE_BISECTIONS):
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
    """The derivative of one row by alpha, for alpha in (0, inf), 1 included."""
    return alpha_derivative_at(solve(x, alpha).p, alpha)


def alpha_derivative_at(p: ArrayLike, alpha: float) -> Float64:
    """The derivative by alpha at the output p: the Jacobian times `log(p) ** 2 phi(eps log p)`."""
    row = np.asarray(p, dtype=np.longdouble)
    logs = np.log(np.where(row > 0, row, 1))
    direction = logs**2 * _phi((np.longdouble(alpha) - 1) * logs)
    return jacobian_product(row, alpha, direction)


def _phi(u: LongDouble) -> LongDouble:
    """`(expm1(u) - u e**u) / u**2`, by its series near 0 where the difference cancels."""
    small = np.abs(u) < SERIES_BELOW
    far, near = np.where(small, 1, u), np.where(small, u, 0)
    series, power, factorial = np.zeros_like(u), np.ones_like(u), np.longdouble(2)
    for k in range(SERIES_TERMS):
        series = series - power * (k + 1) / factorial
        power, factorial = power * near, factorial * (k + 3)
    return np.where(small, series, (np.expm1(far) - far * np.exp(far)) / far**2)


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
    return entmax_loss_at(solve(x, alpha).p, x, target, alpha)


def entmax_loss_at(p: ArrayLike, x: ArrayLike, target: int | ArrayLike, alpha: float) -> float:
    """The loss of one row whose entmax is p."""
    row, y = np.asarray(p, dtype=np.longdouble), _from_the_top(x)
    wanted = as_distribution(target, y.size)
    conjugate = (row * y).sum() - negative_entropy(row, alpha)
    return float(conjugate + negative_entropy(wanted, alpha) - (wanted * y).sum())


def _from_the_top(x: ArrayLike) -> LongDouble:
    """The row relative to its maximum, with 0 for the -inf entries, which no target may name."""
    row = np.asarray(x, dtype=np.longdouble)
    return np.where(np.isfinite(row), row - row.max(), 0)


def as_distribution(target: int | ArrayLike, classes: int) -> LongDouble:
    """A distribution as it is, and a class as the distribution that is certain of it."""
    if isinstance(target, int | np.integer):
        return (np.arange(classes) == target).astype(np.longdouble)
    return np.asarray(target, dtype=np.longdouble)


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


def normmax(x: ArrayLike, alpha: float) -> Float64:
    """The argmax of `<x, p> - ||p||_alpha` on the simplex, for alpha in (1, inf].

    Stationarity on the support reads `x - tau = ||p|| ** (1 - alpha) p ** (alpha - 1)`, whose dual
    norm is 1: bisect `sum (x - tau) ** b = 1` with b = alpha / (alpha - 1).
    """
    row = np.asarray(x, dtype=np.longdouble)
    y = row - row.max()
    b = np.longdouble(1) if alpha == np.inf else np.longdouble(alpha) / (np.longdouble(alpha) - 1)
    low, high = np.longdouble(-1), np.longdouble(0)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        above = (np.maximum(y - middle, 0) ** b).sum() > 1
        low, high = (middle, high) if above else (low, middle)
    excess = np.maximum(y - (low + high) / 2, 0)
    weights = np.where(excess > 0, excess ** (b - 1), 0)
    return np.asarray(weights / weights.sum(), dtype=np.float64)


def normmax_loss(x: ArrayLike, target: int | ArrayLike, alpha: float) -> float:
    """The Fenchel-Young loss of normmax: `||target|| - ||p|| + <x, p - target>`."""
    p, y = normmax(x, alpha).astype(np.longdouble), _from_the_top(x)
    wanted = as_distribution(target, y.size)

    def norm(q: LongDouble) -> np.longdouble:
        if alpha == np.inf:
            return np.longdouble(q.max())
        return np.longdouble((q**alpha).sum() ** (1 / np.longdouble(alpha)))

    return float(norm(wanted) - norm(p) + (y * (p - wanted)).sum())
