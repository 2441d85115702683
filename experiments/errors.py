"""The errors that a user can mend: the command line prints them on one line and exits with 2."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A wrong flag, config or run directory; its message is one line saying how to go on."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Returns `; did you mean 'x'?`, or an empty string where nothing known is close to `word`."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""
