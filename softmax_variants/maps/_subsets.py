"""Subsets of k classes drawn without replacement: their ids, and a relaxed k-hot."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

from softmax_variants._numerics import (
    masked,
    on_rows,
    reduce_rows,
    row_max,
    row_sum,
    zero_masked,
)
from softmax_variants._sharding import is_split
from softmax_variants._typing import Array, ArrayLike, Axis
from softmax_variants._validation import as_count, as_key, as_parameter
from softmax_variants.maps._gumbel import NOTHING, gumbel, largest_ids, perturbed
from softmax_variants.maps._softmax import exponents, sharpness, softmax_rows


def gumbel_top_k(
    key: Array,
    logits: ArrayLike,
    axis: Axis = -1,
    where: ArrayLike | None = None,
    *,
    k: int,
) -> Array:
    r"""Draws k distinct classes without replacement, by the Gumbel-top-k trick.

    .. math:: (i_1, \dots, i_k) = \mathrm{arg\,top}_k \, (x_i + g_i)

    The ids come in the order drawn: the first is a sample from the softmax of the logits, each next
    one from the softmax of what is left (the Plackett-Luce distribution).

    Args:
      key: one random key, typed or raw.
      logits: scores of any shape; any real dtype, computed in at least float32.
      axis: class axis or axes; ids count through several in the order given, the last the fastest.
      where: boolean mask that broadcasts to `logits`; False entries are never drawn.
      k: number of classes to draw, static.

    Returns:
      Class ids, int32, of the shape of `logits` with size k on `axis` (on the first of several).
      A row with fewer than k classes gives -1 for the rest, a row with a NaN -1 throughout.

    Raises:
      TypeError: no key, complex logits, a mask that is not boolean, a k that is not an integer.
      ValueError: k below 1, an axis out of bounds, shapes that do not broadcast.

    Example:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> import softmax_variants as sv
      >>> print(sv.gumbel_top_k(jax.random.key(0), jnp.array([0.0, 90.0, -jnp.inf, 45.0]), k=4))
      [ 1  3  0 -1]

    References:
      Kool, van Hoof and Welling, `Stochastic Beams and Where to Find Them
      <https://arxiv.org/abs/1903.06059>`_, 2019.
    """
    count = as_count(k, "k")
    return reduce_rows(gumbel_top_k_rows, logits, axis, where, key=as_key(key), k=count)


def relaxed_top_k(
    key: Array,
    logits: ArrayLike,
    axis: Axis = -1,
    where: ArrayLike | None = None,
    *,
    k: int,
    temperature: ArrayLike = 1.0,
) -> Array:
    r"""A relaxed k-hot sample that can be differentiated: k classes drawn without replacement.

    .. math:: y = \sum_{j=1}^{k} p^j, \qquad p^j = \mathrm{softmax}(r^j / T), \qquad
        r^1 = x + g, \quad r^{j+1} = r^j + \log(1 - p^j)

    Towards temperature 0 it becomes exactly the k-hot vector of `gumbel_top_k`. At a high
    temperature an entry may exceed 1: the sum is what is kept at k.

    Args:
      key: one random key, typed or raw.
      logits: scores of any shape; any real dtype, computed in at least float32.
      axis: class axis or axes.
      where: boolean mask that broadcasts to `logits`; False entries get 0.
      k: number of classes to draw, static.
      temperature: `T >= 0`, a scalar or an array with size 1 on `axis`, differentiable. 0 is the
        limit. Traced values outside the interval give NaN.

    Returns:
      Samples of the shape and floating dtype of `logits`. Rows sum to k, or to the number of
      classes in the row if that is less.

    Raises:
      TypeError: no key, complex logits, a mask that is not boolean, a k that is not an integer.
      ValueError: k below 1, a negative temperature, an axis out of bounds, shapes that do not
        broadcast.

    Example:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> import softmax_variants as sv
      >>> logits = jnp.array([0.0, 90.0, -jnp.inf, 45.0])
      >>> print(sv.relaxed_top_k(jax.random.key(0), logits, k=2, temperature=0.5))
      [0. 1. 0. 1.]

    References:
      Xie and Ermon, `Reparameterizable Subset Sampling via Continuous Relaxations
      <https://arxiv.org/abs/1901.10517>`_, 2019.
    """
    count = as_count(k, "k")
    parameters = {"temperature": as_parameter(temperature, "temperature", low=0)}
    return on_rows(relaxed_top_k_rows, logits, axis, where, parameters, key=as_key(key), k=count)


def gumbel_top_k_rows(x: Array, key: Array, k: int) -> Array:
    """The ids of the k largest perturbed scores of each row, the largest first."""
    scores = perturbed(x, gumbel(key, x))
    if is_split(x, -1):
        return ids_in_turn(scores, k)
    within = min(k, x.shape[-1])
    values, ids = lax.top_k(scores, within)
    drawable = (values > -jnp.inf) & ~jnp.isnan(row_max(scores))
    ids = jnp.where(drawable, ids, NOTHING)
    rest = jnp.full((*ids.shape[:-1], k - within), NOTHING, ids.dtype)
    return jnp.concatenate([ids, rest], axis=-1)


def ids_in_turn(scores: Array, k: int) -> Array:
    """The same ids by k reductions, which, unlike a sort, run over a sharded class axis."""
    classes = lax.broadcasted_iota(jnp.int32, scores.shape, scores.ndim - 1)

    def draw(left: Array, _: None) -> tuple[Array, Array]:
        ids = largest_ids(left)
        return jnp.where(classes == ids[..., None], -jnp.inf, left), ids

    _, ids = lax.scan(draw, scores, None, length=k)
    return jnp.moveaxis(ids, 0, -1)


def relaxed_top_k_rows(x: Array, temperature: Array, key: Array, k: int) -> Array:
    """A relaxed k-hot of each row."""
    beta = sharpness(jnp.where(temperature >= 0, temperature, jnp.nan))
    scores = perturbed(x, gumbel(key, x))
    # Past the last class there is nothing to draw, though relaxed weights never quite run out.
    count = row_sum((~masked(scores)).astype(x.dtype))

    def draw(state: tuple[Array, Array], drawn: Array) -> tuple[tuple[Array, Array], None]:
        scores, total = state
        p = softmax_rows(scores, beta)
        total = total + jnp.where(drawn < count, p, 0)
        return (scores + log_complement_rows(scores, beta), total), None

    order = jnp.arange(k, dtype=x.dtype)
    (_, total), _ = lax.scan(draw, (scores, jnp.zeros_like(x)), order)
    return zero_masked(x, total)


@jax.custom_jvp
def log_complement_rows(x: Array, beta: Array) -> Array:
    """`log(1 - softmax(beta * x))` over the last axis, exact also where the softmax rounds to 1.

    There, at the largest entry, `1 - p` is the sum of the others' weights, on a scale of their own.
    """
    z, _ = exponents(x, beta)
    top, others = without_largest(z)
    second = row_max(others)
    reference = jnp.where(second == -jnp.inf, 0, second)
    rest = jnp.log(row_sum(jnp.exp(others - reference))) + reference
    total = row_sum(jnp.exp(z))
    log_total = jnp.log(jnp.where(total == 0, 1, total))
    p = softmax_rows(x, beta)
    return jnp.where(top, rest - log_total, jnp.log1p(-jnp.where(top, 0, p)))


def _log_complement_jvp(
    primals: tuple[Array, Array], tangents: tuple[Any, Any]
) -> tuple[Array, Array]:
    (x, beta), (dx, dbeta) = primals, tangents
    p = softmax_rows(x, beta)
    z, y = exponents(x, beta)
    top, others = without_largest(z)
    flat = jnp.isinf(beta) | masked(z)
    dz = jnp.zeros_like(x)
    if not isinstance(dx, SymbolicZero):
        dz = dz + jnp.where(flat, 0, jnp.where(flat, 0, beta) * dx)
    if not isinstance(dbeta, SymbolicZero):
        dz = dz + jnp.where(flat, 0, y) * dbeta
    rest = softmax_rows(others, jnp.ones_like(beta))
    at_top = dz - row_sum(rest * dz)
    below = (dz - row_sum(p * dz)) / (1 - jnp.where(top, 0, p))
    return log_complement_rows(x, beta), -p * jnp.where(top, at_top, below)


log_complement_rows.defjvp(_log_complement_jvp, symbolic_zeros=True)


def without_largest(z: Array) -> tuple[Array, Array]:
    """Which entry is the largest (one of several), and the row with that entry masked."""
    classes = lax.broadcasted_iota(jnp.int32, z.shape, z.ndim - 1)
    top = classes == largest_ids(z)[..., None]
    return top, jnp.where(top, -jnp.inf, z)
