"""`axis` is tested by moving the axis away, `where` by deleting what it masks.

Every array here has the 24 rows of 8 classes that the other tests have, in another arrangement, so
that the expected answer comes from a function that is compiled already.
"""

import numpy as np
import pytest

from softmax_variants.variants import Variant
from tests.conformance import cases
from tests.conformance.cases import close, every, probabilities, same_bits, scores
from tests.conformance.cases import value_and_gradient as pull

ULP = 1.2e-7


@pytest.mark.slow
@every
def test_the_first_axis_of_a_cube(variant: Variant) -> None:
    x = scores(variant)
    cube = np.moveaxis(x.reshape(4, 6, 8), -1, 0)
    expected = np.moveaxis(probabilities(variant, x).reshape(4, 6, 8), -1, 0)
    for axis in (0, -3, (0,)):
        close(np.asarray(variant(cube, axis)), expected, atol=ULP)


@every
def test_the_middle_axis_of_a_cube_with_a_mask_that_broadcasts(variant: Variant) -> None:
    x = scores(variant)
    where = np.random.default_rng(5).random((4, 8, 1)) < 0.7
    full = np.broadcast_to(where, (4, 8, 6))
    flat = np.moveaxis(full, 1, -1).reshape(cases.SHAPE)
    expected = np.moveaxis(pull(variant, x, flat)[0].reshape(4, 6, 8), -1, 1)
    cube = np.moveaxis(x.reshape(4, 6, 8), -1, 1)
    for axis in (1, -2):
        close(np.asarray(variant(cube, axis, where)), expected, atol=ULP)


@pytest.mark.slow
@every
def test_two_axes_of_four_are_one_flattened_axis(variant: Variant) -> None:
    """Also rank 4, negative axes, and a mask that broadcasts along one of the class axes."""
    x = scores(variant)
    where = np.random.default_rng(6).random((6, 4)) < 0.7
    full = np.broadcast_to(where[:, None, :], (4, 6, 2, 4))
    expected = pull(variant, x, full.reshape(cases.SHAPE))[0].reshape(4, 6, 2, 4)
    apart = np.moveaxis(x.reshape(4, 6, 2, 4), 2, 1)
    for axis in ((1, 3), (-3, -1)):
        p = np.asarray(variant(apart, axis, where))
        close(p, np.moveaxis(expected, 2, 1), atol=ULP)


@every
def test_a_single_row(variant: Variant) -> None:
    x = scores(variant)
    close(np.asarray(variant(x[2])), probabilities(variant, x)[2], atol=ULP)


@every
def test_an_empty_batch_and_an_empty_class_axis(variant: Variant) -> None:
    for shape in ((0, 8), (3, 0)):
        p = probabilities(variant, np.zeros(shape, np.float32))
        assert p.shape == shape


@every
def test_masking_is_deleting(variant: Variant) -> None:
    """Value and gradient of the kept classes are those of the row without the masked ones."""
    x = scores(variant)
    kept = np.array([0, 2, 3, 6, 7])
    mask = np.isin(np.arange(cases.CLASSES), kept)
    where = np.broadcast_to(mask, cases.SHAPE)
    cotangent = cases.weights(x)
    p, gradient = pull(variant, x, where, cotangent)
    p_short, gradient_short = pull(variant, x[:, kept], None, cotangent[:, kept])
    assert (p[:, ~mask] == 0).all()
    assert (gradient[:, ~mask] == 0).all()
    close(p[:, kept], p_short, atol=2.4e-7)
    close(gradient[:, kept], gradient_short, atol=2e-6)


@every
def test_each_row_has_its_own_mask(variant: Variant) -> None:
    x, where = scores(variant), cases.random_mask()
    p, gradient = pull(variant, x, where)
    assert (p[~where] == 0).all()
    assert (gradient[~where] == 0).all()
    for row in range(0, cases.ROWS, 5):
        mask = np.broadcast_to(where[row], cases.SHAPE)
        alone, gradient_alone = pull(variant, x, mask)
        same_bits(p[row], alone[row])
        same_bits(gradient[row], gradient_alone[row])
