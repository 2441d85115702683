"""The errors that the command line prints on one line, in place of a trace."""

import difflib
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


class UserError(ValueError):
    """What a user can mend (a flag, a config, a full disk), and how, in one line; exit code 2."""


class RunFailed(RuntimeError):
    """A run that cannot go on, however often its command is repeated, in one line; exit code 1."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Returns `; did you mean 'x'?`, or an empty string where nothing known is close to `word`."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turns what the disk refuses to do with a path into a UserError; other errors pass."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        number = _number(error)
        if number is None:
            raise
        raise UserError(
            f"{path} cannot be written: {os.strerror(number)}; what was written before is whole: "
            "repeat the command when this is mended"
        ) from error


def _number(error: Exception) -> int | None:
    """Returns the number of the system's error; tensorstore has it in its text alone."""
    if isinstance(error, OSError):
        return error.errno
    found = re.search(r"os_error_code='(\d+)'", str(error))
    return int(found.group(1)) if found else None
