"""The heads of one linear layer: their losses, their rows, and their exact evaluation."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import softmax_variants as sv
from softmax_variants.heads import _blocks
from softmax_variants.heads._evaluation import sample, top_k

EXAMPLES, FEATURES, CLASSES = 5, 4, 23
COUNTS = 100 / np.arange(1.0, CLASSES + 1)


def unigram() -> sv.Sampler:
    return sv.UnigramSampler(COUNTS)


SAMPLED: dict[str, Callable[..., Any]] = {
    "sampled": lambda **k: sv.SampledSoftmax(
        CLASSES, FEATURES, sampler=unigram(), num_sampled=6, **k
    ),
    "nce": lambda **k: sv.NCE(CLASSES, FEATURES, sampler=unigram(), num_sampled=6, **k),
    "negative": lambda **k: sv.NegativeSampling(
        CLASSES, FEATURES, sampler=unigram(), num_sampled=6, **k
    ),
    "importance": lambda **k: sv.ImportanceSampled(
        CLASSES, FEATURES, sampler=unigram(), num_sampled=6, **k
    ),
    "in batch": lambda **k: sv.InBatchSoftmax(CLASSES, FEATURES, sampler=unigram(), **k),
}
FUNCTIONS: dict[str, Callable[..., jax.Array]] = {
    "sampled": sv.sampled_softmax_loss,
    "nce": sv.nce_loss,
    "negative": sv.negative_sampling_loss,
    "importance": sv.importance_sampled_loss,
}


def batch() -> tuple[jax.Array, jax.Array]:
    rng = np.random.default_rng(0)
    hidden = jnp.asarray(rng.normal(size=(EXAMPLES, FEATURES)), jnp.float32)
    return hidden, jnp.asarray([3, 0, 0, CLASSES, 22], jnp.int32)


@pytest.mark.parametrize("name", SAMPLED)
def test_rows_give_the_loss_and_the_gradient_of_the_function(name: str, key: jax.Array) -> None:
    """Exactly: the gradient of the table is that of its rows, added up."""
    head = SAMPLED[name]()
    params = head.init(key)
    h, y = batch()
    shown = jnp.asarray([True, True, True, False, True])

    @jax.jit
    def run(head: Any, params: Any, key: jax.Array) -> Any:
        def function(params: Any, h: jax.Array) -> jax.Array:
            w, b = params["weight"], params["bias"]
            if name == "in batch":
                log_prob = head.sampler.log_prob(y)
                return sv.in_batch_softmax_loss(h, y, w, b, log_prob=log_prob, where=shown)
            options: Any = {"sampler": head.sampler, "num_sampled": 6, "where": shown}
            return FUNCTIONS[name](key, h, y, w, b, **options)

        plan = head.plan(y, key=key)
        # A row of padding may hold anything.
        rows = {k: params[k].at[plan.ids[k]].get(mode="fill") for k in params}

        def of_rows(rows: Any, h: jax.Array) -> jax.Array:
            return head.loss_of_rows(rows, plan, h, y, where=shown)

        def of_head(params: Any, h: jax.Array) -> jax.Array:
            return head.loss(params, h, y, key=key, where=shown)

        found = []
        for loss, tables in ((function, params), (of_head, params), (of_rows, rows)):
            value, pull = jax.vjp(loss, tables, h)
            found.append((value, *pull(jnp.cos(value))))
        value, drows, dh = found[-1]
        added = {
            k: jnp.zeros_like(params[k]).at[plan.ids[k]].add(drows[k], mode="drop") for k in params
        }
        return [*found[:-1], (value, added, dh)], plan

    found, plan = run(head, params, key)
    for other in found[1:]:
        jax.tree.map(np.testing.assert_array_equal, other, found[0])
    assert np.any(found[0][1]["weight"])
    assert set(plan.ids) == {"weight", "bias"}
    np.testing.assert_array_equal(plan.ids["weight"], plan.ids["bias"])
    assert plan.ids["weight"].dtype == jnp.int32
    assert plan.ids["weight"].shape == ((5,) if name == "in batch" else (11,))
    assert (plan.ids["weight"] >= 0).all()
    assert plan.ids["weight"][3] == CLASSES, "a label that is no class is padding"


def test_a_head_is_a_pytree_whose_sampler_is_data() -> None:
    head = sv.NCE(3, 2, sampler=sv.UnigramSampler([1, 2, 3]), num_sampled=5, use_bias=False)
    leaves, structure = jax.tree.flatten(head)
    assert len(leaves) == 3
    again = jax.tree.unflatten(structure, leaves)
    assert (again.classes, again.features, again.use_bias, again.num_sampled) == (3, 2, False, 5)
    assert all(a is b for a, b in zip(leaves, jax.tree.leaves(again), strict=True))
    assert sv.FullSoftmax(3, 2) == sv.FullSoftmax(3, 2)
    assert not jax.tree.leaves(sv.LinearEntmax(3, 2))
    params = again.init(jax.random.key(0))
    assert set(params) == {"weight"}
    assert set(again.plan(jnp.array([0]), key=jax.random.key(0)).ids) == {"weight"}


def test_initial_parameters() -> None:
    wide = sv.FullSoftmax(2000, 64).init(jax.random.key(0))
    assert {k: v.dtype for k, v in wide.items()} == {"weight": jnp.float32, "bias": jnp.float32}
    assert float(jnp.std(wide["weight"])) == pytest.approx(1 / 8, rel=0.02)
    assert not np.any(wide["bias"])
    nce = sv.NCE(50, 4, sampler=sv.UniformSampler(50), num_sampled=5).init(jax.random.key(0))
    np.testing.assert_allclose(nce["bias"], -np.log(50), rtol=1e-6)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 5 classes, the last of 3."""
    monkeypatch.setattr(_blocks, "_BLOCK_LOGITS", 1)
    monkeypatch.setattr(_blocks, "_SMALLEST_BLOCK", 5)


EVALUATED: dict[str, Callable[[], Any]] = {
    "softmax": lambda: sv.FullSoftmax(CLASSES, FEATURES),
    "entmax": lambda: sv.LinearEntmax(CLASSES, FEATURES, alpha=1.3),
    "negative": lambda: sv.NegativeSampling(CLASSES, FEATURES, sampler=unigram(), num_sampled=2),
}


@pytest.mark.slow
@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("name", EVALUATED)
def test_evaluation_is_exact_over_blocks(name: str, key: jax.Array) -> None:
    head = EVALUATED[name]()
    params = head.init(key)
    # Equal scores in different blocks.
    params["weight"] = params["weight"].at[jnp.asarray([2, 9, 21])].set(params["weight"][4])
    h, y = batch()
    alpha = {"entmax": 1.3}.get(name, 1.0)

    @jax.jit
    def run(params: Any, h: jax.Array) -> Any:
        scores = h @ params["weight"].T
        if name == "negative":
            scores = scores + unigram().log_prob(jnp.arange(CLASSES))[None]
        many = jnp.tile(h[:1], (20_000, 1))
        found = head.log_probs(params, h), head.log_prob(params, h, y)
        best, every = head.top_k(params, h[None], 7), head.top_k(params, h, CLASSES)[1]
        p = sv.entmax(scores, alpha=alpha)
        return scores, p, *found, best, every, head.sample(params, many, key)

    scores, p, logs, found, (values, ids), every, many = jax.tree.map(np.asarray, run(params, h))
    assert logs.shape == (EXAMPLES, CLASSES)
    np.testing.assert_allclose(np.exp(logs), p, rtol=3e-6, atol=1e-7)
    assert ((p == 0) == (logs == -np.inf)).all()
    assert (p == 0).any() == (name == "entmax")
    right = np.exp(logs[np.arange(EXAMPLES), np.minimum(y, CLASSES - 1)])
    good = [0, 1, 2, 4]
    np.testing.assert_allclose(np.exp(found[good]), right[good], rtol=1e-5, atol=1e-6)
    assert np.isnan(found[3])
    assert values.shape == ids.shape == (1, EXAMPLES, 7)
    assert ids.dtype == np.int32
    if name != "negative":  # whose bias separates what is equal
        order = np.argsort(-scores, axis=1, kind="stable")[:, :7]
        np.testing.assert_array_equal(ids[0], order)
    right = np.take_along_axis(logs, ids[0], axis=1)
    np.testing.assert_allclose(np.exp(values[0]), np.exp(right), rtol=1e-5, atol=1e-6)
    assert (np.diff(values[0], axis=1)[np.isfinite(values[0][:, 1:])] <= 0).all()
    np.testing.assert_array_equal(np.sort(every, axis=1), np.tile(np.arange(CLASSES), (5, 1)))
    counts = np.bincount(many, minlength=CLASSES)
    expected = 20_000 * p[0].astype(np.float64)
    assert (np.abs(counts - expected) <= 5 * np.sqrt(expected)).all()


@pytest.mark.usefixtures("small_blocks")
def test_evaluation_of_extreme_scores(key: jax.Array) -> None:
    """Scores of 1e6 leave the noise its digits; a class of -inf is last, and never drawn."""
    bias = jnp.full(CLASSES, -jnp.inf).at[jnp.asarray([7, 20])].set(1e6)
    h, w = jnp.zeros((4000, 1)), jnp.zeros((CLASSES, 1))
    drawn = np.asarray(sample(key, h, w, bias, None))
    assert set(drawn.tolist()) == {7, 20}
    assert abs(np.mean(drawn == 7) - 0.5) < 0.05
    values, ids = top_k(h[:1], w, bias, CLASSES, None)
    assert ids[0].tolist() == [7, 20, *(i for i in range(CLASSES) if i not in (7, 20))]
    np.testing.assert_allclose(values[0, :2], np.log(0.5), rtol=1e-6)
    assert (values[0, 2:] == -jnp.inf).all()
    spoiled = h[:2].at[1].set(jnp.nan)
    assert sample(key, spoiled, w, bias, None)[1] == -1
    assert sample(key, h[:0], w, bias, None).shape == (0,)


@pytest.mark.parametrize("name", ["top_k", "sample", "log_prob"])
@pytest.mark.parametrize("alpha", [None, 1.5])
def test_all_scores_never_exist_at_once(
    name: str, alpha: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_blocks, "_BLOCK_LOGITS", 64 * 128)
    monkeypatch.setattr(_blocks, "_SMALLEST_BLOCK", 128)
    head: Any = (
        sv.FullSoftmax(16387, 8) if alpha is None else sv.LinearEntmax(16387, 8, alpha=alpha)
    )
    params = {"weight": jnp.zeros((16387, 8)), "bias": jnp.zeros(16387)}
    last = {"top_k": 3, "sample": jax.random.key(0), "log_prob": jnp.zeros(64, jnp.int32)}[name]

    def run(params: Any, h: jax.Array) -> Any:
        if name == "log_prob":
            return head.log_prob(params, h, last)
        return getattr(head, name)(params, h, last)

    memory: Any = jax.jit(run).lower(params, jnp.zeros((64, 8))).compile().memory_analysis()
    assert memory.temp_size_in_bytes < 64 * 16387 * 4 / 4


def test_full_heads_train_with_the_losses_of_the_layer(key: jax.Array) -> None:
    h, y = batch()
    shown = jnp.asarray([True, True, False, True, True])
    for head, loss in (
        (sv.FullSoftmax(CLASSES, FEATURES), sv.linear_cross_entropy),
        (sv.LinearEntmax(CLASSES, FEATURES), sv.linear_entmax_loss),
    ):
        params = head.init(key)
        found = head.loss(params, h.at[2].set(jnp.nan), y, where=shown)
        expected = loss(h, y, params["weight"], params["bias"])
        np.testing.assert_allclose(found, jnp.where(shown, expected, 0), rtol=1e-5)
        assert np.isnan(found).tolist() == [False, False, False, True, False]


WRONG: dict[str, tuple[type[Exception], Callable[[], Any], str]] = {
    "classes": (ValueError, lambda: sv.FullSoftmax(0, 3), "classes"),
    "features": (TypeError, lambda: sv.FullSoftmax(3, 2.0), "features"),  # type: ignore[arg-type] # wrong
    "alpha": (ValueError, lambda: sv.LinearEntmax(3, 2, alpha=0.0), "alpha"),
    "sampler": (
        ValueError,
        lambda: sv.NCE(3, 2, sampler=sv.UniformSampler(4), num_sampled=1),
        "sampler must have 3 classes, got 4",
    ),
    "number": (
        ValueError,
        lambda: sv.NCE(3, 2, sampler=sv.UniformSampler(3), num_sampled=0),
        "num_sampled",
    ),
    "key": (TypeError, lambda: SAMPLED["nce"]().plan(jnp.array([0])), "key"),
    "k": (
        ValueError,
        lambda: sv.FullSoftmax(3, 2).top_k(
            sv.FullSoftmax(3, 2).init(jax.random.key(0)), jnp.zeros((1, 2)), 4
        ),
        "k must be",
    ),
    "parameters": (
        ValueError,
        lambda: sv.FullSoftmax(3, 2).log_probs(
            {"weight": jnp.zeros((4, 2)), "bias": jnp.zeros(3)}, jnp.zeros((1, 2))
        ),
        r"weight .*\(3, 2\)",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_argument_is_named(case: str) -> None:
    error, call, message = WRONG[case]
    with pytest.raises(error, match=message):
        call()


def test_an_inconsistent_head_warns(key: jax.Array) -> None:
    head = SAMPLED["sampled"](correction="none")
    with pytest.warns(UserWarning, match="not consistent"):
        head.plan(jnp.array([0]), key=key)
