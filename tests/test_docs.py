"""The programs on the pages about other libraries run and learn."""

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


def test_the_table_of_layers_names_them_all() -> None:
    pytest.importorskip("flax", reason="the page is about Flax")
    from flax import linen, nnx

    import softmax_variants.linen as svl
    import softmax_variants.nnx as svn

    named = re.findall(r"^\| `(\w+)\(", (DOCS / "flax.md").read_text(encoding="utf-8"), re.M)
    for package, kind in ((svn, nnx.Module), (svl, linen.Module)):
        layers = {
            name
            for name, value in vars(package).items()
            if isinstance(value, type) and issubclass(value, kind)
        }
        assert layers == set(named)


def test_the_program_for_equinox() -> None:
    pytest.importorskip("equinox", reason="the page is about Equinox")
    (program,) = programs("equinox.md")
    names = run("equinox.md", program)
    assert_learned(names)
    model = names["model"]
    assert (model.attention.alpha != 1.5).all()
    # The head's tree is data that no step has touched.
    assert np.issubdtype(model.head.tree.parents.dtype, np.integer)
