"""The shape of the house: imports point one way, modules stay small, importing stays light."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "softmax_variants"
MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 60

# Each layer of the package sees itself and the layers named here, and nothing else of the package.
_SOLVERS = {"_powers", "_selection", "_steep", "_summed", "_threshold"}
_BASE = {"_typing", "_validation", "_sharding", "_numerics", "_pytrees", "kernels"} | _SOLVERS
LAYERS: dict[str, set[str]] = {
    "_typing": set(),
    "_validation": {"_typing"},
    "_sharding": {"_typing"},
    "_numerics": {"_typing", "_validation", "_sharding"},
    "_pytrees": set(),
    # What the threshold solvers are made of.
    "_powers": {"_typing"},
    "_selection": {"_typing"},
    "_threshold": {"_typing", "_validation", "_sharding", "_numerics", "_powers"},
    "_steep": {"_typing", "_numerics", "_threshold"},
    "_summed": {"_typing", "_threshold"},
    "kernels": {"_typing", "_validation", "_numerics"} | _SOLVERS,
    "maps": _BASE,
    "losses": _BASE | {"maps"},
    "heads": _BASE | {"maps", "losses"},
    "attention": _BASE | {"maps"},
    "rows": {"_typing", "_validation", "_numerics", "heads"},
    "variants": _BASE | {"maps", "losses", "heads"},
    # What the two sets of layers for Flax share.
    "_modules": _BASE | {"maps", "attention", "heads", "variants"},
}
# These see everything, and nobody sees them: the package never needs what they need.
OPTIONAL = {"nnx", "linen", "testing"}
EVERYTHING = set(LAYERS) | OPTIONAL
# The flat public API gathers every layer except the optional ones.
ALLOWED = LAYERS | dict.fromkeys(OPTIONAL, EVERYTHING) | {"__init__": set(LAYERS)}

# Loaded only where they are used, so that `import softmax_variants` costs what `import jax` costs.
HEAVY = (
    *("optax", "chex", "flax", "equinox", "orbax"),
    *("matplotlib", "sklearn", "tyro", "rich", "pandas"),
)


def package_files() -> list[Path]:
    return sorted((ROOT / PACKAGE).rglob("*.py"))


def layer_of(module: str) -> str:
    """The layer of a dotted module inside the package: its first part below the package."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_modules(path: Path) -> Iterator[tuple[int, str]]:
    """Line and absolute dotted name of all that a file imports, inside functions too."""
    is_package = path.name == "__init__.py"
    anchor = module_of(path).split(".")
    for node in ast.walk(ast.parse(path.read_text(), filename=str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                drop = node.level - 1 if is_package else node.level
                base = ".".join([*anchor[: len(anchor) - drop], *([base] if base else [])])
            # `from package import x` may name the submodule x or something inside the package.
            for alias in node.names:
                yield node.lineno, f"{base}.{alias.name}"


def forbidden_imports(path: Path) -> Iterator[str]:
    """The imports of one file of the package that point the wrong way."""
    here = layer_of(module_of(path))
    allowed = ALLOWED.get(here)
    if allowed is None:
        yield f"{path.relative_to(ROOT)}: no layer is named {here!r}; add it to LAYERS"
        return
    for line, name in imported_modules(path):
        top = name.split(".")[0]
        if top in ("experiments", "configs", "tests"):
            yield f"{path.relative_to(ROOT)}:{line} imports {name}"
        if top != PACKAGE:
            continue
        there = layer_of(name)
        if here == "maps" and there == "kernels" and ".kernels._dispatch" not in name:
            yield f"{path.relative_to(ROOT)}:{line} imports {name}: maps see kernels._dispatch only"
        if here in OPTIONAL or there in allowed or there == here:
            continue
        yield f"{path.relative_to(ROOT)}:{line} imports {name}: {here} does not see {there}"


def test_imports_point_one_way() -> None:
    files = package_files()
    assert files, "the package has no files: is the root right?"
    assert [message for path in files for message in forbidden_imports(path)] == []


def test_experiments_never_import_configs_by_name() -> None:
    """`configs -> experiments -> softmax_variants`, and never back."""
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in sorted((ROOT / "experiments").rglob("*.py"))
        for line, name in imported_modules(path)
        if name.split(".")[0] in ("configs", "tests")
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("maps/_x.py", "from softmax_variants.losses._y import z"),
        ("maps/_x.py", "from ..losses import z"),
        ("maps/_x.py", "def f():\n    from softmax_variants import heads"),
        ("maps/_x.py", "from softmax_variants.kernels.sparsemax import op"),
        ("maps/_x.py", "import softmax_variants as sv"),
        ("_numerics.py", "from softmax_variants._threshold import tau"),
        ("losses/_x.py", "import softmax_variants.nnx"),
        ("attention.py", "from softmax_variants.heads import _tree"),
        ("__init__.py", "from softmax_variants.linen import Softmax"),
        ("_typing.py", "import experiments.config"),
        ("helpers.py", "import jax"),
    ],
)
def test_the_layering_test_sees_a_wrong_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, source: str
) -> None:
    path = tmp_path / PACKAGE / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    assert len(list(forbidden_imports(path))) == 1


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("maps/_x.py", "from softmax_variants.maps._y import z"),
        ("maps/_x.py", "from ._y import z\nfrom .. import _numerics\nfrom .._typing import Real"),
        ("maps/_x.py", "from softmax_variants.kernels import _dispatch"),
        ("losses/_x.py", "from softmax_variants import maps"),
        ("testing.py", "import chex\nimport softmax_variants as sv"),
    ],
)
def test_the_layering_test_lets_a_right_import_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, source: str
) -> None:
    path = tmp_path / PACKAGE / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    assert list(forbidden_imports(path)) == []


def test_importing_the_package_loads_jax_and_nothing_else_heavy() -> None:
    code = f"import sys, {PACKAGE}; print(*[m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.split() == []


def python_files() -> list[Path]:
    folders = (PACKAGE, "experiments", "configs", "tests")
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def test_modules_and_functions_stay_small() -> None:
    too_long = []
    for path in python_files():
        source = path.read_text()
        name = path.relative_to(ROOT)
        lines = source.count("\n")
        if lines > MAX_MODULE_LINES:
            too_long.append(f"{name}: {lines} lines; it has two ideas in it")
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef):
                length = code_lines(node)
                if length > MAX_FUNCTION_LINES:
                    too_long.append(f"{name}:{node.lineno} {node.name}: {length} lines")
    assert too_long == []


def code_lines(node: ast.FunctionDef) -> int:
    """Lines of a function without its docstring: a long contract is no fault."""
    assert node.end_lineno is not None
    first = node.body[0]
    docstring = 0
    if ast.get_docstring(node) is not None:
        assert first.end_lineno is not None
        docstring = first.end_lineno - first.lineno + 1
    return node.end_lineno - node.lineno + 1 - docstring


# Spelled in halves, so that this file passes its own test.
UNFINISHED = re.compile(
    r"\b(TO" + r"DO|FIX" + r"ME|X" + r"XX|st" + r"ub(bed)?|place" + r"holder|simpl" + r"ified)\b",
    re.IGNORECASE,
)
MACHINE_PATH = re.compile(r"(?<![\w.~-])/(work|opt|root|home|Users|private|mnt)" + r"/\w")


def tracked_text() -> Iterator[tuple[str, str]]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        if path.is_file():  # a file that is deleted but not yet committed is still listed
            try:
                yield name, path.read_text()
            except UnicodeDecodeError:
                continue  # a picture


@pytest.mark.parametrize("pattern", [UNFINISHED, MACHINE_PATH], ids=["unfinished", "machine-path"])
def test_tracked_files_are_finished_and_of_no_one_machine(pattern: re.Pattern[str]) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: a source archive has no list of tracked files")
    found = [
        f"{name}:{number}: {line.strip()[:80]}"
        for name, text in tracked_text()
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]
    assert found == []


def test_the_patterns_find_what_they_are_for() -> None:
    assert UNFINISHED.search("# to" + "do: later")
    assert not UNFINISHED.search("todos and stubborn simplification")
    assert MACHINE_PATH.search("open('/ho" + "me/someone/x')")
    assert not MACHINE_PATH.search("https://example.org/a/home/page tests/lib/x")
