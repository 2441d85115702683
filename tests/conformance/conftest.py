"""Orders the suite by variant, so that a worker compiles a map once for all of its tests."""

from pathlib import Path

import pytest

HERE = Path(__file__).parent


def _variant(item: pytest.Item) -> str:
    call = getattr(item, "callspec", None)
    variant = call.params.get("variant") if call is not None else None
    return getattr(variant, "name", "")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = [place for place, item in enumerate(items) if item.path.is_relative_to(HERE)]
    ordered = sorted((items[place] for place in places), key=_variant)
    for place, item in zip(places, ordered, strict=True):
        items[place] = item
