"""The losses of the table: values, gradients and labels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from softmax_variants.variants import VARIANTS, Variant
from tests.conformance import cases
from tests.conformance.cases import close, probabilities, same_bits, scores, to_dtype
from tests.conformance.loss_cases import (
    distributions,
    every_loss,
    having,
    labels_of,
    loss_and_gradient,
    loss_of,
    one_hot,
)


@every_loss
def test_one_finite_value_an_example_at_least_zero(variant: Variant) -> None:
    x = scores(variant)
    for labels in (labels_of(), distributions()):
        loss, gradient = loss_and_gradient(variant, x, labels)
        assert loss.shape == (cases.ROWS,)
        assert loss.dtype == gradient.dtype == np.float32
        assert np.isfinite(loss).all()
        assert (loss >= 0).all()
        assert loss.max() > 0.1


@every_loss
def test_the_gradient_is_the_map_less_the_target(variant: Variant) -> None:
    x, labels = scores(variant), labels_of()
    p = probabilities(variant, x)
    atol = 1e-6 * max(1, p.max())
    close(loss_and_gradient(variant, x, labels)[1], p - one_hot(labels), atol=atol)
    soft = distributions()
    close(loss_and_gradient(variant, x, soft)[1], p - soft, atol=atol)


@every_loss
def test_ids_and_one_hot_targets_agree(variant: Variant) -> None:
    x, labels = scores(variant), labels_of()
    loss, gradient = loss_and_gradient(variant, x, labels)
    dense_loss, dense_gradient = loss_and_gradient(variant, x, one_hot(labels))
    close(dense_loss, loss, atol=2e-6, rtol=1e-6)
    close(dense_gradient, gradient, atol=2e-7, rtol=1e-6)


@every_loss
def test_the_loss_of_the_maps_own_output_is_zero(variant: Variant) -> None:
    x = scores(variant)
    p = probabilities(variant, x)
    loss, gradient = loss_and_gradient(variant, x, p)
    size = max(1, p.max())  # outputs above 1 where nothing is normalised
    assert (loss >= 0).all()
    close(loss, np.zeros(cases.ROWS), atol=2e-6 * size**2)
    close(gradient, np.zeros(cases.SHAPE), atol=2e-7 * size)


@having(lambda row: row.sparse and row.normalized)
def test_the_loss_is_exactly_zero_past_the_margin(variant: Variant) -> None:
    labels = labels_of()
    hot = one_hot(labels)
    right = 0
    for lead in (1.0, 2.0, 4.0, 10.0, 1e9):
        x = np.where(hot == 1, np.float32(lead), np.float32(0)).astype(np.float32)
        p = probabilities(variant, x)
        exact = (p == hot).all(axis=-1)
        loss, gradient = loss_and_gradient(variant, x, labels)
        assert (loss[exact] == 0).all()
        assert (gradient[exact] == 0).all()
        right += exact.sum()
    assert right > 0


@pytest.mark.parametrize(
    ("name", "margin"), [("sparsemax", 1.0), ("entmax15", 2.0), ("entmax", 2.0)]
)
def test_the_margin_is_one_over_alpha_less_one(name: str, margin: float) -> None:
    variant, labels = VARIANTS[name], labels_of()
    hot = one_hot(labels)
    loss, gradient = loss_and_gradient(variant, hot * np.float32(margin), labels)
    assert (loss == 0).all()
    assert (gradient == 0).all()
    short, gradient = loss_and_gradient(variant, hot * np.float32(0.9 * margin), labels)
    assert (short > 0).all()
    assert (gradient[hot == 1] < 0).all()


@having(lambda row: row.shift_invariant)
def test_a_large_offset_changes_nothing(variant: Variant) -> None:
    x, labels = scores(variant), labels_of()
    loss, gradient = loss_and_gradient(variant, x, labels)
    for offset in (1e4, -1e4):
        moved, moved_gradient = loss_and_gradient(variant, x + np.float32(offset), labels)
        close(moved, loss, atol=2e-6, rtol=3e-7)
        close(moved_gradient, gradient, atol=2e-7)


@having(lambda row: row.normalized)
def test_huge_scores_give_no_nan(variant: Variant) -> None:
    labels = labels_of()
    huge = (
        [1e9, -1e9, 0, 1, 2, 3, 4, 5],
        [1e9, 1e9, -1e9, -1e9, 1e9, 0, 1, 2],
        np.full(8, 1e9),
        np.full(8, -1e30),
        [1e37, -1e37, 0, 0, 0, 0, 0, 0],
    )
    x = cases.batch(variant, *huge)
    loss, gradient = loss_and_gradient(variant, x, labels)
    assert np.isfinite(loss).all()
    assert (loss >= 0).all()
    close(gradient, probabilities(variant, x) - one_hot(labels), atol=1e-6)


@every_loss
def test_label_smoothing_is_a_soft_target(variant: Variant) -> None:
    x, labels = scores(variant), labels_of()
    hot = one_hot(labels)
    for smoothing in (0.125, 1.0):
        soft = ((1 - smoothing) * hot + smoothing / cases.CLASSES).astype(np.float32)
        expected, gradient = loss_and_gradient(variant, x, soft)
        loss, smoothed = loss_and_gradient(variant, x, labels, label_smoothing=smoothing)
        close(loss, expected, atol=2e-6, rtol=1e-6)
        close(smoothed, gradient, atol=2e-7, rtol=1e-6)


@every_loss
def test_ignored_examples_have_no_loss_and_no_gradient(variant: Variant) -> None:
    x, labels = scores(variant), labels_of()
    loss, gradient = loss_and_gradient(variant, x, labels)
    ignored = np.arange(cases.ROWS) % 3 == 0
    for index in (-100, 2):
        chosen = np.where(ignored, index, np.where(labels == index, 3, labels)).astype(np.int32)
        dirty = x.copy()
        dirty[0], dirty[3, 1], dirty[6] = np.nan, np.inf, -np.inf
        found, pulled = loss_and_gradient(variant, dirty, chosen, ignore_index=index)
        assert (found[ignored] == 0).all()
        assert (pulled[ignored] == 0).all()
        same = ~ignored & (chosen == labels)
        close(found[same], loss[same], atol=2e-7, rtol=2e-7)
        close(pulled[same], gradient[same], atol=1.2e-7, rtol=2e-7)
    all_ignored = np.full(cases.ROWS, 2, np.int32)
    found, pulled = loss_and_gradient(variant, x, all_ignored, ignore_index=2)
    assert (found == 0).all()
    assert (pulled == 0).all()


@every_loss
def test_an_id_out_of_range_is_nan_in_that_example_alone(variant: Variant) -> None:
    """Never a wrong finite number, and never another example's problem."""
    x, labels = scores(variant), labels_of()
    loss, gradient = loss_and_gradient(variant, x, labels)
    wrong = labels.copy()
    rows = (1, 4, 9, 16)
    wrong[list(rows)] = (-1, cases.CLASSES, 2**31 - 1, -(2**31))
    found, pulled = loss_and_gradient(variant, x, wrong)
    others = np.delete(np.arange(cases.ROWS), rows)
    assert np.isnan(found[list(rows)]).all()
    assert np.isnan(pulled[list(rows)]).any(axis=-1).all()
    same_bits(found[others], loss[others])
    same_bits(pulled[others], gradient[others])


@pytest.mark.slow
@every_loss
def test_integer_labels_of_any_width(variant: Variant) -> None:
    x, labels = scores(variant), labels_of()
    expected = np.asarray(loss_of(variant, x, labels))
    for dtype in (np.int8, np.uint8):
        same_bits(np.asarray(loss_of(variant, x, labels.astype(dtype))), expected)


@every_loss
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16], ids=["bf16", "f16"])
def test_narrow_logits_give_a_float32_loss(variant: Variant, dtype: object) -> None:
    x, labels = to_dtype(scores(variant), dtype), labels_of()
    loss, gradient = loss_and_gradient(variant, x, labels)
    wide, wide_gradient = loss_and_gradient(variant, x.astype(np.float32), labels)
    assert loss.dtype == np.float32
    assert gradient.dtype == x.dtype
    same_bits(loss, wide)
    same_bits(gradient, to_dtype(wide_gradient, dtype))


@pytest.mark.slow
@every_loss
def test_half_precision_gradients_are_finite_over_many_classes(variant: Variant) -> None:
    n = 70_000
    x = (3 * np.random.default_rng(1).normal(size=(2, n))).astype(np.float16)
    loss, gradient = loss_and_gradient(variant, x, np.array([5, n - 1], np.int32))
    assert np.isfinite(loss).all()
    assert np.isfinite(gradient).all()
    if variant.normalized:
        assert (gradient[[0, 1], [5, n - 1]] < 0).all()


@every_loss
def test_labels_of_other_dtypes_are_refused(variant: Variant) -> None:
    x, labels = scores(variant), labels_of()
    for wrong in (labels > 2, labels.astype(np.complex64)):
        with pytest.raises(TypeError, match=rf"labels must be class ids.*got dtype {wrong.dtype}"):
            loss_of(variant, x, wrong)


@every_loss
def test_labels_of_another_shape_are_refused(variant: Variant) -> None:
    x, labels = scores(variant), labels_of()
    with pytest.raises(ValueError, match=r"labels .*shape \(24,\).*got.* \(23,\)"):
        loss_of(variant, x, labels[1:])
    with pytest.raises(ValueError, match=r"labels .*shape \(24,\).*got.* \(24, 1\)"):
        loss_of(variant, x, labels[:, None])
    with pytest.raises(ValueError, match=r"labels .*\(24, 8\).*got.* \(24,\)"):
        loss_of(variant, x, labels.astype(np.float32))
    with pytest.raises(ValueError, match=r"label_smoothing must lie in \[0, 1\], got 1.5"):
        loss_of(variant, x, labels, label_smoothing=1.5)
    with pytest.raises(TypeError, match="label_smooting"):
        loss_of(variant, x, labels, label_smooting=0.1)


@every_loss
def test_parameters_of_a_loss_are_refused_by_name(variant: Variant) -> None:
    x, labels = scores(variant), labels_of()
    for name in variant.parameters:
        with pytest.raises(ValueError, match=rf"{name} must .*got nan"):
            loss_of(variant, x, labels, **{name: float("nan")})
        with pytest.raises(ValueError, match=rf"{name} must .*got .*\(25, 1\)"):
            loss_of(variant, x, labels, **{name: np.full((25, 1), 1.5, np.float32)})


@every_loss
def test_jit_and_vmap_change_nothing(variant: Variant) -> None:
    x, labels = scores(variant), labels_of()
    expected, _ = loss_and_gradient(variant, x, labels)
    each = jax.jit(jax.vmap(lambda row, label: loss_of(variant, row, label)))
    close(each(x, labels), expected, atol=2e-7, rtol=2e-7)
    close(loss_of(variant, x, labels), expected, atol=2e-7, rtol=2e-7)
