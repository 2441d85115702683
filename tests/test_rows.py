"""Optimizers of rows, against dense optax with the gradient scattered into zeros."""

import typing
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax

from softmax_variants import rows

ROWS, FEATURES, IDS, STEPS = 13, 3, 8, 24


class Dense(NamedTuple):
    """The table and the state after dense steps."""

    table: jax.Array
    state: Any


def batches(rng: np.random.Generator) -> tuple[jax.Array, jax.Array]:
    """Ids with repeats and padding, most of them of a few rows; the others return after a while."""
    ids = rng.integers(0, 4, size=(STEPS, IDS))
    ids[::6] = rng.integers(0, ROWS + 1, size=ids[::6].shape)
    ids[:, 0] = ROWS
    gradients = rng.normal(size=(STEPS, IDS, FEATURES))
    return jnp.asarray(ids, jnp.int32), jnp.asarray(gradients, jnp.float32)


def table_of(rng: np.random.Generator) -> jax.Array:
    return jnp.asarray(rng.normal(size=(ROWS, FEATURES)), jnp.float32)


def dense_steps(
    transform: Any, table: jax.Array, ids: jax.Array, gradients: jax.Array
) -> list[Dense]:
    """Optax itself, from a gradient that NumPy adds up."""
    state, done = transform.init(table), []
    with jax.numpy_dtype_promotion("standard"):
        update = jax.jit(transform.update)
        for which, values in zip(np.asarray(ids), np.asarray(gradients), strict=True):
            dense = np.zeros((ROWS + 1, FEATURES), np.float64)
            np.add.at(dense, which, values)
            change, state = update(jnp.asarray(dense[:ROWS], jnp.float32), state, table)
            table = optax.apply_updates(table, change)
            done.append(Dense(table, state))
    return done


def row_steps(opt: Any, table: jax.Array, ids: jax.Array, gradients: jax.Array) -> Any:
    """The same by rows, in a scan."""

    def step(carry: Any, batch: Any) -> tuple[Any, Any]:
        return opt.update(*carry, *batch), None

    return jax.jit(lambda *carry: lax.scan(step, carry, (ids, gradients))[0])(
        table, opt.init(table)
    )


def assert_trees_close(got: Any, want: Any) -> None:
    for x, y in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=2e-6)


EXACT = {
    "sgd": optax.sgd(0.1),
    "scheduled": optax.sgd(optax.linear_schedule(0.2, 0.01, STEPS)),
    "adagrad": optax.adagrad(0.1),
    "clipped": optax.chain(rows.clip_rows(0.7), optax.adagrad(0.1)),
}
DECAYING = {
    "momentum": optax.sgd(0.1, momentum=0.9, nesterov=True),
    "rmsprop": optax.rmsprop(0.1),
    "adam": optax.adam(0.1),
    "adamw": optax.adamw(optax.cosine_decay_schedule(0.1, STEPS), weight_decay=0.1),
}


@pytest.mark.parametrize("name", EXACT)
def test_lazy_is_dense_where_a_zero_gradient_changes_nothing(
    name: str, rng: np.random.Generator
) -> None:
    table, (ids, gradients) = table_of(rng), batches(rng)
    want = dense_steps(EXACT[name], table, ids, gradients)[-1]
    got, state = row_steps(rows.lazy(EXACT[name]), table, ids, gradients)
    assert_trees_close(got, want.table)
    assert_trees_close(state.tables.inner, want.state)
    assert int(state.dropped) == 0
    assert int(state.step) == STEPS


@pytest.mark.parametrize("name", DECAYING)
def test_lazy_is_dense_for_rows_of_every_step_and_leaves_the_others(
    name: str, rng: np.random.Generator
) -> None:
    table, (_, gradients) = table_of(rng), batches(rng)
    ids = jnp.broadcast_to(jnp.asarray([0, 1, 2, 1, 3, 4, 5, 5], jnp.int32), (STEPS, IDS))
    want = dense_steps(DECAYING[name], table, ids, gradients)[-1]
    got, state = row_steps(rows.lazy(DECAYING[name]), table, ids, gradients)
    assert_trees_close(got[:6], want.table[:6])
    np.testing.assert_array_equal(got[6:], table[6:])
    counts = [x for x in jax.tree.leaves(state.tables.inner) if x.ndim == 0]
    assert all(int(count) == STEPS for count in counts)


@pytest.mark.parametrize("name", DECAYING)
def test_catch_up_is_dense(name: str, rng: np.random.Generator) -> None:
    """Parameters and moments: of the rows of a step at once, and of all when caught up."""
    table, (ids, gradients) = table_of(rng), batches(rng)
    want = dense_steps(DECAYING[name], table, ids, gradients)
    opt = rows.lazy(DECAYING[name], mode="catch_up")
    got, state = row_steps(opt, table, ids, gradients)
    touched = np.unique(np.asarray(ids[-1]))[:-1]
    away = np.setdiff1d(np.arange(ROWS), np.asarray(ids[-5:]))
    assert len(away)
    assert_trees_close(got[touched], want[-1].table[touched])
    # A row of RMSProp stays where it is without a gradient, and only its moment decays.
    moved = np.abs(np.asarray(got - want[-1].table))[away].max()
    assert moved > 1e-3 or name == "rmsprop"
    got, state = jax.jit(opt.catch_up)(got, state)
    assert_trees_close(got, want[-1].table)
    for x, y in zip(
        jax.tree.leaves(state.tables.inner), jax.tree.leaves(want[-1].state), strict=True
    ):
        np.testing.assert_allclose(x, np.broadcast_to(y, x.shape), rtol=1e-5, atol=2e-6)


GATHERING = {
    "MultiSteps": optax.MultiSteps(optax.sgd(0.1), 3),
    "apply_every": optax.chain(optax.apply_every(3), optax.sgd(0.1)),
}


@pytest.mark.parametrize("name", GATHERING)
def test_what_gathers_gradients_is_dense_if_caught_up(name: str, rng: np.random.Generator) -> None:
    """In the mode "lazy" a row keeps what it has gathered until an applying step reads it."""
    table, (ids, gradients) = table_of(rng), batches(rng)
    want = dense_steps(GATHERING[name], table, ids, gradients)[-1].table
    opt = rows.lazy(GATHERING[name], mode="catch_up")
    got, _ = jax.jit(opt.catch_up)(*row_steps(opt, table, ids, gradients))
    assert_trees_close(got, want)
    got, _ = row_steps(rows.lazy(GATHERING[name]), table, ids, gradients)
    assert np.abs(np.asarray(got - want)).max() > 1e-2


def test_catching_up_before_reading_trains_as_dense_does(rng: np.random.Generator) -> None:
    """Gradients that depend on the rows, so that reading a stale one would show."""
    table, (ids, targets) = table_of(rng), batches(rng)
    opt = rows.lazy(optax.adam(0.1), mode="catch_up")

    def step(carry: Any, batch: Any) -> tuple[Any, None]:
        which, target = batch
        table, state = opt.catch_up(carry[0], carry[1], which)
        return opt.update(table, state, which, rows.take(table, which) - target), None

    got, state = jax.jit(lambda t, s: lax.scan(step, (t, s), (ids, targets))[0])(
        table, opt.init(table)
    )
    got, _ = opt.catch_up(got, state)
    want, dense_state, transform = table, optax.adam(0.1).init(table), optax.adam(0.1)
    with jax.numpy_dtype_promotion("standard"):
        for which, target in zip(ids, targets, strict=True):
            read = want.at[which].get(mode="fill", fill_value=0) - target
            dense = jnp.zeros_like(want).at[which].add(read, mode="drop")
            change, dense_state = transform.update(dense, dense_state, want)
            want = optax.apply_updates(want, change)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_a_bounded_catch_up_has_the_dense_moments_and_nearly_the_parameters(
    rng: np.random.Generator,
) -> None:
    """Momentum of 0.3 has nothing left to move by after 12 steps, and 30 are missed."""
    transform = optax.adam(0.1, b1=0.3, b2=0.9)
    table, (ids, gradients) = table_of(rng), batches(rng)
    ids, gradients = jnp.tile(ids, (2, 1)), jnp.tile(gradients, (2, 1, 1))
    ids = ids.at[2:-1].set(jnp.minimum(ids[2:-1], 1)).at[:2, -1].set(9).at[-1, -1].set(9)
    want = dense_steps(transform, table, ids, gradients)[-1]
    opt = rows.lazy(transform, mode="catch_up", max_replay=20)
    got, state = row_steps(opt, table, ids, gradients)
    np.testing.assert_allclose(got[9], want.table[9], rtol=1e-5)
    inner, dense = state.tables.inner[0], want.state[0]
    np.testing.assert_allclose(inner.mu[9], dense.mu[9], rtol=1e-5)
    np.testing.assert_allclose(inner.nu[9], dense.nu[9], rtol=1e-5)
    assert int(inner.count[9]) == int(dense.count)


def test_skipped_steps_leave_the_dense_moments(rng: np.random.Generator) -> None:
    transform = optax.adam(0.1)
    table, (ids, gradients) = table_of(rng), batches(rng)
    want = dense_steps(transform, table, ids, gradients)[-1].state[0]
    opt = rows.lazy(transform, mode="catch_up", max_replay=1)
    _, state = jax.jit(opt.catch_up)(*row_steps(opt, table, ids, gradients))
    got = state.tables.inner[0]
    np.testing.assert_allclose(got.mu, want.mu, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(got.nu, want.nu, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "transform",
    [
        optax.adabelief(0.1),
        optax.chain(optax.add_decayed_weights(0.1), optax.sgd(0.1, momentum=0.9)),
    ],
    ids=["adabelief", "decay in momentum"],
)
def test_max_replay_refuses_a_state_that_does_not_decay(
    transform: Any, rng: np.random.Generator
) -> None:
    with pytest.raises(ValueError, match="multiplied by a factor"):
        rows.lazy(transform, mode="catch_up", max_replay=4).init(table_of(rng))


def test_sgd_is_the_lazy_sgd(rng: np.random.Generator) -> None:
    table, (ids, gradients) = table_of(rng), batches(rng)
    schedule = optax.linear_schedule(0.2, 0.01, STEPS)
    got, state = row_steps(rows.sgd(schedule), table, ids, gradients)
    want, _ = row_steps(rows.lazy(optax.sgd(schedule)), table, ids, gradients)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    assert int(state.step) == STEPS


@pytest.mark.parametrize("opt", [rows.sgd(0.125), rows.lazy(optax.sgd(0.125))])
def test_a_low_precision_table_is_rounded_once(opt: Any) -> None:
    """256 gradients of 2^-7 are 2 together; one by one each would be lost beside 4."""
    table = jnp.full((2, 1), 4, jnp.bfloat16)
    ids, gradients = jnp.zeros(256, jnp.int32), jnp.full((256, 1), 2**-7, jnp.bfloat16)
    got, _ = opt.update(table, opt.init(table), ids, gradients)
    np.testing.assert_array_equal(got, jnp.asarray([[3.75], [4]], jnp.bfloat16))


def test_the_state_of_a_low_precision_table_is_in_float32() -> None:
    table = jnp.ones((3, 2), jnp.bfloat16)
    for opt in (rows.lazy(optax.adam(0.1)), rows.lazy(optax.adam(0.1), "catch_up")):
        table_after, state = opt.update(
            table, opt.init(table), jnp.array([1]), jnp.ones((1, 2), jnp.bfloat16)
        )
        assert table_after.dtype == jnp.bfloat16
        assert state.tables.inner[0].mu.dtype == jnp.float32


def test_a_tree_of_tables_is_each_table_for_itself(rng: np.random.Generator) -> None:
    table, (ids, gradients) = table_of(rng), batches(rng)
    opt = rows.lazy(optax.adam(0.1))
    tables = {"weight": table, "bias": table[:, 0], "other": table[:5]}
    few = jnp.minimum(ids[1], 5)
    got, state = opt.update(
        tables,
        opt.init(tables),
        {
            "weight": rows.RowGradient(ids[0], gradients[0]),
            "bias": (ids[0], gradients[0, :, 0]),
            "other": rows.RowGradient(few, gradients[1]),
        },
    )
    for name, which, values in (
        ("weight", ids[0], gradients[0]),
        ("bias", ids[0], gradients[0, :, 0]),
        ("other", few, gradients[1]),
    ):
        want, alone = opt.update(tables[name], opt.init(tables[name]), which, values)
        np.testing.assert_array_equal(got[name], want)
        assert_trees_close(state.tables[name], alone.tables)


@pytest.mark.parametrize(
    "transform",
    [
        optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.1)),
        optax.lamb(0.1),
        optax.apply_if_finite(optax.sgd(0.1), 5),
    ],
    ids=["global norm", "lamb", "apply_if_finite"],
)
def test_a_transform_that_reads_other_rows_is_refused(transform: Any) -> None:
    with pytest.raises(ValueError, match="the gradient of one row changed the update of another"):
        jax.jit(rows.lazy(transform).init)(jnp.ones((5, 2)))


@pytest.mark.parametrize("mode", ["lazy", "catch_up"])
def test_a_transform_that_draws_is_refused(mode: Any) -> None:
    with pytest.raises(ValueError, match=r"transform must draw nothing, but its state\.rng_key"):
        rows.lazy(optax.add_noise(0.1, 0.1, jax.random.key(0)), mode).init(jnp.ones((5, 2)))


def test_a_state_of_another_shape_is_refused_by_name() -> None:
    """Also where its length happens to be the table's."""
    with pytest.raises(ValueError, match=r"state\[0\]\.v_row has shape \(256,\)"):
        rows.lazy(optax.adafactor(0.1)).init(jnp.ones((256, 256)))


def test_a_traced_learning_rate() -> None:
    table, ids = jnp.ones((4, 2)), jnp.array([1, 1])

    @jax.jit
    def step(rate: jax.Array) -> Any:
        opt = rows.lazy(optax.sgd(rate))
        return opt.update(table, opt.init(table), ids, jnp.ones((2, 2)))[0]

    np.testing.assert_array_equal(step(jnp.float32(0.25))[:, 0], [1, 0.5, 1, 1])


def test_bad_arguments_are_refused() -> None:
    table, ids = jnp.ones((4, 2)), jnp.array([1, 2])
    sgd, wrong = optax.sgd(0.1), typing.cast(Any, "eager")
    opt = rows.lazy(sgd)
    state = opt.init(table)
    cases: list[tuple[type[Exception], str, Any]] = [
        (TypeError, "ids must have an integer", lambda: opt.update(table, state, table, table)),
        (ValueError, "row_grads must have shape", lambda: opt.update(table, state, ids, table)),
        (TypeError, "row_grads must have a float", lambda: opt.update(table, state, ids, ids)),
        (TypeError, "table must have a floating", lambda: opt.init(ids)),
        (ValueError, r"table must have shape \(rows", lambda: opt.init(jnp.float32(1))),
        (ValueError, "no array", lambda: opt.init({})),
        (TypeError, r"pair \(ids, row_grads\)", lambda: opt.update(table, state, ids)),
        (ValueError, "mode must be", lambda: rows.lazy(sgd, wrong)),
        (ValueError, "max_replay is for", lambda: rows.lazy(sgd, max_replay=3)),
        (ValueError, "max_replay must be", lambda: rows.lazy(sgd, "catch_up", max_replay=0)),
        (TypeError, "transform must be", lambda: rows.lazy(wrong)),
        (ValueError, "catch_up needs", lambda: opt.catch_up(table, state)),
        (ValueError, "learning_rate must be a scalar", lambda: rows.sgd(jnp.ones(2))),
        (ValueError, "max_norm", lambda: rows.clip_rows(-1.0)),
        (ValueError, "max_norm must be a scalar", lambda: rows.clip_rows(jnp.ones(2))),
        (ValueError, "gradients must have", lambda: rows.global_norm({})),
    ]  # fmt: skip
    for error, match, call in cases:
        with pytest.raises(error, match=match):
            call()
    with pytest.raises(ValueError, match="bias"):
        opt.update({"weight": table}, opt.init({"weight": table}), {"bias": (ids, table[:2])})


def test_the_global_norm_is_the_dense_one(rng: np.random.Generator) -> None:
    ids, values = batches(rng)[0][0, 1:] % ROWS, batches(rng)[1][0, 1:]
    dense = np.zeros((ROWS, FEATURES))
    np.add.at(dense, np.asarray(ids), np.asarray(values))
    body = jnp.asarray(rng.normal(size=(2, 2)), jnp.float32)
    tree = {"table": rows.RowGradient(ids, values), "body": body}
    want = np.sqrt((dense**2).sum() + (np.asarray(body, np.float64) ** 2).sum())
    np.testing.assert_allclose(rows.global_norm(tree), want, rtol=1e-6)
    clipped = rows.clip_by_global_norm(tree, want / 2)
    np.testing.assert_allclose(clipped["body"], body / 2, rtol=1e-6)
    np.testing.assert_allclose(clipped["table"].values, values / 2, rtol=1e-6)
    np.testing.assert_array_equal(clipped["table"].ids, ids)
    same = rows.clip_by_global_norm(tree, want * 2)
    np.testing.assert_array_equal(same["table"].values, values)
    zero = rows.clip_by_global_norm(jnp.zeros(3), 0.0)
    np.testing.assert_array_equal(zero, np.zeros(3))
