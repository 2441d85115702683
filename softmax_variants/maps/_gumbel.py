"""Gumbel noise, and the samples that adding it to the logits gives: ids and relaxed one-hots."""

import jax
import jax.numpy as jnp
from jax import lax

from softmax_variants._numerics import masked, on_rows, reduce_rows, row_max, shift, zero_masked
from softmax_variants._typing import Array, ArrayLike, Axis
from softmax_variants._validation import as_flag, as_key, as_parameter
from softmax_variants.maps._softmax import exponents, sharpness, softmax_rows
from softmax_variants.maps._straight_through import replaced

NOTHING = -1  # the id of a row from which nothing can be drawn


def gumbel_max(
    key: Array, logits: ArrayLike, axis: Axis = -1, where: ArrayLike | None = None
) -> Array:
    r"""Draws a class from the softmax of the logits, by the Gumbel-max trick.

    .. math:: i = \arg\max_i \, (x_i + g_i), \qquad g_i \sim \mathrm{Gumbel}(0, 1)

    The noise is drawn in at least float32 with both tails resolved, whatever the logits' dtype, so
    that rare classes are drawn as often as they should be.

    Args:
      key: one random key, typed or raw.
      logits: scores of any shape; any real dtype, computed in at least float32.
      axis: class axis or axes; ids count through several in the order given, the last the fastest.
      where: boolean mask that broadcasts to `logits`; False entries are never drawn.

    Returns:
      Class ids, int32, of the shape of `logits` without `axis`. A row with nothing kept, or with a
      NaN among what is kept, gives -1.

    Raises:
      TypeError: no key, complex logits, a mask that is not boolean.
      ValueError: an axis out of bounds, shapes that do not broadcast.

    Example:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> import softmax_variants as sv
      >>> logits = jnp.log(jnp.array([0.5, 0.25, 0.25, 0.0]))
      >>> ids = sv.gumbel_max(jax.random.key(0), jnp.tile(logits, (8, 1)))
      >>> print(ids.shape, int(ids.max()) < 3)
      (8,) True

    References:
      Gumbel, `Statistical Theory of Extreme Values and Some Practical Applications
      <https://doi.org/10.2307/2280633>`_, 1954; Maddison, Tarlow and Minka, `A* Sampling
      <https://arxiv.org/abs/1411.0030>`_, 2014.
    """
    return categorical(key, logits, axis, where)


def categorical(
    key: Array,
    logits: ArrayLike,
    axis: Axis = -1,
    where: ArrayLike | None = None,
    *,
    temperature: ArrayLike = 1.0,
) -> Array:
    r"""Draws a class from the softmax at a temperature (Boltzmann exploration).

    .. math:: P(i) = \exp(x_i / T) / \sum_j \exp(x_j / T)

    Args:
      key: one random key, typed or raw.
      logits: scores of any shape; any real dtype, computed in at least float32.
      axis: class axis or axes; ids count through several in the order given, the last the fastest.
      where: boolean mask that broadcasts to `logits`; False entries are never drawn.
      temperature: `T`, a scalar or an array with size 1 on `axis`. 0 draws uniformly among the
        maxima, infinity among all that is kept, a negative value favours the smallest logits.

    Returns:
      Class ids, int32, of the shape of `logits` without `axis`. A row with nothing kept, or with a
      NaN among what is kept, gives -1.

    Raises:
      TypeError: no key, complex logits, a mask that is not boolean.
      ValueError: an axis out of bounds, shapes that do not broadcast.

    Example:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> import softmax_variants as sv
      >>> print(sv.categorical(jax.random.key(0), jnp.array([1.0, 3.0, 2.0]), temperature=0.0))
      1

    References:
      Sutton and Barto, `Reinforcement Learning: An Introduction
      <http://incompleteideas.net/book/the-book-2nd.html>`_, 2018, section 2.8.
    """
    parameters = {"temperature": as_parameter(temperature, "temperature")}
    return reduce_rows(categorical_rows, logits, axis, where, parameters, key=as_key(key))


def gumbel_softmax(
    key: Array,
    logits: ArrayLike,
    axis: Axis = -1,
    where: ArrayLike | None = None,
    *,
    temperature: ArrayLike = 1.0,
    hard: bool = False,
) -> Array:
    r"""A relaxed one-hot sample that can be differentiated (Gumbel-softmax, or Concrete).

    .. math:: y = \mathrm{softmax}((x + g) / T), \qquad g_i \sim \mathrm{Gumbel}(0, 1)

    Its largest entry is a sample from the softmax of the logits, at every temperature.

    Args:
      key: one random key, typed or raw.
      logits: scores of any shape; any real dtype, computed in at least float32.
      axis: class axis or axes.
      where: boolean mask that broadcasts to `logits`; False entries get 0.
      temperature: `T`, a scalar or an array with size 1 on `axis`, differentiable. 0 is the limit,
        the one-hot of the sample; infinity is uniform; a negative value favours the smallest
        perturbed score.
      hard: static. Gives exactly the one-hot of the sample, with the derivative of the relaxed one.

    Returns:
      Samples of the shape and floating dtype of `logits`; a row with nothing kept is 0.

    Raises:
      TypeError: no key, complex logits, a mask that is not boolean.
      ValueError: an axis out of bounds, shapes that do not broadcast.

    Example:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> import softmax_variants as sv
      >>> sample = sv.gumbel_softmax(jax.random.key(0), jnp.array([0.0, 20.0, 1.0]), hard=True)
      >>> print(sample)
      [0. 1. 0.]

    References:
      Jang, Gu and Poole, `Categorical Reparameterization with Gumbel-Softmax
      <https://arxiv.org/abs/1611.01144>`_, 2016; Maddison, Mnih and Teh, `The Concrete
      Distribution <https://arxiv.org/abs/1611.00712>`_, 2016.
    """
    relaxed = not as_flag(hard, "hard")
    parameters = {"temperature": as_parameter(temperature, "temperature")}
    return on_rows(
        gumbel_softmax_rows, logits, axis, where, parameters, key=as_key(key), relaxed=relaxed
    )


def gumbel(key: Array, like: Array) -> Array:
    """Standard Gumbel noise of the shape and dtype of `like`, with both tails resolved.

    `-log(E)` for an exponential `E = -log(1 - U)`. One random bit says on which side of 1/2 the
    uniform lies and 63 more how far it is from its own end, so the steps are 2^-64 near 0 as near
    1: `E`, and with it the largest noise a class can get (45), is fine at both ends.
    """
    high, low = jax.random.bits(key, (2, *like.shape), jnp.uint32)
    dtype = like.dtype
    fraction = (low.astype(dtype) + 0.5) * 2.0**-32
    distance = ((high >> 1).astype(dtype) + fraction) * 2.0**-32
    near_zero = (high & 1) == 0
    return -jnp.log(-jnp.where(near_zero, jnp.log1p(-distance), jnp.log(distance)))


@jax.custom_jvp
def perturbed(x: Array, noise: Array) -> Array:
    """`x + noise` less the largest logit; `-inf` where `x` is masked.

    The shift keeps the noise's digits beside large logits. Everything that is made of the result
    is invariant to it, so it is differentiated as `x` itself, and the noise as a constant.
    """
    return jnp.where(masked(x), -jnp.inf, shift(x) + noise)


@perturbed.defjvp
def _perturbed_jvp(
    primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    return perturbed(*primals), tangents[0]


def categorical_rows(x: Array, temperature: Array, key: Array) -> Array:
    """A class id of each row, drawn from the softmax of `x / temperature`."""
    z, _ = exponents(x, sharpness(temperature))
    return largest_ids(jnp.where(masked(z), z, z + gumbel(key, z)))


def largest_ids(x: Array) -> Array:
    """The id of the largest entry of each row; -1 where nothing is kept or something is NaN."""
    if x.shape[-1] == 0:
        return jnp.full(x.shape[:-1], NOTHING, jnp.int32)
    top = row_max(x)[..., 0]
    drawable = (top > -jnp.inf) & ~jnp.isnan(top)
    return jnp.where(drawable, lax.argmax(x, x.ndim - 1, jnp.int32), NOTHING)


def gumbel_softmax_rows(x: Array, temperature: Array, key: Array, relaxed: bool) -> Array:
    """A relaxed sample of each row, or its one-hot with the relaxed sample's derivative."""
    scores = perturbed(x, gumbel(key, x))
    beta = sharpness(temperature)
    soft = softmax_rows(scores, beta)
    if relaxed:
        return soft
    favoured = jnp.where(masked(x), -jnp.inf, jnp.where(beta < 0, -scores, scores))
    ids = lax.broadcasted_iota(jnp.int32, x.shape, x.ndim - 1)
    hard = (ids == largest_ids(favoured)[..., None]).astype(x.dtype)
    return replaced(zero_masked(x, jnp.where(jnp.isnan(soft), soft, hard)), soft)
