"""What only Linux has: a test that comes upon it elsewhere is skipped, and says why."""

import sys

import pytest


def only_on_linux(what: str) -> None:
    """Skip the rest of this test anywhere else."""
    if sys.platform != "linux":
        pytest.skip(f"needs Linux: {what}")
