"""Hypothesis: the same examples in every run, and no limit on the time of one. What is fast."""

from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("reknit", derandomize=True, deadline=None)
settings.load_profile("reknit")

HERE = Path(__file__).parent
FAST = ("core", "verify", "adapters/memory", "adapters/settings")
"""Folders whose tests wait for nothing. Those of them that compute for long are marked `long`."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    folders = [HERE / name for name in FAST]
    for item in items:
        is_fast = any(folder in item.path.parents for folder in folders)
        if is_fast and item.get_closest_marker("long") is None:
            item.add_marker("fast")
