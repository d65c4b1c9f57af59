"""Which dialect a session speaks: what was asked for, or what its handshake shows."""

from typing import Protocol

from reknit_core.dialect.registry import Registry
from reknit_core.dialect.ruled.rules_file import DialectError
from reknit_core.dialect.speech import Dialect, Offer

AUTO = "auto"
NONE = "none"


class Dialects(Protocol):
    """What a session asks about dialects."""

    def choose(self, offer: Offer) -> Dialect | None:
        """The dialect of a session that opened so; None: nothing is known of its messages."""

    def named(self, name: str) -> Dialect | None:
        """That dialect, for a session which another process has chosen it for."""


class Choice:
    """`dialect`: AUTO, NONE, or the name of one in the registry. Raises DialectError."""

    __slots__ = ("_always", "_is_auto", "_registry")

    def __init__(self, registry: Registry, dialect: str) -> None:
        self._registry = registry
        self._is_auto = dialect == AUTO
        self._always = None if dialect in (AUTO, NONE) else registry.find(dialect)

    def choose(self, offer: Offer) -> Dialect | None:
        """As Dialects says."""
        return self._registry.choose(offer) if self._is_auto else self._always

    def named(self, name: str) -> Dialect | None:
        """As Dialects says."""
        try:
            return self._registry.find(name)
        except DialectError:
            return None


class _Nothing:
    """Nothing is known of any session's messages."""

    def choose(self, offer: Offer) -> Dialect | None:
        return None

    def named(self, name: str) -> Dialect | None:
        return None


NO_DIALECTS: Dialects = _Nothing()
