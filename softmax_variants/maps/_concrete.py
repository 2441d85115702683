"""The density of relaxed one-hot samples, on the scale of their logarithm."""

import jax.numpy as jnp
from jax.scipy.special import gammaln

from softmax_variants._numerics import masked, reduce_rows, row_sum
from softmax_variants._typing import Array, ArrayLike, Axis
from softmax_variants._validation import as_logits, as_parameter
from softmax_variants.maps._softmax import plain_log_softmax_rows


def concrete_log_prob(
    log_sample: ArrayLike,
    logits: ArrayLike,
    axis: Axis = -1,
    where: ArrayLike | None = None,
    *,
    temperature: ArrayLike,
) -> Array:
    r"""Log-density of the logarithm of a Gumbel-softmax sample (the ExpConcrete distribution).

    .. math::
        \log f(y) = \log \Gamma(n) + (n - 1) \log T + \sum_i (x_i - T y_i)
                    - n \log \sum_j \exp(x_j - T y_j)

    The variable is `y = log_softmax((x + g) / T)` with Gumbel noise `g`, and the density is that of
    the log-ratios `y_i - y_n`, the same whichever class is the n-th. At a low temperature the
    sample `exp(y)` on the simplex rounds to a one-hot, where its own density is infinite or 0; its
    logarithm keeps every class, and a finite density. The two differ by the change of variables:
    the log-density of `exp(y)` on the simplex is this one less `sum(y)`. A ratio of densities, and
    so a Kullback-Leibler divergence, is the same for both as long as its two sides are of one kind.

    Args:
      log_sample: logarithms `y` of relaxed samples, each row with `logsumexp(y) = 0`; any real
        dtype. It broadcasts with `logits`, so that many samples meet one row of logits. Where a
        class is masked its value is not looked at.
      logits: scores `x`; any real dtype. Adding a constant to a row changes nothing.
      axis: class axis or axes, of the shape that the two broadcast to.
      where: boolean mask that broadcasts to that shape; False entries are no classes. A logit of
        `-inf` means the same.
      temperature: `T > 0`, a scalar or an array with size 1 on `axis`. Traced values outside the
        interval give NaN.

    Returns:
      Log-densities in at least float32, one a row: the broadcast shape without `axis`. They are
      differentiable in the sample, the logits and the temperature. A row with at most one class
      gives 0.

    Raises:
      TypeError: complex arguments, a mask that is not boolean.
      ValueError: a temperature that is not positive and finite, an axis out of bounds, shapes that
        do not broadcast.

    Example:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> import softmax_variants as sv
      >>> logits = jnp.array([0.0, 1.0, -2.0])
      >>> noise = jax.random.gumbel(jax.random.key(0), (5, 3), mode="high")
      >>> log_sample = sv.log_softmax(logits + noise, temperature=0.05)
      >>> density = sv.concrete_log_prob(log_sample, logits, temperature=0.05)
      >>> print(density.shape, bool(jnp.isfinite(density).all()))
      (5,) True

    References:
      Maddison, Mnih and Teh, `The Concrete Distribution <https://arxiv.org/abs/1611.00712>`_, 2016,
      appendix C.3.
    """
    log_sample, logits = as_logits(log_sample, "log_sample"), as_logits(logits)
    dtype = jnp.promote_types(logits.dtype, log_sample.dtype)
    shape = broadcast_shape(log_sample.shape, logits.shape)
    temperature = as_parameter(
        temperature, "temperature", low=0, high=jnp.inf, low_open=True, high_open=True
    )
    return reduce_rows(
        concrete_log_prob_rows,
        jnp.broadcast_to(logits.astype(dtype), shape),
        axis,
        where,
        {"log_sample": log_sample, "temperature": temperature},
        elementwise=("log_sample",),
    )


def broadcast_shape(log_sample: tuple[int, ...], logits: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that samples and logits broadcast to."""
    try:
        return jnp.broadcast_shapes(log_sample, logits)
    except ValueError:
        raise ValueError(
            f"log_sample must broadcast with logits, got shapes {log_sample} and {logits}"
        ) from None


def concrete_log_prob_rows(x: Array, log_sample: Array, temperature: Array) -> Array:
    """One log-density a row: the sum over classes of a log-softmax, and a constant."""
    kept = ~masked(x)
    y = jnp.where(kept, log_sample, 0)
    temperature = jnp.where(temperature > 0, temperature, jnp.nan)
    scores = jnp.where(kept, x - temperature * y, -jnp.inf)
    log_p = plain_log_softmax_rows(scores)
    count = row_sum(kept.astype(x.dtype))
    # log Gamma of 1 and 2 is 0, which its approximation misses by some rounding errors.
    factorial = jnp.where(count > 2, gammaln(jnp.maximum(count, 2)), 0)
    constant = factorial + (count - 1) * jnp.log(temperature)
    total = row_sum(jnp.where(kept, log_p, 0)) + constant
    return jnp.where(count > 0, total, 0)[..., 0]
