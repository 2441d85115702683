"""The flat public API: every name is there, documented, and ordered as its family is."""

import ast
import doctest
import inspect
import operator
import re
import typing
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import softmax_variants as sv

DENSE = (
    "softmax",
    "log_softmax",
    "softmax_n",
    "scalable_softmax",
    "stablemax",
    "taylor_softmax",
    "spherical_softmax",
    "sigsoftmax",
    "sum_normalize",
    "mixture_of_softmaxes",
)
SPARSE = (
    "hardmax",
    "sparsemax",
    "entmax15",
    "entmax",
    "normmax",
    "capped_sparsemax",
    "alpha_relu",
    "softpick",
    "ev_softmax",
    "r_softmax",
    "multimax",
    "fusedmax",
    "top_k_softmax",
    "top_p_softmax",
    "min_p_softmax",
)
# Random maps that take a key first, and the two functions of their family that draw nothing.
RANDOM = ("gumbel_max", "gumbel_softmax", "gumbel_top_k", "relaxed_top_k", "categorical")
RELAXED = ("concrete_log_prob", "straight_through")
LOSSES = (
    "cross_entropy_loss",
    "sparsemax_loss",
    "entmax15_loss",
    "entmax_loss",
    "normmax_loss",
    "alpha_relu_loss",
)
GENERIC = ("fenchel_young_loss",)
HEADS = (
    "linear_cross_entropy",
    "linear_entmax_loss",
    "adaptive_softmax_loss",
    "differentiated_softmax_loss",
    "choose_cutoffs",
)
HIERARCHICAL = (
    "hierarchical_softmax_loss",
    "hierarchical_log_probs",
    "hierarchical_top_k",
    "hierarchical_sample",
)
TREES = ("huffman_tree", "balanced_tree", "class_tree", "clustered_tree")
SAMPLED = (
    "sampled_softmax_loss",
    "nce_loss",
    "negative_sampling_loss",
    "importance_sampled_loss",
    "in_batch_softmax_loss",
    "target_sampled_softmax_loss",
    "target_partitions",
    "bias_report",
)
ATTENTION = (
    "dot_product_attention",
    "flash_attention",
    "attention_state",
    "merge_attention_states",
    "attention_output",
    "visible_counts",
    "scalable_softmax_scale",
    "asentmax_scale",
)
GEOMETRIES = ("SHANNON", "GINI", "tsallis")
LAYER_FUNCTIONS = (*HEADS, *SAMPLED, *HIERARCHICAL, *TREES)
FUNCTIONS = (
    *DENSE,
    *SPARSE,
    *RANDOM,
    *RELAXED,
    *LOSSES,
    *GENERIC,
    *LAYER_FUNCTIONS,
    *ATTENTION,
)

CLASSES = (
    "Head",
    "FullSoftmax",
    "LinearEntmax",
    "SampledSoftmax",
    "NCE",
    "NegativeSampling",
    "ImportanceSampled",
    "InBatchSoftmax",
    "HierarchicalSoftmax",
    "AdaptiveSoftmax",
    "DifferentiatedSoftmax",
    "UniformSampler",
    "LogUniformSampler",
    "UnigramSampler",
    "MixedSampler",
    "StreamingFrequency",
    "Tree",
    "AttentionState",
)

# In a namespace of their own.
ROWS = (
    "rows.clip_by_global_norm",
    "rows.clip_rows",
    "rows.global_norm",
    "rows.lazy",
    "rows.sgd",
    "rows.take",
    "rows.value_and_grad",
)
ROWS_CLASSES = ("rows.Plan", "rows.ReadsRows", "rows.RowGradient")

# What each family's positional arguments are, in this order; all others are keywords.
POSITIONAL = {
    **dict.fromkeys((*DENSE, *SPARSE), ("logits", "axis", "where")),
    **dict.fromkeys(RANDOM, ("key", "logits", "axis", "where")),
    **dict.fromkeys(LOSSES, ("logits", "labels", "axis", "where")),
    "concrete_log_prob": ("log_sample", "logits", "axis", "where"),
}


def function(name: str) -> Callable[..., object]:
    found = operator.attrgetter(name)(sv)
    assert callable(found)
    return typing.cast(Callable[..., object], found)


def public_names() -> list[str]:
    return sorted(
        name
        for name in vars(sv)
        if not name.startswith("_") and not inspect.ismodule(getattr(sv, name))
    )


@pytest.mark.parametrize("name", [*FUNCTIONS, *GEOMETRIES, *CLASSES])
def test_the_name_is_flat_in_the_package(name: str) -> None:
    assert hasattr(sv, name)


def test_public_names_are_re_exported_as_themselves() -> None:
    """`from ._x import y as y`: type checkers then take the name for public."""
    assert sv.__file__ is not None
    source = Path(sv.__file__).read_text()
    marked = set(re.findall(r"\b(\w+) as \1\b", source))
    assert {*public_names(), "rows"} == marked


@pytest.mark.parametrize("name", [*FUNCTIONS, *ROWS])
def test_the_docstring_is_a_contract(name: str) -> None:
    text = inspect.getdoc(function(name)) or ""
    first, _, rest = text.partition("\n")
    assert first.endswith("."), "the first line is one sentence"
    assert not rest or rest.startswith("\n"), "an empty line follows the first"
    assert re.search(r"^Args:$", text, re.MULTILINE)
    assert re.search(r"^Returns:$", text, re.MULTILINE)
    assert re.search(r"^References?:$", text, re.MULTILINE)
    assert doctest.DocTestParser().get_examples(text), "an example"


@pytest.mark.parametrize("name", [*FUNCTIONS, *ROWS])
def test_the_docstring_names_every_argument(name: str) -> None:
    text = inspect.getdoc(function(name)) or ""
    section = text.partition("Args:\n")[2].partition("Returns:\n")[0]
    documented = set(
        re.findall(r"\b(\w+)\b", " ".join(re.findall(r"^ +([\w, ]+):", section, re.M)))
    )
    assert set(inspect.signature(function(name)).parameters) <= documented


@pytest.mark.parametrize("name", sorted(POSITIONAL))
def test_the_arguments_come_in_the_familys_order(name: str) -> None:
    parameters = inspect.signature(function(name)).parameters.values()
    positional = tuple(p.name for p in parameters if p.kind is not p.KEYWORD_ONLY)
    assert positional == POSITIONAL[name]
    defaults = {p.name: p.default for p in parameters if p.name in ("axis", "where")}
    assert defaults == {"axis": -1, "where": None}


@pytest.mark.parametrize("name", [*FUNCTIONS, *ROWS])
def test_every_argument_and_result_has_a_type(name: str) -> None:
    signature = inspect.signature(function(name))
    assert signature.return_annotation is not signature.empty
    untyped = [p.name for p in signature.parameters.values() if p.annotation is p.empty]
    assert untyped == []


@pytest.mark.parametrize("name", ["gumbel_max", "gumbel_softmax", "gumbel_top_k", "categorical"])
def test_the_key_of_a_random_map_is_not_optional(name: str) -> None:
    parameter = inspect.signature(function(name)).parameters["key"]
    assert parameter.default is parameter.empty


def documented() -> Iterator[tuple[str, str]]:
    """What a user reads: the docstrings of all modules and of what they define, and the pages."""
    root = Path(__file__).parents[1]
    for page in (root / "README.md", *sorted((root / "docs").glob("*.md"))):
        yield page.name, page.read_text()
    for path in sorted((root / "softmax_variants").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                text = ast.get_docstring(node)
                name = getattr(node, "name", "")
                yield f"{path.relative_to(root)}:{name}", text or ""


def test_examples_import_public_names_alone() -> None:
    """But for what says how a variant is added to the package itself."""
    private = re.compile(r"(?:import|from) softmax_variants[\w.]*\._|import _\w")
    found = [name for name, text in documented() if private.search(text)]
    assert found == ["adding_a_variant.md"]


@pytest.mark.parametrize("name", ROWS_CLASSES)
def test_a_class_of_rows_is_public(name: str) -> None:
    assert inspect.getdoc(function(name))


def test_every_output_layer_is_a_head() -> None:
    offered = {name for name in vars(sv.Head) if not name.startswith("_")}
    assert offered == {"init", "loss", "log_prob", "log_probs", "top_k", "sample"}
    layers = [name for name in public_names() if offered <= set(dir(getattr(sv, name)))]
    assert len(layers) == 11, "ten output layers, and the protocol"
    for name in layers:
        for method in offered:
            wanted = inspect.signature(getattr(sv.Head, method)).parameters
            found = inspect.signature(getattr(getattr(sv, name), method)).parameters
            assert list(found) == list(wanted), (name, method)


def test_rows_has_no_other_public_function() -> None:
    functions = inspect.getmembers(sv.rows, inspect.isfunction)
    assert [f"rows.{name}" for name, _ in functions] == sorted(ROWS)


def test_every_public_callable_is_documented() -> None:
    bare = [
        name
        for name in public_names()
        if callable(getattr(sv, name)) and not inspect.getdoc(getattr(sv, name))
    ]
    assert bare == []
