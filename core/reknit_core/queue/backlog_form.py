"""A backlog as data."""

from reknit_core.form import Form
from reknit_core.queue.stream import Mark


class FrozenBacklog(Form):
    """One direction's queue: see Backlog."""

    chunks: list[bytes]
    base: int
    cursor: int
    offset: int
    handed: int
    received: int
    marks: list[Mark]
    confirmed: int
    confirmed_count: int
    sent: int
    tail: int
    count: int
    dropped: int
