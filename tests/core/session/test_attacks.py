"""What a hostile peer may send, by the core: nothing of it raises, stalls or outgrows a bound."""

from collections.abc import Iterator
from math import inf

import pytest
from frame_bytes import CLOSE, CONTINUATION, FIN, PING, PONG, TEXT, frame, message
from handshake_bytes import request
from legs_by_hand import DATA, NONCE, feed, legs, write
from reknit_core.events import ConnectionLost, Shutdown
from reknit_core.leg.leg import SMALL
from reknit_core.lifecycle import State
from reknit_core.policy.policy import GraceFor, Policy
from reknit_core.proxy.contexts import Contexts
from reknit_core.queue.backlog import Backlog
from reknit_core.queue.budget import SHARE
from reknit_core.queue.stream import GATHER
from reknit_core.session.context import LAST_TURNS, ContextStateMachine
from reknit_core.side import Side
from reknit_core.wire.controls import read_close
from reknit_core.wire.frames import EASY, STEPS, WALK, FrameScanner, Violation, payload
from reknit_core.wire.handshake import ClientHandshake, Refusal
from sessions_by_hand import accept, connect, contexts, lose_client, session, take

NAMED = b"X-Connection-Id: a"


def close(code: int, reason: bytes = b"", *, masked: bool = True) -> bytes:
    return frame(FIN | CLOSE, code.to_bytes(2, "big") + reason, masked=masked)


def away() -> tuple[Contexts, ContextStateMachine]:
    """A session whose client is away; its connection id is named."""
    sessions = contexts()
    context = session(sessions, NAMED)
    accept(context)
    lose_client(context)
    return sessions, context


# -- Frames right behind the handshake ---------------------------------------------------------


def test_a_client_may_return_and_leave_in_one_packet() -> None:
    """A Close with a code of a client that will return, in front of the proxy's answer."""
    sessions, context = away()
    assert connect(sessions, NAMED, rest=close(1001)) is context
    assert take(context, Side.CLIENT).startswith(b"HTTP/1.1 101 ")
    assert context.state is State.CLIENT_DOWN


def test_a_client_may_return_and_close_in_one_packet() -> None:
    sessions, context = away()
    assert connect(sessions, NAMED, rest=close(1000, b"done")) is context
    assert take(context, Side.CLIENT).startswith(b"HTTP/1.1 101 ")
    assert context.state is State.CLOSING
    assert payload(take(context, Side.SERVER)) == b"\x03\xe8done"


def test_a_client_may_return_to_a_session_that_ends_and_close_in_one_packet() -> None:
    sessions, context = away()
    owed = message(b"owed").data
    context.receive_data(Side.SERVER, owed + close(1000, masked=False), 1.0)
    take(context, Side.SERVER)
    assert context.state is State.CLOSING
    assert connect(sessions, NAMED, rest=close(1000)) is context
    answer = take(context, Side.CLIENT)
    head, _, frames = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ")
    assert frames == owed + close(1000, masked=False)
    assert context.state is State.CLOSED


# -- The handshake -----------------------------------------------------------------------------


@pytest.mark.parametrize("offer", [b"a,", b",a", b"a,,", b"a, ,"])
def test_an_empty_subprotocol_is_no_subprotocol(offer: bytes) -> None:
    sessions = contexts()
    context = session(sessions, b"Sec-WebSocket-Protocol: " + offer)
    accept(context, b"Sec-WebSocket-Protocol: a")
    assert context.state is State.CONNECTED


@pytest.mark.parametrize("offer", [b"a b", b"a;b", b'"a"', b"a, (b)"])
def test_a_subprotocol_that_is_no_token_is_refused(offer: bytes) -> None:
    handshake = ClientHandshake("192.0.2.7")
    outcome = handshake.receive_data(request(b"Sec-WebSocket-Protocol: " + offer))
    assert isinstance(outcome, Refusal)
    assert outcome.status == 400


# -- Floods ------------------------------------------------------------------------------------


def scan_all(scanner: FrameScanner, data: bytes) -> tuple[bytes, list[bytes]]:
    """What the scanner passes in all its turns, without the control frames, and these."""
    kept = b""
    controls: list[bytes] = []
    while data or scanner.behind:
        part = scanner.scan(data)
        data = b""
        start = 0
        for control in scanner.controls:
            kept += part[start : control.start]
            controls.append(part[control.start : control.end])
            start = control.end
        kept += part[start:]
    return kept, controls


def turns(context: ContextStateMachine, now: float) -> Iterator[None]:
    """Let the context go on as often as it asks to at once."""
    while (context.next_deadline() or inf) <= now:
        context.handle_timeout(now)
        yield


PINGS = (
    frame(FIN | PING, masked=True),
    frame(FIN | PONG, b"x" * 125, masked=True),
    frame(FIN | PING, masked=True) + message(b"x", masked=True).data,
)


@pytest.mark.parametrize("data", PINGS, ids=["Pings", "Pongs", "Pings between messages"])
def test_a_flood_of_control_frames_is_read_in_turns(data: bytes) -> None:
    """Each of them costs as much as a read: in one go the other sessions would wait for them."""
    context = session(contexts())
    accept(context)
    context.receive_data(Side.CLIENT, data * 3000, 1.0)
    assert len(take(context, Side.SERVER)) == STEPS * len(data)
    assert not context.wants_read(Side.CLIENT)
    assert context.attention
    for _ in turns(context, 1.0):
        assert len(take(context, Side.SERVER)) <= STEPS * len(data)
    assert context.wants_read(Side.CLIENT)


def test_nothing_of_what_is_read_in_turns_is_lost_or_moved() -> None:
    context = session(contexts())
    accept(context)
    pings = [frame(FIN | PING, b"%d" % number, masked=True) for number in range(500)]
    parts = [message(b"%d" % number, b".", masked=True).frames for number in range(500)]
    flood = [first + ping + last for ping, (first, last) in zip(pings, parts, strict=True)]
    context.receive_data(Side.CLIENT, b"".join(flood), 1.0)
    written = take(context, Side.SERVER)
    for _ in turns(context, 1.0):
        written += take(context, Side.SERVER)
    scanner = FrameScanner(masked=True, deflate=False, limit=1000)
    data, controls = scan_all(scanner, written)
    assert controls == pings
    assert data == b"".join(first + last for first, last in parts)


def test_a_fragmented_flood_is_read_in_turns() -> None:
    context = session(contexts())
    accept(context)
    part = frame(CONTINUATION, b"x", masked=True)
    end = frame(FIN | CONTINUATION, masked=True)
    data = frame(TEXT, masked=True) + part * 1000 + end
    context.receive_data(Side.CLIENT, data, 1.0)
    assert not context.wants_read(Side.CLIENT)
    number = sum(1 for _ in turns(context, 1.0))
    assert 1000 // STEPS <= number <= 1000 // STEPS + 1
    assert take(context, Side.SERVER) == data


def end(sessions: Contexts, context: ContextStateMachine, how: str) -> None:
    match how:
        case "lost":
            context.handle(ConnectionLost(Side.CLIENT, context.client.generation, "reset"), 1.0)
        case "end of stream":
            context.receive_eof(Side.CLIENT, 1.0)
        case "taken over":
            assert connect(sessions, NAMED) is context
        case _:
            context.handle(Shutdown(1012, "restart"), 1.0)


ENDS = pytest.mark.parametrize("how", ["lost", "end of stream", "taken over", "shutdown"])


@ENDS
def test_a_connection_that_ends_with_a_flood_of_pings_is_read_on_for_some_turns_only(
    how: str,
) -> None:
    """Its Pings are nobody's any more, and its end may not cost others what they saved."""
    sessions = contexts()
    context = session(sessions, NAMED)
    accept(context)
    ping = frame(FIN | PING, masked=True)
    context.receive_data(Side.CLIENT, ping * 3000, 1.0)
    end(sessions, context, how)
    read = take(context, Side.SERVER).count(ping)
    assert STEPS < read <= STEPS * (1 + LAST_TURNS)


@ENDS
@pytest.mark.parametrize("parts", [(b"x", b"y"), (b"x",) * 9, (b"x",)], ids=len)
def test_no_message_that_came_before_the_end_is_lost(how: str, parts: tuple[bytes, ...]) -> None:
    sessions = contexts()
    context = session(sessions, NAMED)
    accept(context)
    data = message(*parts, masked=True).data + message(b"longer", masked=True).data
    context.receive_data(Side.CLIENT, data * 3000, 1.0)
    assert context.client.is_behind
    end(sessions, context, how)
    assert take(context, Side.SERVER).startswith(data * 3000)


@pytest.mark.parametrize("sizes", [(0, 1, 2), (1, 1, 30)], ids=str)
def test_a_flood_of_small_messages_is_read_in_turns(sizes: tuple[int, ...]) -> None:
    context = session(contexts())
    accept(context)
    data = b"".join(message(b"x" * size, masked=True).data for size in sizes) * 3000
    context.receive_data(Side.CLIENT, data, 1.0)
    assert context.client.is_behind
    written = take(context, Side.SERVER)
    for _ in turns(context, 1.0):
        more = take(context, Side.SERVER)
        assert len(more) <= WALK + STEPS * EASY * max(sizes)
        written += more
    assert written == data
    assert context.client.queue.count == len(sizes) * 3000


def test_small_messages_of_one_size_cost_little_and_need_no_turns() -> None:
    context = session(contexts())
    accept(context)
    data = message(b"x", masked=True).data * 9000
    context.receive_data(Side.CLIENT, data + data[:3], 1.0)
    assert not context.client.is_behind
    assert take(context, Side.SERVER) == data


def test_pings_that_nobody_takes_cost_little_memory() -> None:
    _, server = legs()
    ping = frame(FIN | PING, masked=True)
    for _ in range(10_000):
        server.say(ping, server.source.tail)
    assert len(server.lane) <= 1 + 10_000 * len(ping) // (SMALL - len(ping))
    assert write(server) == ping * 10_000


def test_pings_behind_queued_messages_are_written_in_parts() -> None:
    """A system refuses a gathered write of more buffers, and the leg would be lost."""
    client, server = legs()
    for _ in range(GATHER - 10):
        feed(client, message(b"x" * 3000, masked=True).data)
    for _ in range(20):
        server.say(bytes(SMALL), server.source.tail)
    assert len(server.pending()) == GATHER


@pytest.mark.parametrize("whole", [True, False], ids=["one read", "many reads"])
def test_empty_fragments_count_to_the_limit_of_a_message(whole: bool) -> None:
    scanner = FrameScanner(masked=True, deflate=False, limit=1000)
    more = frame(CONTINUATION, masked=True)
    flood = frame(TEXT, masked=True) + more * 1000
    kept = b""
    for part in [flood] if whole else [flood[at : at + 7] for at in range(0, len(flood), 7)]:
        kept += scan_all(scanner, part)[0]
    assert scanner.violation == Violation(1009, "message over 1000 bytes")
    assert len(kept) <= 1000


def test_fragments_within_the_limit_are_counted_by_message() -> None:
    scanner = FrameScanner(masked=False, deflate=False, limit=200)
    data = message(*[b""] * (STEPS - 1)).data
    for _ in range(5 * 400 // STEPS):
        assert scanner.scan(data) == data
        assert scanner.messages == 1
    assert scanner.violation is None


# -- Bounds ------------------------------------------------------------------------------------


def test_a_bad_gateway_close_has_to_be_text() -> None:
    """1014 is unknown to wsproto, so its reason is checked here."""
    client, _ = legs()
    found = read_close(client.side, close(1014, b"\xff"))
    assert isinstance(found, Violation)
    assert found.code == 1007
    assert read_close(client.side, close(1014, "é".encode())) == (1014, "é")


def test_a_peer_that_owes_a_pong_is_read_though_the_budget_is_spent() -> None:
    """Its Pong may stand behind what is not read; without it nothing would be confirmed."""
    client, server = legs(limit=1)
    feed(client, message(b"x" * SHARE, masked=True).data)
    assert not client.wants_read()
    write(server)
    client.ask(NONCE, 1.0)
    write(client)
    assert client.wants_read()


def test_an_idle_session_gives_its_replay_up_where_the_bytes_are_needed() -> None:
    client, server = legs(eager=True, window=1000, limit=1000)
    budget = client.source.budget
    feed(server, DATA * 9)
    write(client)
    assert budget.used == 900  # confirmed, and kept for replay
    budget.used += 500  # by other sessions
    client.ask(NONCE, 1.0)
    ping = write(client, now=1.0)
    client.answered(payload(ping), 2.0)
    assert budget.used == 500


def test_what_was_found_to_be_held_is_held_after_the_loss_of_the_old_connection() -> None:
    """The count of a client that takes over is checked before its predecessor is let go."""
    backlog = Backlog(eager=True, window=1000)
    for _ in range(20):
        backlog.append(DATA, len(DATA), 1)
        backlog.advance(len(DATA))
    backlog.append(DATA * 20, 20 * len(DATA), 20)  # one read, of which the last byte isn't taken
    backlog.advance(20 * len(DATA) - 1)
    lowest = next(count for count in range(40) if backlog.holds(count))
    assert lowest > 0
    backlog.rewind()
    assert backlog.holds(lowest)
    backlog.resume_at(lowest)
    assert backlog.sent == lowest * len(DATA)


SPOKEN = {
    "graphql-transport-ws": (b'{"type":"connection_init"}', b'{"type":"connection_ack"}'),
    "mqtt": (b"\x10\x0e\0\4MQTT\4\2\0\x3c\0\2me", b"\x20\2\0\0"),
    "nats": (b'CONNECT {"verbose":false}\r\n', b"INFO {}\r\n"),
}
"""What a client and a server begin with."""


def controls(data: bytes, *, masked: bool) -> list[bytes]:
    """What the control frames in it say."""
    scanner = FrameScanner(masked=masked, deflate=False, limit=2**20)
    found = []
    passed = scanner.scan(data)
    while True:
        found += [payload(passed[each.start : each.end]) for each in scanner.controls]
        if not scanner.behind:
            return found
        passed = scanner.scan(b"")


@pytest.mark.parametrize(
    ("dialect", "side", "ping"),
    [
        ("graphql-transport-ws", Side.CLIENT, b'{"type":"ping"}'),
        ("graphql-transport-ws", Side.SERVER, b'{"type":"ping"}'),
        ("mqtt", Side.CLIENT, b"\xc0\0"),
        ("nats", Side.SERVER, b"PING\r\n"),
    ],
)
def test_who_asks_and_does_not_take_the_answers_is_not_read(
    dialect: str, side: Side, ping: bytes
) -> None:
    """A heartbeat's answers, which the proxy gives in the place of an end that is away."""
    bound = 64 * 1024
    policy = Policy(dialect=dialect, grace_for=GraceFor.ALL, queue_bytes=bound)
    context = session(contexts(policy), NAMED)
    accept(context)
    for each, word in zip(Side, SPOKEN[dialect], strict=True):
        context.receive_data(each, frame(FIN | TEXT, word, masked=each is Side.CLIENT), 1.0)
    for each in Side:
        take(context, each)
    leg = context.client if side is Side.CLIENT else context.server
    context.handle(ConnectionLost(leg.other.side, leg.other.generation, "reset"), 1.0)
    flood = frame(FIN | TEXT, ping, masked=side is Side.CLIENT) * 100
    taken = 0
    while leg.wants_read():
        context.receive_data(side, flood, 1.0)
        taken += len(flood)
        assert taken < 40 * bound
    waits = leg.source.tail - leg.source.confirmed
    assert bound <= waits < 2 * bound
    asked = take(context, side)
    assert leg.wants_read(), "it takes them now"
    (ping,) = controls(asked, masked=side is Side.SERVER)
    context.receive_data(side, frame(FIN | PONG, ping, masked=side is Side.CLIENT), 1.0)
    waits = leg.source.tail - leg.source.confirmed
    assert waits < bound


def test_who_asks_and_does_not_take_the_answers_is_not_read_while_all_bytes_are_in_use() -> None:
    policy = Policy(dialect="graphql-transport-ws", grace_for=GraceFor.ALL, queue_total=4 * SHARE)
    sessions = contexts(policy)
    context = session(sessions, NAMED)
    accept(context)
    context.handle(ConnectionLost(Side.SERVER, context.server.generation, "reset"), 1.0)
    flood = frame(FIN | TEXT, b'{"type":"ping"}', masked=True) * 100
    while context.client.wants_read():
        context.receive_data(Side.CLIENT, flood, 1.0)
        assert sessions.budget.used < 5 * SHARE
