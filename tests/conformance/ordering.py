"""Brings the tests of one variant together: a worker then compiles a map once for all of them."""

from pathlib import Path

import pytest


def _variant(item: pytest.Item) -> str:
    call = getattr(item, "callspec", None)
    variant = call.params.get("variant") if call is not None else None
    return getattr(variant, "name", "")


def order_by_variant(items: list[pytest.Item], folder: Path) -> None:
    """Reorders the tests below `folder` among themselves."""
    places = [place for place, item in enumerate(items) if item.path.is_relative_to(folder)]
    ordered = sorted((items[place] for place in places), key=_variant)
    for place, item in zip(places, ordered, strict=True):
        items[place] = item
