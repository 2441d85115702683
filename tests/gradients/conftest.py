from pathlib import Path

import pytest

from tests.conformance.ordering import order_by_variant


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order_by_variant(items, Path(__file__).parent)
