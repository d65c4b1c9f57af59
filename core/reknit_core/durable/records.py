"""What is written down of sessions, so that they outlive the process: records in numbered files.

    file:   b"reknit" | VERSION, 2 bytes | version of frozen contexts, 2 bytes | blocks
    block:  size of the records, 4 bytes | their CRC-32 | CRC-32 of these 8 bytes | the records

Numbers are big-endian. A block is a list of the records below as MessagePack, and counts as a
whole or not at all. Its `key` says which session a record is of. A changed form gets another
VERSION. Files of the version of frozen contexts before this one can be read too.
"""

import struct
from collections.abc import Iterator, Sequence
from typing import Any, assert_never
from zlib import crc32

import msgspec

from reknit_core.durable import frozen
from reknit_core.durable.upgrade import BEFORE, upgraded
from reknit_core.leg.leg_forms import FrozenDialogue
from reknit_core.session.forms import FrozenContext
from reknit_core.side import Side

VERSION = 1

_FILE_HEAD = struct.Struct(">6sHH")
_SIZES = struct.Struct(">II")
_CHECK = struct.Struct(">I")
_HEAD = _SIZES.size + _CHECK.size

FILE_HEAD = _FILE_HEAD.pack(b"reknit", VERSION, frozen.VERSION)
"""What a file begins with."""

_HEAD_BEFORE = _FILE_HEAD.pack(b"reknit", VERSION, BEFORE)


class Record(msgspec.Struct, array_like=True, tag_field="kind"):
    """Something that has happened to a session."""

    key: bytes


class Whole(Record, tag=0):
    """All of the session, at `wall` (seconds since 1970); earlier records don't count any more.

    In `form` a queue's `chunks` hold its whole messages.
    """

    wall: float
    form: FrozenContext


class Changed(Record, tag=1):
    """All of the session but what is in its queues, which is as the records before say."""

    wall: float
    form: FrozenContext


class Appended(Record, tag=2):
    """So many messages have come from that side; they follow the first `start` bytes."""

    sender: Side
    start: int
    messages: int
    data: memoryview


class Confirmed(Record, tag=3):
    """That much of what came from `sender` has arrived; `dropped`: messages that never will."""

    sender: Side
    position: int
    count: int
    dropped: int


class Spoke(Record, tag=5):
    """What is known of its messages now: `dialogue` without the statements.

    `gone`, `rows`: what has changed in these (Statements.since()).
    """

    dialogue: FrozenDialogue
    gone: list[Any]
    rows: list[Any]


class Ended(Record, tag=4):
    """The session is over."""


AnyRecord = Whole | Changed | Appended | Confirmed | Spoke | Ended


class JournalError(ValueError):
    """A file can't be read from `position` on: why, for people.

    `is_torn`: it was written so far only, as happens when a process or a machine dies.
    """

    def __init__(self, reason: str, position: int, *, is_torn: bool = False) -> None:
        super().__init__(reason)
        self.position = position
        self.is_torn = is_torn


class _WholeBefore(Record, tag=0):
    wall: float
    form: dict[str, Any]


class _ChangedBefore(Record, tag=1):
    wall: float
    form: dict[str, Any]


_DECODER = msgspec.msgpack.Decoder(list[AnyRecord])
_DECODER_BEFORE = msgspec.msgpack.Decoder(
    list[_WholeBefore | _ChangedBefore | Appended | Confirmed | Spoke | Ended]
)
_ENCODER = msgspec.msgpack.Encoder()


def encode_block(records: Sequence[Record], before: bytes = b"") -> bytearray:
    """A block with these records, behind what comes `before` it."""
    start = len(before) + _HEAD
    data = bytearray(start)  # one buffer for all: a block may be large
    _ENCODER.encode_into(records, data, start)
    body = memoryview(data)[start:]
    sizes = _SIZES.pack(len(body), crc32(body))
    data[:start] = b"".join((before, sizes, _CHECK.pack(crc32(sizes))))
    return data


def read_file(data: bytes) -> Iterator[list[AnyRecord]]:
    """The records of a file, block by block. Raises JournalError where it can't be read on."""
    if len(data) < len(FILE_HEAD):
        raise JournalError("its head is cut off", 0, is_torn=True)
    if not data.startswith((FILE_HEAD, _HEAD_BEFORE)):
        raise JournalError(_foreign(data), 0)
    decode = _DECODER.decode if data.startswith(FILE_HEAD) else _decode_before
    position = len(FILE_HEAD)
    view = memoryview(data)
    while position < len(data):
        block = _block(view, position)
        position += _HEAD + len(block)
        try:
            yield decode(block)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            reason = f"a block that can't be understood: {error}"
            raise JournalError(reason, position - _HEAD - len(block)) from None


def _decode_before(block: memoryview) -> list[AnyRecord]:
    """A block of the version before, with forms as they are now."""
    records: list[AnyRecord] = []
    for record in _DECODER_BEFORE.decode(block):
        match record:
            case _WholeBefore(key, wall, form):
                records.append(Whole(key, wall, upgraded(form)))
            case _ChangedBefore(key, wall, form):
                records.append(Changed(key, wall, upgraded(form)))
            case Appended() | Confirmed() | Spoke() | Ended():
                records.append(record)
            case _:
                assert_never(record)
    return records


def _block(data: memoryview, position: int) -> memoryview:
    rest = data[position:]
    if len(rest) < _HEAD or not any(rest):  # zeros: a machine died before it had written them
        raise JournalError("it ends inside a block", position, is_torn=True)
    sizes = rest[: _SIZES.size]
    size, check = _SIZES.unpack(sizes)
    if crc32(sizes) != _CHECK.unpack(rest[_SIZES.size : _HEAD])[0]:
        raise JournalError("a block's head is damaged", position)
    block = rest[_HEAD : _HEAD + size]
    if len(block) < size:
        raise JournalError("it ends inside a block", position, is_torn=True)
    if crc32(block) != check:
        is_last = _HEAD + size == len(rest)
        raise JournalError("a block is damaged", position, is_torn=is_last)
    return block


def _foreign(data: bytes) -> str:
    magic, version, form = _FILE_HEAD.unpack_from(data)
    if magic != b"reknit":
        return "it is no file of reknit's"
    ours = f"{VERSION}.{frozen.VERSION}"
    return f"it is in form {version}.{form}; this version reads form {ours}"
