"""Every example in a docstring runs and prints what it says."""

import doctest
import importlib
import math
import pkgutil
import re

import jax
import pytest

import softmax_variants

# Their examples need Flax, an extra of the package.
NEEDS_FLAX = ("softmax_variants.nnx", "softmax_variants.linen")
NUMBER = re.compile(r"(?<![\w.])([-+]?(?:\d+\.?\d*(?:e[-+]?\d+)?|inf|nan))(?![\w.]*\w)")


class NearlyTheSame(doctest.OutputChecker):
    """Compares numbers to five digits: the last ones differ between processors and versions."""

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        """Whether the text between the numbers is the same, and the numbers nearly."""
        if super().check_output(want, got, optionflags):
            return True
        wanted, found = ("".join(NUMBER.sub("#", text).split()) for text in (want, got))
        numbers = [[float(n) for n in NUMBER.findall(text)] for text in (want, got)]
        return wanted == found and all(
            math.isclose(a, b, rel_tol=1e-5, abs_tol=1e-6) or (math.isnan(a) and math.isnan(b))
            for a, b in zip(*numbers, strict=True)
        )


def module_names() -> list[str]:
    found = pkgutil.walk_packages(softmax_variants.__path__, "softmax_variants.")
    return ["softmax_variants", *(module.name for module in found)]


@pytest.mark.parametrize("name", module_names())
def test_the_examples_of_the_module(name: str) -> None:
    if name.startswith(NEEDS_FLAX):
        pytest.importorskip("flax", reason="the layers for Flax need Flax")
    module = importlib.import_module(name)
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    runner = doctest.DocTestRunner(NearlyTheSame(), optionflags=flags)
    # A reader runs the example with jax as it comes, not with this suite's strict promotion.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        for example in doctest.DocTestFinder().find(module):
            runner.run(example)
    assert runner.summarize(verbose=False).failed == 0, "see the differences above"


@pytest.mark.parametrize(
    ("want", "got", "same"),
    [
        ("[0.83071893 0.16928108 0.        ]\n", "[0.830719   0.16928108 0.        ]\n", True),
        ("[0.625 0.375]\n", "[0.625 0.376]\n", False),
        ("[0.625 0.375]\n", "[0.625 0.375 0.]\n", False),
        ("(3, 4)\n", "(3, 5)\n", False),
        ("[nan -inf]\n", "[nan -inf]\n", True),
        ("[nan]\n", "[0.]\n", False),
        ("bfloat16\n", "float32\n", False),
        ("float16\n", "float32\n", False),
    ],
)
def test_examples_are_compared_number_by_number(want: str, got: str, same: bool) -> None:
    assert NearlyTheSame().check_output(want, got, 0) is same
