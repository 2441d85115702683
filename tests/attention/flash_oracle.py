"""Attention by softmax or entmax in float64, row by row in NumPy, with its gradients.

Nothing here calls the library. The threshold is found by bisection and the gradients come from the
closed form `J = diag(s) - s s^T / sum(s)` with `s = p^(2 - alpha)`.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
_BISECTIONS = 200


class Case(NamedTuple):
    """[B, T, N, H], [B, S, K, H], [B, S, K, D], and what broadcasts to [B, N, T, S]."""

    query: Any
    key: Any
    value: Any
    bias: Any
    scale: Any
    alpha: Any
    n: Any


def power(u: Float64, eps: Float64) -> Float64:
    """`(1 + eps u)^(1 / eps)`, 0 below 0; `exp(u)` at eps = 0."""
    soft = eps == 0
    eps = np.where(soft, 1, eps)
    base = 1 + eps * u
    with np.errstate(over="ignore"):
        p = np.where(base > 0, np.exp(np.log(np.where(base > 0, base, 1)) / eps), 0)
        return np.where(soft, np.exp(u), p)


def weights(scores: Float64, alpha: Float64, n: Float64) -> tuple[Float64, Float64]:
    """The weights of rows of scores, and that of one of `n` sinks of score 0; 0 in an empty row."""
    eps = alpha - 1
    kept = scores > -np.inf
    seen = kept.any(axis=-1, keepdims=True)
    top = np.where(seen, scores.max(axis=-1, keepdims=True), 0)
    y = np.where(kept, scores - top, -np.inf)
    count = np.maximum(kept.sum(axis=-1, keepdims=True) + n, 1)
    safe = np.where(eps == 0, 1, eps)
    reach = np.where(eps == 0, np.log(count), (1 - count**-safe) / safe)
    low, high = np.zeros_like(top), np.maximum(np.where(n > 0, -top, 0), 0) + reach
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        with np.errstate(over="ignore", invalid="ignore"):
            sinks = np.where(n > 0, n * power(-top - middle, eps), 0)
        mass = power(y - middle, eps).sum(axis=-1, keepdims=True) + sinks
        low, high = np.where(mass > 1, middle, low), np.where(mass > 1, high, middle)
    with np.errstate(over="ignore", invalid="ignore"):
        sink = np.where(seen, power(-top - high, eps), 0)
    return np.where(kept, power(y - high, eps), 0), sink


def slopes(p: Float64, alpha: Float64) -> Float64:
    return np.where(p > 0, np.exp((2 - alpha) * np.log(np.where(p > 0, p, 1))), 0)


def alpha_direction(p: Float64, alpha: Float64) -> Float64:
    """`dp/dalpha = J G`: log(p)^2 (expm1(u) - u e^u) / u^2 with u = (alpha - 1) log p."""
    log_p = np.log(np.where(p > 0, p, 1))
    u = (alpha - 1) * log_p
    far = np.where(np.abs(u) < 1e-4, 1, u)
    phi = np.where(np.abs(u) < 1e-4, -0.5 - u / 3, (np.expm1(far) - far * np.exp(far)) / far**2)
    return np.where(p > 0, log_p**2 * phi, 0)


def attention(case: Case, visible: NDArray[np.bool_], cotangent: Any) -> tuple[Float64, Case]:
    """The outputs [B, T, N, D] and the gradients of `sum(output * cotangent)`."""
    query, key, value, bias, scale, alpha, n = (np.asarray(x, np.float64) for x in case)
    group = query.shape[2] // key.shape[2]
    keys, values = np.repeat(key, group, axis=2), np.repeat(value, group, axis=2)
    products = np.einsum("btnh,bsnh->bnts", query, keys)
    scores = np.where(np.broadcast_to(visible, products.shape), products * scale + bias, -np.inf)
    shape = (*products.shape[:-1], 1)
    a, sinks = np.broadcast_to(alpha, shape), np.broadcast_to(n, shape)
    p, p0 = weights(scores, a, sinks)
    output = np.einsum("bnts,bsnd->btnd", p, values)
    g = np.asarray(cotangent, np.float64)
    dp = np.einsum("btnd,bsnd->bnts", g, values)
    s, s0 = slopes(p, a), slopes(p0, a)
    total = s.sum(axis=-1, keepdims=True) + sinks * s0
    mean = (s * dp).sum(axis=-1, keepdims=True) / np.where(total > 0, total, 1)
    dz = s * (dp - mean)
    dalpha = (dz * alpha_direction(p, a)).sum(axis=-1, keepdims=True)
    dalpha = dalpha - sinks * s0 * mean * alpha_direction(p0, a)
    gradients = Case(
        np.einsum("bnts,bsnh->btnh", dz * scale, keys),
        _ungrouped(np.einsum("bnts,btnh->bsnh", dz * scale, query), group),
        _ungrouped(np.einsum("bnts,btnd->bsnd", p, g), group),
        _summed_to(dz, bias.shape),
        _summed_to((dz * products).sum(axis=-1, keepdims=True), scale.shape),
        _summed_to(dalpha, alpha.shape),
        _summed_to(-p0 * mean, n.shape),
    )
    return output, gradients


def _ungrouped(x: Float64, group: int) -> Float64:
    b, s, heads, size = x.shape
    return x.reshape(b, s, heads // group, group, size).sum(axis=3)


def _summed_to(x: Float64, shape: tuple[int, ...]) -> Float64:
    """The gradient of what was broadcast from `shape`."""
    full = (1,) * (x.ndim - len(shape)) + shape
    axes = tuple(i for i, size in enumerate(full) if size == 1)
    return x.sum(axis=axes, keepdims=True).reshape(shape)
