"""What every adapter does with the core: the design's table of states, on each of them."""

import json
from typing import Any, Protocol

import pytest
from contract_worlds import World
from far_ends import FarEnd
from raw_websocket import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, frame
from reknit_core.lifecycle import State
from reknit_core.policy.policy import GraceFor, OnServerLoss


class MakeWorld(Protocol):
    def __call__(self, **values: Any) -> World: ...


def id_of(client: FarEnd) -> str:
    name = client.head.value("x-connection-id")
    assert name is not None
    return name


def returned(world: World, name: str, *headers: str) -> FarEnd:
    """A client that has come back."""
    client = world.client("/", f"x-reconnect-id: {name}", *headers)
    assert client.read_head().status == 101
    return client


# -- Opening -----------------------------------------------------------------------------------


def test_the_servers_answer_and_all_messages_pass(world: World) -> None:
    world.listen()
    client = world.client("/chat", "Sec-WebSocket-Protocol: a, b")
    server = world.dialled()
    assert server.read_head().start == "GET /chat HTTP/1.1"
    server.accept("Sec-WebSocket-Protocol: b", "X-Server: here")
    head = client.read_head()
    assert (head.status, head.value("sec-websocket-protocol")) == (101, "b")
    assert head.value("x-server") == "here"
    for payload in (b"", b"one", b"2" * 70_000):
        client.say(BINARY, payload)
        server.say(BINARY, payload)
    for end in (server, client):
        assert [len(end.hear()) for _ in range(3)] == [0, 3, 70_000]
    assert [view.state for view in world.sessions()] == [State.CONNECTED]


def test_what_a_client_sends_too_early_follows_the_servers_answer(world: World) -> None:
    world.listen()
    client = world.client()
    client.say(TEXT, "early")
    server = world.server()
    assert server.hear() == b"early"
    assert client.read_head().status == 101


def test_a_servers_refusal_is_the_clients(world: World) -> None:
    world.listen()
    client = world.client()
    server = world.dialled()
    server.read_head()
    server.send(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 4\r\n\r\nnope")
    assert client.read_head().status == 401
    assert client.read_exactly(4) == b"nope"
    client.ended()
    world.until(None)


def test_a_server_that_cant_be_reached(make: MakeWorld) -> None:
    world = make(retry_limit=1)
    client = world.client()
    head = client.read_head()
    assert (head.status, head.value("retry-after")) == (502, "1")
    world.until(None)


def test_a_client_that_names_no_session_of_this_proxy(world: World) -> None:
    client = world.client("/", "x-reconnect-id: nobody")
    assert client.read_head().status == 404
    length = int(client.head.value("content-length") or 0)
    assert json.loads(client.read_exactly(length))["error"] == "unknown_session"


# -- Losses and returns ------------------------------------------------------------------------


def test_the_server_is_lost_and_comes_back(world: World) -> None:
    client, server = world.pair()
    client.say(TEXT, "0")
    assert server.hear() == b"0"
    world.refuse()
    server.reset()
    world.until(State.SERVER_DOWN)
    for number in range(1, 4):
        client.say(TEXT, str(number))
    world.listen()
    server = world.server()
    assert server.head.value("x-reconnect") == "true"
    assert [server.hear() for _ in range(3)] == [b"1", b"2", b"3"]
    server.say(TEXT, "again")
    assert client.hear() == b"again"
    world.until(State.CONNECTED)


@pytest.mark.parametrize("how", ["reset", "end"])
def test_the_client_is_lost_and_comes_back(world: World, how: str) -> None:
    client, server = world.pair()
    if how == "reset":
        client.reset()
    else:
        client.end()
    world.until(State.CLIENT_DOWN)
    for number in range(3):
        server.say(TEXT, str(number))
    client = returned(world, id_of(client))
    assert client.head.value("x-reconnect") == "resumed"
    assert [client.hear() for _ in range(3)] == [b"0", b"1", b"2"]
    client.say(TEXT, "back")
    assert server.hear() == b"back"
    world.until(State.CONNECTED)


@pytest.mark.parametrize("first", ["client", "server"])
def test_both_are_lost_and_come_back(world: World, first: str) -> None:
    client, server = world.pair()
    world.refuse()
    server.reset()
    world.until(State.SERVER_DOWN)
    client.say(TEXT, "before")
    client.end()
    world.until(State.BOTH_DOWN)
    if first == "client":
        back = returned(world, id_of(client))
        world.until(State.SERVER_DOWN)
        world.listen()
        server = world.server()
    else:
        world.listen()
        server = world.server()
        world.until(State.CLIENT_DOWN)
        back = returned(world, id_of(client))
    assert server.hear() == b"before"
    server.say(TEXT, "after")
    assert back.hear() == b"after"


def test_the_retries_are_spent(make: MakeWorld) -> None:
    world = make(retry_limit=2)
    client, server = world.pair()
    world.refuse()
    server.reset()
    assert client.read_frame().close[0] == 1013
    client.close(1013)
    client.ended()
    world.until(None)


def test_the_grace_ends(make: MakeWorld) -> None:
    world = make(client_grace=0.1)
    client, server = world.pair()
    client.reset()
    assert server.read_frame().close == (1001, "client did not return")
    server.close(1001)
    server.ended()
    world.until(None)


def test_what_was_sent_before_the_connection_broke_arrives(world: World) -> None:
    client, server = world.pair()
    server.say(TEXT, "not read by the client")
    client.say(TEXT, "last")
    client.end()
    assert server.hear() == b"last"
    world.until(State.CLIENT_DOWN)


def test_a_message_that_was_cut_off_is_dropped(world: World) -> None:
    client, server = world.pair()
    client.say(TEXT, "whole")
    client.send(frame(TEXT, b"cut off")[:-3])
    assert server.hear() == b"whole"
    client.end()
    world.until(State.CLIENT_DOWN)
    client = returned(world, id_of(client))
    client.say(TEXT, "next")
    assert server.hear() == b"next"


# -- A newer client ----------------------------------------------------------------------------


def test_a_newer_client_takes_over_and_the_older_one_is_not_heard_any_more(world: World) -> None:
    older, server = world.pair()
    newer = returned(world, id_of(older))
    assert older.read_frame().close == (4409, "a newer connection took over")
    older.say(TEXT, "late")  # it may not have read that yet
    newer.say(TEXT, "of the newer one")
    assert server.hear() == b"of the newer one"
    server.say(TEXT, "to the newer one")
    assert newer.hear() == b"to the newer one"
    older.end()
    older.ended()
    newer.say(TEXT, "still here")
    assert server.hear() == b"still here"


def test_a_newer_client_takes_over_while_the_session_opens(world: World) -> None:
    world.listen()
    older = world.client("/", "x-connection-id: one")
    server = world.dialled()
    server.read_head()
    newer = world.client("/", "x-connection-id: one")
    assert older.read_head().status == 409
    server.accept()
    assert newer.read_head().status == 101
    newer.say(TEXT, "here")
    assert server.hear() == b"here"


# -- The end -----------------------------------------------------------------------------------


@pytest.mark.parametrize("closer", ["client", "server"])
def test_a_close_passes_with_its_code_and_reason(world: World, closer: str) -> None:
    client, server = world.pair()
    one, other = (client, server) if closer == "client" else (server, client)
    one.say(TEXT, "last")
    one.close(4321, "enough")
    assert other.hear() == b"last"
    assert other.read_frame().close == (4321, "enough")
    other.close(4321, "enough")
    assert one.read_frame().opcode == CLOSE
    for end in (client, server):
        end.ended()
    world.until(None)


def test_an_invalid_frame_ends_the_session(world: World) -> None:
    client, server = world.pair()
    client.send(frame(TEXT, b"not masked", masked=False))
    assert client.read_frame().close[0] == 1002
    assert server.read_frame().close[0] == 1002
    client.ended()
    server.close(1002)
    server.ended()
    world.until(None)


def test_the_stream_to_a_client_that_nobody_hears_ends_with_its_close(make: MakeWorld) -> None:
    """It need not answer: only then it is over here before the time for that is."""
    world = make(on_server_loss=OnServerLoss.END, grace_for=GraceFor.NAMED, close_timeout=1000.0)
    client, server = world.pair()
    server.say(TEXT, "last words")
    server.end()
    assert client.hear() == b"last words"
    assert client.read_frame().close == (1012, "the server was lost")
    client.ended()
    world.until(None)
    client.close(1012)
    client.end()


def test_a_drain_sends_all_away(world: World) -> None:
    client, server = world.pair()
    world.drain()
    code, _ = client.read_frame().close
    assert code in (1001, 1012)
    assert server.read_frame().close[0] == 1001
    client.close(code or 0)
    server.close(1001)
    for end in (client, server):
        end.ended()
    world.until(None)


# -- Signs of life -----------------------------------------------------------------------------


def test_pings_pass_and_are_answered_while_the_server_is_away(world: World) -> None:
    client, server = world.pair()
    client.say(PING, "1")
    assert server.read_frame()[:2] == (PING, b"1")
    server.say(PONG, "1")
    assert client.read_frame()[:2] == (PONG, b"1")
    world.refuse()
    server.reset()
    world.until(State.SERVER_DOWN)
    client.say(PING, "2")
    assert client.read_frame()[:2] == (PONG, b"2")


def test_a_silent_client_is_given_up(make: MakeWorld) -> None:
    world = make(heartbeat_interval=0.1, heartbeat_timeout=0.1)
    client, server = world.pair()
    ping = client.read_frame()
    assert ping.opcode == PING
    while [view.state for view in world.sessions()] != [State.CLIENT_DOWN]:
        found = server.read_frame()  # the server answers, and stays
        assert found.opcode == PING
        server.say(PONG, found.payload)


# -- Back-pressure -----------------------------------------------------------------------------

MESSAGE = bytes(range(256)) * 256
FLOOD = 512  # messages: more than all the sockets on the way hold


def flow(sender: FarEnd, receiver: FarEnd, data: bytes) -> None:
    """The sender is held back until the receiver reads; then all of it arrives."""
    sent = sender.push(data)
    assert sent < len(data), "the sender is not held back"
    drain(sender, receiver, data, sent)


def drain(sender: FarEnd, receiver: FarEnd, data: bytes, sent: int) -> None:
    view = memoryview(data)
    at = 0
    while at < len(data):
        came = receiver.read_some()
        assert view[at : at + len(came)] == came
        at += len(came)
        if sent < len(data):
            sent += sender.push(data[sent : sent + 2**20], 0.0)


def test_a_client_is_held_back_by_a_server_that_does_not_read(world: World) -> None:
    client, server = world.pair()
    flow(client, server, frame(BINARY, MESSAGE) * FLOOD)


def test_a_server_is_held_back_by_a_client_that_does_not_read(world: World) -> None:
    client, server = world.pair()
    flow(server, client, frame(BINARY, MESSAGE, masked=False) * FLOOD)


def test_both_are_held_back_and_go_on(world: World) -> None:
    client, server = world.pair()
    up, down = frame(BINARY, MESSAGE) * FLOOD, frame(BINARY, MESSAGE, masked=False) * FLOOD
    sent_up, sent_down = client.push(up), server.push(down)
    assert sent_up < len(up)
    assert sent_down < len(down)
    drain(client, server, up, sent_up)
    drain(server, client, down, sent_down)


def test_a_client_is_held_back_by_a_server_that_is_away(world: World) -> None:
    client, server = world.pair()
    world.refuse()
    server.reset()
    world.until(State.SERVER_DOWN)
    data = frame(BINARY, MESSAGE) * FLOOD
    sent = client.push(data)
    assert sent < len(data)
    world.listen()
    drain(client, world.server(), data, sent)


def test_a_client_that_is_held_back_and_breaks_off_is_noticed(world: World) -> None:
    client, server = world.pair("X-Connection-Id: mine")
    world.refuse()
    server.reset()
    world.until(State.SERVER_DOWN)
    data = frame(BINARY, MESSAGE) * FLOOD
    assert client.push(data) < len(data)
    client.reset()
    world.until(State.BOTH_DOWN)


def test_fragments_and_control_frames_keep_their_places(world: World) -> None:
    client, server = world.pair()
    client.send(frame(TEXT, b"a", fin=False) + frame(PING, b"between"))
    client.send(frame(CONTINUATION, b"b"))
    seen = [server.read_frame() for _ in range(3)]
    assert [found.payload for found in seen if found.opcode != PING] == [b"a", b"b"]
    assert [found.payload for found in seen if found.opcode == PING] == [b"between"]
