"""What the suites have: all of the library, each part given what it takes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import softmax_variants as sv
from experiments.bench import measuring
from experiments.bench.case import BOTH, Wanted
from experiments.bench.suites import attention, heads, losses, maps
from softmax_variants.variants import VARIANTS

ALONE = Wanted(with_peers=False)


def of_names(names: dict[str, Any]) -> set[str]:
    """The heads that the package offers: classes with the methods of one, but their protocol."""
    return {
        name
        for name, value in names.items()
        if isinstance(value, type) and hasattr(value, "log_probs") and hasattr(value, "loss")
        if name != "Head"
    }


def test_every_map_loss_head_and_normaliser_is_measured() -> None:
    found = {case.name for case in maps.cases((2, 4), ALONE)}
    assert set(VARIANTS) <= found
    found = {case.name for case in losses.cases((2, 4), ALONE)}
    assert {v.loss.__name__ for v in VARIANTS.values() if v.loss} <= found
    classes = {type(head).__name__ for head in heads.heads(16, 50).values()}
    assert classes == of_names(vars(sv))
    partly = {case.name for case in heads.cases(2, 16, 50, ALONE) if not case.reads_all}
    assert {"SampledSoftmax", "InBatchSoftmax", "HierarchicalSoftmax"} <= partly
    assert not {"FullSoftmax", "DifferentiatedSoftmax"} & partly
    found = {case.name for case in attention.cases((1, 2, 1, 2), ALONE)}
    normalisers = {f"dot_product_attention, {name}" for name in VARIANTS} - {
        "dot_product_attention, sum_normalize"
    }
    assert normalisers | {"flash_attention, alpha = 1", "flash_attention, alpha = 1.5"} <= found


def functions(package: str) -> set[str]:
    """What a part of the library offers, its types left out."""
    return {
        name
        for name, value in vars(sv).items()
        if not isinstance(value, type)
        and getattr(value, "__module__", "").startswith(f"softmax_variants.{package}.")
    }


def test_every_public_map_and_loss_is_measured() -> None:
    """Also those that are no rows of the table of variants."""
    found = {case.name.split(",")[0] for case in maps.cases((2, 9), ALONE)}
    assert functions("maps") <= found
    found = {case.name.split(",")[0] for case in losses.cases((2, 4), ALONE)}
    assert {name for name in functions("losses") if name.endswith("_loss")} <= found
    # It takes hidden states and weights, as a head does.
    assert "target_sampled_softmax_loss" in {c.name for c in heads.cases(2, 16, 50, ALONE)}


@pytest.mark.slow
def test_what_takes_more_than_logits_is_given_it() -> None:
    """Each computes what it is called, and has the gradients that its case names."""
    cases = {case.name: case for case in maps.of_more((3, 9), "float32")}
    case = cases["mixture_of_softmaxes"]
    x, m = case.arguments()
    assert x.shape == (3, case.sizes["components"], 9)
    expected = jnp.einsum("rk,rkc->rc", jax.nn.softmax(m), jax.nn.softmax(x))
    np.testing.assert_allclose(case.function(x, m), expected, rtol=1e-5)
    case = cases["straight_through, hardmax as softmax"]
    (x,) = case.arguments()
    np.testing.assert_array_equal(case.function(x), jax.nn.one_hot(x.argmax(-1), 9))
    case = cases["concrete_log_prob"]
    y, x = case.arguments()
    np.testing.assert_allclose(jax.nn.logsumexp(y, axis=-1), np.zeros(3), atol=1e-5)
    assert case.function(y, x).shape == (3,)
    for case in cases.values():
        ready = measuring.prepare(case, BOTH)
        assert ready.program is not None
        result = jax.eval_shape(case.function, *case.arguments())
        _, gradients = ready.program.run(
            *case.arguments(), jnp.sin(jnp.ones(result.shape).cumsum(-1))
        )
        assert len(gradients) == len(case.differentiated), case.name
        assert all(jnp.isfinite(g).all() and jnp.any(g != 0) for g in gradients), case.name


@pytest.mark.parametrize("examples", [6, 60])
def test_target_sampling_has_all_labels_of_its_batch(examples: int) -> None:
    (case,) = [c for c in heads.cases(examples, 16, 50, ALONE) if c.name == heads.TARGET_SAMPLED]
    weight, bias, hidden, labels, subset = case.arguments()
    assert subset.shape == (case.sizes["subset"],) == (min(examples, 50),)
    inside = np.asarray(subset)[np.asarray(subset) < 50]
    assert set(np.asarray(labels).tolist()) == set(inside.tolist())
    x = (hidden @ weight.T + bias[None, :])[:, inside]
    rows = np.arange(examples), np.searchsorted(inside, labels)
    expected = jax.nn.logsumexp(x, axis=-1) - x[rows]
    found = jax.jit(case.function)(weight, bias, hidden, labels, subset)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
