"""One leg of a session: what goes out where, what is asked, and when it is given up."""

import json
from math import inf
from typing import Any

import pytest
from frame_bytes import CLOSE, FIN, PING, PONG, TEXT, frame, message
from hypothesis import given
from hypothesis import strategies as st
from legs_by_hand import DATA, NONCE, asked, feed, legs, out, write
from reknit_core.leg.bounds import MAX_AHEAD
from reknit_core.leg.dialling import Dialling
from reknit_core.leg.leg import MAX_EARLY, MAX_LANE, SMALL, Leg
from reknit_core.leg.legs import IncomingWebSocket, OutgoingWebSocket, hello_frame
from reknit_core.leg.phase import Phase
from reknit_core.leg.probe import PROBE_SIZE
from reknit_core.policy.policy import Overflow, Policy
from reknit_core.queue.backlog import Backlog
from reknit_core.queue.budget import SHARE
from reknit_core.queue.stream import GATHER
from reknit_core.side import Side
from reknit_core.wire.controls import close_frame, read_close
from reknit_core.wire.frames import FrameScanner, Opcode, Violation, message_ends, payload
from wsproto.frame_protocol import FrameProtocol

# -- Begin and end -----------------------------------------------------------------------------


def test_the_sides() -> None:
    client, server = legs()
    assert (client.side, server.side) == (Side.CLIENT, Side.SERVER)
    assert client.queue is server.source
    assert server.queue is client.source


def test_each_side_is_read_by_its_own_rules() -> None:
    client, server = legs(message_limit=200)
    masked, plain = message(b"m" * 90, masked=True).data, message(b"p" * 90).data
    assert feed(client, masked) == []
    assert feed(server, plain) == []
    assert (write(server), write(client)) == (masked, plain)
    for leg, wrong in ((client, plain), (server, masked)):
        feed(leg, wrong)
        assert leg.scanner is not None
        assert leg.scanner.violation is not None
    client, server = legs(message_limit=200)
    feed(server, message(b"p" * 201).data)
    assert server.scanner is not None
    assert server.scanner.violation == Violation(1009, "message over 200 bytes")


def test_compressed_messages_pass_where_that_was_agreed() -> None:
    _, server = legs()
    server.open(deflate=True, now=0.0)
    feed(server, frame(FIN | 0x40 | TEXT, b"x"))
    assert server.scanner is not None
    assert server.scanner.violation is None


def test_a_connection_that_is_gone_leaves_nothing_but_its_messages() -> None:
    client, server = legs()
    feed(server, DATA + DATA[:10])
    write(client)
    client.ask(NONCE, 1.0)
    client.say(b"said", 0)
    client.early = b"early"
    client.probe.missed = 1
    client.full = True
    client.drained = 1.0
    server.gone()
    client.gone()
    assert (client.phase, client.scanner, client.early, client.lane) == (Phase.AWAY, None, b"", [])
    assert (
        client.probe.ping,
        client.probe.sent_at,
        client.probe.confirm_at,
        client.probe.missed,
    ) == (b"", inf, inf, 0)
    assert (client.pinged, client.full, client.drained) == (None, False, -inf)
    assert out(client) == b""
    client.open(deflate=False, now=9.0)
    assert out(client) == DATA
    assert (client.heard, client.probe.confirm_at) == (9.0, 9.0 + client.policy.confirm_after)
    server.open(deflate=False, now=9.0)
    assert server.probe.confirm_at == inf  # it is owed nothing


def test_at_most_once_has_nothing_to_ask_of_a_new_connection() -> None:
    client, server = legs(eager=True)
    feed(server, DATA)
    client.open(deflate=False, now=9.0)
    assert client.probe.confirm_at == inf


def test_a_ping_that_the_other_end_can_not_answer_any_more_is_answered_here() -> None:
    client, server = legs()
    client.pinged = b"still there?"
    server.gone()
    assert write(client) == frame(FIN | PONG, b"still there?")
    server.gone()
    assert out(client) == b""  # once
    client.pinged = b"x"
    client.phase = Phase.CLOSING
    server.gone()
    assert out(client) == b""


# -- What is cut out of the stream -------------------------------------------------------------


def test_control_frames_are_cut_out_and_messages_queued() -> None:
    first, last = message(b"one", b"two").frames
    ping, pong = frame(FIN | PING, b"?"), frame(FIN | PONG)
    close = frame(FIN | CLOSE, b"\x03\xe8")
    client, server = legs()
    found = feed(server, ping + first + pong + last + ping + DATA + close + b"rest")
    assert found == [
        (Opcode.PING, ping),
        (Opcode.PONG, pong),
        (Opcode.PING, ping),
        (Opcode.CLOSE, close),
    ]
    assert out(client) == first + last + DATA
    assert server.queue.mark == (len(first + last + DATA), 2)


def test_control_frames_inside_an_open_message() -> None:
    first, last = message(b"one", b"two").frames
    ping = frame(FIN | PING)
    client, server = legs()
    feed(server, DATA + first + ping)
    assert out(client) == DATA
    feed(server, ping + last + ping)
    assert out(client) == DATA + first + last
    assert server.queue.mark == (len(DATA + first + last), 2)


def test_only_control_frames_queue_nothing() -> None:
    client, server = legs()
    feed(server, frame(FIN | PING) * 3)
    assert (out(client), server.queue.mark) == (b"", (0, 0))


def test_what_comes_after_our_close_is_not_queued() -> None:
    _, server = legs()
    server.phase = Phase.CLOSING
    assert feed(server, DATA + frame(FIN | CLOSE)) == [(Opcode.CLOSE, frame(FIN | CLOSE))]
    assert server.queue.mark == (0, 0)
    assert server.wants_read()  # for its Close


def test_an_end_that_asked_for_the_close_gets_what_was_on_its_way() -> None:
    client, server = legs(queue_bytes=150)
    client.phase = Phase.CLOSE_RECEIVED
    server.phase = Phase.CLOSING
    feed(server, DATA)
    assert server.wants_read()
    feed(server, DATA)
    assert not server.wants_read()
    assert out(client) == DATA * 2
    assert feed(client, message(b"late", masked=True).data) == []
    assert client.queue.mark == (0, 0)


parts = st.lists(st.integers(0, 5).map(lambda size: b"p" * size), min_size=1, max_size=3)


@given(st.data())
def test_cut_in_any_way_the_messages_are_the_same(data: st.DataObject) -> None:
    stream = messages = b""
    controls: list[bytes] = []
    for fragments in data.draw(st.lists(parts, max_size=5)):
        for item in message(*fragments).frames:
            for _ in range(data.draw(st.integers(0, 2))):
                controls.append(frame(FIN | PING, bytes([len(controls)])))
                stream += controls[-1]
            stream += item
            messages += item
    client, server = legs()
    found = []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        found += feed(server, stream[:size])
        stream = stream[size:]
    assert [item for _, item in found] == controls
    assert out(client) == messages
    assert server.queue.count == len(list(message_ends(messages)))


# -- Where the proxy's own bytes go ------------------------------------------------------------


def test_a_connection_that_is_not_open_gets_only_what_is_said() -> None:
    client, server = legs()
    feed(server, DATA)
    for phase in (Phase.AWAY, Phase.DIALLING, Phase.HANDSHAKE):
        client.phase = phase
        assert out(client) == b""
    client.say(b"HTTP/1.1 101", 0)
    assert out(client) == b"HTTP/1.1 101"
    write(client, 5)
    assert out(client) == b"1.1 101"
    write(client)
    assert out(client) == b""


def test_what_is_said_stands_at_its_place() -> None:
    client, server = legs()
    feed(server, DATA * 3)
    client.say(b"[1]", 100)
    client.say(b"[2]", 100)
    client.say(b"[4]", 300)
    client.say(b"[5]", 200)  # too late for its place: it follows what stands before it
    assert out(client) == DATA + b"[1][2]" + DATA + DATA + b"[4][5]"
    assert write(client) == DATA + b"[1][2]" + DATA + DATA + b"[4][5]"
    assert client.lane == []


def test_a_gathered_write_that_is_full_leaves_the_rest_for_the_next() -> None:
    client, server = legs()
    big = message(b"y" * 2100).data
    for _ in range(GATHER + 1):
        feed(server, big)
    client.say(b"[end]", len(big) * GATHER)
    assert len(client.pending()) == GATHER
    assert write(client) == big * GATHER + b"[end]" + big


@given(st.data())
def test_control_frames_never_break_into_a_message(data: st.DataObject) -> None:
    client, server = legs()
    written = sent = b""
    said: list[bytes] = []
    for _ in range(data.draw(st.integers(0, 30))):
        match data.draw(st.sampled_from(["message", "say", "pong", "ping", "write"])):
            case "message":
                item = message(*data.draw(parts)).data * data.draw(st.integers(1, 300))
                feed(server, item)
                sent += item
            case "say":
                said.append(frame(FIN | PING, b"passed on %d" % len(said)))
                client.say(said[-1], client.source.tail)
            case "pong":
                said.append(frame(FIN | PONG, b"answer %d" % len(said)))
                client.pong(payload(said[-1]))
            case "ping" if client.probe.sent_at == inf:
                client.ask(NONCE, 0.0)
                said.append(client.probe.ping)
            case "write":
                available = len(out(client))
                written += write(client, data.draw(st.integers(0, available)))
    written += write(client)
    scanner = FrameScanner(masked=False, deflate=False, limit=1 << 30)
    scanner._turn = len(written)
    kept = scanner.scan(written)
    assert (kept, scanner.violation) == (written, None)
    assert scanner.boundary == len(written)
    controls = [written[control.start : control.end] for control in scanner.controls]
    assert sorted(controls) == sorted(said)
    for control in reversed(scanner.controls):
        written = written[: control.start] + written[control.end :]
    assert written == sent


# -- Close frames ------------------------------------------------------------------------------


def closed(leg: Leg, data: bytes) -> tuple[int, str]:
    """What an endpoint reads in a Close frame that the leg makes for it."""
    protocol = FrameProtocol(client=leg.side is Side.CLIENT, extensions=[])
    protocol.receive_bytes(data)
    (received,) = protocol.received_frames()
    assert isinstance(received.payload, tuple)
    return int(received.payload[0]), received.payload[1]


@pytest.mark.parametrize("side", list(Side))
def test_close_frames(side: Side) -> None:
    leg = legs()[0 if side is Side.CLIENT else 1]
    for code in (1000, 1001, 1002, 1009, 1011, 1012, 1013, 3000, 4409, 4999):
        data = close_frame(leg.side, code, "a reason \u2603")
        assert data[0] == FIN | CLOSE
        assert bool(data[1] & 0x80) is (side is Side.SERVER)
        assert closed(leg, data) == (code, "a reason \u2603")
        assert closed(leg, close_frame(leg.side, code, "")) == (code, "")
    assert payload(close_frame(leg.side, 1014, "x")) == b"\x03\xf6x"
    for code in (1005, 1006, 1015):
        assert payload(close_frame(leg.side, code, "a reason")) == b""


def test_a_long_reason_is_cut_at_a_character() -> None:
    client, _ = legs()
    code, reason = closed(client, close_frame(client.side, 1000, "\u2603" * 100))
    assert (code, reason) == (1000, "\u2603" * 41)


@pytest.mark.parametrize("side", list(Side))
@pytest.mark.parametrize(
    ("content", "close"),
    [
        (b"", (1005, "")),
        (b"\x03\xe8", (1000, "")),
        (b"\x03\xe9going", (1001, "going")),
        (b"\x03\xf6bad gateway", (1014, "bad gateway")),
        (b"\x03\xf6\xff", 1007),
        (b"\x0b\xb8\xe2\x98\x83", (3000, "\u2603")),
        (b"\x13\x87" + b"r" * 123, (4999, "r" * 123)),
        (b"\x03", 1002),
        (b"\x00\x00", 1002),
        (b"\x03\xe7", 1002),  # 999
        (b"\x13\x88", 1002),  # 5000
        (b"\x03\xec", 1002),  # 1004
        (b"\x03\xed", 1002),  # 1005
        (b"\x03\xee", 1002),  # 1006
        (b"\x03\xf7", 1002),  # 1015
        (b"\x03\xf8", 1002),  # 1016
        (b"\x0b\xb7", 1002),  # 2999
        (b"\x03\xe8\xff", 1007),
        (b"\x03\xe8\xe2\x98", 1007),
    ],
)
def test_close_frames_are_read(side: Side, content: bytes, close: tuple[int, str] | int) -> None:
    leg = legs()[0 if side is Side.CLIENT else 1]
    heard = read_close(leg.side, frame(FIN | CLOSE, content, masked=side is Side.CLIENT))
    if isinstance(close, int):
        assert isinstance(heard, Violation)
        assert heard.code == close
        assert heard.reason.startswith("bad Close frame: ")
    else:
        assert heard == close


@given(st.binary(max_size=125), st.booleans())
def test_any_close_frame_can_be_read_and_passed_on(content: bytes, from_client: bool) -> None:
    client, server = legs()
    here, there = (client, server) if from_client else (server, client)
    heard = read_close(here.side, frame(FIN | CLOSE, content, masked=from_client))
    if isinstance(heard, Violation):
        heard = (heard.code, heard.reason)
    passed = close_frame(there.side, *heard)
    assert len(payload(passed)) <= 125


def test_last_words_are_said_only_between_messages() -> None:
    client, server = legs()
    close = close_frame(client.side, 4409, "why")
    assert client.last_words(4409, "why") == close
    feed(server, message(b"y" * 3000).data)
    assert client.last_words(4409, "why") == close
    write(client, 10)
    assert client.last_words(4409, "why") == b""
    write(client)
    assert client.last_words(4409, "why") == close
    client.say(b"...", client.source.tail)
    assert client.last_words(4409, "why") == b""
    write(client)
    client.phase = Phase.CLOSING
    assert client.last_words(4409, "why") == b""


# -- Room --------------------------------------------------------------------------------------


@pytest.mark.parametrize("bounds", [{"queue_bytes": 250}, {"queue_messages": 3}])
def test_a_full_queue_stops_its_sender(bounds: dict[str, Any]) -> None:
    client, server = legs(**bounds)
    for _ in range(2):
        feed(server, DATA)
        assert server.wants_read()
    feed(server, DATA)
    assert not server.wants_read()
    assert server.make_room()  # by waiting
    assert client.wants_read()
    write(client)
    assert not server.wants_read()  # at-least-once: what is unconfirmed is still held
    client.source.confirm(100, 1)
    assert server.wants_read()
    assert server.make_room()
    assert server.queue.dropped == 0


def test_a_peer_that_owes_a_pong_is_read_further_once_all_is_handed_on() -> None:
    client, server = legs(queue_bytes=150)
    feed(server, DATA * 2)
    server.ask(NONCE, 0.0)
    assert not server.wants_read()  # not all is handed on
    write(client)
    assert server.wants_read()
    server.answered(asked(server), 0.0)
    assert not server.wants_read()
    server.ask(NONCE, 0.0)
    write(server)
    for _ in range(MAX_AHEAD // 2**20):
        assert server.wants_read()
        feed(server, message(bytes(2**20)).data)
        write(client)
    assert not server.wants_read()


@pytest.mark.parametrize("policy", [Overflow.CLOSE, Overflow.DROP_OLDEST, Overflow.DROP_NEWEST])
def test_other_policies_read_on(policy: Overflow) -> None:
    _, server = legs(queue_bytes=100, overflow_to_client=policy)
    feed(server, DATA)
    assert server.wants_read()
    _, server = legs(queue_bytes=100, overflow_to_server=policy)
    feed(server, DATA)
    assert not server.wants_read()


def test_the_budget_of_all_sessions_leaves_each_a_share() -> None:
    client, server = legs(limit=10)
    feed(server, DATA)
    assert server.wants_read()
    feed(server, message(b"x" * SHARE).data)
    assert not server.wants_read()
    assert client.wants_read()
    client, server = legs(limit=SHARE * 2)
    feed(server, message(b"x" * SHARE).data)
    assert server.wants_read()


def test_too_many_control_frames_stop_both_senders() -> None:
    client, server = legs()
    for _ in range(MAX_LANE - 1):
        server.say(bytes(SMALL), 0)
    assert client.wants_read()
    assert server.wants_read()
    server.say(bytes(SMALL), 0)
    assert not client.wants_read()
    assert not server.wants_read()
    write(server)
    assert client.wants_read()


def test_before_it_is_open_a_peer_may_send_only_so_much() -> None:
    client, _ = legs()
    client.phase = Phase.HANDSHAKE
    client.early = b"x" * (MAX_EARLY - 1)
    assert client.wants_read()
    client.early += b"x"
    assert not client.wants_read()


@pytest.mark.parametrize("bounds", [{"queue_bytes": 250}, {"queue_messages": 2}])
def test_policy_close_ends_the_session(bounds: dict[str, Any]) -> None:
    _, server = legs(overflow_to_client=Overflow.CLOSE, **bounds)
    for room in (True, True, False):
        feed(server, DATA)
        assert server.make_room() is room


def test_policy_drop_newest_drops_what_came_last() -> None:
    client, server = legs(overflow_to_client=Overflow.DROP_NEWEST, queue_bytes=250)
    for mark in (b"a", b"b", b"c", b"d"):
        feed(server, message(mark * 98).data)
        assert server.make_room()
    assert server.queue.dropped == 2
    assert out(client) == message(b"a" * 98).data + message(b"b" * 98).data


def test_policy_drop_oldest_makes_some_room() -> None:
    client, server = legs(overflow_to_client=Overflow.DROP_OLDEST, queue_messages=8)
    for number in range(9):
        feed(server, message(bytes([number]) * 3000).data)
        assert server.make_room()
    assert server.queue.dropped == 3  # down to three quarters
    assert out(client)[4:5] == b"\x03"


def test_what_stands_behind_dropped_messages_moves_up() -> None:
    client, server = legs(overflow_to_client=Overflow.DROP_OLDEST, queue_messages=4)
    chunks = [message(bytes([number]) * 3000).data for number in range(5)]
    size = len(chunks[0])
    for number, chunk in enumerate(chunks):
        feed(server, chunk)
        client.say(b"[%d]" % number, client.source.tail)
        if number == 1:
            write(client, 10)
    client.advance(0, 0.0)
    client.ask(NONCE, 0.0)
    assert client.probe.mark == (size, 1)
    assert server.make_room()
    assert server.queue.dropped == 2
    assert client.probe.mark == (size, 1)  # nothing before it went
    ping = frame(FIN | PING, NONCE + (1).to_bytes(PROBE_SIZE, "big"))
    rest = chunks[0][10:] + b"[0][1][2]" + chunks[3] + b"[3]" + chunks[4] + b"[4]" + ping
    assert write(client) == rest


def test_a_ping_behind_dropped_messages_proves_nothing() -> None:
    client, server = legs(overflow_to_client=Overflow.DROP_OLDEST, queue_messages=4)
    feed(server, DATA * 3)
    write(client, 10)
    client.ask(NONCE, 0.0)
    assert client.probe.mark == (300, 3)  # the end of a read: those in it aren't looked for
    feed(server, DATA * 2)
    assert server.make_room()
    assert server.queue.mark == (300, 3)
    ping = frame(FIN | PING, NONCE + (1).to_bytes(PROBE_SIZE, "big"))
    assert write(client) == DATA[10:] + ping + DATA * 2
    client.answered(payload(ping), 1.0)
    assert client.probe.sent_at == inf
    assert client.source.confirmed == 0


# -- Signs of life and confirmation ------------------------------------------------------------


def test_a_silent_peer_is_asked_and_then_given_up() -> None:
    client, _ = legs(heartbeat_interval=20, heartbeat_timeout=5)
    assert client.deadline() == 20
    assert client.overdue(NONCE, 20.0) is False
    ping = write(client, now=21.0)
    assert ping == frame(FIN | PING, NONCE + (1).to_bytes(PROBE_SIZE, "big"))
    assert client.deadline() == 26  # its time begins when the Ping is out
    assert client.overdue(NONCE, 26.0) is True


def test_a_peer_whose_full_socket_takes_more_is_alive() -> None:
    client, server = legs(heartbeat_interval=20, heartbeat_timeout=5)
    feed(server, DATA)
    client.advance(0, 1.0)
    client.overdue(NONCE, 20.0)
    write(client, 18, now=21.0)  # the Ping, and then
    client.advance(0, 22.0)
    client.advance(10, 25.5)
    assert client.deadline() == 26
    assert client.overdue(NONCE, 26.0) is False
    assert client.deadline() == 31
    assert client.overdue(NONCE, 31.0) is True


def test_the_silence_of_a_peer_that_is_not_read_does_not_count() -> None:
    client, server = legs(heartbeat_interval=20, heartbeat_timeout=5, queue_bytes=50)
    feed(server, DATA)
    server.overdue(NONCE, 20.0)
    write(server, now=20.0)
    assert server.overdue(NONCE, 25.0) is False
    assert server.deadline() == 30
    write(client)  # now it is read again
    assert server.overdue(NONCE, 30.0) is True


def test_an_answer_is_a_sign_of_life() -> None:
    client, _ = legs(heartbeat_interval=20, heartbeat_timeout=5)
    client.overdue(NONCE, 20.0)
    data = asked(client)
    client.heard = 21.0
    client.answered(data, 21.0)
    assert client.deadline() == 41
    client.answered(data, 99.0)  # twice does no harm
    assert client.deadline() == 41


def test_without_a_heartbeat_a_peer_is_asked_only_to_confirm() -> None:
    client, server = legs(heartbeat_interval=0, confirm_after=0.5)
    assert client.deadline() == inf
    feed(server, DATA)
    client.seek_confirmation(NONCE, 1.0)
    assert client.deadline() == 1.5


def test_a_leg_that_is_not_open_has_no_deadline() -> None:
    client, server = legs()
    feed(server, DATA)
    for phase in Phase:
        client.phase = phase
        assert (client.deadline() == inf) is (phase is not Phase.OPEN)
        client.seek_confirmation(NONCE, 1.0)
        assert (client.probe.confirm_at != inf) is (phase is Phase.OPEN)
        client.probe.confirm_at = inf


@pytest.mark.parametrize("eager", [True, False])
def test_a_peer_that_only_sends_confirms_nothing(eager: bool) -> None:
    client, _ = legs(eager=eager, heartbeat_interval=20, heartbeat_timeout=5)
    client.overdue(NONCE, 20.0)
    write(client, now=20.0)
    client.heard = 24.0
    assert client.overdue(NONCE, 25.0) is False
    assert not client.lane  # its Pong may stand behind what it sends
    client.heard = 29.0
    assert client.overdue(NONCE, 30.0) is False
    again = frame(FIN | PING, NONCE + (2).to_bytes(PROBE_SIZE, "big"))
    assert write(client, now=30.0) == (b"" if eager else again)
    client.heard = 34.0
    assert client.overdue(NONCE, 35.0) is not eager  # at-least-once can't do without


def test_a_pong_behind_one_long_message_is_waited_for() -> None:
    client, _ = legs(heartbeat_interval=20, heartbeat_timeout=5)
    client.overdue(NONCE, 20.0)
    write(client, now=20.0)
    client.queue.append(message(b"x" * 1000).data[:-1], 0, 0)
    for now in range(25, 100, 5):
        client.heard = now - 1.0
        assert client.overdue(NONCE, float(now)) is False
    client.heard = 100.0
    assert client.overdue(NONCE, 105.0) is False
    assert client.overdue(NONCE, 110.0) is True  # silent


def test_an_answer_to_the_second_ping_counts_again() -> None:
    client, _ = legs(heartbeat_interval=20, heartbeat_timeout=5)
    client.overdue(NONCE, 20.0)
    first = asked(client)
    for now in (25.0, 30.0):
        client.heard = now - 1.0
        client.overdue(NONCE, now)
    second = asked(client)
    client.answered(first, 31.0)
    assert client.probe.missed
    client.answered(second, 31.0)
    assert not client.probe.missed
    assert client.probe.sent_at == inf


def test_many_unconfirmed_bytes_are_asked_about_at_once() -> None:
    client, server = legs(confirm_bytes=250, confirm_after=0.5)
    client.seek_confirmation(NONCE, 1.0)
    assert client.probe.confirm_at == inf  # nothing to confirm
    feed(server, DATA)
    client.seek_confirmation(NONCE, 1.0)
    assert client.deadline() == 1.5
    client.seek_confirmation(NONCE, 1.1)
    assert client.deadline() == 1.5
    feed(server, DATA * 2)
    client.seek_confirmation(NONCE, 1.2)
    assert client.probe.sent_at == 1.2
    assert client.probe.confirm_at == inf


def test_a_peer_is_asked_before_a_queue_is_full_of_what_is_unconfirmed() -> None:
    """The thresholds may be above the queue's bounds: its sender must not wait for a timer."""
    client, server = legs(confirm_bytes=10**6, queue_bytes=300)
    feed(server, DATA)
    client.seek_confirmation(NONCE, 1.0)
    assert client.probe.sent_at == inf
    feed(server, DATA)
    client.seek_confirmation(NONCE, 1.1)
    assert client.probe.sent_at == 1.1
    client, server = legs(queue_messages=4)
    feed(server, DATA)
    client.seek_confirmation(NONCE, 1.0)
    assert client.probe.sent_at == inf
    feed(server, DATA)
    client.seek_confirmation(NONCE, 1.1)
    assert client.probe.sent_at == 1.1


def test_an_answer_confirms_what_stands_before_the_question() -> None:
    client, server = legs(confirm_after=0.5)
    feed(server, DATA)
    write(client)
    client.ask(NONCE, 1.0)
    data = asked(client)
    feed(server, DATA)
    write(client)
    client.answered(data, 2.0)
    assert (client.source.confirmed, client.source.confirmed_count) == (100, 1)
    assert client.probe.confirm_at == 2.5  # there is more
    client.ask(NONCE, 3.0)
    client.answered(asked(client), 3.5)
    assert client.source.confirmed == 200
    assert client.probe.confirm_at == inf


@pytest.mark.parametrize("full", [False, True])
def test_where_the_question_stands(full: bool) -> None:
    client, server = legs()
    big = message(b"y" * 2100).data
    feed(server, big)
    feed(server, big)
    write(client, 10)
    if full:
        client.advance(0, 0.0)
    client.ask(NONCE, 0.0)
    # A socket with room takes all there is; behind a full one the nearest place is better.
    assert client.probe.mark == ((len(big), 1) if full else (2 * len(big), 2))


def test_an_answer_to_an_earlier_question_confirms_nothing() -> None:
    client, server = legs()
    client.ask(NONCE, 0.0)
    early = asked(client)
    feed(server, DATA)
    write(client)
    client.ask(NONCE, 1.0)
    asked(client)
    client.answered(early, 2.0)
    assert client.source.confirmed == 0
    assert client.probe.sent_at != inf


def test_at_most_once_confirms_by_writing() -> None:
    client, server = legs(eager=True)
    feed(server, DATA)
    write(client)
    assert client.source.confirmed == 100
    client.ask(NONCE, 0.0)
    client.source.confirmed = 0  # as if it were behind
    client.answered(asked(client), 1.0)
    assert client.source.confirmed == 0


def test_the_peers_time_begins_when_all_of_the_ping_is_out() -> None:
    client, server = legs(heartbeat_interval=20, heartbeat_timeout=5)
    feed(server, DATA)
    write(client, 10)
    client.ask(NONCE, 20.0)
    write(client, 90, now=22.0)
    assert client.deadline() == 25  # how far that is on its way, a look will say
    write(client, 5, now=24.0)
    assert client.probe.ping != b""
    write(client, now=26.0)
    assert client.probe.ping == b""
    assert client.deadline() == 31
    client.say(b"more", client.source.tail)
    write(client, now=29.0)
    assert client.deadline() == 31


def test_an_answer_before_the_question_is_out_confirms_nothing() -> None:
    client, server = legs()
    feed(server, message(b"y" * 3000).data)
    write(client, 10)
    client.ask(NONCE, 0.0)
    client.answered(NONCE + (1).to_bytes(PROBE_SIZE, "big"), 1.0)
    assert client.source.confirmed <= client.source.sent


# -- The greeting ------------------------------------------------------------------------------


def test_the_greeting_is_a_text_message_of_the_headers() -> None:
    headers = ((b"x-connection-id", b'i"d'), (b"x-reconnect", b"resumed"))
    data = hello_frame(headers)
    assert data[0] == FIN | TEXT
    assert json.loads(payload(data)) == {"x-connection-id": 'i"d', "x-reconnect": "resumed"}
    assert list(message_ends(data)) == [len(data)]


def test_a_new_leg_is_away() -> None:
    policy = Policy()
    client = IncomingWebSocket(Backlog(eager=True), Backlog(eager=True), policy)
    dialling = Dialling(policy, NONCE)
    server = OutgoingWebSocket(Backlog(eager=True), Backlog(eager=True), policy, dialling)
    for leg in (client, server):
        assert (leg.phase, leg.generation, leg.scanner) == (Phase.AWAY, 0, None)
        assert leg.pending() == []
        assert leg.deadline() == inf
    assert (client.handshake, client.hello) == (None, False)
    assert (dialling.handshake, dialling.begun, dialling.at) == (None, inf, inf)
