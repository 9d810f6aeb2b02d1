"""Keeps plain runs short: of the many samples of one test they take the first alone."""

from __future__ import annotations

import pytest


@pytest.hookimpl(tryfirst=True)  # before pytest chooses by marker
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    seen = set()
    for item in items:
        if item.get_closest_marker("samples") is None:
            continue
        function = item.nodeid.partition("[")[0]
        if function in seen:
            item.add_marker("lesson")
        seen.add(function)
