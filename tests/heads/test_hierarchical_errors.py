"""Wrong arguments of hierarchical softmax have one error each, which names them."""

from typing import Any

import jax
import jax.numpy as jnp
import pytest

import softmax_variants as sv

WRONG: dict[str, tuple[type[Exception], dict[str, Any], str]] = {
    "transposed": (ValueError, {"node_weight": jnp.zeros((4, 12))}, "node_weight .*transpose"),
    "a row a class": (
        ValueError,
        {"node_weight": jnp.zeros((13, 4))},
        r"node_weight .*\(12, 4\).*\(13, 4\)",
    ),
    "integer weight": (TypeError, {"node_weight": jnp.zeros((12, 4), int)}, "node_weight .*int32"),
    "integer hidden": (TypeError, {"hidden": jnp.zeros((5, 4), int)}, "hidden .*int32"),
    "scalar hidden": (ValueError, {"hidden": 1.0}, "hidden .*scalar"),
    "bias": (ValueError, {"node_bias": jnp.zeros(13)}, r"node_bias .*\(12,\).*\(13,\)"),
    "labels' shape": (ValueError, {"labels": jnp.zeros(4, int)}, r"labels .*\(5,\).*\(4,\)"),
    "labels' dtype": (TypeError, {"labels": jnp.zeros(5)}, "labels .*float32"),
    "where's dtype": (TypeError, {"where": jnp.ones(5)}, "where must be boolean"),
    "where's shape": (ValueError, {"where": jnp.ones(4, bool)}, r"where .*\(5,\).*\(4,\)"),
    "tree": (TypeError, {"tree": 13}, "tree must be a Tree"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_argument_is_named(case: str) -> None:
    error, wrong, message = WRONG[case]
    right = {
        "hidden": jnp.zeros((5, 4)),
        "labels": jnp.zeros(5, int),
        "node_weight": jnp.zeros((12, 4)),
        "tree": sv.balanced_tree(13),
    }
    with pytest.raises(error, match=message):
        sv.hierarchical_softmax_loss(**{**right, **wrong})


def test_wrong_numbers_and_rows_are_named() -> None:
    tree, h = sv.balanced_tree(13), jnp.zeros((5, 4))
    head = sv.HierarchicalSoftmax(tree=tree, features=4, use_bias=False)
    with pytest.raises(ValueError, match=r"k must be in \[1, 13\], got 14"):
        head.top_k({"node_weight": jnp.zeros((12, 4))}, h, 14)
    y = jnp.zeros(5, int)
    with pytest.raises(ValueError, match=r"rows\['node_weight'\] .*\(5, 4, 4\), got \(5, 4\)"):
        head.loss_of_rows({"node_weight": h}, head.plan(y), h, y)
    with pytest.raises(ValueError, match="features must be at least 1, got 0"):
        sv.HierarchicalSoftmax(tree=tree, features=0).init(jax.random.key(0))
