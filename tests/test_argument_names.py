"""Messages name the argument as the caller knows it, whatever comes."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import softmax_variants as sv

X = np.zeros((2, 3), np.float32)
IDS = np.array([0, -1], np.int32)
LOSSES = (
    sv.cross_entropy_loss,
    sv.sparsemax_loss,
    sv.entmax15_loss,
    sv.entmax_loss,
    sv.normmax_loss,
    sv.alpha_relu_loss,
)


@pytest.mark.parametrize("wrong", [None, "abc", ["xyz", "uvw"], [[1, 2], [3]]], ids=repr)
def test_what_no_array_can_be_made_of(wrong: Any) -> None:
    for loss in LOSSES:
        with pytest.raises(TypeError, match=r"^logits must be an array of numbers, got "):
            loss(wrong, IDS)
        with pytest.raises(TypeError, match=r"^labels must be an array of numbers, got "):
            loss(X, wrong)
    with pytest.raises(TypeError, match=r"^targets must be an array of numbers, got "):
        sv.fenchel_young_loss(X, wrong, geometry=sv.GINI)
    with pytest.raises(TypeError, match=r"^soft must be an array of numbers, got "):
        sv.straight_through(X, wrong)
    with pytest.raises(TypeError, match=r"^temperatures must be "):
        sv.multimax(X, temperatures=wrong)
    with pytest.raises(TypeError, match=r"^labels must be an array of numbers, got "):
        sv.linear_cross_entropy(X, wrong, X)
    if wrong is not None:
        with pytest.raises(TypeError, match=r"^where must be an array of numbers, got "):
            sv.softmax(X, where=wrong)


def test_the_message_holds_what_came_but_not_all_of_it() -> None:
    with pytest.raises(TypeError) as caught:
        sv.softmax(["xyz"] * 1000)  # type: ignore[arg-type] # refused on purpose
    assert re.search(r"got list \['xyz', 'xyz', .*\.\.\.$", str(caught.value))
    assert len(str(caught.value)) < 100
    with pytest.raises(ValueError, match=r"^labels holds an integer that its dtype cannot, got"):
        sv.sparsemax_loss(X, [0, 2**40])  # type: ignore[arg-type] # refused on purpose


def test_fenchel_young_loss_calls_its_targets_targets() -> None:
    def of(targets: Any, **keywords: Any) -> jax.Array:
        return sv.fenchel_young_loss(X, targets, geometry=sv.SHANNON, **keywords)

    with pytest.raises(TypeError, match=r"^targets must be class ids"):
        of(IDS > 0)
    with pytest.raises(ValueError, match=r"^targets of integer dtype"):
        of(IDS[:1])
    with pytest.raises(ValueError, match=r"^targets of floating dtype"):
        of(X[:1])
    with pytest.raises(ValueError, match=r"^ignore_index needs targets of integer"):
        of(X, ignore_index=1)


def test_ignore_index_is_any_integer_and_nothing_else() -> None:
    def found(ignore_index: Any) -> list[bool]:
        plain = sv.cross_entropy_loss(X, IDS, ignore_index=ignore_index)
        linear = sv.linear_cross_entropy(X, IDS, X, ignore_index=ignore_index)
        np.testing.assert_array_equal(plain == 0, linear == 0)
        return list(np.asarray(plain) == 0)

    for same in (-1, np.int32(-1), np.int8(-1)):
        assert found(same) == [False, True]
    for none in (2**40, -(2**70), None):
        assert found(none) == [False, False]
    refused: tuple[Any, ...] = (True, np.bool_(False), 1.0, "1")
    for wrong in refused:
        for loss in (sv.entmax_loss, sv.alpha_relu_loss):
            with pytest.raises(TypeError, match=r"^ignore_index must be .*got (bool|float|str)$"):
                loss(X, IDS, ignore_index=wrong)
        with pytest.raises(TypeError, match=r"^ignore_index must be .*got (bool|float|str)$"):
            sv.linear_cross_entropy(X, IDS, X, ignore_index=wrong)


def test_hard_may_be_numpys_boolean() -> None:
    key, x = jax.random.key(0), jnp.asarray(X)
    expected = sv.gumbel_softmax(key, x, hard=True)
    numpys: Any = np.bool_(True)
    np.testing.assert_array_equal(sv.gumbel_softmax(key, x, hard=numpys), expected)
    with pytest.raises(TypeError, match=r"^hard must be a static Python bool, got int$"):
        sv.gumbel_softmax(key, x, hard=1)  # type: ignore[arg-type] # refused on purpose
