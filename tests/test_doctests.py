"""Every example in a docstring runs and prints what it says."""

import doctest
import importlib
import pkgutil

import jax
import pytest

import softmax_variants

# Their examples need Flax, which the environment for the newest jax does without.
NEEDS_FLAX = ("softmax_variants.nnx", "softmax_variants.linen")


def module_names() -> list[str]:
    found = pkgutil.walk_packages(softmax_variants.__path__, "softmax_variants.")
    return ["softmax_variants", *(module.name for module in found)]


@pytest.mark.parametrize("name", module_names())
def test_the_examples_of_the_module(name: str) -> None:
    if name in NEEDS_FLAX:
        pytest.importorskip("flax", reason="the layers for Flax need Flax")
    module = importlib.import_module(name)
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    # A reader runs the example with jax as it comes, not with this suite's strict promotion.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        result = doctest.testmod(module, optionflags=flags)
    assert result.failed == 0, f"{result.failed} of {result.attempted} examples; see above"
