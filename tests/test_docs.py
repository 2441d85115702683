"""The programs on the pages about other libraries run and learn."""

import importlib
import inspect
import re
from typing import Any

import numpy as np
import pytest

from tests.pages import PAGES, programs, run


def assert_learned(names: dict[str, Any]) -> None:
    history = names["history"]
    assert np.mean(history[-3:]) < 0.6 * history[0], history


@pytest.mark.slow
def test_the_programs_for_flax() -> None:
    pytest.importorskip("flax", reason="the page is about Flax")
    of_nnx, of_linen = programs("docs/flax.md")
    names = run("docs/flax.md", of_nnx)
    assert_learned(names)
    assert names["alphas"].shape == (4, 1, 1)
    assert (names["alphas"] != 1.5).all()
    assert names["ids"].shape == (4, 16, 3)
    names = run("docs/flax.md", of_linen)
    assert_learned(names)
    assert names["counts"]["counts"]["choice"]["count"] == 60


def layers_of(package: str) -> dict[str, type]:
    """The layers that a package for Flax offers."""
    pytest.importorskip("flax", reason="these are layers for Flax")
    module = importlib.import_module(f"softmax_variants.{package}")
    kind = importlib.import_module(f"flax.{package}").Module
    return {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, kind)
    }


@pytest.mark.parametrize("package", ["nnx", "linen"])
def test_the_table_of_layers_names_them_all(package: str) -> None:
    named = re.findall(r"^\| `(\w+)\(", PAGES["docs/flax.md"], re.MULTILINE)
    assert set(layers_of(package)) == set(named)


@pytest.mark.parametrize("package", ["nnx", "linen"])
def test_the_docstring_of_a_layer_names_every_argument(package: str) -> None:
    for name, layer in layers_of(package).items():
        text = inspect.getdoc(layer) or ""
        section = re.split(r"^(?:Args|Attributes):\n", text, flags=re.MULTILINE)[1]
        documented = set(re.findall(r"^ +\*{0,2}(\w+):", section.partition("Example:")[0], re.M))
        flaxs = {"parent", "name", "self"}  # every Linen module has the first two
        arguments = set(inspect.signature(layer.__init__).parameters)  # type: ignore[misc] # a class
        assert arguments - flaxs <= documented, name
        assert "Example:" in text, name


@pytest.mark.slow
def test_the_program_for_equinox() -> None:
    pytest.importorskip("equinox", reason="the page is about Equinox")
    (program,) = programs("docs/equinox.md")
    names = run("docs/equinox.md", program)
    assert_learned(names)
    model = names["model"]
    assert (model.attention.alpha != 1.5).all()
    # The head's tree is data that no step has touched.
    assert np.issubdtype(model.head.tree.parents.dtype, np.integer)
