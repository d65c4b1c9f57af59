"""NATS client protocol in a stream of bytes: lines, some with a payload, cut out of messages."""

from typing import NamedTuple

from reknit_core.dialect.byte_stream import MAX_UNIT, Cut, MalformedError, StreamReader

_WITH_PAYLOAD = frozenset(("PUB", "HPUB", "MSG", "HMSG"))
_MAX_DIGITS = 10


class Line(NamedTuple):
    """A line: its operation in capitals, and what follows that. Payloads are passed over."""

    operation: str
    rest: bytes

    @property
    def words(self) -> list[str]:
        """The arguments."""
        return [word.decode("latin-1") for word in self.rest.split()]


class LineReader(StreamReader[Line]):
    """Cuts lines out of one direction's bytes."""

    __slots__ = ()

    def cut(self, data: bytes, pos: int) -> Cut[Line]:
        """The line that begins there, with its payload."""
        stop = data.find(b"\n", pos)
        if (len(data) if stop < 0 else stop) - pos >= MAX_UNIT:
            raise MalformedError
        if stop < 0:
            return Cut(None, None)
        operation, _, rest = data[pos:stop].strip().partition(b" ")
        line = Line(operation.decode("latin-1").upper(), rest.strip())
        end = stop + 1
        if line.operation in _WITH_PAYLOAD:
            size = rest.rpartition(b" ")[2]
            if not size.isdigit() or len(size) > _MAX_DIGITS:
                raise MalformedError
            end += int(size) + 2
        return Cut(end, line)
