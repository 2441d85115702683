"""The programs on the pages about other libraries run and learn."""

import importlib
import inspect
import re
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

DOCS = Path(__file__).parents[1] / "docs"


def programs(page: str) -> list[str]:
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def run(page: str, program: str) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "page"}
    # A reader runs the example with jax as it comes, not with this suite's strict promotion.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        exec(compile(program, page, "exec"), names)
    return names


def assert_learned(names: dict[str, Any]) -> None:
    history = names["history"]
    assert np.mean(history[-3:]) < 0.6 * history[0], history


def test_the_programs_for_flax() -> None:
    pytest.importorskip("flax", reason="the page is about Flax")
    of_nnx, of_linen = programs("flax.md")
    names = run("flax.md", of_nnx)
    assert_learned(names)
    assert names["alphas"].shape == (4, 1, 1)
    assert (names["alphas"] != 1.5).all()
    assert names["ids"].shape == (4, 16, 3)
    names = run("flax.md", of_linen)
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
    page = (DOCS / "flax.md").read_text(encoding="utf-8")
    assert set(layers_of(package)) == set(re.findall(r"^\| `(\w+)\(", page, re.MULTILINE))


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


def test_the_program_for_equinox() -> None:
    pytest.importorskip("equinox", reason="the page is about Equinox")
    (program,) = programs("equinox.md")
    names = run("equinox.md", program)
    assert_learned(names)
    model = names["model"]
    assert (model.attention.alpha != 1.5).all()
    # The head's tree is data that no step has touched.
    assert np.issubdtype(model.head.tree.parents.dtype, np.integer)
