"""MultiMax, its eight parameters, and its special case softmax."""

import jax.numpy as jnp
import numpy as np
import pytest

import softmax_variants as sv
from tests.maps import checks

FOUR = {"temperatures": (0.3, -0.2, 0.02, 0.01), "thresholds": (-1.0, 1.0, -0.5, 0.5)}
TWO = {"temperatures": (0.3, 0.75), "thresholds": (-1.0, 1.0)}


def reference(
    row: checks.Float64, temperatures: checks.Float64, thresholds: checks.Float64
) -> checks.Float64:
    z = row.astype(np.longdouble)
    for i, (t, b) in enumerate(zip(temperatures, thresholds, strict=True)):
        excess = np.maximum(row - b if i % 2 else b - row, 0)
        z = z + t * excess ** (1 + i // 2)
    weight = np.exp(z - z.max())
    return np.asarray(weight / weight.sum(), np.float64)


def exact(values: dict[str, tuple[float, ...]], offset: float = 0.0) -> dict[str, object]:
    """The float32 numbers that the map sees, thresholds moved with the scores."""
    thresholds = np.asarray(values["thresholds"], np.float32) + np.float32(offset)
    return {
        "temperatures": np.asarray(values["temperatures"], np.float32),
        "thresholds": thresholds,
    }


@pytest.mark.parametrize("values", [FOUR, TWO], ids=["four", "two"])
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_values(
    rng: np.random.Generator, values: dict[str, tuple[float, ...]], offset: float
) -> None:
    x, where = checks.rows(rng, offset), checks.mask(rng)
    assert checks.error(sv.multimax, reference, x, where, **exact(values, offset)) < 1e-6


def test_gradients(rng: np.random.Generator) -> None:
    x = checks.rows(rng) / 4
    checks.check_gradients(sv.multimax, reference, x, checks.mask(rng), FOUR, atol=1e-7)


def test_the_default_is_softmax(rng: np.random.Generator) -> None:
    x = checks.rows(rng, 1e4)
    np.testing.assert_array_equal(sv.multimax(x), sv.softmax(x))
    row = jnp.array([3e38, -3e38, jnp.inf, jnp.inf])
    np.testing.assert_array_equal(sv.multimax(row), [0, 0, 0.5, 0.5])


def test_leading_dimensions_are_those_of_the_rows(rng: np.random.Generator) -> None:
    x = rng.normal(size=(2, 5, 3)).astype(np.float32)
    t, b = rng.normal(size=(2, 3, 4)).astype(np.float32)
    p = np.asarray(sv.multimax(x, 1, temperatures=t, thresholds=b))
    for head in range(3):
        alone = sv.multimax(x[:, :, head], 1, temperatures=t[head], thresholds=b[head])
        np.testing.assert_allclose(p[:, :, head], alone, atol=1.2e-7)


def test_parameters_that_are_refused() -> None:
    x = jnp.zeros((2, 3))
    with pytest.raises(ValueError, match="temperatures must have a last dimension"):
        sv.multimax(x, temperatures=(1.0, 2.0, 3.0), thresholds=(0.0, 0.0, 0.0))
    with pytest.raises(ValueError, match="as many entries"):
        sv.multimax(x, temperatures=(1.0, 2.0))
