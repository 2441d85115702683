"""The text files of an experiment: those that are named, or the standard library's sources."""

import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path

from experiments.errors import UserError

_SUFFIXES = (".py", ".rst", ".txt")
_NOT_OF_THE_LIBRARY = {"site-packages", "dist-packages", "__pycache__"}


def text_files(paths: Sequence[str]) -> list[Path]:
    """Returns the files of a corpus in an order that depends on their names alone."""
    if not paths:
        root = Path(sysconfig.get_paths()["stdlib"])
        files = sorted(root.rglob("*.py"), key=lambda path: path.relative_to(root).parts)
        inside = [f for f in files if not _NOT_OF_THE_LIBRARY & {*f.relative_to(root).parts}]
        if not inside:
            raise UserError(f"the standard library has no Python files in {root}; give --data-path")
        return inside
    files = []
    for name in paths:
        path = Path(name)
        if path.is_dir():
            found = sorted(p for p in path.rglob("*") if p.suffix in _SUFFIXES and p.is_file())
            if not found:
                raise UserError(f"data_path: {name!r} has no files that end in .py, .rst or .txt")
            files += found
        elif path.is_file():
            files.append(path)
        else:
            raise UserError(
                f"data_path: no file or folder {name!r}; give a text file or a folder with "
                "--data.path, or leave it out to read the standard library's sources"
            )
    return files


def texts(files: Sequence[Path]) -> Iterator[str]:
    """Yields the text of each file."""
    for file in files:
        try:
            # A few files of the standard library test encodings, and are not UTF-8.
            yield file.read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            raise UserError(f"data_path: {str(file)!r} cannot be read: {error.strerror}") from error


def source_of(paths: Sequence[str], files: Sequence[Path]) -> str:
    """Says in words where a text is from."""
    files_word = "file" if len(files) == 1 else "files"
    named = ", ".join(paths) or "the standard library of Python"
    return f"{named} ({len(files):,} {files_word})"
