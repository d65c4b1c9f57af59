"""Where a client's queue may be cut within something that spans messages, and what came before.

A protocol that is a stream of bytes may say one thing in several messages: MQTT.js writes each
packet in four or five. A server that hears the queue on from within one must first be told the
half that only the lost one has heard.
"""

from reknit_core.dialect.speech import Message

MAX_CUTS = 4096  # messages that end within something, and may yet be sent again
MAX_KEPT = 256 * 1024  # bytes of halves: each holds what the one before it does

_UNKNOWN = Message(b"", False)


class Halves:
    """By the ends of messages.

    When there are too many, the next ones are not known: a server is told the queue from its
    beginning, so that those are the last to be asked for.
    """

    __slots__ = ("_halves", "_unknown", "size")

    def __init__(self) -> None:
        self._halves: dict[int, Message] = {}
        self.size = 0  # bytes
        self._unknown: tuple[int, int] | None = None  # the first and the last end that is not known

    def add(self, end: int, half: Message) -> None:
        """A message that ends at `end` ends within something; an empty half is not known."""
        is_too_much = self.size + len(half.data) > MAX_KEPT or len(self._halves) >= MAX_CUTS
        if is_too_much or not half.data:
            self._unknown = (end if self._unknown is None else self._unknown[0], end)
            return
        self._halves[end] = half
        self.size += len(half.data)

    def at(self, position: int) -> Message | None:
        """What a server that hears on from there must hear first; None: nothing is cut there.

        An empty one: what is cut there is not known.
        """
        if self._unknown is not None and self._unknown[0] <= position <= self._unknown[1]:
            return _UNKNOWN
        return self._halves.get(position)

    def forget(self, position: int) -> None:
        """No server hears on from before `position`."""
        if self._unknown is not None and self._unknown[1] < position:
            self._unknown = None
        while self._halves:
            end = next(iter(self._halves))
            if end >= position:
                return
            self.size -= len(self._halves.pop(end).data)

    def freeze(self) -> list[list[object]]:
        """All of them as data; the ends that are not known are the last."""
        rows: list[list[object]] = [[end, *half] for end, half in self._halves.items()]
        return rows + [[end, *_UNKNOWN] for end in self._unknown or ()]

    def thaw(self, rows: list[list[object]]) -> None:
        """Take in what freeze() gave."""
        for end, data, is_text in rows:
            self.add(end, Message(data, is_text))  # type: ignore[arg-type]
