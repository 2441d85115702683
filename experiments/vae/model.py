"""The autoencoder: its two networks, and what enumerating all codes gives exactly."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

import softmax_variants as sv
from experiments.models import init_layers, logits
from experiments.randomness import generator
from experiments.vae.config import VaeConfig

PIXELS = 64


class Weights(NamedTuple):
    """The two networks, perceptrons of one hidden layer.

    Attributes:
      encoder: From an image to the scores of the classes of each latent.
      decoder: From the latents, one after the other, to the logit of each pixel.
    """

    encoder: Any
    decoder: Any


def initial_weights(config: VaeConfig, seed: int) -> Weights:
    """Returns the weights before the first step: they depend on the seed and on nothing else."""
    width = config.latents * config.classes
    encoder = init_layers(generator(seed, "weights", 0), (PIXELS, config.hidden, width))
    decoder = init_layers(generator(seed, "weights", 1), (width, config.hidden, PIXELS))
    return Weights(encoder, decoder)


def all_codes(latents: int, classes: int) -> Float[np.ndarray, "codes latents classes"]:
    """Returns every code as one-hots; the last latent counts the fastest."""
    ids = np.indices((classes,) * latents).reshape(latents, -1).T
    return np.eye(classes, dtype=np.float32)[ids]


def encode(
    weights: Weights, images: Float[Array, "batch pixels"], classes: int
) -> Float[Array, "batch latents classes"]:
    """Returns the scores of q(z | x), which is a product of categoricals."""
    return logits(weights.encoder, images).reshape(images.shape[0], -1, classes)


def log_likelihood(
    weights: Weights,
    images: Float[Array, "batch pixels"],
    codes: Float[Array, "batch latents classes"],
) -> Float[Array, " batch"]:
    """Returns log p(x | z) of each image under its own code, which may be relaxed."""
    scores = logits(weights.decoder, codes.reshape(codes.shape[0], -1))
    return jnp.sum(images * scores - jax.nn.softplus(scores), axis=-1)


def divergence(scores: Float[Array, "batch latents classes"]) -> Float[Array, " batch"]:
    """Returns KL(q(z | x) || p(z)) to the uniform prior."""
    log_q = sv.log_softmax(scores)
    latents, classes = scores.shape[1:]
    return jnp.sum(jnp.exp(log_q) * log_q, axis=(1, 2)) + latents * math.log(classes)


def enumerated_log_likelihoods(
    weights: Weights,
    images: Float[Array, "batch pixels"],
    codes: Float[Array | np.ndarray, "codes latents classes"],
) -> Float[Array, "batch codes"]:
    """Returns log p(x | z) of each image under every code: the decoder sees each code once."""
    scores = logits(weights.decoder, jnp.reshape(codes, (codes.shape[0], -1)))
    return images @ scores.T - jnp.sum(jax.nn.softplus(scores), axis=-1)[None, :]


def code_log_probs(
    scores: Float[Array, "batch latents classes"],
    codes: Float[Array | np.ndarray, "codes latents classes"],
) -> Float[Array, "batch codes"]:
    """Returns log q(z | x) of each image for every code."""
    return jnp.einsum("bnk,cnk->bc", sv.log_softmax(scores), codes)


class Exact(NamedTuple):
    """What enumeration gives for each image.

    Attributes:
      elbo: The evidence lower bound.
      log_likelihood: log p(x).
      code_probs: q(z | x) for every code.
    """

    elbo: Float[Array, " batch"]
    log_likelihood: Float[Array, " batch"]
    code_probs: Float[Array, "batch codes"]


def exact(
    weights: Weights,
    images: Float[Array, "batch pixels"],
    codes: Float[Array | np.ndarray, "codes latents classes"],
) -> Exact:
    """Returns the ELBO and log p(x) of each image, summed over all codes."""
    latents, classes = codes.shape[1:]
    scores = encode(weights, images, classes)
    found = enumerated_log_likelihoods(weights, images, codes)
    probs = jnp.exp(code_log_probs(scores, codes))
    elbo = jnp.sum(probs * found, axis=-1) - divergence(scores)
    evidence = jax.nn.logsumexp(found, axis=-1) - latents * math.log(classes)
    return Exact(elbo, evidence, probs)
