"""Estimators of the gradient of the ELBO, each as losses whose gradient it is."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

import softmax_variants as sv
from experiments.vae.contenders import RELAXED, Method
from experiments.vae.model import Weights, divergence, encode, exact, log_likelihood


def losses(
    method: Method,
    samples: int,
    key: PRNGKeyArray,
    weights: Weights,
    images: Float[Array, "batch pixels"],
    codes: Float[Array | np.ndarray, "codes latents classes"],
    temperature: Float[Array, " batch"] | None,
) -> Float[Array, " batch"]:
    """Returns numbers whose gradients estimate those of the negative ELBO of each image.

    All of them have the divergence in closed form, and differ in the expected log-likelihood.

    Args:
      method: The estimator, static.
      samples: How many codes are drawn for each image, static.
      key: The randomness of the step.
      weights: What the gradient is taken in.
      images: Pixels that are 0 or 1.
      codes: Every code, for the exact gradient.
      temperature: Of the relaxations; None where there is none.
    """
    if method == "exact":
        return -exact(weights, images, codes).elbo
    scores = encode(weights, images, codes.shape[-1])
    drawn_scores = jnp.broadcast_to(scores[None], (samples, *scores.shape))
    if temperature is None:
        drawn = _score_function(method, key, weights, images, drawn_scores)
    else:
        relaxed = relax(method, key, drawn_scores, temperature[None, :, None, None])
        drawn = _log_likelihoods(weights, images, relaxed)
    return divergence(scores) - jnp.mean(drawn, axis=0)


def relax(
    method: Method,
    key: PRNGKeyArray,
    scores: Float[Array, "*batch classes"],
    temperature: Float[Array, "..."],
) -> Float[Array, "*batch classes"]:
    """Returns relaxed one-hots, or with straight-through exact ones with the relaxed derivative.

    The temperature is a scalar, or an array like the scores with one class.
    """
    hard = method not in RELAXED
    if method in ("gumbel_softmax", "st_softmax"):
        return sv.gumbel_softmax(key, scores, temperature=temperature, hard=hard)
    sparse = sv.sparsemax if method.endswith("sparsemax") else sv.entmax15
    noisy = scores + jax.random.gumbel(key, scores.shape, mode="high")
    soft = sparse(noisy / temperature)
    if not hard:
        return soft
    return sv.straight_through(one_hot(jnp.argmax(noisy, axis=-1), scores), soft)


def one_hot(ids: Array, like: Float[Array, "*batch classes"]) -> Float[Array, "*batch classes"]:
    """Returns the one-hots of class ids, in the dtype of `like`."""
    return jax.nn.one_hot(ids, like.shape[-1], dtype=like.dtype)


def _score_function(
    method: Method,
    key: PRNGKeyArray,
    weights: Weights,
    images: Float[Array, "batch pixels"],
    scores: Float[Array, "samples batch latents classes"],
) -> Float[Array, "samples batch"]:
    """Returns f(z) plus a term whose gradient is (f(z) - baseline) times that of log q(z)."""
    drawn = one_hot(sv.categorical(key, jax.lax.stop_gradient(scores)), scores)
    values = _log_likelihoods(weights, images, drawn)
    log_q = jnp.sum(sv.log_softmax(scores) * drawn, axis=(2, 3))
    baseline = jnp.zeros_like(values)
    if method == "score_function_loo":
        others = scores.shape[0] - 1
        baseline = (jnp.sum(values, axis=0, keepdims=True) - values) / others
    advantage = jax.lax.stop_gradient(values - baseline)
    return values + advantage * log_q


def _log_likelihoods(
    weights: Weights,
    images: Float[Array, "batch pixels"],
    codes: Float[Array, "samples batch latents classes"],
) -> Float[Array, "samples batch"]:
    return jax.vmap(log_likelihood, in_axes=(None, None, 0))(weights, images, codes)
