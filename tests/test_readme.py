"""The README and the pages: examples run, what is named exists, the table is that of variants."""

import re

import pytest

import softmax_variants as sv
from experiments import cli
from tests.pages import PAGES, ROOT, programs, run
from tests.test_public_api import public_names

README, BLOCKS = PAGES["README.md"], programs("README.md")
# Each has a test of its own, which looks at what was trained.
TESTED = {"README.md", "docs/equinox.md", "docs/flax.md", "docs/large_tables.md"}


def titled(block: str) -> str:
    if "attention" in block:
        return "attention"
    if "flax" in block:
        return "linen" if "linen" in block else "nnx"
    return "heads" if "heads" in block else "plain"


def test_the_table_is_the_generated_one(capsys: pytest.CaptureFixture[str]) -> None:
    _, begin, rest = README.partition("<!-- variants: begin -->\n")
    table, end, _ = rest.partition("<!-- variants: end -->\n")
    assert begin
    assert end
    assert cli.main(["list", "--markdown"]) == 0
    assert table.strip() == capsys.readouterr().out.strip()


def test_there_is_an_example_of_each_kind() -> None:
    assert sorted(map(titled, BLOCKS)) == ["attention", "heads", "linen", "nnx", "plain"]


@pytest.mark.parametrize("block", BLOCKS, ids=titled)
def test_the_example_runs(block: str) -> None:
    if "flax" in block:
        pytest.importorskip("flax", reason="the example is a Flax model")
    run("README.md", block)


def test_no_program_is_left_untested() -> None:
    assert {page for page in PAGES if programs(page)} == TESTED


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
