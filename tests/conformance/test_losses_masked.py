"""The losses along other axes, with masks, and beside NaN."""

import jax
import jax.numpy as jnp
import numpy as np

from softmax_variants.variants import Variant
from tests.conformance import cases
from tests.conformance.cases import INF, NAN, close, same_bits, scores
from tests.conformance.loss_cases import (
    distributions,
    every_loss,
    labels_of,
    loss_and_gradient,
    loss_of,
    one_hot,
)

KEPT = np.array([0, 2, 3, 6, 7])


def mask_and_labels() -> tuple[cases.Bools, cases.Floats, cases.Floats]:
    """A mask of five classes, ids among them, and the same ids counted without the others."""
    short = labels_of(classes=len(KEPT))
    where = np.broadcast_to(np.isin(np.arange(cases.CLASSES), KEPT), cases.SHAPE)
    return where, KEPT[short].astype(np.int32), short


@every_loss
def test_the_class_axis_may_be_any_axis(variant: Variant) -> None:
    x, labels = scores(variant), labels_of()
    expected, _ = loss_and_gradient(variant, x, labels)
    cube = np.moveaxis(x.reshape(4, 6, 8), -1, 0)
    for axis in (0, -3):
        found = np.asarray(loss_of(variant, cube, labels.reshape(4, 6), axis))
        close(found, expected.reshape(4, 6), atol=2e-7, rtol=2e-7)


@every_loss
def test_two_class_axes_and_soft_targets(variant: Variant) -> None:
    x, soft = scores(variant), distributions()
    expected, _ = loss_and_gradient(variant, x, soft)
    apart, targets = (np.moveaxis(array.reshape(4, 6, 2, 4), 2, 1) for array in (x, soft))
    found = np.asarray(loss_of(variant, apart, targets, (1, -1)))
    close(found, expected.reshape(4, 6), atol=2e-7, rtol=2e-7)


@every_loss
def test_masking_is_deleting(variant: Variant) -> None:
    x = scores(variant)
    where, labels, short = mask_and_labels()
    loss, gradient = loss_and_gradient(variant, x, labels, where)
    expected, expected_gradient = loss_and_gradient(variant, x[:, KEPT], short)
    close(loss, expected, atol=1e-6, rtol=1e-6)
    close(gradient[:, KEPT], expected_gradient, atol=5e-7, rtol=1e-6)
    assert (gradient[~where] == 0).all()


@every_loss
def test_masking_is_deleting_under_label_smoothing(variant: Variant) -> None:
    """The smoothed mass goes to the kept classes only."""
    x = scores(variant)
    where, labels, short = mask_and_labels()
    loss, gradient = loss_and_gradient(variant, x, labels, where, label_smoothing=0.25)
    target = 0.75 * one_hot(short, len(KEPT)) + 0.25 / len(KEPT)
    expected, expected_gradient = loss_and_gradient(variant, x[:, KEPT], target.astype(np.float32))
    close(loss, expected, atol=2e-6, rtol=1e-6)
    close(gradient[:, KEPT], expected_gradient, atol=5e-7, rtol=1e-6)


@every_loss
def test_what_sits_in_a_masked_entry_does_not_matter(variant: Variant) -> None:
    x = scores(variant)
    where, labels, _ = mask_and_labels()
    loss, gradient = loss_and_gradient(variant, x, labels, where)
    for garbage in (NAN, INF, -INF, 1e38):
        dirty = np.where(where, x, np.float32(garbage))
        found, pulled = loss_and_gradient(variant, dirty, labels, where)
        same_bits(found, loss, f"{garbage} under the mask")
        same_bits(pulled, gradient, f"{garbage} under the mask")
    found, pulled = loss_and_gradient(variant, np.where(where, x, np.float32(-INF)), labels)
    same_bits(found, loss)
    same_bits(pulled, gradient)


@every_loss
def test_a_masked_label_costs_infinity_in_its_own_example(variant: Variant) -> None:
    x, where = scores(variant), cases.keep_all()
    labels = labels_of()
    loss, gradient = loss_and_gradient(variant, x, labels, where)
    rows = [2, 13]
    where[rows, labels[rows]] = False
    found, pulled = loss_and_gradient(variant, x, labels, where)
    others = np.delete(np.arange(cases.ROWS), rows)
    assert np.isposinf(found[rows]).all()
    assert not np.isnan(pulled[rows]).any()
    same_bits(found[others], loss[others])
    same_bits(pulled[others], gradient[others])


@every_loss
def test_a_row_with_nothing_left_disturbs_no_other(variant: Variant) -> None:
    x, where = scores(variant), cases.keep_all()
    labels = labels_of()
    loss, gradient = loss_and_gradient(variant, x, labels, where)
    where[5] = False
    found, pulled = loss_and_gradient(variant, x, labels, where)
    others = np.delete(np.arange(cases.ROWS), 5)
    same_bits(found[others], loss[others])
    same_bits(pulled[others], gradient[others])
    assert (pulled[5] == 0).all()


@every_loss
def test_nan_is_contained_in_its_example(variant: Variant) -> None:
    x, labels = scores(variant), labels_of()
    loss, gradient = loss_and_gradient(variant, x, labels)
    dirty = x.copy()
    dirty[7, 3] = NAN
    found, pulled = loss_and_gradient(variant, dirty, labels)
    others = np.delete(np.arange(cases.ROWS), 7)
    assert np.isnan(found[7])
    assert np.isnan(pulled[7]).all()
    same_bits(found[others], loss[others])
    same_bits(pulled[others], gradient[others])


@every_loss
def test_an_empty_batch(variant: Variant) -> None:
    loss = loss_of(variant, np.zeros((0, 8), np.float32), np.zeros((0,), np.int32))
    assert loss.shape == (0,)


@every_loss
def test_no_classes(variant: Variant) -> None:
    """Every id is then out of range; an ignored one is still ignored."""
    x, labels = np.zeros((3, 0), np.float32), np.array([0, 1, -1], np.int32)
    assert np.isnan(loss_of(variant, x, labels)).all()
    assert loss_of(variant, x, labels, ignore_index=1)[1] == 0
    same_bits(np.asarray(loss_of(variant, x, x)), np.zeros(3, np.float32))


@every_loss
def test_smoothing_and_targets_have_finite_gradients_beside_a_mask(variant: Variant) -> None:
    """In reverse as forward, and exactly 0 for what is masked."""
    x, (where, labels, _) = scores(variant)[:2], mask_and_labels()
    where, labels = where[:2], labels[:2]
    target = np.where(where, np.float32(1 / len(KEPT)), np.float32(0))

    @jax.jit
    def smoothed(smoothing: jax.Array) -> jax.Array:
        return jnp.sum(loss_of(variant, x, labels, -1, where, label_smoothing=smoothing))

    @jax.jit
    def aimed(target: jax.Array) -> jax.Array:
        return jnp.sum(loss_of(variant, x, target, -1, where))

    half = np.float32(0.5)
    reverse, (_, forward) = jax.grad(smoothed)(half), jax.jvp(smoothed, (half,), (np.float32(1),))
    close(reverse, forward, atol=2e-6, rtol=1e-6)
    step = np.float32(2**-6)
    difference = (smoothed(half + step) - smoothed(half - step)) / (2 * step)
    close(reverse, difference, atol=5e-3)
    gradient = np.asarray(jax.grad(aimed)(target))
    assert (gradient[~where] == 0).all()
    assert np.isfinite(gradient).all()
    assert (gradient[where] != 0).any()
