"""A parameter is one number however it comes: Python float, array, traced, or one a row."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from softmax_variants.variants import Variant
from tests.conformance import cases
from tests.conformance.cases import (
    close,
    probabilities,
    same_bits,
    scalar_parameters,
    scores,
    traced,
)

_compilations: list[str] = []


def _record(event: str, duration_secs: float, **__: str | int) -> None:
    if "backend_compile" in event:
        _compilations.append(event)


jax.monitoring.register_event_duration_secs_listener(_record)


def value_of(variant: Variant, name: str) -> float:
    value = traced(variant, name)
    assert value is not None
    return value


@pytest.mark.slow
@scalar_parameters()
def test_python_floats_and_arrays_and_tracers_give_the_same_bits(
    variant: Variant, name: str
) -> None:
    x, value = scores(variant), value_of(variant, name)
    expected = probabilities(variant, x, **{name: value})
    for same in (np.float32(value), np.asarray(value, np.float32), jnp.float32(value)):
        same_bits(probabilities(variant, x, **{name: same}), expected)
    compiled = jax.jit(lambda x, value: variant(x, **{name: value}))
    same_bits(np.asarray(compiled(x, jnp.float32(value))), expected)


def nearby(value: float, share: float) -> float:
    """Another value in the parameter's range: towards 0, or away from it where it is 0."""
    return value * (1 - share) if value else -share


@scalar_parameters()
def test_one_value_a_row_is_a_loop_over_rows(variant: Variant, name: str) -> None:
    x, value = scores(variant), value_of(variant, name)
    shares = np.linspace(0, 0.25, cases.ROWS)
    values = np.array([nearby(value, share) for share in shares], np.float32)
    p = probabilities(variant, x, **{name: values[:, None]})
    for row in (0, 7, 23):
        alone = probabilities(variant, x, **{name: values[row]})
        close(p[row], alone[row], atol=1.2e-7, rtol=1.2e-7)


@scalar_parameters()
def test_the_parameter_has_an_effect(variant: Variant, name: str) -> None:
    """A parameter that is dropped on the way would pass every other test here."""
    x, value = scores(variant), value_of(variant, name)
    p = probabilities(variant, x, **{name: value})
    moved = [
        np.abs(probabilities(variant, x, **{name: nearby(value, share)}) - p).max()
        for share in (0.1, 0.3)
    ]
    assert max(moved) > 1e-3


@scalar_parameters()
def test_another_value_does_not_compile_again(variant: Variant, name: str) -> None:
    x, value = jnp.asarray(scores(variant)), value_of(variant, name)
    variant(x, **{name: value})
    before = len(_compilations)
    for share in (0.1, 0.2, 0.3):
        variant(x, **{name: nearby(value, share)})
    assert len(_compilations) == before


def test_the_compilation_counter_counts() -> None:
    before = len(_compilations)
    jax.jit(lambda x: 3.25 * x + 17)(jnp.ones(5))
    assert len(_compilations) > before


@scalar_parameters()
def test_a_parameter_that_is_no_real_number_is_refused_by_name(variant: Variant, name: str) -> None:
    x = scores(variant)
    with pytest.raises(ValueError, match=rf"{name} must .*got nan"):
        variant(x, **{name: float("nan")})
    with pytest.raises(TypeError, match=rf"{name} must .*got str"):
        variant(x, **{name: "1"})
    with pytest.raises(TypeError, match=rf"{name} must .*got (dtype )?complex"):
        variant(x, **{name: 1j})
    with pytest.raises(TypeError, match=rf"{name} must .*got (dtype )?bool"):
        variant(x, **{name: True})


@scalar_parameters()
def test_a_parameter_that_does_not_broadcast_is_refused_by_name(
    variant: Variant, name: str
) -> None:
    x, value = scores(variant), value_of(variant, name)
    for shape in ((cases.ROWS + 1, 1), (2, cases.ROWS, 1)):
        with pytest.raises(ValueError, match=rf"{name} must .*got (shape )?\({shape[0]}, "):
            variant(x, **{name: np.full(shape, value, np.float32)})
