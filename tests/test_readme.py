"""The README and the pages: examples run, what is named exists, the table is that of variants."""

import re
from pathlib import Path
from typing import Any

import jax
import pytest

import softmax_variants as sv
from experiments import cli
from tests.test_public_api import public_names

ROOT = Path(__file__).parents[1]
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
}
README = PAGES["README.md"]


def blocks_of(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


BLOCKS = blocks_of(README)


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
    run(block, "README.md", {"__name__": "readme"})


def run(block: str, name: str, names: dict[str, Any]) -> None:
    """Runs an example with jax as it comes, as a reader does, not with strict promotion."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        exec(compile(block, name, "exec"), names)


# test_rows_training.py runs this one, and looks at what it has trained.
RUN_ELSEWHERE = {"README.md", "docs/large_tables.md"}


@pytest.mark.parametrize(
    "name", [name for name, page in PAGES.items() if name not in RUN_ELSEWHERE and blocks_of(page)]
)
def test_the_examples_of_a_page_run_one_after_the_other(name: str) -> None:
    if "flax" in "".join(blocks_of(PAGES[name])):
        pytest.importorskip("flax", reason="the examples are Flax models")
    names: dict[str, Any] = {"__name__": "page"}
    for block in blocks_of(PAGES[name]):
        run(block, name, names)


@pytest.mark.parametrize("name", public_names())
def test_every_public_name_is_mentioned(name: str) -> None:
    assert hasattr(sv, name)
    assert any(re.search(rf"`{name}\b", page) for page in PAGES.values())


def test_the_targets_of_make_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", README, re.MULTILINE))
    assert {"compare", "test"} <= named <= targets


@pytest.mark.parametrize("name", PAGES)
def test_the_links_lead_to_files(name: str) -> None:
    folder = (ROOT / name).parent
    links = [
        link.partition("#")[0]
        for link in re.findall(r"\]\(([^)]+)\)", PAGES[name])
        if "://" not in link and link[0] != "#"
    ]
    assert [link for link in links if not (folder / link).is_file()] == []


def test_every_page_is_linked_from_the_readme() -> None:
    linked = set(re.findall(r"\]\(([^)#]+)\)", README))
    assert set(PAGES) - {"README.md"} <= linked
