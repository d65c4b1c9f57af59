"""Which dialect a session speaks: what was asked for, or what its handshake shows."""

from typing import Protocol

from reknit_core.dialect.registry import AUTO, NONE, Registry
from reknit_core.dialect.ruled.mistakes import DialectError
from reknit_core.dialect.speech import Dialect, Offer


class Dialects(Protocol):
    """What a session asks about dialects."""

    def choose(self, offer: Offer) -> Dialect | None:
        """The dialect of a session that opened so; None: nothing is known of its messages."""

    def named(self, name: str) -> Dialect | None:
        """That dialect, for a session which another process has chosen it for."""


class Choice:
    """`dialect`: AUTO, NONE, or the name of one in the registry, which all sessions speak.

    Or several names with commas, AUTO may be among them: the first one that a handshake shows.
    Raises DialectError.
    """

    __slots__ = ("_always", "_is_auto", "_registry", "_several")

    def __init__(self, registry: Registry, dialect: str) -> None:
        names = [name.strip() for name in dialect.split(",")]
        self._registry = registry
        self._is_auto = AUTO in names
        self._several: list[Dialect] = []
        self._always: Dialect | None = None
        if len(names) > 1:
            self._several = [_by_handshake(registry, name) for name in names if name != AUTO]
        elif dialect not in (AUTO, NONE):
            self._always = registry.find(dialect)

    def choose(self, offer: Offer) -> Dialect | None:
        """As Dialects says."""
        if self._several:
            shown = (dialect for dialect in self._several if dialect.speaks(offer))
            found = next(shown, None)
            if found is not None:
                return found
        return self._registry.choose(offer) if self._is_auto else self._always

    def named(self, name: str) -> Dialect | None:
        """As Dialects says."""
        try:
            return self._registry.find(name)
        except DialectError:
            return None


def _by_handshake(registry: Registry, name: str) -> Dialect:
    """One that can stand beside others. Raises DialectError."""
    if name == NONE:
        raise DialectError(f"{NONE} can't stand beside others; allowed: {NONE} alone")
    dialect = registry.find(name)
    if not dialect.chosen_by:
        raise DialectError(
            f"dialect '{name}' can't stand beside others, as no handshake shows it; allowed: "
            "alone, or with subprotocols or a target in its file"
        )
    return dialect


class _Nothing:
    """Nothing is known of any session's messages."""

    def choose(self, offer: Offer) -> Dialect | None:
        return None

    def named(self, name: str) -> Dialect | None:
        return None


NO_DIALECTS: Dialects = _Nothing()
