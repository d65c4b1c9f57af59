"""The benchmark's checks notice what a wrong proxy would do."""

import os
import select
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from tempfile import TemporaryFile
from threading import Event, Thread

import measure
import pytest
from cases import SESSION_CASES, Case, Flow
from endpoint import Loop, Readable
from load import Load, RunError
from messages import MessageError, Messages, Opcode, Receiver, Ring, frame, messages, note
from processes import free_port
from reknit_core.dialect.interpreter import Interpreter, Verdict
from reknit_core.dialect.registry import registry
from reknit_core.dialect.speech import Message
from server import Listener, Service
from sessions import Sessions, sessions
from speech import SPEECHES, speech

pytestmark = pytest.mark.skipif(not hasattr(select, "epoll"), reason="needs Linux: epoll")

SIZE = 64
IN_SPEECH = pytest.mark.parametrize("name", SPEECHES)


def receiver(ring: Ring, known: Messages, first: int = 0) -> Receiver:
    made = Receiver()
    made.expect(ring, known.answered, first)
    return made


def frames(ring: Ring, first: int, count: int) -> list[bytes]:
    size = ring.frame
    return [
        ring.data[number * size : (number + 1) * size] for number in range(first, first + count)
    ]


@pytest.mark.parametrize("step", [1, 2, 7, 69, 70, 71, 500])
def test_any_split_counts_the_same(step: int) -> None:
    known = messages(SIZE)
    stream = b"".join(frames(known.plain, 0, 20))
    checked = receiver(known.plain, known)
    parts = (stream[at : at + step] for at in range(0, len(stream), step))
    assert sum(checked.receive(part) for part in parts) == 20


@pytest.mark.parametrize("step", [1, 5, 64, 1000])
def test_pings_between_messages_and_other_masks_are_understood(step: int) -> None:
    known = messages(SIZE)
    stream = b"".join(
        frame(Opcode.PING, b"%d" % number, masked=False)
        + (
            frame(Opcode.TEXT, known.answered[number], masked=True)
            if number % 3
            else known.plain.data[number * known.plain.frame : (number + 1) * known.plain.frame]
        )
        for number in range(20)
    )
    checked = receiver(known.plain, known)
    parts = (stream[at : at + step] for at in range(0, len(stream), step))
    assert sum(checked.receive(part) for part in parts) == 20
    assert checked.asides == [(Opcode.PING, b"%d" % number) for number in range(20)]


def test_the_ring_goes_round() -> None:
    known = messages(SIZE)
    checked = receiver(known.plain, known, known.count - 2)
    stream = b"".join(frames(known.plain, known.count - 2, 5))
    assert sum(checked.receive(stream[at : at + 9]) for at in range(0, len(stream), 9)) == 5


def altered(parts: list[bytes]) -> bytes:
    return b"".join(parts[:3]) + parts[3][:-1] + b"\x00" + b"".join(parts[4:])


def lost(parts: list[bytes]) -> bytes:
    return b"".join(parts[:3] + parts[4:])


def repeated(parts: list[bytes]) -> bytes:
    return b"".join(parts[:4] + parts[3:])


def swapped(parts: list[bytes]) -> bytes:
    return b"".join([*parts[:3], parts[4], parts[3], *parts[5:]])


def cut(parts: list[bytes]) -> bytes:
    return b"".join(parts[:3]) + parts[3][:-1] + b"".join(parts[4:])


DAMAGES = (altered, lost, repeated, swapped, cut)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("step", [3, 100000])
def test_a_damaged_stream_is_noticed(damage: Callable[[list[bytes]], bytes], step: int) -> None:
    known = messages(SIZE)
    stream = damage(frames(known.plain, 0, 20))
    checked = receiver(known.plain, known)
    parts = [stream[at : at + step] for at in range(0, len(stream), step)]
    with pytest.raises(MessageError):
        list(map(checked.receive, parts))


# -- Through sockets, with a relay that does harm ----------------------------------------------


class Half(Readable):
    """Passes what comes on to the other half, harmed."""

    __slots__ = ("harm", "other")

    def __init__(self, loop: Loop, sock: socket.socket, harm: Callable[[bytes], bytes]) -> None:
        super().__init__(loop, sock)
        self.harm = harm
        self.other: Half | None = None

    def ready(self, mask: int) -> None:
        assert self.other is not None
        try:
            data = self.socket.recv(65536)
        except OSError:
            data = b""
        if not data:
            self.other.close()
            self.close()
            return
        self.other.socket.sendall(self.harm(data))


class Relay(Readable):
    """Accepts clients for the server on another port; harms one of its directions."""

    __slots__ = ("harm", "target", "to_server")

    def __init__(
        self,
        loop: Loop,
        sock: socket.socket,
        target: int,
        harm: Callable[[bytes], bytes],
        *,
        to_server: bool,
    ) -> None:
        super().__init__(loop, sock)
        self.target = target
        self.harm = harm
        self.to_server = to_server

    def ready(self, mask: int) -> None:
        client = self.socket.accept()[0]
        server = socket.create_connection(("127.0.0.1", self.target))
        halves = [
            Half(self.loop, sock, self.harm if harmed else bytes)
            for sock, harmed in ((client, self.to_server), (server, not self.to_server))
        ]
        halves[0].other, halves[1].other = halves[1], halves[0]


def late(harm: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """Harm the 20th read only, when messages are under way."""
    reads = count(1)
    return lambda data: harm(data) if next(reads) == 20 else data


@contextmanager
def relayed(harm: Callable[[bytes], bytes], *, to_server: bool) -> Iterator[Load]:
    """A loader in front of a relay in front of a server, all in one loop."""
    service = Service()
    listening = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    Listener(service, listening[0])
    target = listening[0].getsockname()[1]
    Relay(service, listening[1], target, harm, to_server=to_server)
    load = Load(listening[1].getsockname()[1], service)
    try:
        yield load
    finally:
        load.close()
        for endpoint in list(service.endpoints.values()):
            endpoint.close()
        service.epoll.close()


ECHO = Case(3, SIZE, in_flight=4)
CASES = (ECHO, Case(3, SIZE, Flow.TO_SERVER), Case(3, SIZE, Flow.TO_CLIENT))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.flow.value)
def test_an_honest_relay_passes(case: Case) -> None:
    with relayed(bytes, to_server=True) as load:
        load.open(case.connections)
        load.plan(case)
        first, second = load.run(case, 0.02), load.run(case, 0.02)
        assert first.messages > 0
        assert second.messages > 0
        if case.flow is Flow.ECHO:
            assert sum(load.trips.values()) == second.messages


@pytest.mark.parametrize("to_server", [True, False])
@pytest.mark.parametrize(
    "harm",
    [
        lambda data: data[:-1] + os.urandom(1) if data[-1:] == b"\0" else data[:-1] + b"\0",
        lambda data: data + data,
        lambda data: data[:-1],
    ],
    ids=["altered", "repeated", "cut"],
)
def test_a_relay_that_does_harm_is_noticed(
    harm: Callable[[bytes], bytes], *, to_server: bool
) -> None:
    with relayed(late(harm), to_server=to_server) as load:
        load.open(ECHO.connections)
        load.plan(ECHO)
        with pytest.raises(RunError):
            load.run(ECHO, 5)


# -- Sessions that come and go, through the same relay ---------------------------------------------


@contextmanager
def through(program: Path, harm: Callable[[bytes], bytes]) -> Iterator[Sessions]:
    """The compiled loader with a relay between its ends that harms what its server says."""
    loop, port = Loop(), free_port()
    relay = Relay(loop, socket.create_server(("127.0.0.1", 0)), port, harm, to_server=False)
    over = Event()
    thread = Thread(target=lambda: [loop.turn(0.01) for _ in iter(over.is_set, True)])
    ports = relay.socket.getsockname()[1], port
    core = min(os.sched_getaffinity(0))
    with TemporaryFile("w") as log, sessions(program, core, ports, "", log) as ends:
        thread.start()
        try:
            yield ends
        finally:
            over.set()
            thread.join()
            for endpoint in list(loop.endpoints.values()):
                endpoint.close()
            loop.epoll.close()


def test_what_was_done_is_counted(loader: Path) -> None:
    with through(loader, bytes) as ends:
        for command, done, dials in (
            ("visit 7", 7, 7),
            ("open 3", 3, 3),
            ("ask 2", 6, 0),
            ("return", 3, 3),
            ("ask 1", 3, 0),
            ("leave", 3, 0),
        ):
            answer = ends.tell(command)
            assert (answer.done, answer.dials) == (done, dials)


@pytest.mark.parametrize(
    ("command", "harm", "said"),
    [
        ("open 1", lambda data: data.replace(b" 101 ", b" 200 "), "answer to a handshake"),
        ("open 1", lambda data: data.replace(b"Accept: ", b"Accept: x"), "answer to a handshake"),
        ("ask 1", lambda data: data.replace(b"says", b"said"), "a message that nobody sent"),
        ("ask 1", lambda data: data.replace(b"\x81@", b"\x82@"), "first byte 130"),
        ("ask 3", lambda data: data * 2 if b"says" in data else data, "nobody sent|first byte"),
    ],
    ids=["refused", "another key", "altered", "another opcode", "repeated"],
)
def test_a_proxy_that_does_harm_is_noticed(
    loader: Path, command: str, harm: Callable[[bytes], bytes], said: str
) -> None:
    with through(loader, harm) as ends:
        if command != "open 1":
            ends.tell("open 1")
        with pytest.raises(RunError, match=said):
            ends.tell(command)


def test_a_proxy_that_ends_a_session_is_noticed(loader: Path) -> None:
    with through(loader, bytes) as ends:
        ends.tell("open 2")
        with pytest.raises(RunError, match=r"was ended|second server|two server"):
            ends.tell("redial")


def test_who_comes_from_an_earlier_run_is_turned_away(loader: Path) -> None:
    port, core = free_port(), min(os.sched_getaffinity(0))
    with TemporaryFile("w") as log, sessions(loader, core, (port, port), "", log) as ends:
        ends.tell("open 1")
        with socket.create_connection(("127.0.0.1", port)) as late:
            late.sendall(b"GET /1/0 HTTP/1.1\r\nSec-WebSocket-Key: of another run\r\n\r\n")
            assert late.recv(1) == b""
        assert ends.tell("ask 1").done == 1


def test_a_proxy_that_keeps_no_session_has_no_client_that_returns(loader: Path) -> None:
    case = next(case for case in SESSION_CASES if case.measured == "return")
    with through(loader, bytes) as ends, pytest.raises(RunError, match="the server got 5"):
        measure.sessions(ends, None, case, 5)


# -- Messages in a protocol ------------------------------------------------------------------------


@IN_SPEECH
def test_a_dialect_follows_the_messages_of_its_protocol(name: str) -> None:
    conversation = registry().find(name).converse()
    assert conversation is not None
    interpreter = Interpreter(conversation, 1 << 20)
    known = messages(SIZE, name)
    for asked, answered in zip(known.asked, known.answered, strict=True):
        said, reply = Message(asked, True), Message(answered, True)
        assert interpreter.from_client(said, 1, server_away=False) == Verdict(said)
        assert len(interpreter.statements) == (name == "jsonrpc")
        assert interpreter.from_server(reply, client_away=False) == Verdict(reply)
        assert len(interpreter.statements) == 0
    assert not interpreter.is_lost


@IN_SPEECH
@pytest.mark.parametrize("step", [1, 50, 1000])
def test_notes_stand_between_messages_of_a_protocol(name: str, step: int) -> None:
    known = messages(SIZE, name)
    aside = note({"do": "go"}, speech(name), masked=False)
    stream = aside.join((b"", *frames(known.plain, 0, 3), b""))
    checked = Receiver()
    checked.expect(known.plain, known.answered, 0)
    assert sum(checked.receive(stream[at : at + step]) for at in range(0, len(stream), step)) == 3
    assert len(checked.asides) == 4
