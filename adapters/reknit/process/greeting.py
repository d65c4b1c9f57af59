"""How a takeover begins: each process says Hello, and nobody is trusted or waited for before.

Whoever can reach the takeover socket can say anything, or nothing. So this part doesn't block,
takes a limited time, and believes no size. What follows is in takeover.py.
"""

import trio
from reknit_core.durable import frozen
from reknit_core.durable.upgrade import BEFORE

from reknit.process.takeover import (
    HEAD,
    VERSION,
    WORD,
    Channel,
    Hello,
    TakeoverError,
    broken,
    decode,
    encode,
)

PATIENCE = 10.0  # seconds that a running process may take for its Hello


async def offer(channel: Channel, hello: Hello, limit: float) -> Hello:
    """Say it, and hear the new process's, within `limit` seconds. Raises TakeoverError."""
    _say(channel, hello)
    return await _hear(channel, limit)


async def answer(channel: Channel, hello: Hello, limit: float) -> None:
    """Hear the running process's Hello, and say this one; returns when the other begins to give.

    It may have others to turn to first, for `limit` seconds. Raises TakeoverError, also if the
    two don't go together.
    """
    _check(await _hear(channel, PATIENCE), hello)
    _say(channel, hello)
    with trio.move_on_after(limit) as waiting:
        await trio.lowlevel.wait_readable(channel.socket)
    if waiting.cancelled_caught:
        raise TakeoverError("it does not answer in time")


def _check(theirs: Hello, ours: Hello) -> None:
    """Raise TakeoverError unless this process can go on with what the other one gives."""
    if theirs.version != VERSION or theirs.frozen not in (frozen.VERSION, BEFORE):
        raise TakeoverError(
            f"it speaks version {theirs.version}.{theirs.frozen} of the takeover, "
            f"this process speaks {VERSION}.{frozen.VERSION}"
        )
    if theirs.state != ours.state:
        raise TakeoverError(
            f"it keeps its sessions in {theirs.state or 'no state directory'}, "
            f"this process would in {ours.state or 'none'}"
        )


def _say(channel: Channel, hello: Hello) -> None:
    """There is room for it in a socket to which nothing has been written."""
    data = encode(hello)
    channel.socket.setblocking(False)
    try:
        taken = channel.socket.send(data)
    except BlockingIOError:
        taken = 0
    except OSError as error:
        raise broken(error) from None
    if taken < len(data):
        raise TakeoverError("it takes nothing")


async def _hear(channel: Channel, limit: float) -> Hello:
    with trio.move_on_after(limit):
        count, size = HEAD.unpack(await _receive(channel, HEAD.size))
        if count or size > WORD:
            raise TakeoverError("it does not begin with a Hello")
        hello = decode(await _receive(channel, size))
        if not isinstance(hello, Hello):
            raise TakeoverError(f"it says {type(hello).__name__}, not Hello")
        return hello
    raise TakeoverError("it does not answer in time")


async def _receive(channel: Channel, size: int) -> bytes:
    """Exactly that many bytes; descriptors that may come along are not taken."""
    channel.socket.setblocking(False)
    data = b""
    while len(data) < size:
        await trio.lowlevel.wait_readable(channel.socket)
        try:
            more = channel.socket.recv(size - len(data))
        except BlockingIOError:
            continue
        except OSError as error:
            raise broken(error) from None
        if not more:
            raise TakeoverError("it has closed the connection")
        data += more
    return data
