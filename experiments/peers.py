"""Other packages that compute the same maps, used only where they happen to be installed.

`pip install entmax torch jaxopt` beside the library brings all of them into the tables; optax is
always there. Every peer is called as its documentation says, on rows along the last axis.
"""

import importlib.metadata
import importlib.util
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax


class Peer(NamedTuple):
    """One function of another package.

    Attributes:
      name: how tables call it.
      package: the distribution it comes from.
      backend: "jax" or "torch", which decides how it is called and timed.
      alphas: the alphas it offers; None means any above 1.
      call: `(logits, alpha) -> probabilities` on arrays of the backend.
      loss: `(logits, labels, alpha) -> one loss per row`, where the package has it.
    """

    name: str
    package: str
    backend: str
    alphas: tuple[float, ...] | None
    call: Callable[[Any, float], Any]
    loss: Callable[[Any, Any, float], Any] | None = None

    def offers(self, alpha: float) -> bool:
        """Whether the peer computes entmax with this alpha."""
        return alpha > 1 if self.alphas is None else alpha in self.alphas


def installed() -> list[Peer]:
    """The peers that this environment has."""
    return [*_optax(), *_jaxopt(), *_deep_spin()]


def versions(peers: list[Peer]) -> dict[str, str]:
    """The versions of the packages that the peers come from, torch included where it is used."""
    names = {peer.package for peer in peers} | {
        "torch" for peer in peers if peer.backend == "torch"
    }
    return {name: importlib.metadata.version(name) for name in sorted(names)}


def probabilities(peer: Peer, logits: np.ndarray, alpha: float) -> np.ndarray:
    """The peer's answer for rows of float32 logits, as NumPy."""
    if peer.backend == "jax":
        return np.asarray(peer.call(jnp.asarray(logits), alpha))
    import torch

    with torch.no_grad():
        return np.asarray(peer.call(torch.from_numpy(logits), alpha).numpy())


def _optax() -> list[Peer]:
    project = jax.jit(jax.vmap(optax.projections.projection_simplex))
    return [Peer("optax projection", "optax", "jax", (2.0,), lambda x, _: project(x))]


def _jaxopt() -> list[Peer]:
    if importlib.util.find_spec("jaxopt") is None:
        return []
    import warnings

    with warnings.catch_warnings():
        # It announces at import that it is no longer maintained.
        warnings.simplefilter("ignore")
        from jaxopt.projection import projection_simplex
    project = jax.jit(jax.vmap(projection_simplex))
    return [Peer("jaxopt projection", "jaxopt", "jax", (2.0,), lambda x, _: project(x))]


def _deep_spin() -> list[Peer]:
    if any(importlib.util.find_spec(name) is None for name in ("torch", "entmax")):
        return []
    import entmax

    def exact(name: str, alpha: float, k: int | None = None) -> Peer:
        call, loss = getattr(entmax, name), getattr(entmax, f"{name}_loss")
        return Peer(
            f"entmax {name}" + (f" k={k}" if k else ""),
            "entmax",
            "torch",
            (alpha,),
            lambda x, _: call(x, dim=-1, k=k),
            lambda x, y, _: loss(x, y, k=k),
        )

    bisection = Peer(
        "entmax bisection",
        "entmax",
        "torch",
        None,
        lambda x, alpha: entmax.entmax_bisect(x, alpha, dim=-1),
        lambda x, y, alpha: entmax.entmax_bisect_loss(x, y, alpha),
    )
    return [
        exact("sparsemax", 2.0),
        exact("entmax15", 1.5),
        exact("sparsemax", 2.0, k=100),
        exact("entmax15", 1.5, k=100),
        bisection,
    ]
