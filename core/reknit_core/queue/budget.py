"""The bytes that wait in all sessions together."""

SHARE = 64 * 1024  # bytes that each direction of a session may hold whatever the others do
MUCH = 16 * 2**20  # bytes: giving that back stops the proxy for some 2 ms


class Budget:
    """Counts the bytes in every backlog that shares it; `limit` in bytes.

    Over the limit each direction of a session keeps a small share, so that one peer that doesn't
    read can't hold up the sessions of others.
    """

    __slots__ = ("_freed", "limit", "used")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self._freed = 0  # bytes of sessions that have ended, since it was said that they are many

    def free(self, size: int) -> None:
        """A session has ended that held so many bytes."""
        self.used -= size
        self._freed += size

    def has_freed_much(self) -> bool:
        """Whether sessions that have ended have freed as much as is worth giving back.

        Said once: then it is counted anew.
        """
        if self._freed < MUCH:
            return False
        self._freed = 0
        return True
