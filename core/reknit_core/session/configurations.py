"""Placeholder."""

from reknit_core.lifecycle import State
from reknit_core.session.phase import Phase


def check(state: State, client: Phase, server: Phase, *, recovers: bool) -> None:
    """Assert it."""
