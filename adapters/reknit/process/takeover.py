"""What two processes say to each other when one takes over from the other.

They speak over a Unix stream socket, in blocking calls once they have greeted each other: nothing
else may happen meanwhile.

    running process                              new process
    Hello: the versions                   ->
                                          <-     Hello: can read them
    [its sessions stand still from here on; so far nobody blocks, see greeting.py]
    Listeners, Sessions, Newcomers, End   ->
                                          <-     Ready: has built it all
    Yours                                 ->     [serves from here on]

Until `Yours` the sockets are the running process's: it goes on if anything is wrong before, and
the new process writes to no peer. What peers send meanwhile waits in the system's buffers. A
running process that dies before `Yours` takes its sessions along, as it would at any other time.
"""

import socket
import struct
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from math import inf
from time import monotonic
from typing import Protocol, TypeVar

import msgspec
from reknit_core.durable import frozen
from reknit_core.proxy.arrival import Arrival
from reknit_core.telemetry.totals import Totals
from reknit_core.wire.reasons import reason_of

VERSION = 2
BATCH = 126  # sessions a message: Linux passes at most 253 descriptors in one
PATIENCE = 10.0  # seconds for all that is said while the sessions stand still
WORD = 64 * 1024  # bytes of a message that is one word only; what sessions bring has no limit
CHUNK = 2**20  # bytes for which there is room before they have come

HEAD = struct.Struct(">HI")  # descriptors, bytes that follow


class TakeoverError(Exception):
    """The other process can't be taken over from, or can't take over: why, for people."""


class Hello(msgspec.Struct, tag=True):
    """Who speaks: its process id, and the versions of this protocol and of frozen contexts.

    `state`: the directory in which its sessions are kept; empty: they are not.
    """

    pid: int
    version: int = VERSION
    frozen: int = frozen.VERSION
    state: str = ""


class Listeners(msgspec.Struct, tag=True):
    """Comes with the listening sockets: so many for clients, then those of the admin listener.

    `key`: how sessions are called in the log. `totals`: what has been counted so far.
    """

    clients: int
    key: bytes
    totals: Totals


class Session(msgspec.Struct):
    """A frozen context, and which of its two sockets come along, the client's first.

    `address`: the client's, as far as admission knows it.
    """

    context: bytes
    client: bool
    server: bool
    address: str


class Sessions(msgspec.Struct, tag=True):
    """Comes with the sockets of all of these."""

    sessions: list[Session]


class Newcomers(msgspec.Struct, tag=True):
    """Comes with the sockets of all of these."""

    newcomers: list[Arrival]


class End(msgspec.Struct, tag=True):
    """That was all."""


class Ready(msgspec.Struct, tag=True):
    """All has arrived, and can be gone on with."""


class Yours(msgspec.Struct, tag=True):
    """Go on with it."""


class Give(msgspec.Struct, tag=True):
    """To a worker, from who has started it: give what you have."""


Message = Hello | Listeners | Sessions | Newcomers | End | Ready | Yours | Give
_Message = TypeVar("_Message", bound=Message)
_DECODER: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


def encode(message: Message) -> bytes:
    """It, with its head, as it goes without sockets."""
    body = msgspec.msgpack.encode(message)
    return HEAD.pack(0, len(body)) + body


def decode(body: bytes) -> Message:
    """Read what comes behind a head. Raises TakeoverError."""
    try:
        return _DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise TakeoverError(str(error)) from None


class Descriptor(Protocol):
    """Something with a file descriptor, as a socket has it."""

    def fileno(self) -> int:
        """The descriptor."""


@dataclass(slots=True)
class Moving:
    """A session on its way: its frozen context, its sockets, and its client's address."""

    context: bytes
    client: socket.socket | None
    server: socket.socket | None
    address: str

    @property
    def sockets(self) -> list[socket.socket]:
        """Those that there are, the client's first."""
        return [sock for sock in (self.client, self.server) if sock is not None]


@dataclass(slots=True)
class Estate:
    """What goes from one process to the next, beside the sockets that listen.

    `key`: how sessions are called in the log. `totals`: what has been counted so far.
    """

    key: bytes
    totals: Totals
    sessions: Iterable[Moving]
    newcomers: list[tuple[socket.socket, Arrival]]


class Channel:
    """One end of the connection. `until`: the limit for all that is said (monotonic seconds).

    `patience`: seconds for all that is said while sessions stand still.
    """

    def __init__(self, sock: socket.socket, patience: float = PATIENCE) -> None:
        self.socket = sock
        self.patience = patience
        self.renew()

    def renew(self, times: int = 1) -> None:
        """Be patient from now on, so many times."""
        self.until = monotonic() + times * self.patience

    def send(self, message: Message, sockets: Iterable[Descriptor] = ()) -> None:
        """Say it, and pass these sockets along. Raises TakeoverError."""
        body = msgspec.msgpack.encode(message)
        descriptors = array("i", (sock.fileno() for sock in sockets))
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)] if descriptors else []
        try:
            self._wait()
            self.socket.sendmsg([HEAD.pack(len(descriptors), len(body))], rights)
            self._wait()
            self.socket.sendall(body)
        except OSError as error:
            raise broken(error) from None

    def receive(self, kind: type[_Message]) -> tuple[_Message, list[socket.socket]]:
        """The next message, which must be of that kind. Raises TakeoverError."""
        message, sockets = self.receive_any(WORD)
        if not isinstance(message, kind):
            _close(sockets)
            raise TakeoverError(f"it says {type(message).__name__}, not {kind.__name__}")
        return message, sockets

    def receive_any(self, limit: float = inf) -> tuple[Message, list[socket.socket]]:
        """The next message, with the sockets that come along; `limit` in bytes.

        Raises TakeoverError.
        """
        sockets: list[socket.socket] = []
        try:
            head = self._receive_head(sockets)
            count, size = HEAD.unpack(head)
            if len(sockets) != count:
                raise TakeoverError(f"{len(sockets)} of {count} sockets came: too many open files?")
            if size > limit:
                raise TakeoverError(f"it wants to say {size} bytes where {limit} are the most")
            return decode(self._receive_exactly(size)), sockets
        except OSError as error:
            _close(sockets)
            raise broken(error) from None
        except TakeoverError:
            _close(sockets)
            raise

    def close(self) -> None:
        """Say no more."""
        self.socket.close()

    def _receive_head(self, sockets: list[socket.socket]) -> bytes:
        self._wait()
        space = socket.CMSG_SPACE(2 * BATCH * array("i").itemsize)
        data, ancillary, _, _ = self.socket.recvmsg(HEAD.size, space)
        for level, kind, content in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                whole = len(content) - len(content) % array("i").itemsize
                for descriptor in array("i", content[:whole]):
                    sockets.append(socket.socket(fileno=descriptor))
                    sockets[-1].setblocking(False)
        return data + self._receive_exactly(HEAD.size - len(data), begun=bool(data))

    def _receive_exactly(self, size: int, *, begun: bool = True) -> bytes:
        data = bytearray()  # grows with what comes: a size alone is nothing to make room for
        while len(data) < size:
            self._wait()
            more = self.socket.recv(min(size - len(data), CHUNK)) if begun else b""
            if not more:
                raise TakeoverError("it has closed the connection")
            data += more
        return bytes(data)

    def _wait(self) -> None:
        """The next call may take as long as is left."""
        left = max(self.until - monotonic(), 0.001)
        self.socket.settimeout(None if left == inf else left)


def hand_over(
    channel: Channel,
    listeners: Sequence[Descriptor],
    admin_listeners: Sequence[Descriptor],
    estate: Estate,
) -> None:
    """Give it all away. Raises TakeoverError: then nothing has changed hands."""
    channel.renew()
    channel.send(
        Listeners(len(listeners), estate.key, estate.totals), [*listeners, *admin_listeners]
    )
    sessions = iter(estate.sessions)
    while batch := list(islice(sessions, BATCH)):
        _send_sessions(channel, batch)
    newcomers = iter(estate.newcomers)
    while group := list(islice(newcomers, BATCH)):
        channel.send(Newcomers([comer for _, comer in group]), [sock for sock, _ in group])
    channel.send(End())
    channel.receive(Ready)
    channel.send(Yours())


def _send_sessions(channel: Channel, batch: list[Moving]) -> None:
    sessions = [
        Session(one.context, one.client is not None, one.server is not None, one.address)
        for one in batch
    ]
    channel.send(Sessions(sessions), [sock for one in batch for sock in one.sockets])


def take_over(channel: Channel) -> tuple[list[socket.socket], list[socket.socket], Estate]:
    """Receive the listeners, those of the admin listener, and the rest.

    The sessions come while they are iterated over. accept() makes it all this process's own.
    Raises TakeoverError.
    """
    channel.renew(2)  # by then the other has given up
    said, sockets = channel.receive(Listeners)
    estate = Estate(said.key, said.totals, (), [])
    estate.sessions = _receive_sessions(channel, estate)
    return sockets[: said.clients], sockets[said.clients :], estate


def _receive_sessions(channel: Channel, estate: Estate) -> Iterator[Moving]:
    while True:
        message, sockets = channel.receive_any()
        match message:
            case Sessions(sessions) if len(sockets) == sum(s.client + s.server for s in sessions):
                rest = iter(sockets)
                for session in sessions:
                    client = next(rest) if session.client else None
                    server = next(rest) if session.server else None
                    yield Moving(session.context, client, server, session.address)
            case Newcomers(newcomers) if len(sockets) == len(newcomers):
                estate.newcomers += zip(sockets, newcomers, strict=True)
            case End():
                return
            case _:
                raise TakeoverError(f"it says {type(message).__name__} in the wrong place")


def accept(channel: Channel) -> None:
    """All is built: make it this process's own. Raises TakeoverError: then it is not."""
    channel.send(Ready())
    # Who gives decides how long it may take. If this process gave up by itself, the other's
    # `Yours` could just be on its way, and nobody would serve the sessions.
    channel.until = inf
    channel.receive(Yours)


def broken(error: OSError) -> TakeoverError:
    """What to say of a connection that fails."""
    if isinstance(error, TimeoutError):
        return TakeoverError("it does not answer in time")
    if isinstance(error, ConnectionError):
        return TakeoverError("it has closed the connection")
    return TakeoverError(f"the connection to it broke: {reason_of(error)}")


def _close(sockets: list[socket.socket]) -> None:
    for sock in sockets:
        sock.close()
