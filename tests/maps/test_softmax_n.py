"""Softmax beside n zeros, from n = 0 up, and its gradient for n."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import softmax_variants as sv
from tests.maps import checks


def reference(row: checks.Float64, n: float = 1.0) -> checks.Float64:
    top = max(row.max(), 0.0) if n else row.max()
    weight = np.exp(row - top)
    extra = n * np.exp(-top) if n else 0.0
    return np.asarray(weight / (extra + weight.sum()))


@pytest.mark.parametrize("offset", [0.0, 1e4, -3.0])
def test_values(rng: np.random.Generator, offset: float) -> None:
    x, where = checks.rows(rng, offset), checks.mask(rng)
    for n in (0.0, 0.25, 1.0, 7.3, 1e6):
        assert checks.error(sv.softmax_n, reference, x, where, n=n) < 2e-7


def test_gradients(rng: np.random.Generator) -> None:
    x = checks.rows(rng)[:8] / 4
    checks.check_gradients(sv.softmax_n, reference, x, checks.mask(rng)[:8], {"n": 0.6})


def test_no_zeros_is_softmax_and_its_gradient_for_n_is_the_limit(rng: np.random.Generator) -> None:
    x = checks.rows(rng)[:2]
    p = np.asarray(sv.softmax_n(x, n=0.0))
    np.testing.assert_allclose(p, sv.softmax(x), rtol=1e-6)
    slope = jax.jvp(lambda n: sv.softmax_n(x, n=n), (0.0,), (1.0,))[1]
    expected = -p / np.exp(x.astype(np.float64)).sum(-1, keepdims=True)
    np.testing.assert_allclose(slope, expected, rtol=1e-5)


def test_scores_that_no_exponential_can_hold() -> None:
    x = jnp.array([[-200.0, -201.0], [-100.0, -100.0], [3e38, 3e38], [-3e38, -3e38]])
    n = jnp.array([[0.0], [1e-37], [1.0], [1.0]])
    p = np.asarray(sv.softmax_n(x, n=n))
    # exp(-100) is no float32 number; beside a sufficiently small n it counts all the same.
    tiny = float(np.exp(-100.0) / (np.float64(np.float32(1e-37)) + 2 * np.exp(-100.0)))
    expected = [[0.7310586, 0.26894143], [tiny, tiny], [0.5, 0.5], [0, 0]]
    np.testing.assert_allclose(p, np.array(expected), rtol=2e-5)


def test_one_n_a_head(rng: np.random.Generator) -> None:
    x = rng.normal(size=(2, 3, 4)).astype(np.float32)
    n = np.array([0.0, 1.0, 2.5], np.float32)[:, None]
    p = np.asarray(sv.softmax_n(x, n=n))
    for head in range(3):
        expected = np.apply_along_axis(reference, -1, x[:, head].astype(np.float64), n[head, 0])
        np.testing.assert_allclose(p[:, head], expected, atol=2e-7)


def test_an_n_out_of_range() -> None:
    with pytest.raises(ValueError, match="n must lie in"):
        sv.softmax_n(jnp.zeros(3), n=-1.0)
    assert np.isnan(jax.jit(lambda n: sv.softmax_n(jnp.zeros(3), n=n))(-1.0)).all()
