"""The output has the input's dtype, and a narrow answer is the rounded float32 answer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from softmax_variants.variants import Variant
from tests.conformance import cases
from tests.conformance.cases import (
    close,
    every,
    probabilities,
    same_bits,
    scores,
    to_dtype,
    value_and_gradient,
)

NARROW = pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16], ids=["bf16", "f16"])


@every
@NARROW
def test_a_narrow_answer_is_the_rounded_float32_answer(variant: Variant, dtype: object) -> None:
    """Value and gradient, to the last bit; also with a mask, an offset and an empty row."""
    x = scores(variant)
    if variant.shift_invariant:
        x[6:12] -= 1000
        x[12:18] += 6e4  # near the largest float16
    x, where = to_dtype(x, dtype), cases.random_mask()
    where[4] = False
    cotangent = cases.weights(x)
    p, gradient = value_and_gradient(variant, x, where, cotangent)
    wide = (x.astype(np.float32), where, cotangent.astype(np.float32))
    p_wide, gradient_wide = value_and_gradient(variant, *wide)
    assert p.dtype == gradient.dtype == x.dtype
    same_bits(p, to_dtype(p_wide, dtype))
    same_bits(gradient, to_dtype(gradient_wide, dtype))


@every
def test_jit_changes_nothing(variant: Variant) -> None:
    x = scores(variant)
    compiled, _ = value_and_gradient(variant, x)
    close(compiled, probabilities(variant, x), atol=6e-8, rtol=1.2e-7)


@every
def test_integers_and_booleans_are_promoted_to_float32(variant: Variant) -> None:
    x = np.round(scores(variant))
    expected = probabilities(variant, x)
    for dtype in (np.int32, np.int8):
        same_bits(probabilities(variant, x.astype(dtype)), expected)
    truth = x > 1
    same_bits(probabilities(variant, truth), probabilities(variant, truth.astype(np.float32)))


@every
def test_numpy_and_lists_are_accepted(variant: Variant) -> None:
    x = scores(variant)
    expected = probabilities(variant, x)
    same_bits(probabilities(variant, jnp.asarray(x)), expected)
    same_bits(probabilities(variant, jnp.asarray(x.tolist())), expected)


@every
def test_complex_logits_are_refused(variant: Variant) -> None:
    with pytest.raises(TypeError, match=r"logits must be real, got dtype complex64"):
        variant(np.zeros(cases.SHAPE, np.complex64))


@pytest.mark.slow
@every
def test_float64_is_computed_in_float64(variant: Variant) -> None:
    """Under x64 a float64 row keeps its digits: it differs from float32 by float32's rounding."""
    x = scores(variant)
    narrow = probabilities(variant, x)
    with cases.double():
        p = probabilities(variant, x.astype(np.float64))
        assert jax.eval_shape(variant, x).dtype == np.float32
    assert p.dtype == np.float64
    close(p, narrow, atol=1e-6, rtol=0 if variant.total is not None else 1e-6)
    if variant.total is not None:
        close(p.sum(axis=-1), np.full(cases.ROWS, variant.total), atol=1e-14)
