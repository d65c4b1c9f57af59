"""The bytes that wait in all sessions together."""

SHARE = 64 * 1024  # bytes that each direction of a session may hold whatever the others do


class Budget:
    """Counts the bytes in every backlog that shares it; `limit` in bytes.

    Over the limit each direction of a session keeps a small share, so that one peer that doesn't
    read can't hold up the sessions of others.
    """

    __slots__ = ("limit", "used")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
