"""Measures the maps: value, sum, derivative by alpha, Hessian, low precision, and tails."""

from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

import softmax_variants as sv
from experiments import peers, references
from experiments.accuracy_cases import (
    ALPHAS,
    DERIVATIVE_ALPHAS,
    Case,
    Grid,
    as_float32,
    cases,
    exact_rows,
)
from experiments.measured import Record

LIBRARY = "softmax_variants"
SMALLEST = 2.0**-14  # float16's smallest normal number
Map = Callable[[jax.Array, jax.Array], jax.Array]

# The functions that compute entmax with a given alpha; alpha is traced where it is an argument.
FIXED: dict[str, tuple[float, Map]] = {
    "softmax": (1.0, lambda x, _: sv.softmax(x)),
    "sparsemax": (2.0, lambda x, _: sv.sparsemax(x)),
    "entmax15": (1.5, lambda x, _: sv.entmax15(x)),
}


def _entmax(x: jax.Array, alpha: jax.Array) -> jax.Array:
    return sv.entmax(x, alpha=alpha)


_compiled = {
    "entmax": jax.jit(_entmax),
    **{name: jax.jit(function) for name, (_, function) in FIXED.items()},
}
_alpha_slope = jax.jit(lambda x, a: jax.jvp(lambda b: _entmax(x, b), (a,), (jnp.ones_like(a),))[1])


def functions_for(alpha: float) -> Iterator[str]:
    """The library's functions that compute entmax with this alpha."""
    yield "entmax"
    yield from (name for name, (fixed, _) in FIXED.items() if fixed == alpha)


def forward(grid: Grid, others: list[peers.Peer]) -> Iterator[Record]:
    """Largest absolute error, and largest distance of the sum from 1, of each case."""
    for case in cases(grid):
        for alpha in ALPHAS:
            exact = exact_rows(case.x, alpha)
            common = {"kind": "forward", **case.where(), "alpha": alpha}
            for name in functions_for(alpha):
                got = _compiled[name](jnp.asarray(case.x), jnp.float32(alpha))
                yield {**common, "subject": LIBRARY, "function": name} | _distance(got, exact)
            for peer in others:
                if peer.offers(alpha):
                    got = _peer_answer(peer, case, alpha)
                    function = {"subject": peer.package, "function": peer.name}
                    yield {**common, **function} | _distance(got, exact)


def _peer_answer(peer: peers.Peer, case: Case, alpha: float) -> np.ndarray:
    try:
        return peers.probabilities(peer, case.x, as_float32(alpha))
    except (RuntimeError, ValueError, IndexError):  # a peer that cannot is a result, not an error
        return np.full(case.x.shape, np.nan)


def _distance(got: jax.Array | np.ndarray, exact: np.ndarray) -> Record:
    wide = np.asarray(got, dtype=np.longdouble)
    return {
        "error": float(np.max(np.abs(wide - exact))),
        "sum_error": float(np.max(np.abs(wide.sum(-1) - 1))),
    }


def alpha_derivatives(grid: Grid, others: list[peers.Peer]) -> Iterator[Record]:
    """Largest absolute error of d p / d alpha; peers only on short rows, one pass a class."""
    for case in cases(grid):
        for alpha in DERIVATIVE_ALPHAS:
            exact = np.stack(
                [
                    references.alpha_derivative_at(p, as_float32(alpha))
                    for p in exact_rows(case.x, alpha)
                ]
            )
            common = {"kind": "alpha", **case.where(), "alpha": alpha}
            got = np.asarray(_alpha_slope(jnp.asarray(case.x), jnp.float32(alpha)), np.float64)
            error = float(np.max(np.abs(got - exact)))
            yield {**common, "subject": LIBRARY, "function": "entmax", "error": error}
            for peer in others:
                if peer.backend == "torch" and peer.alphas is None and case.n <= 10:
                    error = float(np.max(np.abs(_torch_alpha_slope(peer, case.x, alpha) - exact)))
                    function = {"subject": peer.package, "function": peer.name}
                    yield {**common, **function, "error": error}


def _torch_alpha_slope(peer: peers.Peer, x: np.ndarray, alpha: float) -> np.ndarray:
    import torch

    slope = np.full(x.shape, np.nan)
    for row, column in np.ndindex(*x.shape):
        power = torch.tensor(alpha, dtype=torch.float32, requires_grad=True)
        p = peer.call(torch.from_numpy(x[row]), power)
        if p.requires_grad:
            (gradient,) = torch.autograd.grad(p[column], power)
            slope[row, column] = float(gradient)
    return slope


def hessians(grid: Grid, others: list[peers.Peer]) -> Iterator[Record]:
    """Largest error of a Hessian where outputs are 0, relative to its largest entry or 1."""
    hessian = jax.jit(jax.hessian(lambda x, w, a: jnp.vdot(w, sv.entmax(x, alpha=a))))
    for seed in range(8):
        rng = np.random.default_rng((grid.seed, seed))
        x = (rng.normal(size=10) * (1 + seed % 3)).astype(np.float32)
        w = rng.normal(size=10).astype(np.float32)
        for alpha in (1.25, 1.5, 1.75, 2.0):
            p = references.solve(x, alpha).p
            if p.min() > 0:
                continue
            columns = [references.second_derivative(p, alpha, w, e) for e in np.eye(10)]
            exact = np.stack(columns, axis=-1)
            size = max(1.0, float(np.abs(exact).max()))
            common = {"kind": "hessian", "n": 10, "scale": 1 + seed % 3, "alpha": alpha}
            got = np.asarray(hessian(x, w, jnp.float32(alpha)), np.float64)
            error = float(np.max(np.abs(got - exact))) / size
            yield {**common, "subject": LIBRARY, "function": "entmax", "error": error}
            for peer in others:
                if peer.backend == "torch" and peer.offers(alpha):
                    error = float(np.max(np.abs(_torch_hessian(peer, x, w, alpha) - exact))) / size
                    yield {**common, "subject": peer.package, "function": peer.name, "error": error}


def _torch_hessian(peer: peers.Peer, x: np.ndarray, w: np.ndarray, alpha: float) -> np.ndarray:
    import torch

    def value(logits: torch.Tensor) -> torch.Tensor:
        return (peer.call(logits, alpha) * torch.from_numpy(w)).sum()

    return np.asarray(torch.autograd.functional.hessian(value, torch.from_numpy(x)).numpy())


def low_precision(grid: Grid) -> Iterator[Record]:
    """Forward and gradient in bfloat16 and float16, in ulps of the rounded exact value.

    A gradient is a difference, whose small values carry the float32 rounding of what cancelled:
    those below float16's smallest normal number are also reported apart.
    """

    def both(name: str) -> Callable[..., tuple[jax.Array, jax.Array]]:
        def value_and_pullback(
            x: jax.Array, alpha: jax.Array, g: jax.Array
        ) -> tuple[jax.Array, jax.Array]:
            p, pull = jax.vjp(lambda logits: _compiled[name](logits, alpha), x)
            return p, pull(g)[0]

        return jax.jit(value_and_pullback)

    compiled = {name: both(name) for name in _compiled}
    for case in cases(grid):
        for dtype in (jnp.bfloat16, jnp.float16):
            x = jnp.asarray(case.x).astype(dtype)
            rng = np.random.default_rng(case.n)
            g = jnp.asarray(rng.normal(size=x.shape)).astype(dtype)
            for alpha in ALPHAS:
                exact = exact_rows(np.asarray(x), alpha)
                pulled = np.stack(
                    [
                        references.jacobian_product(p, as_float32(alpha), v)
                        for p, v in zip(exact, np.asarray(g).astype(np.float64), strict=True)
                    ]
                )
                common = {"kind": "low", **case.where(), "alpha": alpha, "subject": LIBRARY}
                for name in functions_for(alpha):
                    p, gradient = compiled[name](x, jnp.float32(alpha), g)
                    yield {
                        **common,
                        "function": name,
                        "dtype": jnp.dtype(dtype).name,
                        "forward_ulps": ulps(p, exact),
                        "gradient_ulps": ulps(gradient, pulled),
                        "gradient_ulps_above": ulps(gradient, pulled, above=SMALLEST),
                    }


def ulps(got: jax.Array, exact: np.ndarray, above: float = 0.0) -> float:
    """Largest distance from the rounded exact value, in its units in the last place.

    A unit is never below 2^-126, float32's smallest normal number, under which XLA flushes to 0.
    Entries whose exact size is below `above` are left out.
    """
    info = jnp.finfo(got.dtype)
    with np.errstate(over="ignore"):  # a derivative may exceed float16's range: inf is right then
        rounded = exact.astype(np.float64).astype(got.dtype).astype(np.float64)
    found = np.asarray(got).astype(np.float64)
    size = np.clip(np.abs(rounded), float(info.smallest_normal), float(info.max))
    unit = np.maximum(np.exp2(np.floor(np.log2(size)) - info.nmant), 2.0**-126)
    same = found == rounded
    distance = np.abs(np.where(same, 0, found) - np.where(same, 0, rounded)) / unit
    return float(np.max(np.where(np.abs(exact) >= above, distance, 0), initial=0))


def tails(quick: bool) -> Iterator[Record]:
    """How often `gumbel_max` draws from 65,536 classes that lie 17 below the largest."""
    draws, batch, classes, gap = (1000 if quick else 4000), 50, 65_536, 17.0
    logits = jnp.full((classes + 1,), -gap).at[0].set(0.0)
    draw = jax.jit(lambda key: sv.gumbel_max(key, jnp.broadcast_to(logits, (batch, classes + 1))))
    keys = jax.random.split(jax.random.key(0), draws // batch)
    drawn = sum(int((draw(key) > 0).sum()) for key in keys)
    mass = classes * np.exp(-gap)
    expected = draws * mass / (1 + mass)
    # In standard deviations of the (nearly Poisson) count.
    error = abs(drawn - expected) / np.sqrt(expected)
    yield {
        "kind": "tails",
        "subject": LIBRARY,
        "function": "gumbel_max",
        "drawn": drawn,
        "expected": float(expected),
        "error": float(error),
    }
