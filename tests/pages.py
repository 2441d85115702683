"""The README and the pages of the documentation, and how their programs are run."""

import re
from pathlib import Path
from typing import Any

import jax

ROOT = Path(__file__).parents[1]
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
}


def programs(page: str) -> list[str]:
    """The Python programs of a page, in order."""
    return re.findall(r"^```python\n(.*?)^```$", PAGES[page], re.MULTILINE | re.DOTALL)


def run(page: str, program: str) -> dict[str, Any]:
    """What a program leaves behind, run with jax as it comes and not with strict promotion."""
    names: dict[str, Any] = {"__name__": "page"}
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        exec(compile(program, page, "exec"), names)
    return names
