"""The structures of our pytrees tell their classes apart."""

import dataclasses
import itertools
import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest

import softmax_variants as sv
from softmax_variants._pytrees import pytree_dataclass

ROOT = Path(__file__).parents[1]
SAMPLER = sv.UniformSampler(4)


@pytree_dataclass
@dataclasses.dataclass(frozen=True)
class One:
    value: Any
    name: str = dataclasses.field(default="a", metadata={"static": True})


@pytree_dataclass
@dataclasses.dataclass(frozen=True)
class Other:
    value: Any
    name: str = dataclasses.field(default="a", metadata={"static": True})


# Within a group the classes have the same fields, so that only the class tells them apart.
GROUPS: dict[str, list[Any]] = {
    "registered": [One(1.0), Other(1.0), One(1.0, "b")],
    "geometries": [sv.SHANNON, sv.GINI, sv.tsallis(2.0), sv.norm(2.0)],
    "samplers": [SAMPLER, sv.LogUniformSampler(4), sv.UnigramSampler(jnp.ones(4))],
    "heads": [
        sv.FullSoftmax(4, 3),
        sv.LinearEntmax(4, 3),
        sv.SampledSoftmax(4, 3, sampler=SAMPLER, num_sampled=2),
        sv.NCE(4, 3, sampler=SAMPLER, num_sampled=2),
        sv.NegativeSampling(4, 3, sampler=SAMPLER, num_sampled=2),
        sv.ImportanceSampled(4, 3, sampler=SAMPLER, num_sampled=2),
    ],
}


def structure(value: Any) -> Any:
    return jax.tree.structure(value)


@pytest.mark.parametrize("group", GROUPS)
def test_structures_of_different_classes_differ(group: str) -> None:
    """Equal ones make a compiled function run the other class's trace, if their hashes meet."""
    for a, b in itertools.combinations(GROUPS[group], 2):
        first, second = structure(a), structure(b)
        assert first != second, (a, b)


@pytest.mark.parametrize("group", GROUPS)
def test_they_survive_flattening(group: str) -> None:
    for value in GROUPS[group]:
        before = structure(value)
        again = jax.tree.unflatten(before, jax.tree.leaves(value))
        assert type(again) is type(value)
        assert structure(again) == before
        assert hash(structure(again)) == hash(before)


def test_a_leaf_is_named_by_its_field() -> None:
    ((path, leaf),) = jax.tree.leaves_with_path(One(2.0))
    assert (jax.tree_util.keystr(path), leaf) == (".value", 2.0)


def test_jax_registration_of_dataclasses_is_not_used() -> None:
    users = [
        str(path.relative_to(ROOT))
        for folder in ("softmax_variants", "experiments")
        for path in sorted((ROOT / folder).rglob("*.py"))
        if re.search(r"register_dataclass(?!`)|struct\.dataclass", path.read_text())
    ]
    assert users == []
