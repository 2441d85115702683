"""The README: its table is the table of variants, its examples run, what it names exists."""

import re
from pathlib import Path

import jax
import pytest

import softmax_variants as sv
from experiments import cli
from tests.test_public_api import public_names

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def titled(block: str) -> str:
    if "flax" not in block:
        return "heads" if "heads" in block else "plain"
    return "nnx" if "import nnx" in block else "linen"


def test_the_table_is_the_generated_one(capsys: pytest.CaptureFixture[str]) -> None:
    _, begin, rest = README.partition("<!-- variants: begin -->\n")
    table, end, _ = rest.partition("<!-- variants: end -->\n")
    assert begin
    assert end
    assert cli.main(["list", "--markdown"]) == 0
    assert table.strip() == capsys.readouterr().out.strip()


def test_there_is_an_example_of_each_kind() -> None:
    assert sorted(map(titled, BLOCKS)) == ["heads", "linen", "nnx", "plain"]


@pytest.mark.parametrize("block", BLOCKS, ids=titled)
def test_the_example_runs(block: str) -> None:
    if "flax" in block:
        pytest.importorskip("flax", reason="the example is a Flax model")
    # A reader runs the example with jax as it comes, not with this suite's strict promotion.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        exec(compile(block, "README.md", "exec"), {"__name__": "readme"})


@pytest.mark.parametrize("name", public_names())
def test_every_public_name_is_mentioned(name: str) -> None:
    assert hasattr(sv, name)
    assert re.search(rf"`{name}\b", README)


def test_the_targets_of_make_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", README, re.MULTILINE))
    assert {"compare", "test"} <= named <= targets


def test_the_links_lead_to_files() -> None:
    links = [
        link
        for link in re.findall(r"\]\(([^)]+)\)", README)
        if "://" not in link and link[0] != "#"
    ]
    assert links
    assert [link for link in links if not (ROOT / link).is_file()] == []
