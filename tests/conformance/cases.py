"""What the conformance tests share: the rows of the table, their inputs and compiled calls.

Compiling costs far more here than computing, so every test stacks its cases into one batch of
`SHAPE` and goes through the few functions below, which compile once a variant and dtype.
"""

import functools
import inspect
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import NDArray

from softmax_variants.variants import VARIANTS, Variant

Floats = NDArray[Any]
Bools = NDArray[np.bool_]

ROWS, CLASSES = SHAPE = (24, 8)
INF, NAN = np.inf, np.nan

DETERMINISTIC = tuple(row for row in VARIANTS.values() if not row.stochastic)
STOCHASTIC = tuple(row for row in VARIANTS.values() if row.stochastic)


def over(rows: Sequence[Variant]) -> pytest.MarkDecorator:
    """Parametrises a test over rows of the table."""
    return pytest.mark.parametrize("variant", rows, ids=lambda row: row.name)


def having(flag: Callable[[Variant], Any]) -> pytest.MarkDecorator:
    """Parametrises a test over the deterministic rows for which `flag` is true."""
    return over([row for row in DETERMINISTIC if flag(row)])


every = over(DETERMINISTIC)


def scores(variant: Variant, shape: tuple[int, ...] = SHAPE, *, seed: int = 0) -> Floats:
    """Float32 scores that suit the variant, each row on its own scale, all multiples of 1 / 64.

    Such a score stays exact when 10,000 is added, so a shifted row holds the same differences.
    """
    rng = np.random.default_rng([seed, zlib.crc32(variant.name.encode())])
    scale = np.resize([0.25, 1.0, 2.0, 5.0], shape[:-1])[..., None] if len(shape) > 1 else 1.0
    x = np.round(64 * scale * rng.normal(size=shape)) / 64
    return admissible(variant, x.astype(np.float32))


def admissible(variant: Variant, x: Floats) -> Floats:
    """Keeps the scores in the variant's domain."""
    if not variant.nonnegative_input:
        return x
    positive = np.abs(x)
    return np.where(x == -INF, x, np.where(positive == 0, 1 / 64, positive)).astype(x.dtype)


def batch(variant: Variant, *cases: Sequence[float] | Floats) -> Floats:
    """`SHAPE` scores whose first rows are `cases` (in the variant's domain)."""
    x = scores(variant)
    for row, case in enumerate(cases):
        x[row] = admissible(variant, np.asarray(case, np.float32))
    return x


def keep_all() -> Bools:
    return np.ones(SHAPE, np.bool_)


def random_mask(seed: int = 1) -> Bools:
    """A mask of SHAPE that keeps at least two classes of every row."""
    rng = np.random.default_rng(seed)
    mask = rng.random(SHAPE) < 0.6
    mask[:, :2] |= mask.sum(axis=-1, keepdims=True) < 2
    return mask


def probabilities(variant: Variant, x: Any, where: Any = None, **keywords: Any) -> Floats:
    """The map without jit around it, as NumPy."""
    return np.asarray(variant(x, -1, where, **keywords))


@functools.cache
def _pulled(name: str) -> Callable[..., tuple[jax.Array, jax.Array]]:
    variant = VARIANTS[name]

    @jax.jit
    def pulled(x: jax.Array, where: jax.Array, cotangent: jax.Array) -> tuple[Any, Any]:
        p, pull = jax.vjp(lambda x: variant(x, -1, where), x)
        return p, pull(cotangent)[0]

    return pulled


def value_and_gradient(
    variant: Variant, x: Floats, where: Bools | None = None, cotangent: Floats | None = None
) -> tuple[Floats, Floats]:
    """Probabilities and the gradient of `sum(p * cotangent)`, compiled once for all of SHAPE."""
    where = np.ones(x.shape, np.bool_) if where is None else where
    p, gradient = _pulled(variant.name)(x, where, weights(x) if cotangent is None else cotangent)
    return np.asarray(p), np.asarray(gradient)


def weights(x: Floats) -> Floats:
    """A fixed direction of the shape and dtype of `x`, in general position."""
    rng = np.random.default_rng(7)
    return np.asarray(rng.normal(size=x.shape).astype(np.float32)).astype(x.dtype)


@contextmanager
def double() -> Iterator[None]:
    """Float64 throughout: there a central difference resolves ten digits."""
    with jax.enable_x64(True):
        yield


def traced(variant: Variant, name: str) -> float | None:
    """The number a real-valued parameter of the map has in the tests, `None` if it is not scalar.

    Defaults are moved off their value: they tend to be the exceptional one (temperature 1).
    """
    if name not in parameter_names(variant):
        return None
    if name in variant.parameters:
        value = variant.parameters[name]
        return float(value) if np.ndim(value) == 0 and value is not None else None
    return 0.875 * float(_defaults(variant)[name])


def parameter_names(variant: Variant) -> list[str]:
    """Real-valued keyword parameters: those of the table, and those whose default is a float."""
    names = set(variant.parameters)
    names |= {name for name, value in _defaults(variant).items() if isinstance(value, float)}
    return sorted(names)


def _defaults(variant: Variant) -> dict[str, Any]:
    parameters = inspect.signature(variant.map).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def scalar_parameters(rows: Sequence[Variant] = DETERMINISTIC) -> pytest.MarkDecorator:
    """Parametrises over every scalar real-valued parameter of every row."""
    pairs = [
        pytest.param(row, name, id=f"{row.name}-{name}")
        for row in rows
        for name in parameter_names(row)
        if traced(row, name) is not None
    ]
    return pytest.mark.parametrize(("variant", "name"), pairs)


def same_bits(actual: Floats, expected: Floats, reason: str = "") -> None:
    """Equality to the last bit (NaN equals NaN, 0 equals -0) and of the dtype."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.dtype == expected.dtype
    np.testing.assert_array_equal(
        actual.astype(np.float64), expected.astype(np.float64), err_msg=reason
    )


def close(actual: Any, expected: Any, *, atol: float, rtol: float = 0.0, reason: str = "") -> None:
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    np.testing.assert_allclose(actual, expected, atol=atol, rtol=rtol, err_msg=reason)


def to_dtype(x: Floats, dtype: Any) -> Floats:
    return np.asarray(jnp.asarray(x).astype(dtype))
