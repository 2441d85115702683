"""A traced parameter out of its range cannot be refused: it gives NaN, value and gradient."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import softmax_variants as sv

X = np.array([[0.5, 3.0, 1.0, -4.0]], np.float32)
LABELS = np.array([1], np.int32)


def loss(f: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    return lambda x, **parameters: f(x, LABELS, **parameters)


CASES = [
    ("softmax", sv.softmax, "base", (0.0, -1.0)),
    ("log_softmax", sv.log_softmax, "base", (0.0, -1.0)),
    ("alpha_relu", sv.alpha_relu, "alpha", (-2.0, 1.0, 0.5)),
    ("alpha_relu_loss", loss(sv.alpha_relu_loss), "alpha", (-2.0, 1.0, 0.5)),
    ("entmax", sv.entmax, "alpha", (0.0, -1.0)),
    ("entmax_loss", loss(sv.entmax_loss), "alpha", (0.0, -1.0)),
    ("normmax_loss", loss(sv.normmax_loss), "alpha", (0.5, -1.0)),
    ("cross_entropy_loss", loss(sv.cross_entropy_loss), "label_smoothing", (-2.0, 3.0)),
    ("entmax15_loss", loss(sv.entmax15_loss), "label_smoothing", (-2.0, 3.0)),
    ("alpha_relu_loss_smoothed", loss(sv.alpha_relu_loss), "label_smoothing", (-2.0, 3.0)),
]


@pytest.mark.parametrize(("f", "name", "values"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_out_of_range(f: Callable[..., jax.Array], name: str, values: tuple[float, ...]) -> None:
    @jax.jit
    def pulled(x: jax.Array, value: jax.Array) -> tuple[Any, ...]:
        out, pull = jax.vjp(lambda x, value: f(x, **{name: value}), x, value)
        return out, *pull(jnp.ones_like(out))

    for value in values:
        with pytest.raises(ValueError, match=f"{name} must lie in"):
            f(X, **{name: value})
        for found in pulled(X, np.float32(value)):
            assert np.isnan(found).all(), (value, found)
