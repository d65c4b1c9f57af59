"""NATS: connected and subscribed again (docs.nats.io, "Client protocol").

CONNECT and each SUB are repeated, and so is a PING that has no PONG: the first one after CONNECT
is awaited, since by its PONG a server says that it has accepted the client. A subscription with a
limit (UNSUB with a number) gets what is left of it. A PUB is not acknowledged, and not repeated.
With `verbose`, or where the client has signed a server's nonce, nothing can be repeated: then a
server's loss ends the session, and the client connects anew.
"""

from collections import deque
from typing import Any

import msgspec

from reknit_core.dialect.conversation import PASSES, StreamConversation
from reknit_core.dialect.protocols.nats_lines import Line, LineReader
from reknit_core.dialect.speech import Heard, Key, Message, Offer, State, Statement, taken_up
from reknit_core.dialect.statements import MAX_NAME
from reknit_core.side import Side

_CONNECT: Key = ("connect",)
_HELLO: Key = ("hello",)  # the first PING after CONNECT
_PING = b"PING\r\n"
_PONG = Message(b"PONG\r\n", False)
_MAX_PINGS = 1024  # without a PONG
_MAX_SUBSCRIPTIONS = 16384
_NOT_ACCEPTED = (b"authori", b"authent", b"maximum connections", b"account")


class Nats:
    """The dialect."""

    name = "nats"
    summary = "Connected again, and all subscriptions made again."
    chosen_by = ""
    ends = False

    def speaks(self, offer: Offer) -> bool:
        """NATS names no subprotocol: it has to be chosen by name."""
        return False

    def converse(self, state: State | None = None) -> "NatsConversation":
        """A session's conversation."""
        return taken_up(NatsConversation(), state)


class NatsConversation(StreamConversation[Line]):
    """Reads both directions' lines.

    It has no beat: a PING is answered in its receiver's place, and that is enough.
    """

    __slots__ = ("_is_quiet", "_pings", "_serial", "_subscriptions", "_to_greet")

    def __init__(self) -> None:
        super().__init__(LineReader)
        self._to_greet = False  # whether the next PING is the first one after CONNECT
        self._is_quiet = True  # whether the client has said nothing since its last PING
        self._pings: deque[Key] = deque()  # that have no PONG yet
        self._serial = 0  # of a PING
        self._subscriptions: dict[str, list[int]] = {}  # delivered, and the limit or 0

    def again(self, statement: Statement) -> Message:
        """A subscription gets what is left of its limit."""
        key, said = statement.key, statement.said
        if key == _HELLO and _HELLO not in self._pings:
            self._pings.appendleft(_HELLO)
        if key[0] != "sub":
            return said
        delivered, limit = self._subscriptions.get(str(key[1]), (0, 0))
        if not limit:
            return said
        return said._replace(
            data=said.data + f"UNSUB {key[1]} {limit - delivered}\r\n".encode("latin-1")
        )

    def freeze(self) -> State:
        """What is half read, what is asked, and what was delivered."""
        return {
            **super().freeze(),
            "to_greet": self._to_greet,
            "is_quiet": self._is_quiet,
            "pings": [[*key] for key in self._pings],
            "serial": self._serial,
            "subscriptions": [[sid, *counts] for sid, counts in self._subscriptions.items()],
        }

    def thaw(self, state: State) -> None:
        """Become what freeze() gave."""
        super().thaw(state)
        each: dict[str, Any] = dict(state)
        self._to_greet = each["to_greet"]
        self._is_quiet = each["is_quiet"]
        self._pings = deque(tuple(key) for key in each["pings"])
        self._serial = each["serial"]
        self._subscriptions = {sid: counts for sid, *counts in each["subscriptions"]}

    def _idle(self, side: Side, data: bytes) -> Message | None:
        """A PING; but for one by which a client asks whether all has arrived that it has said."""
        if data.upper() != _PING:
            return None
        if side is Side.CLIENT and (self._pings or self._to_greet or not self._is_quiet):
            return None
        return _PONG

    # -- What lines mean ---------------------------------------------------------------------------

    def _from_client(self, each: Line) -> Heard:
        match each.operation:
            case "CONNECT":
                return self._connect(each)
            case "PING":
                return self._ping()
            case "PONG" | "":
                return PASSES
        self._is_quiet = False
        words = each.words
        match each.operation:
            case "SUB" if len(words) in (2, 3):
                if len(words[-1]) > MAX_NAME:
                    return Heard(lost=True)
                self._subscriptions[words[-1]] = [0, 0]
                said = Statement(("sub", words[-1]), _line(each))
                return Heard(states=(said,), lost=len(self._subscriptions) > _MAX_SUBSCRIPTIONS)
            case "UNSUB" if words:
                return self._unsubscribe(words)
        return PASSES

    def _connect(self, each: Line) -> Heard:
        self._pings.clear()
        self._subscriptions.clear()
        self._to_greet = self._is_quiet = True
        try:
            options = msgspec.json.decode(each.rest)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return Heard(lost=True)
        is_lost = (
            not isinstance(options, dict)
            or options.get("verbose", True) is not False
            or bool(options.get("sig"))
        )
        return Heard(states=(Statement(_CONNECT, _line(each)),), begins=True, lost=is_lost)

    def _ping(self) -> Heard:
        self._serial += 1
        key: Key = _HELLO if self._to_greet else ("ping", self._serial)
        said = Statement(key, Message(_PING, False), awaits=self._to_greet)
        self._to_greet = False
        self._is_quiet = True
        self._pings.append(key)
        return Heard(states=(said,), lost=len(self._pings) > _MAX_PINGS)

    def _unsubscribe(self, words: list[str]) -> Heard:
        sid, limit = words[0], words[1] if len(words) > 1 else "0"
        counts = self._subscriptions.get(sid)
        if counts is None:
            return PASSES
        counts[1] = int(limit) if limit.isascii() and limit.isdigit() and len(limit) < 10 else 0
        return self._end(sid) if counts[0] >= counts[1] else PASSES

    def _end(self, sid: str) -> Heard:
        del self._subscriptions[sid]
        return Heard(settles=(("sub", sid),))

    def _from_server(self, each: Line) -> Heard:
        match each.operation:
            case "INFO":
                return Heard(greets=True)
            case "PONG":
                # One too many: the queue has said once more what was answered.
                key = self._pings.popleft() if self._pings else _HELLO
                return Heard(answers=(key,)) if key == _HELLO else Heard(settles=(key,))
            case "MSG" | "HMSG":
                return self._delivered(each)
            case "-ERR" if each.rest.strip(b"'").lower().startswith(_NOT_ACCEPTED):
                return Heard(refuses=(_HELLO,))
        return PASSES

    def _delivered(self, each: Line) -> Heard:
        words = each.words
        counts = self._subscriptions.get(words[1]) if len(words) > 1 else None
        if counts is None:
            return PASSES
        counts[0] += 1
        return self._end(words[1]) if counts[1] and counts[0] >= counts[1] else PASSES


def _line(each: Line) -> Message:
    return Message(each.operation.encode("latin-1") + b" " + each.rest + b"\r\n", False)
