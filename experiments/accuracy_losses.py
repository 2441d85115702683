"""Measures the losses: value, sign, the exact zero past the margin, and the gradient."""

from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

import softmax_variants as sv
from experiments import peers, references
from experiments.accuracy_cases import ALPHAS, Grid, as_float32, cases, exact_rows
from experiments.measured import Record

LIBRARY = "softmax_variants"
NORMMAX_ALPHA = 2.0
Loss = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]

# name -> (the alphas it is measured at, the loss, the map whose output minus the target it has as
# its gradient)
LOSSES: dict[str, tuple[tuple[float, ...], Loss, Callable[[jax.Array, jax.Array], jax.Array]]] = {
    "cross_entropy_loss": (
        (1.0,),
        lambda x, y, _: sv.cross_entropy_loss(x, y),
        lambda x, _: sv.softmax(x),
    ),
    "entmax15_loss": (
        (1.5,),
        lambda x, y, _: sv.entmax15_loss(x, y),
        lambda x, _: sv.entmax15(x),
    ),
    "sparsemax_loss": (
        (2.0,),
        lambda x, y, _: sv.sparsemax_loss(x, y),
        lambda x, _: sv.sparsemax(x),
    ),
    "entmax_loss": (
        ALPHAS,
        lambda x, y, alpha: sv.entmax_loss(x, y, alpha=alpha),
        lambda x, alpha: sv.entmax(x, alpha=alpha),
    ),
}


def losses(grid: Grid, others: list[peers.Peer]) -> Iterator[Record]:
    """Error relative to `1 + max x - x_y`, and what a loss must never do."""
    compiled = {name: _compile(loss, of) for name, (_, loss, of) in LOSSES.items()}
    for case in cases(grid):
        labels = _labels(case.x)
        allowed = 1 + case.x.max(-1).astype(np.float64) - _chosen(case.x.astype(np.float64), labels)
        for alpha in ALPHAS:
            exact = _exact(exact_rows(case.x, alpha), case.x, labels, alpha)
            common = {"kind": "loss", **case.where(), "alpha": alpha}
            past = _past_the_margin(case.x, labels, alpha)
            for name, (alphas, *_) in LOSSES.items():
                if alpha not in alphas:
                    continue
                value, mismatch = compiled[name](case.x, labels, jnp.float32(alpha))
                yield {
                    **common,
                    "subject": LIBRARY,
                    "function": name,
                    **_judge(np.asarray(value, np.float64), exact, allowed, past),
                    "gradient_error": float(mismatch),
                }
            for peer in others:
                if peer.loss is not None and peer.offers(alpha):
                    got = _torch_loss(peer, case.x, labels, as_float32(alpha))
                    function = {"subject": peer.package, "function": peer.name}
                    yield {**common, **function, **_judge(got, exact, allowed, past)}


def normmax_losses(grid: Grid) -> Iterator[Record]:
    """The same for normmax, which is no member of the entmax family."""
    compiled = _compile(
        lambda x, y, alpha: sv.normmax_loss(x, y, alpha=alpha),
        lambda x, alpha: sv.normmax(x, alpha=alpha),
    )
    for case in cases(grid):
        labels = _labels(case.x)
        wide = case.x.astype(np.float64)
        allowed = 1 + wide.max(-1) - _chosen(wide, labels)
        exact = np.array(
            [
                references.normmax_loss(r, int(y), NORMMAX_ALPHA)
                for r, y in zip(wide, labels, strict=True)
            ]
        )
        value, mismatch = compiled(case.x, labels, jnp.float32(NORMMAX_ALPHA))
        nothing = np.zeros(labels.shape, bool)
        yield {
            "kind": "loss",
            **case.where(),
            "alpha": NORMMAX_ALPHA,
            "subject": LIBRARY,
            "function": "normmax_loss",
            **_judge(np.asarray(value, np.float64), exact, allowed, nothing),
            "gradient_error": float(mismatch),
        }


def _compile(
    loss: Loss, of: Callable[[jax.Array, jax.Array], jax.Array]
) -> Callable[..., tuple[jax.Array, jax.Array]]:
    """The losses of all rows, and how far their gradient is from the map minus the target."""

    @jax.jit
    def run(x: jax.Array, labels: jax.Array, alpha: jax.Array) -> tuple[jax.Array, jax.Array]:
        value, pull = jax.vjp(lambda logits: loss(logits, labels, alpha), x)
        (gradient,) = pull(jnp.ones_like(value))
        target = jax.nn.one_hot(labels, x.shape[-1], dtype=x.dtype)
        return value, jnp.max(jnp.abs(gradient - (of(x, alpha) - target)))

    return run


def _labels(x: np.ndarray) -> np.ndarray:
    """A random class of each row, and for every other row the class of its maximum."""
    rows, classes = x.shape
    random = np.random.default_rng(classes).integers(classes, size=rows)
    return np.where(np.arange(rows) % 2, random, x.argmax(-1)).astype(np.int32)


def _chosen(x: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return np.take_along_axis(x, labels[:, None], axis=-1)[:, 0]


def _exact(p: np.ndarray, x: np.ndarray, labels: np.ndarray, alpha: float) -> np.ndarray:
    rows = zip(p, x.astype(np.float64), labels, strict=True)
    power = as_float32(alpha)
    return np.array([references.entmax_loss_at(q, row, int(y), power) for q, row, y in rows])


def _past_the_margin(x: np.ndarray, labels: np.ndarray, alpha: float) -> np.ndarray:
    """Where the loss is exactly 0: the label leads all others by 1 / (alpha - 1) or more."""
    if alpha == 1:
        return np.zeros(labels.shape, bool)
    wide = x.astype(np.float64)
    others = wide.copy()
    np.put_along_axis(others, labels[:, None], -np.inf, axis=-1)
    margin = _chosen(wide, labels) - others.max(-1)
    return np.asarray(margin * (as_float32(alpha) - 1) >= 1)


def _judge(got: np.ndarray, exact: np.ndarray, allowed: np.ndarray, past: np.ndarray) -> Record:
    return {
        "error": float(np.max(np.abs(got - exact) / allowed)),
        "below_zero": float(np.max(np.maximum(-got, 0))),
        "past_margin": float(np.max(np.abs(np.where(past, got, 0)))),
        "rows_past_margin": int(past.sum()),
    }


def _torch_loss(peer: peers.Peer, x: np.ndarray, labels: np.ndarray, alpha: float) -> np.ndarray:
    import torch

    assert peer.loss is not None
    try:
        value = peer.loss(torch.from_numpy(x), torch.from_numpy(labels.astype(np.int64)), alpha)
    except (RuntimeError, ValueError, IndexError):  # a peer that cannot is a result, not an error
        return np.full(labels.shape, np.nan)
    return np.asarray(value.detach().numpy(), np.float64)
