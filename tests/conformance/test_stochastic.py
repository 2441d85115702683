"""Random maps: what holds for every key, and what must not depend on it."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from softmax_variants.variants import VARIANTS, Variant
from tests.conformance import cases
from tests.conformance.cases import INF, NAN, Bools, Floats, close, over, same_bits, scores

every_random = over(cases.STOCHASTIC)


@functools.cache
def _pulled(name: str) -> Callable[..., Any]:
    variant = VARIANTS[name]

    @jax.jit
    def pulled(key: jax.Array, x: jax.Array, where: jax.Array, w: jax.Array) -> tuple[Any, Any]:
        p, pull = jax.vjp(lambda x: variant(key, x, -1, where), x)
        return p, pull(w)[0]

    return pulled


def draw(variant: Variant, x: Floats, where: Bools | None = None, seed: int = 0) -> Any:
    where = np.ones(x.shape, np.bool_) if where is None else where
    p, gradient = _pulled(variant.name)(jax.random.key(seed), x, where, cases.weights(x))
    return np.asarray(p), np.asarray(gradient)


@every_random
def test_one_key_is_one_answer_and_another_key_another(variant: Variant) -> None:
    x = scores(variant)
    same_bits(draw(variant, x)[0], draw(variant, x)[0])
    assert np.abs(draw(variant, x)[0] - draw(variant, x, seed=1)[0]).max() > 0.1


@every_random
def test_rows_have_noise_of_their_own(variant: Variant) -> None:
    p, _ = draw(variant, np.zeros(cases.SHAPE, np.float32))
    assert len(np.unique(p.argmax(axis=-1))) > 3


@every_random
def test_outputs_are_at_least_zero_and_sum_to_the_stated_total(variant: Variant) -> None:
    p, gradient = draw(variant, scores(variant))
    assert np.isfinite(gradient).all()
    assert (p >= 0).all()
    if variant.total is not None:
        close(p.astype(np.float64).sum(-1), np.full(cases.ROWS, variant.total), atol=1e-6)


@every_random
def test_masked_entries_are_zero_with_zero_gradient(variant: Variant) -> None:
    x, where = scores(variant), cases.random_mask()
    p, gradient = draw(variant, x, where)
    assert (p[~where] == 0).all()
    assert (gradient[~where] == 0).all()
    for garbage in (NAN, INF, -INF, 1e38):
        dirty = np.where(where, x, np.float32(garbage))
        for found, expected in zip(draw(variant, dirty, where), (p, gradient), strict=True):
            same_bits(found, expected, f"{garbage} under the mask")
    for found, expected in zip(
        draw(variant, np.where(where, x, np.float32(-INF))), (p, gradient), strict=True
    ):
        same_bits(found, expected)


@every_random
def test_bad_rows_disturb_no_other(variant: Variant) -> None:
    x, where = scores(variant), cases.keep_all()
    p, gradient = draw(variant, x, where)
    dirty = x.copy()
    dirty[4, 1] = NAN
    where[9] = False
    found, pulled = draw(variant, dirty, where)
    assert np.isnan(found[4]).any()
    assert np.isnan(pulled[4]).any()
    assert (found[9] == 0).all()
    assert (pulled[9] == 0).all()
    others = np.delete(np.arange(cases.ROWS), (4, 9))
    same_bits(found[others], p[others])
    same_bits(pulled[others], gradient[others])


@every_random
def test_the_answer_has_the_dtype_of_the_scores(variant: Variant) -> None:
    x = cases.to_dtype(scores(variant), jnp.bfloat16)
    p, gradient = draw(variant, x)
    wide, wide_gradient = draw(variant, x.astype(np.float32))
    assert p.dtype == gradient.dtype == jnp.bfloat16
    same_bits(p, cases.to_dtype(wide, jnp.bfloat16))
    close(gradient, wide_gradient, atol=2e-2 * max(1, np.abs(wide_gradient).max()))


@every_random
def test_the_key_comes_first_and_is_one_key(variant: Variant) -> None:
    x = scores(variant)
    for wrong in (0, None, x):
        with pytest.raises(TypeError, match="key"):
            variant(wrong, x)
    with pytest.raises((TypeError, ValueError), match="key"):
        variant(jax.random.split(jax.random.key(0)), x)


@every_random
def test_wrong_arguments_are_refused_by_name(variant: Variant) -> None:
    x, key = scores(variant), jax.random.key(0)
    with pytest.raises(ValueError, match=r"axis 2 is out of bounds"):
        variant(key, x, 2)
    with pytest.raises(TypeError, match=r"where must be boolean"):
        variant(key, x, -1, np.ones(cases.SHAPE, np.int32))
    with pytest.raises(TypeError, match="temprature"):
        variant(key, x, temprature=1.0)
