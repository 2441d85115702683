"""What all heads answer where a label is no class: NaN in that example alone, backwards as well."""

import jax.numpy as jnp
from jax import lax

from softmax_variants._typing import Array


def spoiled(loss: Array, valid: Array) -> Array:
    """The losses, NaN where `valid` is False; both [...].

    In reverse such an example gives NaN to all that it read, but nothing where its loss counts
    nothing: a cotangent of 0 stays 0, which times NaN would be NaN. Only a linear solve may say
    what its transpose does: it is one in the factors, 1 and NaN.
    """
    factor = jnp.where(valid, 1, jnp.nan).astype(loss.dtype)

    def times(_: object, x: Array) -> Array:
        return x * factor

    def transposed(_: object, cotangent: Array) -> Array:
        return jnp.where(cotangent == 0, 0, cotangent * factor)

    found: Array = lax.custom_linear_solve(lambda x: x * factor, loss, times, transposed)
    return found
