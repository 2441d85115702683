"""What `list` prints: the experiments that there are, and who takes part in one of them."""

import ast
from collections.abc import Iterable, Sequence
from pathlib import Path

from experiments.config_files import load_config
from experiments.engine.config import EngineConfig

CONFIGS = Path("configs")


def experiments(folder: Path = CONFIGS) -> str:
    """Returns one line for each config file: what it is, in the first line of its docstring."""
    rows = []
    for path in sorted(folder.glob("*.py")):
        about = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        rows.append((str(path), load_config(path).experiment, about.partition("\n")[0]))
    return _columns(rows)


def contenders(config: EngineConfig) -> str:
    """Returns one line for each contender of a config."""
    return _columns((v.name, v.group, v.about) for v in config.chosen_variants())


def _columns(rows: Iterable[Sequence[str]]) -> str:
    table = list(rows)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    ]
    return "\n".join(lines)
