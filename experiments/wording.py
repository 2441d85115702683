"""Sentences on figures: nothing is said that an interval does not carry."""

from collections.abc import Mapping, Sequence
from typing import Any


def verdicts(differences: Mapping[str, Mapping[str, Any]]) -> str:
    """Says which contenders differ from the reference, and for how many nothing is shown."""
    better, worse = (
        [name for name, difference in differences.items() if difference["verdict"] == word]
        for word in ("better", "worse")
    )
    rest = len(differences) - len(better) - len(worse)
    parts = [f"{listed(better)} better" if better else "none is better"]
    parts.append(f"{listed(worse)} worse" if worse else "none is worse")
    parts += [f"for {rest} of {len(differences)} no difference is shown"] if rest else []
    return "; ".join(parts)


def listed(names: Sequence[str], limit: int = 10) -> str:
    """Returns the names and their verb: `a`, `b` are."""
    return f"{named(names, limit)} {'is' if len(names) == 1 else 'are'}"


def named(names: Sequence[str], limit: int = 10) -> str:
    """Returns the names between backquotes, and how many more there are."""
    shown = ", ".join(f"`{name}`" for name in names[:limit])
    return shown + (f" and {len(names) - limit} more" if len(names) > limit else "")


def interval(figures: Mapping[str, Any], factor: float = 1.0, digits: int = 3) -> str:
    """Returns an estimate and half the width of its interval, if it has one."""
    estimate = f"{factor * figures['estimate']:.{digits}f}"
    if figures["lower"] is None or figures["upper"] is None:
        return estimate
    return f"{estimate} ± {factor * (figures['upper'] - figures['lower']) / 2:.{digits}f}"
