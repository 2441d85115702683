"""The losses of an output layer against float64 and against the losses on plain logits; sharded."""

import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import softmax_variants as sv
from experiments.bench import linear

Floats = np.ndarray[Any, Any]
EXAMPLES, FEATURES, CLASSES, BLOCK = 5, 4, 15, 5
IGNORED, LEFT_OUT = -1, 7
OPTIONS = ("hidden", "weight", "bias", "softcap", "class_weights")
CAP, Z_LOSS, SMOOTHING = 3.0, 0.01, 0.1
LOSSES = ("cross_entropy", "entmax")
losses = pytest.mark.parametrize("name", LOSSES)


def arguments() -> dict[str, jax.Array]:
    rng = np.random.default_rng(0)
    values = {
        "hidden": rng.normal(size=(EXAMPLES, FEATURES)),
        "weight": rng.normal(size=(CLASSES, FEATURES)),
        "bias": rng.normal(size=CLASSES),
        "softcap": np.asarray(CAP),
        "class_weights": rng.uniform(0.5, 2, size=CLASSES),
    }
    return {name: jnp.asarray(value, jnp.float32) for name, value in values.items()}


def labels() -> jax.Array:
    return jnp.asarray([3, 12, IGNORED, 0, 5], jnp.int32)


def kept() -> jax.Array:
    return jnp.ones(CLASSES, bool).at[LEFT_OUT].set(False)


def blockwise(name: str, a: dict[str, jax.Array], block: int | None = BLOCK) -> jax.Array:
    """The loss with all its options together."""
    common: dict[str, Any] = {
        "where": kept(),
        "label_smoothing": SMOOTHING,
        "softcap": a["softcap"],
        "class_weights": a["class_weights"],
        "ignore_index": IGNORED,
        "block_size": block,
    }
    layer = (a["hidden"], labels(), a["weight"], a["bias"])
    if name == "entmax":
        return sv.linear_entmax_loss(*layer, alpha=1.5, **common)
    return sv.linear_cross_entropy(*layer, z_loss=Z_LOSS, **common)


def dense(name: str, a: dict[str, jax.Array]) -> jax.Array:
    """The same from the logits of all classes, by the library's losses on logits."""
    x = a["hidden"] @ a["weight"].T + a["bias"][None]
    x = a["softcap"] * jnp.tanh(x / a["softcap"])
    y, mask = labels(), kept()[None]
    if name == "entmax":
        loss = sv.entmax_loss(
            x, y, where=mask, alpha=1.5, label_smoothing=SMOOTHING, ignore_index=IGNORED
        )
    else:
        loss = sv.cross_entropy_loss(
            x, y, where=mask, label_smoothing=SMOOTHING, ignore_index=IGNORED
        )
    loss = loss * a["class_weights"][jnp.maximum(y, 0)]
    if name == "cross_entropy":
        log_normalizer = jax.nn.logsumexp(jnp.where(mask, x, -jnp.inf), axis=-1)
        loss = loss + Z_LOSS * jnp.square(log_normalizer)
    return jnp.where(y == IGNORED, 0, loss)


def close(found: Any, expected: Any, unit: float = 2e-6) -> None:
    found, expected = jax.tree.leaves(found), jax.tree.leaves(expected)
    for left, right in zip(found, expected, strict=True):
        scale = max(1.0, float(np.max(np.abs(right))))
        np.testing.assert_allclose(left, right, rtol=0, atol=unit * scale)


def mixed(loss: Callable[..., jax.Array], name: str, *rest: Any) -> Callable[[Any], jax.Array]:
    """A number that weighs each example differently."""
    weights = jnp.asarray([1.0, -2.0, 0.5, 3.0, 0.25])
    return lambda a: jnp.sum(weights * loss(name, a, *rest))


# What is derived: the value, the derivatives in both modes, the second ones in their orders, and
# the transformations that a training step may apply.
def _second(f: Callable[[Any], jax.Array], t: Any) -> Callable[[Any], Any]:
    def inner(a: Any) -> jax.Array:
        parts = jax.tree.map(jnp.vdot, jax.grad(f)(a), t)
        return jnp.sum(jnp.stack(jax.tree.leaves(parts)))

    return jax.grad(inner)


def _only_hidden(f: Callable[[Any], jax.Array], t: Any) -> Callable[[Any], Any]:
    def inner(h: jax.Array, a: Any) -> jax.Array:
        gradient = jax.grad(lambda h: f({**a, "hidden": h}))(h)
        return jnp.vdot(gradient, t["hidden"])

    return lambda a: jax.grad(inner)(a["hidden"], a)


def _scan(f: Callable[[Any], jax.Array], t: Any) -> Callable[[Any], Any]:
    def total(a: Any) -> jax.Array:
        def step(carry: jax.Array, k: jax.Array) -> tuple[jax.Array, None]:
            return carry + f({**a, "hidden": a["hidden"] * k}), None

        return jax.lax.scan(step, jnp.float32(0), jnp.asarray([1.0, 2.0]))[0]

    return jax.grad(total)


DERIVED: dict[str, Callable[[Callable[[Any], jax.Array], Any], Callable[[Any], Any]]] = {
    "jvp": lambda f, t: lambda a: jax.jvp(f, (a,), (t,)),
    "reverse-over-reverse": _second,
    "forward-over-reverse": lambda f, t: lambda a: jax.jvp(jax.grad(f), (a,), (t,)),
    "reverse-over-forward": lambda f, t: jax.grad(lambda a: jax.jvp(f, (a,), (t,))[1]),
    "hidden alone, twice": _only_hidden,
    "vmap of grad": lambda f, t: (
        lambda a: jax.vmap(lambda k: jax.grad(f)({**a, "hidden": a["hidden"] * k}))(jnp.arange(2.0))
    ),
    "grad of a scan of remat": lambda f, t: _scan(jax.checkpoint(f), t),
}


@pytest.mark.parametrize(
    ("name", "block"),
    [("cross_entropy", block) for block in (1, 4, CLASSES, None)] + [("entmax", 4)],
)
def test_all_options_together_are_the_loss_on_plain_logits(name: str, block: int | None) -> None:
    a = arguments()
    found = jax.jit(jax.value_and_grad(mixed(blockwise, name, block)))(a)
    close(found, jax.jit(jax.value_and_grad(mixed(dense, name)))(a), unit=4e-6)


# Both losses have one transpose, and what entmax adds to it are its second derivatives.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "kind"),
    [("cross_entropy", kind) for kind in DERIVED]
    + [("entmax", kind) for kind in ("reverse-over-reverse", "vmap of grad")],
)
def test_every_derivative_is_that_of_the_plain_form(name: str, kind: str) -> None:
    a = arguments()
    rng = np.random.default_rng(1)
    t = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), x.dtype), a)
    derived = DERIVED[kind]
    found = jax.jit(derived(mixed(blockwise, name), t))(a)
    close(found, jax.jit(derived(mixed(dense, name), t))(a), unit=4e-6)


def test_one_feature_has_second_derivatives() -> None:
    """A product of one term may round otherwise where it meets the subtraction of the largest."""
    rng = np.random.default_rng(11)
    h, w = (jnp.asarray(rng.normal(size=(n, 1)), jnp.float32) for n in (9, 6))
    y = jnp.asarray(rng.integers(0, 6, size=9), jnp.int32)

    def second(loss: Callable[..., jax.Array]) -> Any:
        return jax.jit(jax.hessian(lambda h: jnp.sum(loss(h))))(h)

    found = second(lambda h: sv.linear_cross_entropy(h, y, w, block_size=3))
    close(found, second(lambda h: sv.cross_entropy_loss(h * w[:, 0][None, :], y)))


def oracle(x: Floats, y: Floats) -> Floats:
    """Cross-entropy in float64."""
    x = x.astype(np.float64)
    top = x.max(axis=-1, keepdims=True)
    total = np.log(np.exp(x - top).sum(axis=-1)) + top[:, 0]
    return total - np.take_along_axis(x, y[:, None], axis=-1)[:, 0]


def hard(dtype: Any, seed: int = 3) -> tuple[jax.Array, jax.Array, jax.Array]:
    rng = np.random.default_rng(seed)
    h = jnp.asarray(3 * rng.normal(size=(7, 6)), dtype)
    w = jnp.asarray(rng.normal(size=(101, 6)), dtype)
    return h, jnp.asarray(rng.integers(0, 101, size=7), jnp.int32), w


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_half_precision_is_summed_in_float32(dtype: Any) -> None:
    """Loss and gradients are those of the same numbers in float64, each rounded once."""
    h, y, w = hard(dtype)

    def loss(h: jax.Array, w: jax.Array) -> jax.Array:
        return sv.linear_cross_entropy(h, y, w, block_size=8)

    found = jax.jit(loss)(h, w)
    assert found.dtype == jnp.float32
    h64, w64, ids = np.asarray(h, np.float64), np.asarray(w, np.float64), np.asarray(y)
    x = h64 @ w64.T
    np.testing.assert_allclose(found, oracle(x, ids), rtol=0, atol=4e-6)
    p = np.exp(x - x.max(-1, keepdims=True))
    p = p / p.sum(-1, keepdims=True) - np.eye(101)[ids]
    gradients = jax.jit(jax.grad(lambda h, w: loss(h, w).sum(), argnums=(0, 1)))(h, w)
    for left, right in zip(gradients, (p @ w64, p.T @ h64), strict=True):
        assert left.dtype == dtype
        unit = max(float(jnp.finfo(dtype).eps), 1e-6)
        left = np.asarray(left, np.float64)
        np.testing.assert_allclose(left, right, rtol=unit, atol=5e-6)


def test_the_loss_is_never_negative_and_exact_when_certain() -> None:
    h = jnp.asarray([[1.0], [30.0], [2000.0]], jnp.float32)
    w = jnp.asarray([[10.0], [-1.0], [0.5]], jnp.float32)
    y = jnp.zeros(3, jnp.int32)
    loss, gradient = jax.value_and_grad(
        lambda w: sv.linear_cross_entropy(h, y, w, block_size=2).sum()
    )(w)
    assert loss >= 0
    close(loss, oracle(np.asarray(h) @ np.asarray(w).T, np.asarray(y)).sum(), unit=1e-7)
    assert np.isfinite(gradient).all()


@losses
def test_distributions_are_labels_and_have_a_gradient(name: str) -> None:
    a = arguments()
    rng = np.random.default_rng(5)
    t = jnp.asarray(rng.dirichlet(np.ones(CLASSES), size=EXAMPLES), jnp.float32)
    w = a["class_weights"]

    def found(t: jax.Array, h: jax.Array) -> jax.Array:
        loss = sv.linear_entmax_loss if name == "entmax" else sv.linear_cross_entropy
        return loss(
            h, t, a["weight"], class_weights=w, label_smoothing=SMOOTHING, block_size=BLOCK
        ).sum()

    def expected(t: jax.Array, h: jax.Array) -> jax.Array:
        loss = sv.entmax_loss if name == "entmax" else sv.cross_entropy_loss
        return (loss(h @ a["weight"].T, t, label_smoothing=SMOOTHING) * (t @ w)).sum()

    left = jax.jit(jax.value_and_grad(found, (0, 1)))(t, a["hidden"])
    right = jax.jit(jax.value_and_grad(expected, (0, 1)))(t, a["hidden"])

    # A distribution has mass 1: only differences along its classes have a meaning.
    def centred(g: Any) -> Any:
        value, (dt, dh) = g
        return value, dt - dt.mean(-1, keepdims=True), dh

    close(centred(left), centred(right), unit=4e-6)


def test_entmax_has_an_alpha_an_example_and_its_gradient() -> None:
    h, y, w = hard(jnp.float32)
    order = jnp.asarray([0.7, 1.0, 1.0001, 1.5, 2.0, 3.0, np.inf], jnp.float32)

    def found(order: jax.Array, h: jax.Array) -> jax.Array:
        return sv.linear_entmax_loss(h, y, w, alpha=order, block_size=16).sum()

    def expected(order: jax.Array, h: jax.Array) -> jax.Array:
        return sv.entmax_loss(h @ w.T, y, alpha=order[:, None]).sum()

    left = jax.jit(jax.value_and_grad(found, (0, 1)))(order, h)
    close(left, jax.jit(jax.value_and_grad(expected, (0, 1)))(order, h), unit=4e-6)


def test_entmax_with_alpha_1_is_cross_entropy() -> None:
    h, y, w = hard(jnp.float32)
    close(sv.linear_entmax_loss(h, y, w, alpha=1.0), sv.linear_cross_entropy(h, y, w))


@losses
def test_a_label_out_of_range_spoils_its_own_example_alone(name: str) -> None:
    a = arguments()
    y = jnp.asarray([3, CLASSES, -2, 0, 5], jnp.int32)
    loss = sv.linear_entmax_loss if name == "entmax" else sv.linear_cross_entropy

    def f(h: jax.Array) -> jax.Array:
        return loss(h, y, a["weight"], block_size=BLOCK)

    value, pull = jax.vjp(jax.jit(f), a["hidden"])
    assert np.isnan(value).tolist() == [False, True, True, False, False]
    bad = np.isnan(pull(jnp.ones(EXAMPLES))[0]).any(axis=-1)
    assert bad.tolist() == [False, True, True, False, False]


@losses
def test_what_is_left_out_or_ignored_may_hold_anything(name: str) -> None:
    a = arguments()
    spoiled = {
        **a,
        "hidden": a["hidden"].at[2].set(jnp.nan),
        "weight": a["weight"].at[LEFT_OUT].set(jnp.nan),
        "bias": a["bias"].at[LEFT_OUT].set(jnp.inf),
    }
    derived = jax.jit(jax.value_and_grad(mixed(blockwise, name)))
    clean = jax.tree.map(np.asarray, derived(a))
    close(derived(spoiled), clean, unit=0)
    assert not np.any(clean[1]["hidden"][2])
    assert not np.any(clean[1]["weight"][LEFT_OUT])


def test_the_log_normalizer_comes_along() -> None:
    h, y, w = hard(jnp.float32)
    loss, log_normalizer = sv.linear_cross_entropy(
        h, y, w, block_size=16, return_log_normalizer=True
    )
    close(log_normalizer, jax.nn.logsumexp(h @ w.T, axis=-1))
    close(loss, sv.linear_cross_entropy(h, y, w))


@losses
def test_all_logits_never_exist_at_once(name: str) -> None:
    """The plain form writes them down; here a gradient has not a twelfth of its memory."""
    h, w = jnp.zeros((64, 8)), jnp.zeros((4099, 8))
    y = jnp.zeros(64, jnp.int32)
    loss = sv.linear_entmax_loss if name == "entmax" else sv.linear_cross_entropy

    def memory(f: Callable[..., jax.Array]) -> int:
        program = jax.jit(jax.grad(lambda h, w: f(h, w).sum(), (0, 1))).lower(h, w).compile()
        analysis: Any = program.memory_analysis()
        return int(analysis.temp_size_in_bytes)

    plain = memory(lambda h, w: linear.plain(h, y, w, jnp.zeros(4099)))
    found = memory(lambda h, w: loss(h, y, w, block_size=64))
    assert found <= plain / 12, (found, plain)


@losses
@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit], ids=lambda k: k.name)
def test_a_sharded_class_axis_changes_nothing(name: str, kind: AxisType) -> None:
    rng = np.random.default_rng(7)
    h, w, b = (rng.normal(size=s).astype(np.float32) for s in ((4, 6), (256, 6), (256,)))
    y = rng.integers(0, 256, size=4).astype(np.int32)
    loss = sv.linear_entmax_loss if name == "entmax" else sv.linear_cross_entropy

    def f(h: jax.Array, w: jax.Array, b: jax.Array, y: jax.Array) -> Any:
        def total(h: jax.Array, w: jax.Array, b: jax.Array) -> jax.Array:
            return loss(h, y, w, b, block_size=64, label_smoothing=SMOOTHING).sum()

        return jax.value_and_grad(total, (0, 1, 2))(h, w, b)

    expected = jax.tree.map(np.asarray, jax.jit(f)(h, w, b, y))
    mesh = jax.make_mesh((2, 4), ("data", "model"), axis_types=(kind, kind))
    specs = (P("data", None), P("model", None), P("model"), P("data"))
    with jax.set_mesh(mesh):
        split = [
            jax.device_put(x, NamedSharding(mesh, s))
            for x, s in zip((h, w, b, y), specs, strict=True)
        ]
        program = jax.jit(f).lower(*split).compile()
        close(jax.tree.map(np.asarray, program(*split)), expected, unit=1e-5)
        text = program.as_text() or ""
    assert "all-reduce" in text
    gathers = re.findall(r"= (\S+) (?:all-gather|all-to-all|collective-permute)\(", text)
    if name == "cross_entropy":
        assert gathers == []
    # Neither the weights nor the logits: at most what the start of the threshold looks at.
    sizes = [np.prod([int(n) for n in re.findall(r"\d+", g.split("{")[0])[1:]]) for g in gathers]
    assert all(size <= 4 * 64 for size in sizes), gathers


WRONG: dict[str, tuple[type[Exception], dict[str, Any], str]] = {
    "transposed": (ValueError, {"weight": jnp.zeros((4, 15))}, r"weight .*transpose"),
    "features": (ValueError, {"weight": jnp.zeros((15, 3))}, r"weight must .*4.*got \(15, 3\)"),
    "classless": (ValueError, {"weight": jnp.zeros((0, 4))}, "weight must have at least one"),
    "integer weight": (TypeError, {"weight": jnp.zeros((15, 4), int)}, "weight .*int32"),
    "integer hidden": (TypeError, {"hidden": jnp.zeros((5, 4), int)}, "hidden .*int32"),
    "labels' shape": (ValueError, {"labels": jnp.zeros((5, 1), int)}, r"labels .*\(5,\).*\(5, 1\)"),
    "distributions": (ValueError, {"labels": jnp.zeros((5, 12))}, r"labels .*\(5, 15\)"),
    "labels' dtype": (TypeError, {"labels": jnp.zeros(5, bool)}, "labels .*bool"),
    "bias": (ValueError, {"bias": jnp.zeros(12)}, r"bias .*\(15,\).*\(12,\)"),
    "where's shape": (ValueError, {"where": jnp.ones((5, 15), bool)}, r"where .*\(15,\)"),
    "where's dtype": (TypeError, {"where": jnp.ones(15)}, "where must be boolean"),
    "softcap": (ValueError, {"softcap": 0.0}, "softcap"),
    "class_weights": (ValueError, {"class_weights": jnp.ones(3)}, "class_weights"),
    "smoothing": (ValueError, {"label_smoothing": 1.5}, "label_smoothing"),
    "block": (ValueError, {"block_size": 0}, "block_size must be at least 1"),
    "ignore_index": (TypeError, {"ignore_index": 1.0}, "ignore_index"),
}


@losses
@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_argument_is_named(name: str, case: str) -> None:
    error, wrong, message = WRONG[case]
    loss = sv.linear_entmax_loss if name == "entmax" else sv.linear_cross_entropy
    right = {"hidden": jnp.zeros((5, 4)), "labels": labels(), "weight": jnp.zeros((15, 4))}
    with pytest.raises(error, match=message):
        loss(**{**right, **wrong})
