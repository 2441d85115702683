"""Straight-through: forward one value to the last bit, derivative the other's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import softmax_variants as sv


def test_the_value_is_hard_to_the_last_bit_in_bf16_under_jit(rng: np.random.Generator) -> None:
    soft = jnp.asarray(rng.random((64, 7))).astype(jnp.bfloat16)
    hard = (soft > 0.5).astype(jnp.bfloat16)
    value = jax.jit(lambda hard, soft: sv.straight_through(hard, soft))(hard, soft * 1.25)
    assert value.dtype == jnp.bfloat16
    assert (value == hard).all()


def test_the_derivative_is_that_of_soft(rng: np.random.Generator) -> None:
    x = jnp.asarray(rng.normal(size=5), jnp.float32)

    def soft(x: jax.Array) -> jax.Array:
        return jnp.tanh(x) ** 2

    def through(x: jax.Array) -> jax.Array:
        return sv.straight_through(jnp.round(10 * x), soft(x))

    for transform in (jax.jacfwd, jax.jacrev):
        np.testing.assert_allclose(transform(through)(x), transform(soft)(x), rtol=1e-6)
    np.testing.assert_allclose(
        jax.hessian(lambda x: through(x).sum())(x),
        jax.hessian(lambda x: soft(x).sum())(x),
        rtol=1e-5,
        atol=1e-6,
    )
    to_hard = jax.grad(lambda hard: sv.straight_through(hard, soft(x)).sum())(jnp.ones(5))
    assert (to_hard == 0).all()


def test_what_does_not_fit_is_refused() -> None:
    ones = jnp.ones((2, 3))
    with pytest.raises(TypeError, match="hard must be floating, got dtype int32"):
        sv.straight_through(ones.astype(jnp.int32), ones)
    with pytest.raises(TypeError, match="soft must be floating, got dtype bool"):
        sv.straight_through(ones, ones > 0)
    with pytest.raises(TypeError, match="same dtype, got float32 and bfloat16"):
        sv.straight_through(ones, ones.astype(jnp.bfloat16))
    with pytest.raises(ValueError, match=r"same shape, got \(2, 3\) and \(3,\)"):
        sv.straight_through(ones, ones[0])
