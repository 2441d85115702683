"""The errors that the command line prints on one line, in place of a trace."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """What a user can mend (a flag, a config, a full disk), and how, in one line; exit code 2."""


class RunFailed(RuntimeError):
    """A run that cannot go on, however often its command is repeated, in one line; exit code 1."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Returns `; did you mean 'x'?`, or an empty string where nothing known is close to `word`."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""
