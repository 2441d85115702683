"""Mixtures of softmaxes: values, masks, dtypes, and components that have nothing to say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import softmax_variants as sv
from tests.maps import checks


def reference(
    x: checks.Float64, weights: checks.Float64, where: checks.Bools | None = None
) -> checks.Float64:
    """Of one row: components by classes."""
    where = np.ones(x.shape, np.bool_) if where is None else where
    total, mixed = 0.0, np.zeros(x.shape[1])
    for row, weight, kept in zip(x, np.exp(weights - weights.max()), where, strict=True):
        if kept.any():
            p = np.where(kept, np.exp(row - row[kept].max()), 0)
            mixed += weight * p / p.sum()
            total += weight
    return np.asarray(mixed / total) if total else mixed


def example(rng: np.random.Generator) -> tuple[checks.Float64, checks.Float64, checks.Bools]:
    where = rng.random((6, 3, 5)) < 0.6
    where[0] = True
    where[1, 1] = False
    where[2] = False
    return rng.normal(size=(6, 3, 5)) * 3, rng.normal(size=(6, 3)), where


def test_values_and_masks(rng: np.random.Generator) -> None:
    x, weights, where = (np.asarray(v, v.dtype) for v in example(rng))
    x, weights = x.astype(np.float32), weights.astype(np.float32)
    p = np.asarray(sv.mixture_of_softmaxes(x, -1, where, mixture_logits=weights))
    for row in range(6):
        expected = reference(x[row].astype(float), weights[row].astype(float), where[row])
        np.testing.assert_allclose(p[row], expected, atol=2e-7)
    totals = p.sum(axis=-1)
    np.testing.assert_allclose(totals, [1, 1, 0, 1, 1, 1], atol=1e-6)


def test_gradients(rng: np.random.Generator) -> None:
    x, weights, where = example(rng)
    cotangent = rng.normal(size=(6, 5))
    with jax.enable_x64(True):
        dx, dweights = jax.jit(
            jax.grad(
                lambda x, weights: (
                    cotangent * sv.mixture_of_softmaxes(x, -1, where, mixture_logits=weights)
                ).sum(),
                (0, 1),
            )
        )(x, weights)

    def objective(x: checks.Float64, weights: checks.Float64) -> float:
        p = [reference(*row) for row in zip(x, weights, where, strict=True)]
        return float((cotangent * np.stack(p)).sum())

    for values, gradient in ((x, dx), (weights, dweights)):
        for index in np.ndindex(values.shape):
            step = np.zeros_like(values)
            step[index] = checks.STEP
            a, b = (x + step, x - step) if values is x else (x, x)
            c, d = (weights, weights) if values is x else (weights + step, weights - step)
            numeric = (objective(a, c) - objective(b, d)) / (2 * checks.STEP)
            np.testing.assert_allclose(gradient[index], numeric, atol=1e-8)


def test_the_axes_may_stand_anywhere(rng: np.random.Generator) -> None:
    x = rng.normal(size=(2, 3, 4, 5)).astype(np.float32)
    weights = rng.normal(size=(2, 3)).astype(np.float32)
    both = np.asarray(sv.mixture_of_softmaxes(x, (-2, -1), mixture_logits=weights, mixture_axis=1))
    flat = sv.mixture_of_softmaxes(x.reshape(2, 3, 20), mixture_logits=weights)
    np.testing.assert_allclose(both.reshape(2, 20), flat, atol=6e-8)
    moved = sv.mixture_of_softmaxes(
        np.moveaxis(x.reshape(2, 3, 20), 2, 0), 0, mixture_logits=weights, mixture_axis=-1
    )
    np.testing.assert_allclose(np.asarray(moved).T, flat, atol=6e-8)


def test_bfloat16_is_rounded_once(rng: np.random.Generator) -> None:
    x = jnp.asarray(rng.normal(size=(6, 3, 5)) * 3, jnp.bfloat16)
    weights = jnp.asarray(rng.normal(size=(6, 3)), jnp.bfloat16)
    p = sv.mixture_of_softmaxes(x, mixture_logits=weights)
    wide = sv.mixture_of_softmaxes(
        x.astype(jnp.float32), mixture_logits=weights.astype(jnp.float32)
    )
    assert p.dtype == jnp.bfloat16
    np.testing.assert_array_equal(
        p.astype(jnp.float32), wide.astype(jnp.bfloat16).astype(jnp.float32)
    )


def test_a_component_that_is_left_out_does_not_matter() -> None:
    x = np.zeros((2, 2, 3), np.float32)
    x[0, 1] = [np.nan, np.inf, 1e38]
    weights = np.array([[0.0, -np.inf], [0.0, np.nan]], np.float32)
    where = np.array([[[True] * 3, [True] * 3], [[True] * 3, [False] * 3]])
    p, back = jax.vjp(
        lambda x, weights: sv.mixture_of_softmaxes(x, -1, where, mixture_logits=weights),
        jnp.asarray(x),
        jnp.asarray(weights),
    )
    np.testing.assert_allclose(p, 1 / 3, rtol=1e-6)
    for gradient in back(jnp.eye(2, 3)):
        assert np.isfinite(gradient).all()
        assert not np.asarray(gradient)[:, 1].any()


def test_nan_stays_in_its_row() -> None:
    x = np.zeros((2, 2, 3), np.float32)
    x[1, 0, 2] = np.nan
    p = np.asarray(sv.mixture_of_softmaxes(x, mixture_logits=jnp.zeros(2)))
    assert np.isnan(p[1]).all()
    np.testing.assert_allclose(p[0], 1 / 3, rtol=1e-6)


def test_arguments_that_are_refused() -> None:
    x = jnp.zeros((2, 3, 4))
    with pytest.raises(ValueError, match="mixture_axis 2 must not be a class axis"):
        sv.mixture_of_softmaxes(x, mixture_logits=jnp.zeros((2, 3)), mixture_axis=2)
    with pytest.raises(ValueError, match="mixture_logits must broadcast"):
        sv.mixture_of_softmaxes(x, mixture_logits=jnp.zeros((2, 4)))
    with pytest.raises(ValueError, match="mixture_axis 5 is out of bounds"):
        sv.mixture_of_softmaxes(x, mixture_logits=jnp.zeros((2, 3)), mixture_axis=5)
