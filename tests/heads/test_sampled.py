"""Sampled losses against float64, against the full loss, and against exact expectations."""

import functools
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import softmax_variants as sv
from tests.heads.sampled_cases import (
    CLASSES,
    COUNTS,
    EXAMPLES,
    FEATURES,
    SAMPLES,
    Floats,
    arrays,
    close,
    labels,
    oracle,
    sampler,
    several,
)


def weighed(loss: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """A number that weighs each example differently, of hidden, weight and bias."""
    factors = jnp.asarray([1.0, -2.0, 0.5, 3.0, 0.25])
    return lambda a: jnp.sum(factors * loss(*a))


@pytest.mark.parametrize("each", [False, True], ids=["shared", "per example"])
@pytest.mark.parametrize("number", [1, 3], ids=["one label", "several labels"])
def test_every_class_once_is_the_full_loss(number: int, each: bool) -> None:
    """Loss, gradient, and the derivatives that follow from them."""
    ids, weights = several() if number == 3 else (labels(), None)
    target = jnp.zeros((EXAMPLES, CLASSES))
    if weights is None:
        target = jax.nn.one_hot(ids, CLASSES)
    else:
        target = jnp.sum(weights[..., None] * jax.nn.one_hot(ids, CLASSES), axis=1)
    order = jnp.asarray(np.random.default_rng(1).permutation(CLASSES), jnp.int32)
    if each:
        order = jnp.stack([jnp.roll(order, n) for n in range(EXAMPLES)])

    def found(h: jax.Array, w: jax.Array, b: jax.Array) -> jax.Array:
        every = (order, jnp.zeros(()))
        return sv.sampled_softmax_loss(None, h, ids, w, b, candidates=every, label_weights=weights)

    def full(h: jax.Array, w: jax.Array, b: jax.Array) -> jax.Array:
        scores = h @ w.T + b[None]
        return -jnp.sum(target * jax.nn.log_softmax(scores), axis=-1)

    a = arrays()
    tangent = jax.tree.map(jnp.cos, a)

    def derived(loss: Callable[..., jax.Array]) -> Any:
        f = weighed(loss)
        value, pull = jax.value_and_grad(f)(a)
        twice = jax.jvp(jax.grad(f), (a,), (tangent,))[1]
        back = jax.grad(lambda a: jax.jvp(f, (a,), (tangent,))[1])(a)
        return value, pull, twice, back

    close(jax.jit(lambda: derived(found))(), jax.jit(lambda: derived(full))(), unit=5e-6)


@pytest.mark.parametrize("hits", [True, False], ids=["removed", "kept"])
@pytest.mark.parametrize("target", [False, True], ids=["plain", "corrected"])
@pytest.mark.parametrize("correction", ["inclusion", "expected_count", "none"])
@pytest.mark.filterwarnings("ignore:.*not consistent:UserWarning")
def test_the_loss_of_what_was_drawn(
    correction: Any, target: bool, hits: bool, key: jax.Array
) -> None:
    h, w, b = arrays()
    s = sampler()
    # A draw in which some classes come twice: nearly every one is.
    draws = (jax.random.fold_in(key, i) for i in range(20))
    key = next(k for k in draws if np.unique(s.draw(k, SAMPLES)).size < SAMPLES)
    options: dict[str, Any] = {
        "correction": correction,
        "correct_target": target,
        "remove_accidental_hits": hits,
    }
    found = sv.sampled_softmax_loss(
        key, h, labels(), w, b, sampler=s, num_sampled=SAMPLES, **options
    )
    ids = np.asarray(s.draw(key, SAMPLES))
    p = COUNTS**0.75 / np.sum(COUNTS**0.75)
    x = np.asarray(h, np.float64) @ np.asarray(w, np.float64).T + np.asarray(b, np.float64)
    expected = [
        oracle(ids, int(y), x[n], p, correction, target, hits) for n, y in enumerate(labels())
    ]
    np.testing.assert_allclose(found, expected, rtol=2e-6)


def all_draws(classes: int, num: int, p: Floats) -> tuple[Floats, Floats]:
    """All outcomes of `num` draws and their probabilities."""
    outcomes = np.array(list(itertools.product(range(classes), repeat=num)), np.int32)
    return outcomes, np.prod(p[outcomes], axis=1)


@pytest.mark.parametrize("correction", ["inclusion", "expected_count"])
def test_the_normalizer_is_unbiased(correction: Any) -> None:
    """Over all outcomes of the draws: `E exp(L + x_y)` is the full normalizer, exactly."""
    p = np.array([0.5, 0.3, 0.2])
    x = jnp.asarray([0.3, -1.0, 0.7])
    outcomes, chances = all_draws(3, 3, p)
    s = sv.UnigramSampler(p, power=1.0)

    def loss(ids: jax.Array) -> jax.Array:
        # What the sampler of the loss would give for these draws.
        if correction == "inclusion":
            first = jnp.asarray([True, True, True])
            first = first.at[1].set(ids[1] != ids[0])
            first = first.at[2].set((ids[2] != ids[0]) & (ids[2] != ids[1]))
            given = (jnp.where(first, ids, -1), s.log_inclusion(ids, 3))
        else:
            given = (ids, s.log_expected_count(ids, 3))
        y = jnp.asarray([1], jnp.int32)
        return sv.sampled_softmax_loss(
            None, jnp.zeros((1, 1)), y, jnp.zeros((3, 1)), x, candidates=given
        )[0]

    losses = np.asarray(jax.jit(jax.vmap(loss))(jnp.asarray(outcomes)), np.float64)
    expected = np.sum(np.exp(np.asarray(x, np.float64)))
    assert np.sum(chances * np.exp(losses + float(x[1]))) == pytest.approx(expected, rel=1e-6)
    assert np.sum(chances * losses) <= np.log(expected) - float(x[1])


@pytest.mark.parametrize("correction", ["inclusion", "expected_count"])
def test_the_normalizer_of_a_batch_is_unbiased(correction: Any) -> None:
    p = np.array([0.5, 0.3, 0.2])
    x = jnp.asarray([0.3, -1.0, 0.7])
    outcomes, chances = all_draws(3, 3, p)

    def loss(others: jax.Array) -> jax.Array:
        y = jnp.concatenate([jnp.asarray([1], jnp.int32), others])
        log_prob = jnp.log(jnp.asarray(p, jnp.float32))[y]
        return sv.in_batch_softmax_loss(
            jnp.zeros((4, 1)), y, jnp.zeros((3, 1)), x, log_prob=log_prob, correction=correction
        )[0]

    losses = np.asarray(jax.jit(jax.vmap(loss))(jnp.asarray(outcomes)), np.float64)
    expected = np.sum(np.exp(np.asarray(x, np.float64)))
    assert np.sum(chances * np.exp(losses + float(x[1]))) == pytest.approx(expected, rel=1e-6)


def report(num: int, keys: int, **options: Any) -> sv.BiasReport:
    loss = functools.partial(sv.sampled_softmax_loss, sampler=sampler(), num_sampled=num, **options)
    return sv.bias_report(loss, jax.random.key(5), *_swapped(), num_keys=keys)


def _swapped() -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    h, w, b = arrays()
    return h, labels(), w, b


def test_the_default_is_consistent() -> None:
    """The bias of the gradient falls at least like 1 / num_sampled, and the loss goes along."""
    few, many = (report(num, 3000) for num in (8, 64))
    assert few.bias > 3 * few.bias_noise
    assert many.bias < few.bias / 6
    assert abs(many.mean_loss - many.full_loss) < 0.02
    assert few.mean_loss < few.full_loss
    assert many.cosine > 0.999


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"correction": "none"}, "in proportion to the sampler"),
        ({"correction": "expected_count", "correct_target": True}, "label vanishes"),
        ({"remove_accidental_hits": False}, "drawn twice"),
    ],
)
def test_what_is_not_consistent_says_so_and_is_not(options: dict[str, Any], reason: str) -> None:
    with pytest.warns(UserWarning, match=f"{reason}.*not consistent") as caught:
        found = report(256, 50, **options)
    assert caught[0].filename.endswith("_bias_report.py"), "it names the caller"
    assert found.bias > 0.05, "as large a sample as there is need for, and still biased"


def test_the_noise_that_makes_the_scores_log_probabilities() -> None:
    """k q is a whole number for every class: these losses are the expectations themselves."""
    p = jnp.asarray([0.1, 0.2, 0.3, 0.4])
    q = jnp.asarray([0.4, 0.3, 0.2, 0.1])
    noise = jnp.repeat(jnp.arange(4), jnp.asarray([4, 3, 2, 1]), total_repeat_length=10)
    hidden, weight, every = jnp.zeros((1, 1)), jnp.zeros((4, 1)), jnp.arange(4)[None]
    s = sv.UnigramSampler([4, 3, 2, 1], power=1.0)
    log_kq = jnp.log(10 * q)[noise]

    def nce(x: jax.Array) -> jax.Array:
        return sv.nce_loss(
            None,
            hidden,
            every,
            weight,
            x,
            sampler=s,
            candidates=(noise, log_kq),
            label_weights=p[None],
        )[0]

    def negative(x: jax.Array) -> jax.Array:
        return sv.negative_sampling_loss(
            None, hidden, every, weight, x, candidates=noise, label_weights=p[None]
        )[0]

    def without_hits(x: jax.Array) -> jax.Array:
        losses = sv.negative_sampling_loss(
            None,
            jnp.zeros((4, 1)),
            every[0],
            weight,
            x,
            candidates=noise,
            remove_accidental_hits=True,
        )
        return jnp.sum(p * losses)

    optima: list[tuple[Callable[[jax.Array], jax.Array], jax.Array]] = [
        (nce, jnp.log(p)),
        (negative, jnp.log(p / q) - jnp.log(10.0)),
        (without_hits, jnp.log(p / (q * (1 - p))) - jnp.log(10.0)),
    ]
    for loss, optimum in optima:
        gradient = jax.jit(jax.grad(loss))
        np.testing.assert_allclose(gradient(optimum), 0, atol=1e-6)
        assert np.abs(gradient(optimum + 0.1)).min() > 1e-3
    head = sv.NegativeSampling(4, 1, sampler=s, num_sampled=10)
    found = head.log_probs({"weight": weight, "bias": optima[1][1]}, hidden)
    np.testing.assert_allclose(np.exp(found[0]), p, rtol=1e-5)


def test_the_noise_losses_of_what_was_drawn(key: jax.Array) -> None:
    h, w, b = arrays()
    s, y = sampler(), np.asarray(labels())
    ids = np.asarray(s.draw(key, SAMPLES))
    x = np.asarray(h, np.float64) @ np.asarray(w, np.float64).T + np.asarray(b, np.float64)
    kq = SAMPLES * COUNTS**0.75 / np.sum(COUNTS**0.75)
    for loss, shift in ((sv.nce_loss, np.log(kq)), (sv.negative_sampling_loss, 0 * kq)):
        z = x - shift
        right = np.log1p(np.exp(-z[np.arange(EXAMPLES), y]))
        expected = right + np.log1p(np.exp(z[:, ids])).sum(axis=1)
        found = loss(key, h, labels(), w, b, sampler=s, num_sampled=SAMPLES)
        np.testing.assert_allclose(found, expected, rtol=2e-6)
        removed = loss(
            key, h, labels(), w, b, sampler=s, num_sampled=SAMPLES, remove_accidental_hits=True
        )
        hit = ids[None] == y[:, None]
        expected = right + np.where(hit, 0, np.log1p(np.exp(z[:, ids]))).sum(axis=1)
        np.testing.assert_allclose(removed, expected, rtol=2e-6)
        assert hit.any()


def test_importance_sampling_weighs_the_draws(key: jax.Array) -> None:
    h, w, b = arrays()
    s = sampler()
    ids = s.draw(key, SAMPLES)
    p = COUNTS**0.75 / np.sum(COUNTS**0.75)

    def loss(h: jax.Array) -> jax.Array:
        return sv.importance_sampled_loss(key, h, labels(), w, b, sampler=s, num_sampled=SAMPLES)

    found, pull = jax.vjp(loss, h)
    x = np.asarray(h, np.float64) @ np.asarray(w, np.float64).T + np.asarray(b, np.float64)
    r = np.exp(x[:, ids]) / p[ids]
    true = x[np.arange(EXAMPLES), labels()]
    np.testing.assert_allclose(found, np.log(r.mean(axis=1)) - true, rtol=2e-6, atol=2e-6)
    r = r / r.sum(axis=1, keepdims=True)
    expected = r @ np.asarray(w, np.float64)[ids] - np.asarray(w, np.float64)[labels()]
    np.testing.assert_allclose(pull(jnp.ones(EXAMPLES))[0], expected, rtol=0, atol=3e-6)


LOSSES: dict[str, Callable[..., jax.Array]] = {
    "sampled": functools.partial(sv.sampled_softmax_loss, num_sampled=SAMPLES),
    "nce": functools.partial(sv.nce_loss, num_sampled=SAMPLES),
    "negative": functools.partial(sv.negative_sampling_loss, num_sampled=SAMPLES),
    "importance": functools.partial(sv.importance_sampled_loss, num_sampled=SAMPLES),
}


@pytest.mark.parametrize("name", LOSSES)
def test_a_label_out_of_range_spoils_its_own_example_alone(name: str, key: jax.Array) -> None:
    h, w, b = arrays()
    bad = jnp.asarray([3, CLASSES, -1, 0, 5], jnp.int32)
    good = jnp.asarray([True, False, False, True, True])
    # It is never drawn: what arrives in its row came from a label.
    s = sv.UnigramSampler([*COUNTS[:-1], 0])

    @jax.jit
    def run(w: jax.Array, y: jax.Array, where: jax.Array | None) -> Any:
        def loss(h: jax.Array, w: jax.Array) -> jax.Array:
            return LOSSES[name](key, h, y, w, b, sampler=s, where=where)

        value, pull = jax.vjp(loss, h, w)
        return value, pull(jnp.ones(EXAMPLES))

    value, (dh, dw) = run(w, bad, None)
    clean, (dh_clean, dw_clean) = run(w, jnp.where(good, bad, 1), good)
    assert np.isnan(value).tolist() == [False, True, True, False, False]
    assert np.isnan(dh).any(axis=-1).tolist() == [False, True, True, False, False]
    np.testing.assert_array_equal(value[good], clean[good])
    np.testing.assert_array_equal(dh[good], dh_clean[good])
    assert not np.any(dw[-1]), "no id wraps to the last row"
    # Left out by `where`, bad labels and bad rows are harmless.
    spoiled = w.at[-1].set(jnp.nan)
    found = run(spoiled, bad, good)
    jax.tree.map(np.testing.assert_array_equal, found, (clean, (dh_clean, dw_clean)))
    assert not np.any(np.asarray(clean)[~np.asarray(good)])


def test_candidates_that_are_no_class_are_padding() -> None:
    h, w, b = arrays()
    ids = jnp.asarray([2, -1, 5, CLASSES, -1], jnp.int32)

    def loss(w: jax.Array, ids: jax.Array) -> jax.Array:
        return sv.sampled_softmax_loss(
            None, h, labels()[:1].repeat(EXAMPLES), w, b, candidates=(ids, jnp.zeros(ids.shape))
        ).sum()

    found = jax.value_and_grad(loss)(w.at[-1].set(jnp.nan), ids)
    close(found, jax.value_and_grad(loss)(w.at[-1].set(0), ids[jnp.asarray([0, 2])]), unit=1e-7)
    nothing = jax.grad(loss)(w, jnp.asarray([-1, -1], jnp.int32))
    assert not np.any(nothing), "a label alone is certain"


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_gradients_are_summed_in_float32(dtype: Any) -> None:
    """Two thousand examples have one label: summed in bfloat16 it would stop at 256 of them."""
    count = 2000
    h, w = jnp.ones((count, 2), dtype), jnp.zeros((3, 2), dtype)
    y = jnp.zeros(count, jnp.int32)

    def loss(w: jax.Array) -> jax.Array:
        found = sv.sampled_softmax_loss(None, h, y, w, candidates=(jnp.arange(3), jnp.zeros(())))
        assert found.dtype == jnp.float32
        return found.sum()

    gradient = jax.grad(loss)(w)
    assert gradient.dtype == dtype
    expected = np.array([[-2 / 3], [1 / 3], [1 / 3]]) * count * np.ones((1, 2))
    unit = float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(np.asarray(gradient, np.float64), expected, rtol=unit)


def test_transformations_change_nothing(key: jax.Array) -> None:
    h, w, b = arrays()
    s = sampler()

    def loss(h: jax.Array, y: jax.Array) -> jax.Array:
        return sv.sampled_softmax_loss(key, h, y, w, b, sampler=s, num_sampled=SAMPLES)

    def scanned(h: jax.Array) -> jax.Array:
        step = jax.checkpoint(lambda c, x: (c + loss(x[0], x[1]).sum(), None))
        return jax.lax.scan(step, jnp.float32(0), (h[:, None], labels()[:, None]))[0]

    @jax.jit
    def run(h: jax.Array) -> Any:
        plain, pull = jax.vjp(lambda h: loss(h, labels()), h)
        each = jax.vmap(loss)(h, labels())
        grid = loss(h[None], labels()[None])[0]
        return (plain, pull(jnp.ones(EXAMPLES))[0]), (each, jax.grad(scanned)(h)), grid

    plain, other, grid = run(h)
    close(other, plain)
    close(grid, plain[0])
    empty = loss(jnp.zeros((0, FEATURES)), jnp.zeros(0, jnp.int32))
    assert empty.shape == (0,)


def test_a_report_needs_two_keys() -> None:
    with pytest.raises(ValueError, match="num_keys"):
        report(3, 1)
