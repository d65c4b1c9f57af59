"""Conversations in protocols that are a stream of bytes: what all of them do alike."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Generic, Protocol

from reknit_core.dialect.byte_stream import MalformedError, StreamReader, Unit
from reknit_core.dialect.speech import NOTHING, Beat, Heard, Message, State, Statement
from reknit_core.side import Side

PASSES = Heard()
"""A unit that the dialect has no interest in: most are."""


class _Readers(Protocol[Unit]):
    def __call__(self, *, holds_back: bool) -> StreamReader[Unit]: ...


class StreamConversation(Generic[Unit]):
    """Reads both directions. `reader` makes what cuts one of them.

    What is malformed can't be followed any more: nothing is made of what comes behind it.
    """

    __slots__ = ("_client", "_is_lost", "_reader", "_server")

    def __init__(self, reader: "_Readers[Unit]") -> None:
        self._reader = reader
        self._client = reader(holds_back=False)
        self._server = reader(holds_back=True)
        self._is_lost = False

    @abstractmethod
    def _from_client(self, each: Unit) -> Heard:
        """What a client's unit means. Raises MalformedError."""

    @abstractmethod
    def _from_server(self, each: Unit) -> Heard:
        """What a server's unit means. Raises MalformedError."""

    @abstractmethod
    def _idle(self, side: Side, data: bytes) -> Message | None:
        """The answer to these bytes, if a side that is away would only give that."""

    def hear(self, side: Side, message: Message, *, away: bool = False) -> tuple[Heard, ...]:
        """What the units in a message mean."""
        reader = self._client if side is Side.CLIENT else self._server
        if self._is_lost:
            return self._let_go(message.data) if reader.held_back else NOTHING
        if away and not reader.is_inside:
            reply = self._idle(side, message.data)
            if reply is not None:
                return (Heard(reply=reply),)
        is_inside = reader.is_inside
        held_back = reader.held_back
        read: Callable[[Unit], Heard] = (
            self._from_client if side is Side.CLIENT else self._from_server
        )
        try:
            only = reader.only(message.data)  # mostly so
            if only is not None:
                meaning = read(only)
                self._is_lost = meaning.lost
                return NOTHING if meaning is PASSES else (meaning._replace(part=message.data),)
            parts = [
                (data, PASSES if unit is None else read(unit))
                for data, unit in reader.read(message.data)
            ]
        except MalformedError:
            self._is_lost = True
            return (Heard(lost=True, part=held_back + message.data),)
        if not (is_inside or reader.is_inside):
            for _, meaning in parts:
                if meaning is not PASSES:
                    break
            else:  # whole units, and none of interest
                return NOTHING
        heard = [meaning._replace(part=data) for data, meaning in parts]
        if reader.has_passed_half:
            heard.append(Heard(is_cut=True, half=reader.half, part=b""))
        self._is_lost = any(part.lost for part in heard)
        if self._is_lost and reader.held_back:
            heard += self._let_go(b"")
        return tuple(heard)

    def _let_go(self, data: bytes) -> tuple[Heard, ...]:
        """What was held back goes on, with these bytes behind it."""
        held_back = self._server.held_back
        self._server = self._reader(holds_back=True)
        return (Heard(part=held_back + data),)

    def again(self, statement: Statement) -> Message | None:
        """The same once more."""
        return statement.said

    def beat(self, side: Side) -> Beat | None:
        """Neither side sends any by itself."""
        return None

    def fails(self, statement: Statement) -> Message | None:
        """Nothing tells the client."""
        return None

    def begins_again(self) -> None:
        """What the lost server was saying is void."""
        self._server = self._reader(holds_back=True)

    def freeze(self) -> State:
        """What is half read."""
        return {
            "is_lost": self._is_lost,
            "client": self._client.freeze(),
            "server": self._server.freeze(),
        }

    def thaw(self, state: State) -> None:
        """Become what freeze() gave."""
        each: dict[str, Any] = dict(state)
        self._is_lost = each["is_lost"]
        self._client.thaw(each["client"])
        self._server.thaw(each["server"])
