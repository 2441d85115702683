"""Ids of rows: repeats, padding, what is out of range, and ids of every width."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from softmax_variants import rows
from softmax_variants.rows._ids import slots_of, sum_by_address, sum_by_neighbours


@pytest.mark.parametrize("length", [4, 2**31 - 100], ids=["packed sort", "sort of pairs"])
@pytest.mark.parametrize("sums", [sum_by_address, sum_by_neighbours])
def test_repeated_ids_are_summed(sums: Any, length: int, rng: np.random.Generator) -> None:
    for ids in (rng.integers(0, 5, 37), np.full(8, 3), np.arange(6)[::-1], np.array([2])):
        values = rng.normal(size=(ids.size, 2))
        slots = slots_of(jnp.asarray(ids, jnp.int32), length)
        got = np.asarray(sums(jnp.asarray(values, jnp.float32), slots))
        distinct, inverse = np.unique(ids, return_inverse=True)
        want = np.zeros((distinct.size, 2))
        np.add.at(want, inverse, values)
        np.testing.assert_array_equal(slots.ids[: distinct.size], distinct)
        np.testing.assert_allclose(got[: distinct.size], want, rtol=1e-5, atol=1e-6)
        assert (np.diff(np.asarray(slots.ids)) > 0).all()
        assert (np.asarray(slots.ids[distinct.size :]) >= length).all()


def test_tables_with_the_same_ids_share_one_sort() -> None:
    tables = {"weight": jnp.zeros((9, 2)), "bias": jnp.zeros(9)}
    opt, ids = rows.lazy(optax.adagrad(0.1)), jnp.arange(4)
    gradients = {"weight": (ids, jnp.ones((4, 2))), "bias": (ids, jnp.ones(4))}
    state = opt.init(tables)

    def step(ids: jax.Array) -> Any:
        return opt.update(tables, state, {k: (ids, g[1]) for k, g in gradients.items()})

    assert str(jax.make_jaxpr(step)(ids)).count(" sort[") == 1


OPTIMIZERS: list[Any] = [
    rows.sgd(0.5),
    rows.lazy(optax.sgd(0.5)),
    rows.lazy(optax.sgd(0.5), "catch_up"),
]


@pytest.mark.parametrize("opt", OPTIMIZERS, ids=["sgd", "lazy", "catch_up"])
def test_a_negative_id_never_wraps(opt: Any) -> None:
    table = jnp.ones((4, 2))
    state, one = opt.init(table), jnp.ones((3, 2))
    for bad in (-1, -5, 5):
        ids = jnp.array([0, bad, 4])
        with pytest.raises(ValueError, match=rf"ids must lie in \[0, 4\].* got {bad}"):
            opt.update(table, state, ids, one)
        got, after = jax.jit(opt.update)(table, state, ids, one)
        np.testing.assert_array_equal(got[:, 0], [0.5, 1, 1, 1])
        assert int(after.dropped) == 1


def test_ids_of_any_width(rng: np.random.Generator) -> None:
    """An int8 cannot hold the table's length; an unsigned id has no sign to lose."""
    table, opt = jnp.ones(300), rows.sgd(1.0)
    for dtype in (jnp.int8, jnp.uint8, jnp.int32, jnp.uint32):
        ids = jnp.asarray([[7, 100]], dtype)
        got, state = jax.jit(opt.update)(table, opt.init(table), ids, jnp.ones((1, 2)))
        assert np.flatnonzero(np.asarray(got) == 0).tolist() == [7, 100]
        assert int(state.dropped) == 0
    large = jnp.asarray([2**32 - 1, 2**31], jnp.uint32)
    got, state = jax.jit(opt.update)(table, opt.init(table), large, jnp.ones(2))
    np.testing.assert_array_equal(got, table)
    assert int(state.dropped) == 2


def test_no_ids_change_nothing() -> None:
    table = jnp.ones((4, 2))
    for opt in OPTIMIZERS:
        got, state = opt.update(table, opt.init(table), jnp.zeros(0, jnp.int32), jnp.ones((0, 2)))
        np.testing.assert_array_equal(got, table)
        assert int(state.step) == 1
    assert rows.take(table, jnp.zeros((2, 0), jnp.int32)).shape == (2, 0, 2)


def test_take_reads_padding_as_zeros_and_never_wraps() -> None:
    table = jnp.arange(6.0).reshape(3, 2) + 1
    ids = jnp.array([[0, 3], [2, 1]])
    want = np.array([[[1, 2], [0, 0]], [[5, 6], [3, 4]]])
    np.testing.assert_array_equal(rows.take(table, ids), want)
    with pytest.raises(ValueError, match=r"got -1"):
        rows.take(table, jnp.array([-1]))
    got = np.asarray(jax.jit(rows.take)(table, jnp.array([-1, 4, 3, 2])))
    assert np.isnan(got[:2]).all()
    np.testing.assert_array_equal(got[2:], [[0, 0], [5, 6]])
