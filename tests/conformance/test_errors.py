"""Refusals come at trace time and name the argument, what was expected and what came."""

import jax
import numpy as np
import pytest

from softmax_variants.variants import Variant
from tests.conformance import cases
from tests.conformance.cases import every, scores


@every
def test_a_wrong_axis(variant: Variant) -> None:
    x = scores(variant)
    for axis in (2, -3, (0, 2)):
        with pytest.raises(ValueError, match=r"axis -?[23] is out of bounds .* 2 dimensions"):
            variant(x, axis)
    with pytest.raises(ValueError, match=r"axis names an axis twice: \(1, -1\)"):
        variant(x, (1, -1))
    with pytest.raises(ValueError, match=r"axis must name at least one axis"):
        variant(x, ())
    for wrong in (1.0, "1", None):
        with pytest.raises(TypeError, match=r"axis must be an integer or a tuple .*got"):
            variant(x, wrong)


@every
def test_a_scalar_has_no_class_axis(variant: Variant) -> None:
    with pytest.raises(ValueError, match=r"axis -1 is out of bounds .* 0 dimensions"):
        variant(np.float32(1))


@every
def test_a_mask_that_is_not_boolean(variant: Variant) -> None:
    x = scores(variant)
    for dtype in (np.int32, np.float32):
        with pytest.raises(TypeError, match=rf"where must be boolean.*got dtype {dtype.__name__}"):
            variant(x, -1, np.ones(cases.SHAPE, dtype))


@every
def test_a_mask_that_does_not_broadcast(variant: Variant) -> None:
    x = scores(variant)
    for shape in ((5,), (3, 8), (2, *cases.SHAPE)):
        expected = rf"where must broadcast to shape \(24, 8\), got shape \({shape[0]},"
        with pytest.raises(ValueError, match=expected):
            variant(x, -1, np.ones(shape, np.bool_))


@every
def test_the_same_refusals_under_jit(variant: Variant) -> None:
    x = scores(variant)
    with pytest.raises(ValueError, match=r"axis 2 is out of bounds"):
        jax.eval_shape(lambda x: variant(x, 2), x)
    with pytest.raises(TypeError, match=r"where must be boolean"):
        jax.eval_shape(lambda x: variant(x, -1, x), x)


@every
def test_an_unknown_keyword(variant: Variant) -> None:
    with pytest.raises(TypeError, match="temprature"):
        variant(scores(variant), temprature=2.0)


@every
def test_text_is_no_logits(variant: Variant) -> None:
    with pytest.raises(TypeError, match=r"logits must be an array of numbers, got str 'abc'"):
        variant("abc")
    with pytest.raises(TypeError, match=r"logits must be an array of numbers, got NoneType None"):
        variant(None)
