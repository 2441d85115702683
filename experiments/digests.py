"""Digests: of the files in a directory, to find damage, and of arrays, to tell runs apart."""

import hashlib
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

DIGESTS = "digests.json"


def write_digests(directory: Path) -> None:
    """Writes the digest of every file below a directory into it."""
    found = {str(file.relative_to(directory)): _digest(file) for file in _files(directory)}
    (directory / DIGESTS).write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def find_damage(directory: Path) -> str:
    """Returns what is no longer as it was when the digests were written; nothing without them."""
    if not (directory / DIGESTS).exists():
        return ""
    try:
        expected = json.loads((directory / DIGESTS).read_text(encoding="utf-8"))
    except ValueError as error:
        return f"{DIGESTS}: {error}"
    for name, digest in expected.items():
        file = directory / name
        if not file.is_file():
            return f"{name} is gone"
        if _digest(file) != digest:
            return f"{name} is not as it was written"
    return ""


def _files(directory: Path) -> list[Path]:
    return sorted(file for file in directory.rglob("*") if file.is_file() and file.name != DIGESTS)


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "blake2b").hexdigest()[:32]


def digest_of_arrays(tree: Any) -> str:
    """Returns a digest of the names and the bits of all arrays of a pytree."""
    whole = hashlib.sha256()
    for path, leaf in jax.tree.leaves_with_path(tree):
        array = np.ascontiguousarray(leaf)
        whole.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
        whole.update(array.tobytes())
    return whole.hexdigest()
