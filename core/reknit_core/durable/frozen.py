"""A context as bytes: for another process that goes on with it, or the next one after a crash.

    b"reknit" | version, 2 bytes | CRC-32 of what follows, 4 bytes | FrozenContext as MessagePack

Numbers are big-endian. session/forms.py has the form. What follows from the policy and the
upstream is not in it: they are those of the process that goes on. A changed form gets another
VERSION, and a version reads the one before it too (upgrade.py).
"""

import struct
from zlib import crc32

import msgspec

from reknit_core.durable.upgrade import BEFORE, upgraded
from reknit_core.proxy.contexts import Contexts
from reknit_core.session.context import ContextStateMachine
from reknit_core.session.forms import FrozenContext

VERSION: int = BEFORE + 1

_MAGIC = b"reknit"
_HEAD = struct.Struct(">6sHI")


class FrozenError(ValueError):
    """No frozen context that can be read; the text says why, for people."""


def freeze(context: ContextStateMachine, now: float) -> bytes:
    """The context at the time `now` (seconds) as bytes; its commands() must be empty."""
    return encode(context.frozen(now))


def thaw(contexts: Contexts, data: bytes, now: float) -> ContextStateMachine:
    """Take in a context that freeze() made `data` of; between the two, time stood still.

    A dial that was under way is among its commands again. Raises FrozenError.
    """
    return contexts.take_in(decode(data), now)


class _Pinned(msgspec.Struct):
    connection_id: str


class _Named(msgspec.Struct):
    pinned: _Pinned


def id_of(data: bytes) -> str:
    """The id of the session that freeze() made `data` of, without thawing it. Raises FrozenError.

    Whether the rest of it is good is for thaw() to say.
    """
    try:
        return msgspec.msgpack.decode(
            memoryview(data)[_HEAD.size :], type=_Named
        ).pinned.connection_id
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise FrozenError(f"a frozen context that can't be read: {error}") from None


def encode(form: FrozenContext) -> bytes:
    """A form as bytes."""
    return with_head(msgspec.msgpack.encode(form))


def with_head(body: bytes, version: int = VERSION) -> bytes:
    """A form's MessagePack with what goes in front of it."""
    return _HEAD.pack(_MAGIC, version, crc32(body)) + body


def decode(data: bytes) -> FrozenContext:
    """Read what encode() wrote, in this version or the one before. Raises FrozenError."""
    if len(data) < _HEAD.size or not data.startswith(_MAGIC):
        raise FrozenError("this is no frozen context")
    _, version, check = _HEAD.unpack_from(data)
    if version not in (VERSION, BEFORE):
        raise FrozenError(
            f"a context frozen in form {version}; forms {BEFORE} and {VERSION} can be read"
        )
    body = memoryview(data)[_HEAD.size :]
    if crc32(body) != check:
        raise FrozenError("a frozen context that is cut off or damaged")
    try:
        if version == VERSION:
            return msgspec.msgpack.decode(body, type=FrozenContext)
        return upgraded(msgspec.msgpack.decode(body, type=dict))
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise FrozenError(f"a frozen context that can't be read: {error}") from None
