"""The programs on the pages about other libraries run and learn."""

import re
from typing import Any

import numpy as np
import pytest

from tests.pages import PAGES, programs, run


def assert_learned(names: dict[str, Any]) -> None:
    history = names["history"]
    assert np.mean(history[-3:]) < 0.6 * history[0], history


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


def test_the_table_of_layers_names_them_all() -> None:
    pytest.importorskip("flax", reason="the page is about Flax")
    from flax import linen, nnx

    import softmax_variants.linen as svl
    import softmax_variants.nnx as svn

    named = re.findall(r"^\| `(\w+)\(", PAGES["docs/flax.md"], re.M)
    for package, kind in ((svn, nnx.Module), (svl, linen.Module)):
        layers = {
            name
            for name, value in vars(package).items()
            if isinstance(value, type) and issubclass(value, kind)
        }
        assert layers == set(named)


def test_the_program_for_equinox() -> None:
    pytest.importorskip("equinox", reason="the page is about Equinox")
    (program,) = programs("docs/equinox.md")
    names = run("docs/equinox.md", program)
    assert_learned(names)
    model = names["model"]
    assert (model.attention.alpha != 1.5).all()
    # The head's tree is data that no step has touched.
    assert np.issubdtype(model.head.tree.parents.dtype, np.integer)
