"""STOMP frames in a stream of bytes (STOMP 1.2, "STOMP Frames"): cut out and read.

Over WebSocket a frame may span messages, and a message may hold several.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

from reknit_core.dialect.byte_stream import MAX_UNIT, Cut, MalformedError, StreamReader

_HEAD_END = re.compile(rb"\r?\n\r?\n")
_BEAT = re.compile(rb"[\r\n]+")
_ESCAPES = {b"\\r": b"\r", b"\\n": b"\n", b"\\c": b":", b"\\\\": b"\\"}
_ESCAPE = re.compile(rb"\\[rnc\\]")


class Frame(NamedTuple):
    """A frame; `whole`: all its bytes, none of one too large to be kept. A beat has no command."""

    command: str
    headers: Mapping[str, str]
    whole: bytes


BEAT = Frame("", {}, b"")


class FrameReader(StreamReader[Frame]):
    """Cuts frames out of one direction's bytes."""

    __slots__ = ("_head",)
    UNTIL = b"\0"

    def __init__(self, *, holds_back: bool = False) -> None:
        super().__init__(holds_back=holds_back)
        # The latest head, read: it is seen again with each message that brings more of its body.
        self._head: tuple[bytes, str, dict[str, str]] = (b"", "", {})

    def cut(self, data: bytes, pos: int) -> Cut[Frame]:
        """The frame that begins there, or the ends of lines between frames."""
        between = _BEAT.match(data, pos)
        if between is not None:
            return Cut(between.end(), BEAT)
        head = _HEAD_END.search(data, pos)
        size = (len(data) if head is None else head.end()) - pos
        if size > MAX_UNIT or data.find(b"\0", pos, pos + size) >= 0:
            raise MalformedError
        if head is None:
            return Cut(None, None)
        raw = data[pos : head.start()]
        if raw != self._head[0]:
            self._head = (raw, *_read_head(raw))
        _, command, headers = self._head
        end = _end(data, head.end(), headers.get("content-length"))
        size = len(data) - pos if end is None else end - pos
        if size > MAX_UNIT:
            return Cut(end, Frame(command, headers, b""))
        if end is None or end > len(data):
            return Cut(end, None)
        return Cut(end, Frame(command, headers, data[pos:end]))


def _end(data: bytes, body: int, length: str | None) -> int | None:
    """Where the frame ends whose body begins there; None: not known yet."""
    if length is None:
        return data.find(b"\0", body) + 1 or None
    if not length.isascii() or not length.isdigit() or len(length) > 12:
        raise MalformedError
    end = body + int(length) + 1
    if end <= len(data) and end - body <= MAX_UNIT and data[end - 1] != 0:
        raise MalformedError
    return end


def _read_head(head: bytes) -> tuple[str, dict[str, str]]:
    """Command and headers; of repeated headers the first counts."""
    lines = [line.removesuffix(b"\r") for line in head.split(b"\n")]
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(b":")
        if not colon:
            raise MalformedError
        headers.setdefault(_text(name), _text(value))
    return _text(lines[0]), headers


def _text(raw: bytes) -> str:
    """A header's name or value: escapes are resolved that are ones (1.2, "Value Encoding")."""
    plain = _ESCAPE.sub(lambda found: _ESCAPES[found[0]], raw) if b"\\" in raw else raw
    return plain.decode("latin-1")
