"""What computes a model or a task never asks what it runs on."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
FILES = ("model.py", "layers.py", "task.py", "estimators.py", "heads.py", "policies.py")
# Also as a part of a name, as in `is_gpu` or `platform_dependent`, but not within `outputs`.
PLATFORM = re.compile(
    r"(?<![a-z])(?:[ctg]pus?|cuda|rocm|default_?backend|platforms?)(?![a-z])", re.IGNORECASE
)


def code_words(source: str) -> Iterator[str]:
    """All names and texts of a module; what docstrings and comments say is not what it does."""
    tree = ast.parse(source)
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented)
        and ast.get_docstring(node) is not None
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and id(node) in docstrings:
            continue
        for _, value in ast.iter_fields(node):
            yield from (text for text in _listed(value) if isinstance(text, str))


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


def named_platforms(source: str) -> list[str]:
    return [text for text in code_words(source) if PLATFORM.search(text)]


def test_models_and_tasks_name_no_platform() -> None:
    files = sorted(path for name in FILES for path in EXPERIMENTS.glob(f"*/{name}"))
    assert {path.name for path in files} == set(FILES)
    # Each of the experiments has a task, and so has the engine.
    assert len([path for path in files if path.name == "task.py"]) >= 6
    found = {
        str(path.relative_to(EXPERIMENTS)): named_platforms(path.read_text()) for path in files
    }
    assert {name: texts for name, texts in found.items() if texts} == {}


@pytest.mark.parametrize(
    "source",
    [
        "devices = jax.devices('gpu')",
        "if jax.default_backend() == there: pass",
        "from jax import default_backend as backend",
        "import jax_cuda",
        "on = jax.devices()[0].platform",
        "value = jax.lax.platform_dependent(x, **branches)",
        "def f(x, is_tpu=False): return x",
        "solve(x, cpu=one)",
        "text = f'{x} on CPUs'",
        "match where:\n    case 'tpu':\n        pass",
    ],
)
def test_the_test_sees_a_platform(source: str) -> None:
    assert len(named_platforms(source)) == 1


def test_the_test_lets_docstrings_comments_and_other_words_pass() -> None:
    source = (
        """'''Slow on a CPU.'''\ndef f(outputs):\n    'Not on a GPU.'\n    return outputs  # tpu"""
    )
    assert named_platforms(source) == []
