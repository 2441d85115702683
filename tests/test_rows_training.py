"""Training steps of rows: gradients of a head, buffers in place, and a body of Flax."""

import re
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax

from softmax_variants import rows
from softmax_variants.heads._head import Params, Plan
from tests.pages import programs, run

CLASSES, FEATURES, EXAMPLES, SAMPLES = 20, 4, 6, 5


class Sampled(NamedTuple):
    """Softmax over the label and shared samples; the last example's label is joined by padding."""

    classes: int = CLASSES

    def plan(self, labels: Any, *, key: jax.Array | None = None) -> Plan:
        assert key is not None
        drawn = jax.random.randint(key, (SAMPLES,), 0, self.classes, jnp.int32)
        ids = jnp.concatenate([labels, drawn, jnp.full(1, self.classes, jnp.int32)])
        return Plan({"weight": ids, "bias": ids}, drawn[None, :] == labels[:, None])

    def loss_of_rows(
        self, rows: Params, plan: Plan, hidden: Any, labels: Any, *, where: Any = None
    ) -> jax.Array:
        count = labels.shape[0]
        weight, bias = rows["weight"], rows["bias"]
        true = jnp.sum(hidden * weight[:count], axis=-1) + bias[:count]
        drawn = hidden @ weight[count:-1].T + bias[None, count:-1]
        every = jnp.concatenate([true[:, None], jnp.where(plan.state, -jnp.inf, drawn)], axis=-1)
        # The row of padding is read too, and would have a gradient of its own.
        losses = jax.nn.logsumexp(every, axis=-1) - true + weight[-1].sum() + bias[-1]
        return losses if where is None else jnp.where(where, losses, 0)


def tables_of(rng: np.random.Generator, classes: int = CLASSES, features: int = FEATURES) -> Params:
    return {
        "weight": jnp.asarray(rng.normal(size=(classes, features)), jnp.float32),
        "bias": jnp.asarray(rng.normal(size=classes), jnp.float32),
    }


def examples_of(rng: np.random.Generator, features: int = FEATURES) -> tuple[jax.Array, jax.Array]:
    hidden = jnp.asarray(rng.normal(size=(EXAMPLES, features)), jnp.float32)
    return hidden, jnp.asarray(rng.integers(0, 4, EXAMPLES), jnp.int32)


@pytest.mark.parametrize("given", ["nothing", "where", "cotangent", "both"])
def test_row_gradients_are_those_of_the_dense_loss(
    given: str, rng: np.random.Generator, key: jax.Array
) -> None:
    head, params, (hidden, labels) = Sampled(), tables_of(rng), examples_of(rng)
    where = jnp.asarray([1, 0, 1, 1, 0, 1], bool) if given in ("where", "both") else None
    factor = np.asarray(rng.normal(size=EXAMPLES), np.float32)
    cotangent = jnp.asarray(factor) if given in ("cotangent", "both") else None

    def dense(params: Params, hidden: jax.Array) -> tuple[jax.Array, jax.Array]:
        plan = head.plan(labels, key=key)
        padded = {k: jnp.concatenate([x, jnp.zeros_like(x[:1])]) for k, x in params.items()}
        read = {k: padded[k][ids] for k, ids in plan.ids.items()}
        losses = head.loss_of_rows(read, plan, hidden, labels, where=where)
        if cotangent is not None:
            return jnp.sum(cotangent * losses), losses
        return jnp.mean(losses, where=where), losses

    (to_params, to_hidden), want = jax.grad(dense, (0, 1), has_aux=True)(params, hidden)
    losses, to_body, gradients = jax.jit(
        lambda p, h: rows.value_and_grad(
            head, p, h, labels, key=key, where=where, cotangent=cotangent
        )
    )(params, hidden)
    np.testing.assert_allclose(losses, want, rtol=1e-6)
    np.testing.assert_allclose(to_body, to_hidden, rtol=1e-5, atol=1e-6)
    for name, (ids, values) in gradients.items():
        scattered = np.zeros((CLASSES + 1, *params[name].shape[1:]), np.float64)
        np.add.at(scattered, np.asarray(ids), np.asarray(values))
        np.testing.assert_allclose(scattered[:-1], to_params[name], rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(scattered[-1], np.zeros_like(scattered[-1]))


def test_a_plan_made_before_is_used(rng: np.random.Generator, key: jax.Array) -> None:
    head, params, (hidden, labels) = Sampled(), tables_of(rng), examples_of(rng)
    want = rows.value_and_grad(head, params, hidden, labels, key=key)
    got = rows.value_and_grad(head, params, hidden, labels, plan=head.plan(labels, key=key))
    jax.tree.map(np.testing.assert_array_equal, got, want)


def test_a_traced_label_out_of_range_is_nan_in_that_example_alone(
    rng: np.random.Generator, key: jax.Array
) -> None:
    head, params, (hidden, labels) = Sampled(), tables_of(rng), examples_of(rng)

    @jax.jit
    def losses_of(labels: jax.Array) -> jax.Array:
        return rows.value_and_grad(head, params, hidden, labels, key=key)[0]

    losses, want = losses_of(labels.at[1].set(-1).at[2].set(CLASSES + 1)), losses_of(labels)
    assert np.isnan(np.asarray(losses[1:3])).all()
    np.testing.assert_allclose(np.delete(losses, [1, 2]), np.delete(want, [1, 2]), rtol=1e-6)
    with pytest.raises(ValueError, match=r"ids must lie in \[0, 20\]"):
        rows.value_and_grad(head, params, hidden, labels.at[1].set(-1), key=key)


def test_bad_arguments_are_refused(rng: np.random.Generator, key: jax.Array) -> None:
    head, params, (hidden, labels) = Sampled(), tables_of(rng), examples_of(rng)
    with pytest.raises(ValueError, match=r"params must have the tables .*'bias', 'weight'"):
        rows.value_and_grad(head, {"weight": params["weight"]}, hidden, labels, key=key)
    with pytest.raises(ValueError, match="cotangent must broadcast"):
        rows.value_and_grad(head, params, hidden, labels, key=key, cotangent=jnp.ones(5))
    with pytest.raises(ValueError, match="where must broadcast"):
        rows.value_and_grad(head, params, hidden, labels, key=key, where=jnp.ones(5, bool))


LARGE = 50_000
IN_PLACE: dict[str, Any] = {
    "sgd": rows.sgd(0.1),
    "adagrad": rows.lazy(optax.adagrad(0.1)),
    "adam": rows.lazy(optax.adam(0.1)),
    "catch_up": rows.lazy(optax.adam(0.1), mode="catch_up"),
}


@pytest.mark.parametrize("name", IN_PLACE)
def test_buffers_are_updated_in_place(name: str, rng: np.random.Generator, key: jax.Array) -> None:
    """In a step and in a scan: the same memory, no copy of a table and no temporary of its size."""
    opt, head = IN_PLACE[name], Sampled(LARGE)
    tables, (hidden, labels) = tables_of(rng, LARGE, 16), examples_of(rng, 16)

    def step(carry: Any, key: jax.Array) -> tuple[Any, jax.Array]:
        plan = head.plan(labels, key=key)
        tables, state = carry
        if name == "catch_up":
            tables, state = opt.catch_up(tables, state, plan.ids)
        losses, _, gradients = rows.value_and_grad(head, tables, hidden, labels, plan=plan)
        return opt.update(tables, state, gradients), losses

    def steps(tables: Any, state: Any, keys: jax.Array) -> Any:
        carry, _ = step((tables, state), keys[0])
        return lax.scan(step, carry, keys)[0]

    state, keys = opt.init(tables), jax.random.split(key, 3)
    program = jax.jit(steps, donate_argnums=(0, 1)).lower(tables, state, keys).compile()
    analysis: Any = program.memory_analysis()
    assert analysis.temp_size_in_bytes < tables["bias"].nbytes / 4
    assert not re.search(rf"\w+\[{LARGE}(,16)?\]\S* copy\(", str(program.as_text()))

    def pointers(tree: Any) -> list[int]:
        return [x.unsafe_buffer_pointer() for x in jax.tree.leaves(tree) if x.ndim]

    before = pointers((tables, state))
    assert pointers(program(tables, state, keys)) == before


def test_a_skip_gram_model_trains_both_of_its_tables(rng: np.random.Generator) -> None:
    """Inputs are rows too: their gradient is what the head gives for the hidden states."""
    head, opt = Sampled(), rows.lazy(optax.adagrad(0.5))
    tables: dict[str, Any] = {"input": tables_of(rng)["weight"], "output": tables_of(rng)}
    words, labels = jnp.array([0, 3, 3, 7, 20, 1]), jnp.array([5, 6, 6, 8, 2, 9])

    def step(carry: Any, key: jax.Array) -> tuple[Any, jax.Array]:
        tables, state = carry
        hidden = rows.take(tables["input"], words)
        losses, to_hidden, to_output = rows.value_and_grad(
            head, tables["output"], hidden, labels, key=key
        )
        gradients = {"input": rows.RowGradient(words, to_hidden), "output": to_output}
        return opt.update(tables, state, gradients), jnp.mean(losses)

    keys = jax.random.split(jax.random.key(0), 40)
    (after, _), losses = lax.scan(step, (tables, opt.init(tables)), keys)
    assert losses[-10:].mean() < losses[:5].mean() / 4
    unread = np.setdiff1d(np.arange(CLASSES), np.asarray(words))
    np.testing.assert_array_equal(after["input"][unread], tables["input"][unread])


def test_the_example_with_a_body_of_flax_trains() -> None:
    """The page's own program: a body of Flax between an input and an output table."""
    pytest.importorskip("flax", reason="the body of this example is Flax's")
    (program,) = programs("docs/large_tables.md")
    names = run("docs/large_tables.md", program)
    history, labels = names["history"], np.asarray(names["labels"])
    assert np.mean(history[-3:]) < history[0] / 2
    trained = np.flatnonzero(np.asarray(names["tables"]["output"]["weight"]).any(axis=1))
    assert np.isin(labels, trained).all()
    assert len(trained) < 3000
    assert int(names["state"].dropped) == 0
