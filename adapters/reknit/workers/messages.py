"""What the parent and a worker say to each other while they run: messages on a pair of sockets.

    parent                                      worker
    Begin: who it is, and all it needs    ->
                                          <-    Loaded: could take over now; or Failed
    Start: from nothing, or by taking     ->    [takes the sessions over, or restores its own]
                                          <-    Up; or Failed
    Go                                    ->    [serves]
    Ask: as the admin listener is asked   ->
                                          <-    Answer
    RollCall: once a second               ->
                                          <-    Here
    Drain, Hurry, Reload                  ->
                                          <-    Drained: has no sessions any more
    End: nobody has                       ->    [ends]

Either one's end of the stream means that it has died. What goes by descriptors, and blocks, is
said on another pair: see process/takeover.py.
"""

import struct
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import TypeVar

import msgspec
import trio

_SIZE = struct.Struct(">I")
CHUNK = 64 * 1024  # bytes a read


class Begin(msgspec.Struct, tag=True):
    """To a worker, first of all. The numbers but `number` and `of` are of open descriptors.

    `config` is pickled: who reads it was started by who wrote it. `inbox` is where it reads,
    `inboxes` is where it writes to each worker. `channel`: where sessions come and go.
    """

    number: int
    of: int
    key: bytes
    config: bytes
    inbox: int
    inboxes: list[int]
    channel: int


class Loaded(msgspec.Struct, tag=True):
    """All is read that was to be read."""


class Start(msgspec.Struct, tag=True):
    """Begin with what another process gives, by the channel; or with what is kept on the disk.

    `elsewhere`: directories beside its own that may have sessions of its own.
    """

    takes: bool
    elsewhere: list[str]


class Up(msgspec.Struct, tag=True):
    """It has its sessions. `damaged`: files elsewhere that can't be read to their end."""

    damaged: list[str] = []  # msgspec copies it


class Failed(msgspec.Struct, tag=True):
    """It can't begin, and ends: why, for people."""

    reason: str


class Go(msgspec.Struct, tag=True):
    """All are up: serve."""


class Ask(msgspec.Struct, tag=True):
    """Something that the admin listener was asked."""

    call: int
    method: str
    path: str
    query: dict[str, str]
    body: bytes


class Answer(msgspec.Struct, tag=True):
    """To that call."""

    call: int
    status: int
    content_type: str
    body: bytes


class RollCall(msgspec.Struct, tag=True):
    """Whether it lives."""


class Here(msgspec.Struct, tag=True):
    """It does."""


class Drain(msgspec.Struct, tag=True):
    """Take no new sessions, and send those away that there are."""


class Hurry(msgspec.Struct, tag=True):
    """At once."""


class Reload(msgspec.Struct, tag=True):
    """Read certificates and dialects again."""


class Drained(msgspec.Struct, tag=True):
    """It has no sessions any more."""


class End(msgspec.Struct, tag=True):
    """Nobody has: end."""


ToWorker = Begin | Start | Go | Ask | RollCall | Drain | Hurry | Reload | End
ToParent = Loaded | Up | Failed | Answer | Here | Drained
Said = TypeVar("Said", ToWorker, ToParent)

_GONE = (trio.BrokenResourceError, trio.ClosedResourceError)
_ENCODER = msgspec.msgpack.Encoder()
TO_WORKER: msgspec.msgpack.Decoder[ToWorker] = msgspec.msgpack.Decoder(ToWorker)
TO_PARENT: msgspec.msgpack.Decoder[ToParent] = msgspec.msgpack.Decoder(ToParent)


class Link:
    """One end of the pair. Who says something does not wait until it is heard."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._sending = trio.Lock()

    async def say(self, message: ToWorker | ToParent) -> None:
        """Say it, unless the other one is gone."""
        body = _ENCODER.encode(message)
        async with self._sending:
            with suppress(*_GONE):  # its end of the stream says so, too
                await self._stream.send_all(_SIZE.pack(len(body)) + body)

    async def hear(self, decoder: msgspec.msgpack.Decoder[Said]) -> AsyncIterator[Said]:
        """What the other one says, until it is gone."""
        data = bytearray()
        while True:
            while len(data) >= _SIZE.size:
                (size,) = _SIZE.unpack_from(data)
                end = _SIZE.size + size
                if len(data) < end:
                    break
                body = bytes(data[_SIZE.size : end])
                del data[:end]
                yield decoder.decode(body)
            try:
                more = await self._stream.receive_some(CHUNK)
            except _GONE:
                return
            if not more:
                return
            data += more

    async def close(self) -> None:
        """Say no more."""
        await trio.aclose_forcefully(self._stream)
