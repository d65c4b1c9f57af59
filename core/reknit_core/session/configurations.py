"""Placeholder."""

from reknit_core.leg.phase import Phase
from reknit_core.lifecycle import State


def check(state: State, client: Phase, server: Phase, *, recovers: bool) -> None:
    """Assert it."""
