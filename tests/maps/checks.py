"""What the tests of the maps share: a float64 reference of one row, and its differences.

A reference is a NumPy function of one row that calls nothing of the library; masks are tested by
deleting what they mask. Its central difference is the gradient that the library has to have.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from tests.oracles import Float64 as Float64
from tests.oracles import by_row

Map = Callable[..., jax.Array]
Reference = Callable[..., Any]
Bools = NDArray[np.bool_]

STEP = 1e-6
NOTHING: Mapping[str, Any] = {}


def rows(rng: np.random.Generator, offset: float = 0.0) -> NDArray[np.float32]:
    """Twelve rows of nine scores on four scales, float32 numbers with all their digits."""
    scale = np.resize([0.1, 1.0, 3.0, 20.0], 12)[:, None]
    return (offset + scale * rng.normal(size=(12, 9))).astype(np.float32)


def mask(rng: np.random.Generator) -> Bools:
    """A mask of `rows` that keeps two classes or more of all rows but the last."""
    kept = rng.random((12, 9)) < 0.7
    kept[:, :2] = True
    kept[-1] = False
    return kept


def error(
    f: Map, reference: Reference, x: Any, where: Bools | None = None, **parameters: Any
) -> float:
    """The largest difference to the reference on float32 rows."""
    p = np.asarray(f(jnp.asarray(x), where=where, **parameters), np.float64)
    return float(np.abs(p - by_row(lambda row: reference(row, **parameters), x, where=where)).max())


def check_gradients(
    f: Map,
    reference: Reference,
    x: Any,
    where: Bools | None = None,
    parameters: Mapping[str, Any] = NOTHING,
    *,
    atol: float = 1e-8,
) -> None:
    """Gradients for the logits and every parameter, in float64, against central differences."""
    with jax.enable_x64(True):
        x = np.asarray(x, np.float64)
        values = {name: np.asarray(value, np.float64) for name, value in parameters.items()}
        cotangent = np.random.default_rng(0).normal(size=x.shape)

        @jax.jit
        def pull(x: Any, values: Any, cotangent: Any) -> Any:
            p, back = jax.vjp(lambda x, values: f(x, where=where, **values), x, values)
            return p, back(cotangent)

        p, (dx, dvalues) = pull(x, values, cotangent)

    def objective(x: Float64, values: Mapping[str, Any]) -> Float64:
        p = by_row(lambda row: reference(row, **values), x, where=where)
        return np.asarray((cotangent * p).sum(axis=-1))

    expected = by_row(lambda row: reference(row, **values), x, where=where)
    np.testing.assert_allclose(p, expected, rtol=1e-12, atol=1e-14)
    numeric = np.zeros_like(x)
    for i in range(x.shape[-1]):
        step = np.where(np.arange(x.shape[-1]) == i, STEP, 0)
        numeric[:, i] = objective(x + step, values) - objective(x - step, values)
    kept = np.ones_like(x, np.bool_) if where is None else where
    np.testing.assert_allclose(dx, np.where(kept, numeric / (2 * STEP), 0), rtol=1e-6, atol=atol)
    for name, value in values.items():
        for index in np.ndindex(value.shape):
            step = np.zeros_like(value)
            step[index] = STEP
            rise = objective(x, {**values, name: value + step})
            rise = rise - objective(x, {**values, name: value - step})
            np.testing.assert_allclose(
                dvalues[name][index], rise.sum() / (2 * STEP), rtol=1e-6, atol=10 * atol
            )


def value_and_gradient(f: Map, x: Any, cotangent: Any, **parameters: Any) -> tuple[Any, Any]:
    """The map and the gradient of `sum(cotangent * p)`, as NumPy."""

    @jax.jit  # one compilation instead of one for every part
    def pull(x: jax.Array, cotangent: jax.Array) -> Any:
        p, back = jax.vjp(lambda x: f(x, **parameters), x)
        return p, back(cotangent)[0]

    p, gradient = pull(jnp.asarray(x, jnp.float32), jnp.asarray(cotangent, jnp.float32))
    return np.asarray(p), np.asarray(gradient)
