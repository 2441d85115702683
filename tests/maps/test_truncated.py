"""Truncated softmaxes against sorting in float64: what is kept, and the softmax over it."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import NDArray

import softmax_variants as sv
from tests.oracles import softmax

INF, NAN = np.inf, np.nan
MAPS = (
    lambda x, **kw: sv.top_k_softmax(x, k=2, **kw),
    lambda x, **kw: sv.top_p_softmax(x, p=0.7, **kw),
    lambda x, **kw: sv.min_p_softmax(x, min_p=0.3, **kw),
)


def over(x: Any, kept: Any) -> NDArray[np.float64]:
    """Softmax over what is kept."""
    return softmax(np.where(kept, np.asarray(x, np.float64), -INF))


def batch(rng: np.random.Generator) -> NDArray[np.float32]:
    """Scores with ties: multiples of one half, some rows continuous."""
    x = 2 * rng.normal(size=(24, 9))
    x[:16] = np.round(2 * x[:16]) / 2
    return x.astype(np.float32)


def test_top_k_keeps_k_and_their_ties(rng: np.random.Generator) -> None:
    x = batch(rng)
    for k in (1, 3, 9, 12):
        p = np.asarray(sv.top_k_softmax(x, k=k))
        place = min(k, 9) - 1
        for row, got in zip(x, p, strict=True):
            kept = row >= np.sort(row)[::-1][place]
            np.testing.assert_allclose(got, over(row, kept), atol=1.2e-7)
            assert ((got > 0) == kept).all()


def test_top_p_keeps_the_fewest_classes_that_reach_the_mass(rng: np.random.Generator) -> None:
    x = batch(rng)
    for mass in (0.0, 0.2, 0.55, 0.9, 1.0):
        p = np.asarray(sv.top_p_softmax(x, p=mass))
        for row, got in zip(x, p, strict=True):
            weight = softmax(row)
            # Scores from the top down, ties together: stop at the first whose mass is enough.
            cuts = [cut for cut in np.unique(row)[::-1] if weight[row >= cut].sum() >= mass - 1e-9]
            kept = row >= (cuts[0] if cuts else -INF)
            np.testing.assert_allclose(got, over(row, kept), atol=1.2e-7)
            assert ((got > 0) == kept).all()


def test_a_mass_that_is_just_reached_is_enough() -> None:
    x = np.log(np.array([1, 0.5, 0.5], np.float32))
    assert sv.softmax(x)[0] == 0.5
    np.testing.assert_array_equal(sv.top_p_softmax(x, p=0.5), [1, 0, 0])


def test_min_p_keeps_a_share_of_the_maximum(rng: np.random.Generator) -> None:
    x = batch(rng)
    for share in (0.0, 0.05, 0.3, 1.0):
        p = np.asarray(sv.min_p_softmax(x, min_p=share))
        for row, got in zip(x, p, strict=True):
            kept = np.exp(row.astype(np.float64) - row.max()) >= share
            np.testing.assert_allclose(got, over(row, kept), atol=1.2e-7)
            assert ((got > 0) == kept).all()


def test_the_parameters_differ_from_row_to_row(rng: np.random.Generator) -> None:
    x = batch(rng)
    values = np.linspace(0, 1, 24, dtype=np.float32)[:, None]
    for run in (
        jax.jit(lambda x, v: sv.top_p_softmax(x, p=v)),
        jax.jit(lambda x, v: sv.min_p_softmax(x, min_p=v)),
    ):
        p = np.asarray(run(x, values))
        for row in (0, 11, 23):
            np.testing.assert_array_equal(p[row], np.asarray(run(x, values[row]))[row])
        assert np.isnan(run(x, np.float32(1.5))).all()
        assert np.isnan(run(x, np.float32(-0.5))).all()


def test_the_gradient_is_that_of_softmax_over_what_is_kept(rng: np.random.Generator) -> None:
    x, v = batch(rng), rng.normal(size=(24, 9)).astype(np.float32)
    for run in MAPS:
        p, pull = jax.vjp(run, jnp.asarray(x))
        expected = p * (v - (p * v).sum(-1, keepdims=True))
        np.testing.assert_allclose(pull(jnp.asarray(v))[0], expected, atol=2e-7)
        assert (np.asarray(p) == 0).any()
    by_p = jax.grad(lambda p: (sv.top_p_softmax(x, p=p) * v).sum())(0.5)
    assert by_p == 0


def test_spoiled_rows() -> None:
    x = np.array([[0, 1, 2], [NAN, 1, -INF], [-INF, -INF, -INF], [INF, 0, INF]], np.float32)
    v = jnp.broadcast_to(jnp.arange(3.0), (4, 3))
    for run in MAPS:
        p, pull = jax.vjp(run, jnp.asarray(x))
        to_x = np.asarray(pull(v)[0])
        assert np.isnan(p[1, :2]).all()
        assert np.isnan(to_x[1, :2]).all()
        assert p[1, 2] == to_x[1, 2] == 0
        assert (p[2] == 0).all()
        assert (to_x[2] == 0).all()
        np.testing.assert_array_equal(p[3], [0.5, 0, 0.5])
        assert np.isfinite(to_x[[0, 2, 3]]).all()


def test_what_is_out_of_range_is_refused() -> None:
    x = np.zeros(3, np.float32)
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        sv.top_k_softmax(x, k=0)
    with pytest.raises(ValueError, match=r"p must lie in \[0, 1\], got 1.5"):
        sv.top_p_softmax(x, p=1.5)
    with pytest.raises(ValueError, match=r"min_p must lie in \[0, 1\], got -0.5"):
        sv.min_p_softmax(x, min_p=-0.5)
