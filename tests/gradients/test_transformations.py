"""vmap, scan, remat and stored residuals: all follow from one rule a map."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from softmax_variants.variants import VARIANTS, Variant
from tests.conformance.cases import close, every, having, scores, value_and_gradient, weights
from tests.gradients import points

CORES = ("softmax", "sparsemax", "entmax15", "entmax")


@functools.cache
def transformed(name: str) -> dict[str, Any]:
    """The map under every transformation, in one compiled call."""
    variant = VARIANTS[name]

    def scanned(x: jax.Array) -> jax.Array:
        @jax.checkpoint
        def body(carry: jax.Array, row: jax.Array) -> tuple[jax.Array, jax.Array]:
            p = variant(row)
            return carry + p[0], p

        return jax.lax.scan(body, jnp.zeros(()), x)[1]

    def through(f: Any, x: jax.Array, w: jax.Array) -> tuple[jax.Array, jax.Array]:
        p, pull = jax.vjp(f, x)
        return p, pull(w)[0]

    def both(x: jax.Array, w: jax.Array) -> dict[str, Any]:
        return {
            "vmap": through(jax.vmap(lambda row: variant(row)), x, w),
            "scan of remat": through(scanned, x, w),
        }

    x = scores(variant)
    return points.on_host(jax.jit(both)(x, weights(x)))


@pytest.mark.slow
@every
def test_vmap_scan_and_remat_change_nothing(variant: Variant) -> None:
    x = scores(variant)
    p, gradient = value_and_gradient(variant, x)
    scale = max(1, np.abs(gradient).max())
    for name, (same_p, same_gradient) in transformed(variant.name).items():
        # Another program rounds otherwise: two answers, each within the accuracy of the maps.
        close(same_p, p, atol=3e-7, reason=name)
        close(same_gradient, gradient, atol=1e-6 * scale, reason=name)


def stored_bytes(pull: Any) -> int:
    return sum(leaf.nbytes for leaf in jax.tree.leaves(pull) if hasattr(leaf, "nbytes"))


@having(lambda row: row.name in CORES)  # the maps whose derivative is a function of the output
def test_the_derivative_stores_no_more_than_the_output(variant: Variant) -> None:
    x = jnp.asarray(np.random.default_rng(0).normal(size=(64, 1000)), jnp.float32)
    p, pull = jax.vjp(lambda x: variant(x), x)
    per_row = 4 * 64
    assert stored_bytes(pull) <= 1.05 * p.nbytes + 4 * per_row


def test_the_count_of_stored_bytes_sees_what_jax_stores() -> None:
    x = jnp.ones((64, 1000))
    _, pull = jax.vjp(lambda x: jnp.exp(x) * jnp.sin(x), x)
    assert stored_bytes(pull) >= 2 * x.nbytes
