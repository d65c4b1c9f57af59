"""Recorded conversations: the messages of both sides, in order.

Three forms are read:

* JSON lines, one message each: `{"from": "client", "text": "..."}`, or `"base64"` for bytes. A
  line `{"target": "/path", "subprotocol": "..."}` before them says how the client connected.
* a browser's HAR, as Chrome exports it, with its WebSocket messages; it may hold several
* a scenario, the form of the project's own traces, up to the first loss of the server
"""

import binascii
import json
from base64 import b64decode
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from wsproto.frame_protocol import FrameProtocol, Opcode, ParseFailed

from reknit_core.dialect.speech import Message, Offer
from reknit_core.script.actions import (
    Breaks,
    ClientConnects,
    Ends,
    ScenarioError,
    Sends,
    ServerAccepts,
)
from reknit_core.script.scenario import parse
from reknit_core.side import Side

_LINE = 'a message, as {"from": "client", "text": "..."}, or with "base64"'
_HANDSHAKE = 'a handshake, as {"target": "/path", "subprotocol": "..."}'
_SIDES = {"send": Side.CLIENT, "receive": Side.SERVER}  # as a browser sees it


class RecordingError(ValueError):
    """A recording can't be read: where, what is wrong and what is allowed."""


@dataclass(frozen=True, slots=True)
class Said:
    """One message of a recording, and who said it."""

    side: Side
    message: Message


@dataclass(frozen=True, slots=True)
class Recording:
    """One session's messages. `name`: the file's, or the URL. `offer`: None if it is not known."""

    name: str
    offer: Offer | None
    said: tuple[Said, ...]


def read_recordings(text: str, source: str) -> list[Recording]:
    """All conversations in a file; `source` is its name. Raises RecordingError."""
    head = text.lstrip("\ufeff \t\r\n")[:1]
    if head == "{":
        try:
            document = json.loads(text.lstrip("\ufeff"))
        except (ValueError, RecursionError):
            return [_lines(text, source)]  # several documents, or none
        if isinstance(document, dict) and "log" in document:
            return _har(document, source)
        return [_lines(text, source)]
    return [_scenario(text, source)]


# -- JSON lines ------------------------------------------------------------------------------------


def _lines(text: str, source: str) -> Recording:
    offer = None
    said: list[Said] = []
    for number, line in enumerate(text.lstrip("\ufeff").split("\n"), 1):
        if not line.strip():
            continue
        where = f"{source}, line {number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise RecordingError(f"{where}: no JSON: {error}; allowed: {_LINE}") from None
        if isinstance(row, dict) and "target" in row and not said and offer is None:
            offer = _offer(row, where)
        else:
            said.append(_said(row, where))
    return Recording(source, offer, tuple(said))


def _offer(row: dict[str, Any], where: str) -> Offer:
    target, subprotocol = row["target"], row.get("subprotocol")
    is_right = isinstance(target, str) and isinstance(subprotocol, (str, type(None)))
    if not is_right or row.keys() - {"target", "subprotocol"}:
        raise RecordingError(f"{where}: {_shown(row)} is no handshake; allowed: {_HANDSHAKE}")
    return Offer(target, subprotocol)


def _said(row: object, where: str) -> Said:
    match row:
        case {"from": "client" | "server" as side, "text": str(text), **rest} if not rest:
            return Said(Side(side), Message(text.encode(errors="replace"), True))
        case {"from": "client" | "server" as side, "base64": str(text), **rest} if not rest:
            return Said(Side(side), Message(_bytes(text, where), False))
    raise RecordingError(f"{where}: {_shown(row)} is no message; allowed: {_LINE}")


def _bytes(text: str, where: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise RecordingError(f"{where}: {_shown(text)} is no base64: {error}") from None


# -- HAR -------------------------------------------------------------------------------------------


def _har(document: dict[str, Any], source: str) -> list[Recording]:
    """What Chrome adds to HAR 1.2: `_webSocketMessages` of an entry."""
    log = document["log"]
    entries = log.get("entries") if isinstance(log, dict) else None
    if not isinstance(entries, list):
        raise RecordingError(f"{source}: its log has no entries; allowed: a browser's HAR")
    found = [
        _entry(entry, f"{source}, entry {number}")
        for number, entry in enumerate(entries)
        if isinstance(entry, dict) and "_webSocketMessages" in entry
    ]
    if not found:
        raise RecordingError(
            f"{source}: no entry has WebSocket messages; allowed: a HAR as Chrome exports it, "
            "opened before the page connects"
        )
    return found


def _entry(entry: dict[str, Any], where: str) -> Recording:
    rows = entry["_webSocketMessages"]
    if not isinstance(rows, list):
        raise RecordingError(f"{where}: _webSocketMessages is no list")
    request, response = (entry.get(name) for name in ("request", "response"))
    url = request.get("url") if isinstance(request, dict) else None
    offer = None
    if isinstance(url, str):
        try:
            parts = urlsplit(url)
        except ValueError as error:
            raise RecordingError(f"{where}: {_shown(url)} is no URL: {error}") from None
        target = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
        offer = Offer(target, _header(response, "sec-websocket-protocol"))
    said = [
        message
        for number, row in enumerate(rows)
        if (message := _har_message(row, f"{where}, message {number}")) is not None
    ]
    return Recording(url if isinstance(url, str) else where, offer, tuple(said))


def _header(response: object, name: str) -> str | None:
    headers = response.get("headers") if isinstance(response, dict) else None
    for header in headers if isinstance(headers, list) else []:
        match header:
            case {"name": str(given), "value": str(value)} if given.lower() == name:
                return value or None
    return None


def _har_message(row: object, where: str) -> Said | None:
    """A text, or bytes in base64; None for what is no message."""
    match row:
        case {"type": "send" | "receive", "opcode": int(opcode)} if opcode not in (1, 2):
            return None  # a control frame
        case {"type": "send" | "receive" as way, "opcode": 2, "data": str(data)}:
            return Said(_SIDES[way], Message(_bytes(data, where), False))
        case {"type": "send" | "receive" as way, "data": str(data)}:
            return Said(_SIDES[way], Message(data.encode(errors="replace"), True))
        case {"type": str(kind)} if kind not in _SIDES:
            return None  # an error
    raise RecordingError(
        f"{where}: {_shown(row)} is not allowed; allowed: type (send or receive), opcode (1 or 2) "
        "and data"
    )


# -- Scenarios -------------------------------------------------------------------------------------


def _scenario(text: str, source: str) -> Recording:
    try:
        steps = [line.step for line in parse(text).lines if line.step is not None]
    except ScenarioError as error:
        raise RecordingError(f"{source}: {error}") from None
    target = "/"
    subprotocol: str | None = None
    frames: dict[Side, list[bytes]] = {side: [] for side in Side}
    order: list[Side] = []
    for step in steps:
        match step.action:
            case ClientConnects(target):
                pass
            case ServerAccepts(subprotocol):
                pass
            case Breaks(Side.SERVER) | Ends(Side.SERVER):
                break
            case Sends(side, pieces, rest):
                frames[side].append(b"".join(pieces) + rest)
                order.append(side)
    try:
        messages = {side: _messages(side, data) for side, data in frames.items()}
    except ParseFailed as error:
        raise RecordingError(
            f"{source}: {error}; allowed: messages that are not compressed"
        ) from None
    said = [Said(side, message) for side in order for message in next(messages[side])]
    return Recording(source, Offer(target, subprotocol), tuple(said))


def _messages(side: Side, several: Iterable[bytes]) -> Iterator[list[Message]]:
    """The messages that end in each piece of what that side has sent. Raises ParseFailed."""
    return iter([*_decoded(side, several)])


def _decoded(side: Side, several: Iterable[bytes]) -> Iterator[list[Message]]:
    protocol = FrameProtocol(side is Side.SERVER, [])
    parts: list[bytes] = []
    is_text = False
    for data in several:
        protocol.receive_bytes(data)
        ended = []
        for part in protocol.received_frames():
            if part.opcode not in (Opcode.TEXT, Opcode.BINARY):
                continue
            is_text = part.opcode is Opcode.TEXT
            payload = part.payload
            assert isinstance(payload, (str, bytes, bytearray))  # as it is no Close
            parts.append(payload.encode() if isinstance(payload, str) else bytes(payload))
            if part.message_finished:
                ended.append(Message(b"".join(parts), is_text))
                parts = []
        yield ended


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
