"""What one worker puts into another's inbox: a client that asks for a session which is there.

One message a client, with its connection along.
"""

import os
import socket
from array import array

import msgspec

from reknit.trio.door.brought import Brought

MESSAGE = 64 * 1024  # bytes; a request has 16 KiB, it goes twice, and little can come behind it

# Without an enum to make for each client.
_STREAM = int(socket.SOCK_STREAM)
_NO_FILES = int(socket.MSG_CTRUNC)
_CUT_OFF = int(socket.MSG_TRUNC)
_RIGHTS = (int(socket.SOL_SOCKET), int(socket.SCM_RIGHTS))
_TYPE = (int(socket.SOL_SOCKET), int(socket.SO_TYPE))

_ONE = array("i", [0]).itemsize
_ROOM = socket.CMSG_SPACE(8 * _ONE)  # one descriptor comes; of more none is to be left open


class InboxError(ValueError):
    """A message that is none: why, for people."""


_ENCODER = msgspec.msgpack.Encoder()
_DECODER: msgspec.msgpack.Decoder[Brought] = msgspec.msgpack.Decoder(Brought)


def pack(brought: Brought, sock: socket.socket, inbox: socket.socket) -> None:
    """Put a client into an inbox. Raises BlockingIOError if it is full, or OSError."""
    inbox.sendmsg([_ENCODER.encode(brought)], [(*_RIGHTS, array("i", [sock.fileno()]))])


def unpack(inbox: socket.socket) -> tuple[Brought, socket.socket]:
    """Take the next client out.

    Raises BlockingIOError if it is empty; InboxError, and then the message is gone; or OSError, as
    for too many open files: then it waits.
    """
    os.close(os.dup(inbox.fileno()))  # a connection for which there is no number would be gone
    data, ancillary, flags, _ = inbox.recvmsg(MESSAGE, _ROOM)
    sockets = [sock for each in ancillary for sock in _sockets(*each)]
    try:
        if flags & _NO_FILES:
            raise InboxError("its connection did not come: too many open files?")
        if flags & _CUT_OFF or len(sockets) != 1:
            raise InboxError(f"{len(sockets)} connections, {len(data)} bytes or more")
        (sock,) = sockets
        if sock.getsockopt(*_TYPE) != _STREAM:
            raise InboxError("its connection is no stream")
        brought = _DECODER.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        _close(sockets)
        raise InboxError(str(error)) from None
    except InboxError:
        _close(sockets)
        raise
    sock.setblocking(False)
    return brought, sock


def _sockets(level: int, kind: int, content: bytes) -> list[socket.socket]:
    if (level, kind) != _RIGHTS:
        return []
    sockets = []
    for descriptor in array("i", content[: len(content) // _ONE * _ONE]):
        try:
            sockets.append(socket.socket(fileno=descriptor))
        except OSError:  # it is none
            os.close(descriptor)
    return sockets


def _close(sockets: list[socket.socket]) -> None:
    for sock in sockets:
        sock.close()
