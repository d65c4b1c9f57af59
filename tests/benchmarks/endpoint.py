"""One end of a connection, and the loop that serves many: epoll, without a framework between."""

import json
import select
import socket
from math import inf
from time import perf_counter

from messages import NOTE, NOTHING, READ_SIZE, MessageError, Opcode, Receiver, Ring, frame, note
from speech import PLAIN, Speech

READ = select.EPOLLIN
WRITE = select.EPOLLOUT
SENDS = 4  # calls in a row for one connection, so that a stream doesn't keep others waiting
HEAD_LIMIT = 16384


class Loop:
    """Serves what is ready. `longest` is the longest time, in seconds, between two polls."""

    def __init__(self) -> None:
        self.epoll = select.epoll()
        self.endpoints: dict[int, Readable] = {}
        self.longest = 0.0

    def turn(self, timeout: float) -> None:
        """Wait at most that many seconds, then serve each ready endpoint once."""
        ready = self.epoll.poll(timeout, 1024)
        began = perf_counter()
        endpoints = self.endpoints
        for fd, mask in ready:
            endpoint = endpoints.get(fd)
            if endpoint is not None:
                endpoint.ready(mask)
        took = perf_counter() - began
        if took > self.longest:
            self.longest = took


class Readable:
    """What the loop serves."""

    __slots__ = ("loop", "mask", "socket")

    def __init__(self, loop: Loop, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.loop = loop
        self.socket = sock
        self.mask = READ
        loop.endpoints[sock.fileno()] = self
        loop.epoll.register(sock.fileno(), READ)

    def ready(self, mask: int) -> None:
        """Serve the socket."""
        raise NotImplementedError

    def watch(self, mask: int) -> None:
        """Ask for these events."""
        if mask != self.mask:
            self.mask = mask
            self.loop.epoll.modify(self.socket.fileno(), mask)

    def close(self) -> None:
        """Close at once."""
        if self.loop.endpoints.pop(self.socket.fileno(), None) is not None:
            self.socket.close()  # epoll forgets a closed socket


class Endpoint(Readable):
    """A WebSocket: its opening handshake, its messages, its control frames.

    What is to be sent is a number of bytes of a ring of frames, `due`, beginning at `position`,
    and `extras`, frames that go between two of the ring's.
    """

    __slots__ = (
        "due",
        "extras",
        "head",
        "limit",
        "opened",
        "pings",
        "position",
        "receiver",
        "ring",
        "speech",
        "total",
    )
    masked = False

    def __init__(self, loop: Loop, sock: socket.socket) -> None:
        super().__init__(loop, sock)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.receiver = Receiver()
        self.opened = False
        self.head = b""
        self.ring: Ring = NOTHING
        self.speech: Speech = PLAIN
        self.position = 0
        self.pings = 0  # that were answered
        self.due: float = 0
        self.total = 0  # bytes of the ring that were sent
        self.extras: list[bytes] = []
        self.limit = 4096  # bytes a read; the caller sets it to what a case needs

    # What a subclass does.

    def greet(self, head: str) -> None:
        """The other end's part of the opening handshake is here. Raises MessageError."""
        raise NotImplementedError

    def received(self, count: int) -> None:
        """So many expected messages came."""
        raise NotImplementedError

    def noted(self, content: dict[str, object]) -> None:
        """A note came."""
        raise NotImplementedError

    def ended(self, reason: str) -> None:
        """The connection is over, and closed."""
        raise NotImplementedError

    # What the loop calls.

    def ready(self, mask: int) -> None:
        """Read once, check, send what is due."""
        if mask & ~WRITE:
            try:
                data = self.socket.recv(self.limit)
            except BlockingIOError:
                return
            except OSError as error:
                self.finish(error.strerror or str(error))
                return
            if not data:
                self.finish("the stream ended")
                return
            try:
                if not self.opened and not (data := self._open(data)):
                    return
                count = self.receiver.receive(data)
                if count:
                    self.received(count)
                if self.receiver.asides:
                    self._handle_asides()
            except MessageError as error:
                self.refuse(str(error))
                return
        if self.due or self.extras:
            self.flush()

    def _open(self, data: bytes) -> bytes:
        """What came behind the handshake, once that is complete."""
        head, end, rest = (self.head + data).partition(b"\r\n\r\n")
        if not end:
            self.head = head
            if len(head) > HEAD_LIMIT:
                raise MessageError("no end of the handshake")
            return b""
        self.head = b""
        self.opened = True
        self.greet(head.decode("latin-1"))
        if self.extras:
            self.flush()
        return rest

    def _handle_asides(self) -> None:
        asides, self.receiver.asides = self.receiver.asides, []
        for opcode, payload in asides:
            if opcode == Opcode.PING:
                self.pings += 1
                self.extras.append(frame(Opcode.PONG, payload, masked=self.masked))
            elif opcode == Opcode.TEXT:
                self.noted(_content(payload))
            elif opcode == Opcode.CLOSE:
                code = int.from_bytes(payload[:2], "big")
                self.leave(payload)
                self.finish(f"Close {code} {payload[2:].decode()}".rstrip())
            else:
                self.ponged(payload)

    def ponged(self, payload: bytes) -> None:
        """A Pong came."""

    # Sending.

    def send_ring(self, ring: Ring, first: int) -> None:
        """From now on what is due are this ring's frames, beginning with number `first`."""
        self.ring = ring
        self.position = first * ring.frame

    def send_note(self, content: dict[str, object]) -> None:
        """Send a note between two messages."""
        self.extras.append(note(content, self.speech, masked=self.masked))
        self.flush()

    def flush(self) -> None:
        """Send what is due, as far as the socket takes it."""
        ring, due, position = self.ring, self.due, self.position
        try:
            if due <= READ_SIZE and not self.extras:  # mostly: one call, and all is sent
                end = position + int(due)
                sent = self.socket.send(ring.view[position:end])
                self.position = (position + sent) % ring.length
                self.due = due - sent
                self.total += sent
                if sent == due:
                    if self.mask != READ:
                        self.watch(READ)
                    return
            for _ in range(SENDS):
                into = self.position % ring.frame
                if self.extras and not into:
                    block = b"".join(self.extras)
                    sent = self.socket.send(block)
                    self.extras = [block[sent:]] if sent < len(block) else []
                    if not self.due and not self.extras:
                        break
                    continue
                size = min(self.due, READ_SIZE)
                if self.extras:
                    size = min(size, ring.frame - into)
                sent = self.socket.send(ring.view[self.position : self.position + int(size)])
                self.position = (self.position + sent) % ring.length
                self.due -= sent
                self.total += sent
                if not self.due and not self.extras:
                    break
        except BlockingIOError:
            pass
        except OSError:
            return  # reading will tell
        self.watch(READ | WRITE if self.due or self.extras else READ)

    def total_sent(self) -> int:
        """How many messages of the ring were sent, the one under way among them."""
        return -(-self.total // self.ring.frame)

    def stop_sending(self) -> None:
        """End a stream behind the message that is under way."""
        self.due = -self.position % self.ring.frame if self.due == inf else self.due

    # Ending.

    def leave(self, payload: bytes = b"\x03\xe8") -> None:
        """Send a Close frame, by default 1000."""
        self.extras.append(frame(Opcode.CLOSE, payload, masked=self.masked))
        self.flush()

    def refuse(self, reason: str) -> None:
        """What came is wrong: say so to the other end, and close."""
        self.leave(b"\x03\xf0" + reason.encode()[:120])
        self.finish(reason)

    def finish(self, reason: str) -> None:
        """Close the socket and tell the subclass, once."""
        if self.socket.fileno() >= 0:
            self.close()
            self.ended(reason)


def _content(payload: bytes) -> dict[str, object]:
    try:
        content = json.loads(payload[payload.index(NOTE) :])["note"]
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise MessageError(f"a note that can't be read: {payload[:40]!r}")
    return content
