"""Values that are not finite: they spoil the queries that see them, and nothing else.

A weight of 0 does not keep a NaN out of a sum, as 0 * NaN is NaN, forward and in the gradients of
both factors. So the products are formed from arrays in which such values are replaced by 0, and the
queries that see one are set to NaN at the end.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from softmax_variants._typing import Array


def clean(x: Array) -> Array:
    """`x` with 0 in place of what is not finite, which also gets the gradient 0."""
    return jnp.where(jnp.isfinite(x), x, 0)


def spoiled_queries(query: Array, key: Array, value: Array, visible: Array | None) -> Array:
    """Which queries [..., N, T] are, or see, something that is not finite."""
    group = query.shape[-2] // key.shape[-2]
    bad_query = _not_finite(query)
    bad_key = _not_finite(key) | _not_finite(value)
    if group > 1:
        bad_key = jnp.repeat(bad_key, group, axis=-2)
    if visible is None:
        return jnp.broadcast_to(
            bad_query | jnp.any(bad_key, axis=-1, keepdims=True), bad_query.shape
        )

    def those_that_see(operands: tuple[Array, Array, Array]) -> Array:
        bad_query, bad_key, visible = operands
        return jnp.any(visible & (bad_query[..., None] | bad_key[..., None, :]), axis=-1)

    # Only where something is amiss is every pair of a query and a key looked at.
    return lax.cond(
        jnp.any(bad_query) | jnp.any(bad_key),
        those_that_see,
        lambda operands: jnp.zeros_like(bad_query),
        (bad_query, bad_key, visible),
    )


def _not_finite(x: Array) -> Array:
    """Which vectors [..., N, T] of [..., T, N, H] hold a value that is not finite."""
    return jnp.swapaxes(jnp.any(~jnp.isfinite(x), axis=-1), -1, -2)


@jax.custom_jvp
def spoil(output: Array, spoiled: Array) -> Array:
    """`output`, and NaN where it is spoiled.

    So is what is differentiated through it, but only where it is used: a loss that leaves a spoiled
    query out, whose cotangent is 0, keeps its gradient.
    """
    return jnp.where(spoiled, jnp.nan, output)


@spoil.defjvp
def _spoil_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Any]) -> tuple[Array, Array]:
    output, spoiled = primals
    # Twice the largest number: infinite from whatever is not 0, and 0 from 0. One factor alone
    # could leave a small number finite, and the compiler may not make one factor of the two.
    largest = jnp.finfo(output.dtype).max
    factor = jnp.where(spoiled, largest, 1).astype(output.dtype)
    tangent = lax.optimization_barrier(tangents[0] * factor) * factor
    return spoil(output, spoiled), tangent
