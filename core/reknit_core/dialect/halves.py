"""Where a client's queue may be cut within something that spans messages, and what came before.

A protocol that is a stream of bytes may say one thing in several messages. A server that hears
the queue on from within it must first be told the half that only the lost one has heard.
"""

from reknit_core.dialect.speech import Message

MAX_CUTS = 1024  # messages that end within something, and may yet be sent again
MAX_KEPT = 256 * 1024  # bytes of halves: each holds what the one before it does


class Halves:
    """By the ends of messages; an empty one is not known."""

    __slots__ = ("_halves", "_size")

    def __init__(self) -> None:
        self._halves: dict[int, Message] = {}
        self._size = 0

    def add(self, end: int, half: Message) -> bool:
        """A message that ends at `end` ends within something; False: there are too many such."""
        if self._size + len(half.data) > MAX_KEPT:
            half = half._replace(data=b"")
        self._halves[end] = half
        self._size += len(half.data)
        if len(self._halves) <= MAX_CUTS:
            return True
        self.forget(next(iter(self._halves)) + 1)
        return False

    def at(self, position: int) -> Message | None:
        """What a server that hears on from there must hear first; None: nothing is cut there."""
        return self._halves.get(position)

    def forget(self, position: int) -> None:
        """No server hears on from before `position`."""
        for end in [*self._halves]:
            if end >= position:
                return
            self._size -= len(self._halves.pop(end).data)

    def freeze(self) -> list[list[object]]:
        """All of them as data."""
        return [[end, *half] for end, half in self._halves.items()]

    def thaw(self, rows: list[list[object]]) -> None:
        """Take in what freeze() gave."""
        for end, data, is_text in rows:
            self.add(end, Message(data, is_text))  # type: ignore[arg-type]
