"""Adaptive softmax against float64, against torch where it is installed, and as an output layer."""

import functools
import importlib.util
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import softmax_variants as sv
from softmax_variants.heads._groups import capacity_of, zipf_shares

Floats = np.ndarray[Any, Any]
EXAMPLES, FEATURES, CLASSES, CUTOFFS, DIVISION = 40, 8, 50, (4, 20), 2.5
BOUNDS = (*CUTOFFS, CLASSES)
HEAD = sv.AdaptiveSoftmax(
    features=FEATURES, classes=CLASSES, cutoffs=CUTOFFS, div_value=DIVISION, head_bias=True
)
# Of these every one is less than the largest group of the batches below, and the last has chunks
# of one example.
SHARES = {"Zipf's": None, "too small": (0.05, 0.05), "none": (0.0, 0.0)}

# How much each example counts where one number is made of all.
WEIGHTS = jnp.asarray(np.random.default_rng(2).normal(size=EXAMPLES), jnp.float32)


def parameters(seed: int = 0) -> dict[str, jax.Array]:
    rng = np.random.default_rng(seed)
    return {
        name: jnp.asarray(rng.normal(size=shape), jnp.float32)
        for name, shape in HEAD.shapes.items()
    }


def examples(seed: int = 1) -> tuple[jax.Array, jax.Array]:
    """Hidden states, and labels that most tails have more of than their capacity."""
    rng = np.random.default_rng(seed)
    h = jnp.asarray(rng.normal(size=(EXAMPLES, FEATURES)), jnp.float32)
    return h, jnp.asarray(rng.integers(0, CLASSES, size=EXAMPLES), jnp.int32)


def loss(p: dict[str, jax.Array], h: jax.Array, y: jax.Array, **options: Any) -> jax.Array:
    tails = [(p[f"projection_{i}"], p[f"tail_{i}"]) for i in range(len(CUTOFFS))]
    return sv.adaptive_softmax_loss(h, y, p["head"], p["bias"], tails=tails, **options)


def plain_log_probs(p: dict[str, jax.Array], h: jax.Array) -> jax.Array:
    """All classes in JAX, for derivatives."""
    head = jax.nn.log_softmax(h @ p["head"].T + p["bias"][None])
    parts = [head[:, : CUTOFFS[0]]]
    for i in range(len(CUTOFFS)):
        inner = jax.nn.log_softmax(h @ p[f"projection_{i}"].T @ p[f"tail_{i}"].T)
        parts.append(head[:, CUTOFFS[0] + i, None] + inner)
    return jnp.concatenate(parts, axis=-1)


def plain(p: dict[str, jax.Array], h: jax.Array, y: jax.Array) -> jax.Array:
    return -jnp.take_along_axis(plain_log_probs(p, h), y[:, None], axis=-1)[:, 0]


def log_softmax(x: Floats) -> Floats:
    top = x.max(axis=-1, keepdims=True)
    return x - top - np.log(np.exp(x - top).sum(axis=-1, keepdims=True))


def oracle(p: dict[str, jax.Array], h: jax.Array) -> Floats:
    """Log-probabilities of all classes in float64."""
    a = {name: np.asarray(x, np.float64) for name, x in p.items()}
    x = np.asarray(h, np.float64)
    head = log_softmax(x @ a["head"].T + a["bias"])
    parts = [head[:, : CUTOFFS[0]]]
    for i in range(len(CUTOFFS)):
        inner = log_softmax(x @ a[f"projection_{i}"].T @ a[f"tail_{i}"].T)
        parts.append(head[:, CUTOFFS[0] + i, None] + inner)
    return np.concatenate(parts, axis=-1)


def close(found: Any, expected: Any, unit: float = 3e-6) -> None:
    found, expected = jax.tree.leaves(found), jax.tree.leaves(expected)
    for left, right in zip(found, expected, strict=True):
        scale = max(1.0, float(np.max(np.abs(right), initial=0)))
        np.testing.assert_allclose(left, right, rtol=0, atol=unit * scale)


def mixed(f: Callable[..., jax.Array], **options: Any) -> Callable[..., jax.Array]:
    """A number that weighs each example differently."""
    return lambda p, h, y: jnp.sum(WEIGHTS * f(p, h, y, **options))


@pytest.mark.parametrize("name", ["Zipf's", "too small"])
def test_the_loss_and_all_gradients_whatever_the_capacity(name: str) -> None:
    p, (h, y) = parameters(), examples()
    value = jax.jit(lambda p, h: loss(p, h, y, tail_shares=SHARES[name]))(p, h)
    close(value, -np.take_along_axis(oracle(p, h), np.asarray(y)[:, None], axis=-1)[:, 0])
    found = jax.jit(jax.grad(mixed(loss, tail_shares=SHARES[name]), (0, 1)))(p, h, y)
    close(found, jax.jit(jax.grad(mixed(plain), (0, 1)))(p, h, y))


def test_one_program_serves_every_batch() -> None:
    """Empty tails, one tail alone, and no label in a tail at all."""
    p, (h, _) = parameters(), examples()
    traces = []

    # The losses themselves, not their mix: what is left of a sum that cancels is rounding.
    def with_gradients(f: Callable[..., jax.Array], p: Any, h: jax.Array, y: jax.Array) -> Any:
        losses, pull = jax.vjp(lambda p, h: f(p, h, y), p, h)
        return losses, pull(WEIGHTS)

    @jax.jit
    def derived(p: Any, h: jax.Array, y: jax.Array) -> Any:
        traces.append(0)
        given = functools.partial(loss, tail_shares=SHARES["too small"])
        return with_gradients(given, p, h, y)

    expected = jax.jit(functools.partial(with_gradients, plain))
    for low, high in [(0, 4), (20, 50), (4, 5), (0, 20), (15, 31)]:
        y = jnp.asarray(np.random.default_rng(low).integers(low, high, size=EXAMPLES), jnp.int32)
        close(derived(p, h, y), expected(p, h, y))
    assert len(traces) == 1


def _along(f: Callable[..., jax.Array], t: Any) -> Callable[..., jax.Array]:
    def along(p: Any, h: jax.Array, y: jax.Array) -> jax.Array:
        parts = jax.tree.map(jnp.vdot, jax.grad(f, (0, 1))(p, h, y), t)
        return jnp.sum(jnp.stack(jax.tree.leaves(parts)))

    return along


def _scanned(f: Callable[..., jax.Array], t: Any) -> Callable[..., Any]:
    def total(p: Any, h: jax.Array, y: jax.Array) -> jax.Array:
        step = jax.checkpoint(lambda c, k: (c + f(p, h * k, y), None))
        return jax.lax.scan(step, jnp.float32(0), jnp.asarray([1.0, 2.0]))[0]

    return jax.grad(total, (0, 1))


DERIVED: dict[str, Callable[[Callable[..., jax.Array], Any], Callable[..., Any]]] = {
    "jvp": lambda f, t: lambda p, h, y: jax.jvp(lambda p, h: f(p, h, y), (p, h), t),
    "reverse-over-reverse": lambda f, t: jax.grad(_along(f, t), (0, 1)),
    "forward-over-reverse": lambda f, t: (
        lambda p, h, y: jax.jvp(lambda p, h: jax.grad(f, (0, 1))(p, h, y), (p, h), t)[1]
    ),
    "vmap of grad": lambda f, t: (
        lambda p, h, y: jax.vmap(lambda k: jax.grad(f)(p, h * k, (y + 7) % CLASSES))(
            jnp.arange(2.0)
        )
    ),
    "grad of a scan of remat": _scanned,
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", DERIVED)
def test_every_derivative_is_that_of_the_plain_form(kind: str) -> None:
    p, (h, y) = parameters(), examples()
    rng = np.random.default_rng(3)
    t = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), x.dtype), (p, h))
    derived = DERIVED[kind]
    found = jax.jit(derived(mixed(loss, tail_shares=SHARES["too small"]), t))(p, h, y)
    close(found, jax.jit(derived(mixed(plain), t))(p, h, y), unit=6e-6)


@pytest.mark.slow
def test_labels_that_differ_under_vmap() -> None:
    p, (h, y) = parameters(), examples()
    hs, ys = jnp.stack([h, -h]), jnp.stack([y, (y + 20) % CLASSES])
    found = jax.vmap(lambda h, y: loss(p, h, y, tail_shares=SHARES["too small"]))(hs, ys)
    close(found, jnp.stack([plain(p, h, y) for h, y in zip(hs, ys, strict=True)]))
    close(loss(p, hs, ys), found)


@pytest.mark.slow
def test_half_precision_is_summed_in_float32() -> None:
    p = jax.tree.map(lambda x: x.astype(jnp.bfloat16), parameters())
    h, y = examples()
    h = h.astype(jnp.bfloat16)
    wide, wide_h = jax.tree.map(lambda x: x.astype(jnp.float32), (p, h))
    found = loss(p, h, y, tail_shares=SHARES["none"])
    assert found.dtype == jnp.float32
    close(found, plain(wide, wide_h, y))
    # Forty chunks of one example each: summed in bfloat16 they would lose a digit.
    left = jax.jit(jax.grad(mixed(loss, tail_shares=SHARES["none"])))(p, h, y)
    right = jax.jit(jax.grad(mixed(plain)))(wide, wide_h, y)
    for name, gradient in left.items():
        assert gradient.dtype == jnp.bfloat16
        scale = float(jnp.max(jnp.abs(right[name])))
        error = np.abs(np.asarray(gradient, np.float32) - right[name])
        assert np.max(error) <= 2**-8 * scale, name


def test_what_is_ignored_may_hold_anything() -> None:
    p, (h, y) = parameters(), examples()
    where = jnp.ones(EXAMPLES, bool).at[0].set(False)
    y = y.at[7].set(-100)
    derived = jax.jit(jax.value_and_grad(mixed(loss, where=where, ignore_index=-100), (0, 1)))
    clean = derived(p, h, y)
    spoiled = derived(p, h.at[jnp.asarray([0, 7])].set(jnp.nan), y.at[0].set(1000))
    close(spoiled, clean, unit=0)
    assert not np.any(np.asarray(spoiled[1][1])[[0, 7]])
    value = np.asarray(loss(p, h, y, where=where, ignore_index=-100))
    kept = np.delete(np.arange(EXAMPLES), [0, 7])
    assert not value[[0, 7]].any()
    close(value[kept], plain(p, h, jnp.maximum(y, 0))[kept])


def test_a_label_out_of_range_spoils_its_own_example_alone() -> None:
    p, (h, y) = parameters(), examples()
    value, pull = jax.vjp(lambda h: loss(p, h, y.at[2].set(CLASSES).at[5].set(-1)), h)
    bad = np.isin(np.arange(EXAMPLES), [2, 5])
    assert (np.isnan(value) == bad).all()
    assert (np.isnan(pull(jnp.ones(EXAMPLES))[0]).any(axis=-1) == bad).all()


def test_no_example_and_one_example() -> None:
    p, (h, y) = parameters(), examples()
    assert loss(p, h[:0], y[:0]).shape == (0,)
    assert not np.any(jax.grad(lambda p: loss(p, h[:0], y[:0]).sum())(p)["tail_1"])
    close(loss(p, h[0], y[0]), plain(p, h[:1], y[:1])[0])


def test_a_skipped_tail_is_not_worked_out() -> None:
    """A loop whose length the batch decides: neither the forward nor the reverse pass selects."""
    p, (h, y) = parameters(), examples()
    text = jax.jit(jax.grad(mixed(loss))).lower(p, h, y).as_text()
    assert text.count("stablehlo.while") >= 2 * len(CUTOFFS)


def test_the_reverse_pass_takes_no_normalizer_again() -> None:
    """One logarithm for the head and for each tail: those of the forward pass are kept."""
    p, (h, y) = parameters(), examples()
    program = jax.jit(jax.value_and_grad(mixed(loss))).lower(p, h, y).compile()
    assert len(re.findall(r"\blog\(", str(program.as_text()))) == 1 + len(CUTOFFS)


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")
@pytest.mark.parametrize("bias", [False, True])
def test_parity_with_torch(bias: bool) -> None:
    import torch

    p, (h, y) = parameters(), examples()
    if not bias:
        p["bias"] = jnp.zeros_like(p["bias"])
    module = torch.nn.AdaptiveLogSoftmaxWithLoss(
        FEATURES, CLASSES, list(CUTOFFS), div_value=DIVISION, head_bias=bias
    )

    def tensor(x: jax.Array) -> Any:
        return torch.from_numpy(np.array(x))

    with torch.no_grad():
        module.head.weight.copy_(tensor(p["head"]))
        if bias:
            module.head.bias.copy_(tensor(p["bias"]))
        for i, (down, up) in enumerate(module.tail):
            down.weight.copy_(tensor(p[f"projection_{i}"]))
            up.weight.copy_(tensor(p[f"tail_{i}"]))
    hidden = tensor(h).requires_grad_()
    output = module(hidden, tensor(y).long())
    close(HEAD.loss(p, h, y), -output.output.detach().numpy())
    close(HEAD.log_probs(p, h), module.log_prob(hidden).detach().numpy())
    assert (HEAD.top_k(p, h, 1)[1][:, 0] == module.predict(hidden).numpy()).all()
    output.loss.backward()
    found = jax.grad(lambda p, h: HEAD.loss(p, h, y).mean(), (0, 1))(p, h)
    expected = {"head": module.head.weight.grad.numpy()}
    if bias:
        expected["bias"] = module.head.bias.grad.numpy()
    for i, (down, up) in enumerate(module.tail):
        expected[f"projection_{i}"] = down.weight.grad.numpy()
        expected[f"tail_{i}"] = up.weight.grad.numpy()
    close({name: found[0][name] for name in expected}, expected)
    close(found[1], hidden.grad.numpy())


# The output layer.
def test_the_layer_evaluates_exactly() -> None:
    p, (h, y) = parameters(), examples()
    expected = oracle(p, h)
    close(HEAD.log_probs(p, h), expected)
    close(HEAD.log_prob(p, h, y), np.take_along_axis(expected, np.asarray(y)[:, None], -1)[:, 0])
    for k in (1, 7, CLASSES):
        values, ids = HEAD.top_k(p, h.reshape(4, 10, -1), k)
        order = np.argsort(-expected, axis=-1, kind="stable")[:, :k]
        assert (np.asarray(ids).reshape(-1, k) == order).all()
        close(values.reshape(-1, k), np.take_along_axis(expected, order, axis=-1))


@pytest.mark.slow
def test_samples_follow_the_probabilities() -> None:
    """A chi-squared test over all classes, more examples in a tail than its capacity."""
    p, (h, _) = parameters(), examples()
    h, count = 0.5 * h[:1], 20_000
    head = sv.AdaptiveSoftmax(
        features=FEATURES,
        classes=CLASSES,
        cutoffs=CUTOFFS,
        div_value=DIVISION,
        head_bias=True,
        tail_shares=(0.02, 0.02),
    )
    ids = np.asarray(head.sample(p, jnp.tile(h, (count, 1)), jax.random.key(0)))
    expected = count * np.exp(oracle(p, h)[0])
    statistic = ((np.bincount(ids, minlength=CLASSES) - expected) ** 2 / expected).sum()
    assert statistic < 95  # of 49 degrees of freedom: exceeded by chance once in ten thousand


def test_the_layers_initial_parameters_fit_and_are_static() -> None:
    p = HEAD.init(jax.random.key(0))
    assert {name: x.shape for name, x in p.items()} == HEAD.shapes
    h, y = examples()
    assert np.isfinite(jax.jit(lambda head, p: head.loss(p, h, y))(HEAD, p)).all()
    # torch's module of 16 features, 20 classes, cutoffs (5, 10, 15) and division 2 has 422 numbers.
    like = sv.AdaptiveSoftmax(features=16, classes=20, cutoffs=(5, 10, 15), div_value=2.0)
    assert sum(int(np.prod(shape)) for shape in like.shapes.values()) == 422


def test_capacities_hold_most_batches() -> None:
    shares = zipf_shares((10, 100), 1000)
    mass = 1 / np.arange(1, 1001)
    mass /= mass.sum()
    close(shares, (mass[10:100].sum(), mass[100:].sum()), unit=1e-3)
    counts = np.random.default_rng(0).binomial(512, shares[0], size=10_000)
    assert (counts <= capacity_of(shares[0], 512)).mean() > 0.97
    assert capacity_of(shares[0], 512) < 256


def tail(width: int = 2, features: int = FEATURES, classes: int = 5) -> tuple[jax.Array, jax.Array]:
    return jnp.zeros((width, features)), jnp.zeros((classes, width))


WRONG: dict[str, tuple[type[Exception], dict[str, Any], str]] = {
    "no width": (ValueError, {"tails": [tail(0)]}, r"projection of tails\[0\] .*width of at least"),
    "no class": (ValueError, {"tails": [tail(classes=0)]}, r"weight of tails\[0\] .*one class"),
    "features": (ValueError, {"tails": [tail(), tail(features=7)]}, r"tails\[1\].*8.*\(2, 7\)"),
    "widths": (ValueError, {"tails": [(tail(2)[0], tail(3)[1])]}, r"tails\[0\].*2.*\(5, 3\)"),
    "no tails": (ValueError, {"tails": []}, "tails must have at least one"),
    "no shortlist": (ValueError, {"weight": jnp.zeros((1, 8))}, "weight must have a row for at le"),
    "transposed": (ValueError, {"weight": jnp.zeros((8, 6))}, r"weight .*transpose"),
    "bias": (ValueError, {"bias": jnp.zeros(5)}, r"bias .*\(6,\).*\(5,\)"),
    "labels' shape": (ValueError, {"labels": jnp.zeros((3, 1), int)}, r"labels .*\(3,\).*\(3, 1\)"),
    "labels' dtype": (TypeError, {"labels": jnp.zeros(3)}, "labels .*integer.*float32"),
    "where": (TypeError, {"where": jnp.zeros(3)}, "where must be boolean"),
    "shares": (ValueError, {"tail_shares": [0.5, 0.5]}, "tail_shares must have 1"),
    "a share": (ValueError, {"tail_shares": [1.5]}, r"tail_shares must lie in \[0, 1\]"),
    "ignore_index": (TypeError, {"ignore_index": 1.0}, "ignore_index"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_argument_is_named(case: str) -> None:
    error, wrong, message = WRONG[case]
    right = {
        "hidden": jnp.zeros((3, 8)),
        "labels": jnp.zeros(3, int),
        "weight": jnp.zeros((6, 8)),
        "tails": [tail()],
    }
    with pytest.raises(error, match=message):
        sv.adaptive_softmax_loss(**{**right, **wrong})


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"cutoffs": (10, 4)}, r"cutoffs must rise and not repeat, got \(10, 4\)"),
        ({"cutoffs": (4, 4)}, "cutoffs must rise and not repeat"),
        ({"cutoffs": (4, 50)}, r"cutoffs must be less than the 50 classes, got \(4, 50\)"),
        ({"cutoffs": (0, 4)}, r"cutoffs\[0\] must be at least 1, got 0"),
        ({"cutoffs": ()}, "cutoffs must have at least one number"),
        ({"div_value": 4.0}, "div_value 4 leaves tail 1 no feature of 8"),
        ({"div_value": 0.0}, "div_value must be above 0"),
        ({"tail_shares": (0.5,)}, "tail_shares must have 2 numbers"),
    ],
)
def test_a_wrong_layer_is_refused(wrong: dict[str, Any], message: str) -> None:
    right: dict[str, Any] = {"features": 8, "classes": 50, "cutoffs": (4, 10), "div_value": 2.0}
    with pytest.raises(ValueError, match=message):
        sv.AdaptiveSoftmax(**{**right, **wrong})
