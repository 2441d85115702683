"""Softmax with n extra zero logits: a row may spend less than its whole mass."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from softmax_variants._numerics import masked, on_rows, row_max, row_sum, safe_divide, shift
from softmax_variants._typing import Array, ArrayLike, Axis
from softmax_variants._validation import as_parameter


def softmax_n(
    logits: ArrayLike,
    axis: Axis = -1,
    where: ArrayLike | None = None,
    *,
    n: ArrayLike = 1.0,
) -> Array:
    r"""Softmax with n extra logits of 0 that take their share and are dropped.

    .. math:: p_i = e^{x_i} / (n + \sum_j e^{x_j})

    With n = 1 it is "softmax1": an attention head may attend to nothing. n is any real number, so
    that `exp` of a parameter makes it a learned sink; n = 0 is softmax.

    Args:
      logits: scores of any shape; any real dtype, computed in at least float32.
      axis: class axis or axes.
      where: boolean mask that broadcasts to `logits`; False entries get probability 0.
      n: how many extra zeros, in [0, infinity), a scalar or an array with size 1 on `axis` (one a
        head, ...). Differentiable, also at exactly 0. A traced n below 0 gives NaN.

    Returns:
      Probabilities of the shape and floating dtype of `logits`, whose sum over `axis` is below 1
      for n > 0; a row with nothing kept is 0.

    Raises:
      TypeError: complex logits, a mask that is not boolean.
      ValueError: n negative or infinite, an axis out of bounds, shapes that do not broadcast.

    Example:
      >>> import jax.numpy as jnp
      >>> import softmax_variants as sv
      >>> print(sv.softmax_n(jnp.array([0.0, 0.0, -jnp.inf]), n=2.0))
      [0.25 0.25 0.  ]

    References:
      Miller, `Attention Is Off By One
      <https://www.evanmiller.org/attention-is-off-by-one.html>`_, 2023.
    """
    n = as_parameter(n, "n", low=0, high_open=True)
    return on_rows(softmax_n_rows, logits, axis, where, {"n": n})


def softmax_n_rows(x: Array, n: Array) -> Array:
    """Softmax of the last axis beside n zeros."""
    return _shares(x, n)[0]


@jax.custom_jvp
def _shares(x: Array, n: Array) -> tuple[Array, Array]:
    """The probabilities, and the one of a single extra zero."""
    n = jnp.where(n >= 0, n, jnp.nan)
    # The zeros weigh n together: their logit is log n, or 0 where n itself cannot overflow.
    extra = jnp.where(n < 1, jnp.log(jnp.where(n > 0, n, 1)), 0)
    top = row_max(x)
    top = jnp.where(n == 0, top, jnp.maximum(top, extra))
    weight = jnp.exp(shift(x, top))
    # Below the range of the dtype only with n = 0, where nothing but the gradient for n needs it.
    zero = jnp.minimum(jnp.exp(-jnp.where(top == -jnp.inf, 0, top)), jnp.finfo(x.dtype).max)
    total = row_sum(weight) + jnp.where(n == 0, 0, n * zero)
    p = jnp.where(masked(x), 0, safe_divide(weight, total))
    return p, safe_divide(zero, total)


def _shares_jvp(
    primals: tuple[Array, Array], tangents: tuple[Any, Any]
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    (x, n), (dx, dn) = primals, tangents
    p, zero = _shares(x, n)
    dp, dzero = jnp.zeros_like(p), jnp.zeros_like(zero)
    if not isinstance(dx, SymbolicZero):
        dp, mean = _product(p, n * zero, jnp.where(masked(x), 0, dx))
        dzero = -zero * mean
    if not isinstance(dn, SymbolicZero):
        dp = dp - jnp.where(p == 0, 0, p * zero) * dn
        dzero = dzero - jnp.square(zero) * dn
    return (p, zero), (dp, dzero)


_shares.defjvp(_shares_jvp, symbolic_zeros=True)


def _product(p: Array, rest: Array, v: Array) -> tuple[Array, Array]:
    """`(diag(p) - p p^T) v` where `rest` is what `p` lacks to a sum of 1, and the mean of `v`.

    The product of the full simplex, whose last class has the probability `rest` and the tangent 0,
    centred twice like `centered_product`.
    """
    off = p == 0
    v = jnp.where(off, 0, v)
    mean = row_sum(p * v)
    product = jnp.where(off, 0, p * (v - mean))
    left = row_sum(product) - rest * mean
    return jnp.where(off, 0, product - p * left), mean
