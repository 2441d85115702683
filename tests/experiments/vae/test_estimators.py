"""The exact figures against sums in NumPy, and each estimator against what can be proved of it."""

import functools
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import softmax_variants as sv
from experiments.vae.config import GROUPS, VaeConfig
from experiments.vae.contenders import RELAXED, SCORE_FUNCTION, STRAIGHT_THROUGH, Method
from experiments.vae.estimators import losses, relax
from experiments.vae.gradients import Moments, compile_measure, cross_products, figures, measure_at
from experiments.vae.model import PIXELS, Weights, all_codes, exact, initial_weights
from tests.experiments.vae.once import once

TINY = VaeConfig(
    latents=2, classes=3, hidden=6, seeds=2, draws=1024, probe_images=5, temperatures=(1.0,)
)


@pytest.fixture(scope="module")
def weights() -> Weights:
    """Initial weights, with biases that are not zero and scores that are not small."""
    rng = np.random.default_rng(0)
    start = initial_weights(TINY, 0)
    return jax.tree.map(lambda w: w + jnp.asarray(0.3 * rng.normal(size=w.shape), w.dtype), start)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return (np.random.default_rng(1).random((3, PIXELS)) < 0.4).astype(np.float32)


def perceptron(layers: Any, rows: np.ndarray) -> np.ndarray:
    for layer in layers[:-1]:
        rows = np.maximum(rows @ layer["weight"] + layer["bias"], 0.0)
    return rows @ layers[-1]["weight"] + layers[-1]["bias"]


def by_hand(weights: Weights, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """ELBO and log p(x) in float64, code by code."""
    elbos, evidence = [], []
    for image in images.astype(np.float64):
        scores = perceptron(weights.encoder, image[None]).reshape(TINY.latents, TINY.classes)
        probs = np.exp(scores - scores.max(1, keepdims=True))
        probs /= probs.sum(1, keepdims=True)
        elbo, total = 0.0, 0.0
        for code in itertools.product(range(TINY.classes), repeat=TINY.latents):
            hot = np.eye(TINY.classes)[list(code)].reshape(1, -1)
            on = 1.0 / (1.0 + np.exp(-perceptron(weights.decoder, hot)[0]))
            log_p = np.log(np.where(image > 0, on, 1.0 - on)).sum()
            q = np.prod([probs[i, k] for i, k in enumerate(code)])
            prior = TINY.classes**-TINY.latents
            elbo += q * (log_p + np.log(prior) - np.log(q))
            total += prior * np.exp(log_p)
        elbos.append(elbo)
        evidence.append(np.log(total))
    return np.asarray(elbos), np.asarray(evidence)


def double(weights: Weights) -> Weights:
    return jax.tree.map(lambda w: np.asarray(w, np.float64), weights)


def codes() -> jax.Array:
    return jnp.asarray(all_codes(TINY.latents, TINY.classes))


def mean_loss(
    method: Method, key: jax.Array, weights: Weights, images: jax.Array, codes: jax.Array
) -> jax.Array:
    return jnp.mean(losses(method, 2, key, weights, images, codes, None))


@functools.cache
def exact_gradient() -> Callable[..., Any]:
    return once(jax.grad(functools.partial(mean_loss, "exact", jax.random.key(0))))


def test_elbo_and_likelihood_are_the_sums_over_all_codes(
    weights: Weights, images: np.ndarray
) -> None:
    found = once(exact)(weights, jnp.asarray(images), codes())
    elbo, evidence = by_hand(double(weights), images)
    np.testing.assert_allclose(found.elbo, elbo, rtol=2e-6)
    np.testing.assert_allclose(found.log_likelihood, evidence, rtol=2e-6)
    np.testing.assert_allclose(found.code_probs.sum(axis=1), 1.0, rtol=1e-6)
    assert (found.log_likelihood > found.elbo).all()


def test_the_exact_gradient_is_that_of_the_sum(
    weights: Weights, images: np.ndarray, rng: np.random.Generator
) -> None:
    gradient = exact_gradient()(weights, jnp.asarray(images), codes())
    for _ in range(4):
        way = jax.tree.map(lambda w: rng.normal(size=w.shape), weights)
        up, down = (
            jax.tree.map(lambda w, d, s=s: w + s * 1e-5 * d, double(weights), way) for s in (1, -1)
        )
        slope = (by_hand(down, images)[0].mean() - by_hand(up, images)[0].mean()) / 2e-5
        pairs = zip(jax.tree.leaves(gradient), jax.tree.leaves(way), strict=True)
        along = sum(float((np.asarray(g, np.float64) * d).sum()) for g, d in pairs)
        assert along == pytest.approx(slope, rel=1e-4)


def test_the_score_function_is_unbiased_over_all_pairs_of_samples(
    weights: Weights, images: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The expectation itself: every pair of codes of one image, by its probability."""
    image = jnp.asarray(images[:1])
    every = codes()
    probs = np.asarray(exact(weights, image, every).code_probs[0], np.float64)
    ids = np.argmax(np.asarray(every), axis=-1).astype(np.int32)

    def drawn(pair: jax.Array) -> list[jax.Array]:
        # The draw of two samples of one image is what `pair` says.
        monkeypatch.setattr(sv, "categorical", lambda key, logits: pair[:, None, :])
        gradients = [
            jax.grad(functools.partial(mean_loss, method, jax.random.key(0)))(weights, image, every)
            for method in SCORE_FUNCTION
        ]
        return [ravel_pytree(gradient)[0] for gradient in gradients]

    pairs = list(itertools.product(range(len(ids)), repeat=2))
    both = once(jax.vmap(drawn))(jnp.asarray([[ids[a], ids[b]] for a, b in pairs]))
    mass = np.asarray([probs[a] * probs[b] for a, b in pairs])
    truth = exact_gradient()(weights, jnp.tile(image, (3, 1)), every)
    variances = []
    for found in (np.asarray(each, np.float64) for each in both):
        expectation = mass @ found
        np.testing.assert_allclose(expectation, ravel_pytree(truth)[0], atol=2e-4)
        variances.append(mass @ ((found - expectation) ** 2).sum(axis=1))
    assert np.abs(expectation).max() > 0.1
    # What the other sample is for.
    assert variances[1] < 0.25 * variances[0]


def test_straight_through_is_exactly_one_hot_and_differentiates_as_the_relaxation(
    key: jax.Array,
) -> None:
    scores, temperature = jax.random.normal(key, (200, 4)), jnp.float32(0.7)

    @once
    def values_and_slopes(scores: jax.Array) -> list[Any]:
        every = (functools.partial(relax, m, key) for m in (*STRAIGHT_THROUGH, *RELAXED))
        return [jax.jvp(lambda s, f=f: f(s, temperature), (scores,), (scores,)) for f in every]

    found = [tuple(np.asarray(a) for a in pair) for pair in values_and_slopes(scores)]
    for (hard, slope), (soft, expected) in zip(found[:3], found[3:], strict=True):
        assert set(np.unique(hard)) == {0.0, 1.0}
        np.testing.assert_array_equal(hard.sum(axis=-1), 1.0)
        np.testing.assert_array_equal((hard * soft).sum(axis=-1), soft.max(axis=-1))
        np.testing.assert_allclose(slope, expected, rtol=1e-6, atol=1e-7)
        assert np.abs(slope).max() > 0.1


def test_the_largest_entry_of_a_relaxed_sample_is_drawn_from_the_softmax(key: jax.Array) -> None:
    scores = jnp.asarray([0.0, 1.0, -1.0])

    @once
    def drawn_at(temperatures: jax.Array) -> list[jax.Array]:
        rows = jnp.broadcast_to(scores[None, None], (3, 4000, 3))
        return [relax(method, key, rows, temperatures[:, None, None]) for method in RELAXED]

    every = drawn_at(jnp.asarray([0.5, 1e4, 1e-3]))
    for method, (drawn, hot, cold) in zip(RELAXED, map(np.asarray, every), strict=True):
        np.testing.assert_allclose(drawn.sum(axis=-1), 1.0, rtol=1e-5)
        counts = np.bincount(np.argmax(drawn, axis=-1), minlength=3) / 4000
        expected = np.exp([0.0, 1.0, -1.0]) / np.exp([0.0, 1.0, -1.0]).sum()
        assert np.all(np.abs(counts - expected) < 4.5 * np.sqrt(expected * (1 - expected) / 4000))
        assert (drawn == 0).any() == (method != "gumbel_softmax")
        # Hot samples are all but uniform, cold ones all but one-hot.
        np.testing.assert_allclose(hot[:5], 1 / 3, atol=2e-3)
        np.testing.assert_allclose(cold[:5], np.eye(3)[np.argmax(cold[:5], axis=-1)], atol=2e-3)


@functools.cache
def measure_of(method: Method) -> Any:
    return compile_measure(TINY, method)


def test_bias_shrinks_with_the_temperature_while_the_variance_grows(
    weights: Weights,
) -> None:
    measure = measure_of("gumbel_softmax")
    found = [measure_at(TINY, measure, weights, 0, t)[0] for t in (3.0, 0.7, 0.1)]
    for warm, cold in itertools.pairwise(found):
        higher, lower = warm["squared_bias"], cold["squared_bias"]
        assert higher["estimate"] - lower["estimate"] > 4 * (higher["error"] + lower["error"])
        assert cold["variance"]["estimate"] > 2 * warm["variance"]["estimate"]


def test_measured_bias_of_the_score_function_is_zero_within_its_error(
    weights: Weights,
) -> None:
    for part in measure_at(TINY, measure_of("score_function_loo"), weights, 0, None):
        assert abs(part["squared_bias"]["estimate"]) < 4 * part["squared_bias"]["error"]
        assert part["squared_bias"]["error"] < 0.05
        assert 0 < part["cosine"]["estimate"] < 1


def test_moments_of_known_gradients(rng: np.random.Generator) -> None:
    """Normal gradients about a known bias: truth within a few errors, over many repetitions."""
    config = VaeConfig(draws=GROUPS * 8)
    truth, bias, deviation = np.asarray([3.0, 4.0]), np.asarray([0.5, 0.0]), 2.0
    z = []
    for _ in range(200):
        drawn = truth + bias + deviation * rng.normal(size=(GROUPS, 8, 2))
        away = drawn - truth
        cosines = (drawn @ truth) / np.linalg.norm(drawn, axis=-1) / 5.0
        moments = Moments(
            away.mean(axis=1), (away**2).sum(-1).mean(1), cosines.mean(axis=1), np.asarray(5.0)
        )
        found = figures(moments, config)
        expected = {"squared_bias": 0.25 / 25.0, "variance": 2 * deviation**2 / 25.0}
        z.append([(found[n]["estimate"] - e) / found[n]["error"] for n, e in expected.items()])
    means, deviations = np.mean(z, axis=0), np.std(z, axis=0)
    assert np.all(np.abs(means) < 0.35)
    assert np.all((deviations > 0.75) & (deviations < 1.35))


def test_cross_products_leave_the_squares_out(rng: np.random.Generator) -> None:
    rows = rng.normal(size=(5, 3))
    estimate, error = cross_products(rows @ rows.T)

    def mean_of(kept: list[int]) -> float:
        return float(np.mean([rows[i] @ rows[j] for i in kept for j in kept if i != j]))

    assert estimate == pytest.approx(mean_of([0, 1, 2, 3, 4]))
    without = np.asarray([mean_of([j for j in range(5) if j != i]) for i in range(5)])
    jackknife = np.sqrt(4 / 5 * ((without - without.mean()) ** 2).sum())
    assert error == pytest.approx(jackknife)
