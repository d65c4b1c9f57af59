"""Who may begin a session, who may resume one, and under which connection id."""

import pytest
from handshake_bytes import accepting, header_values, request
from reknit_core.commands import Dial, Disconnect
from reknit_core.events import ServerConnected, Shutdown
from reknit_core.lifecycle import State
from reknit_core.policy.policy import Policy
from reknit_core.proxy.contexts import Contexts
from reknit_core.session.context import ContextStateMachine
from reknit_core.side import Side
from reknit_core.telemetry.survey import survey
from reknit_core.terms.habits import KEPT, REMEMBERED
from reknit_core.wire.handshake import ClientHandshake, Refusal, UpgradeRequest
from sessions_by_hand import accept, connect, contexts, lose_client, refused, session, take

MINTED = "00000000000000000000000000000001"


# -- The connection id -------------------------------------------------------------------------


def test_an_id_is_made_where_none_is_named() -> None:
    sessions = contexts()
    first = session(sessions)
    assert first.connection_id == MINTED
    second = session(sessions)
    assert second.connection_id == "00000000000000000000000000000004"  # 2 and 3: its key and nonce
    assert len(sessions) == 2
    assert list(sessions) == [first, second]
    assert header_values(accept(first), b"X-Connection-Id") == [MINTED.encode()]


@pytest.mark.parametrize(
    ("extra", "target", "named"),
    [
        ((b"X-Connection-Id: h",), b"/?connection_id=q", "h"),
        ((b"X-Connection-Id: h", b"Cookie: connection_id=c"), b"/?connection_id=q", "h"),
        ((b"Cookie: connection_id=c",), b"/?connection_id=q", "q"),
        ((b"Cookie: a=b; connection_id=c",), b"/", "c"),
        ((), b"/?connection_id=q", "q"),
        ((), b"/?connection%5Fid=%71", "q"),
        ((), b"/?connection_id=a%2Fb%3D", "a/b="),
        ((b"x-CONNECTION-id: h",), b"/", "h"),
        ((), b"/connection_id=q", MINTED),
    ],
)
def test_an_id_comes_from_header_query_or_cookie(
    extra: tuple[bytes, ...], target: bytes, named: str
) -> None:
    assert session(contexts(), *extra, target=target).connection_id == named


def test_the_names_are_the_policys() -> None:
    policy = Policy(id_header="X-Mine", id_query="mine", id_cookie="Mine")
    usual = (b"X-Connection-Id: h", b"Cookie: connection_id=c")
    target = b"/?connection_id=q"
    for extra, path, named in (
        (usual, target, MINTED),
        ((*usual, b"x-mine: 1"), target + b"&mine=2", "1"),
        (usual, target + b"&mine=2", "2"),
        ((usual[0], b"Cookie: Mine=3"), target, "3"),
    ):
        assert session(contexts(policy), *extra, target=path).connection_id == named


GOOD_IDS = ["a", "0", "._~+/=:@-", "x" * 128, "3f2b8c9e-1d4a-4c57-9a0b-2f6e5d8c7b1a"]


@pytest.mark.parametrize("name", GOOD_IDS)
def test_good_ids(name: str) -> None:
    context = session(contexts(), b"X-Connection-Id: " + name.encode())
    assert context.connection_id == name
    assert header_values(accept(context), b"X-Connection-Id") == [name.encode()]


@pytest.mark.parametrize(
    "name",
    [b"", b"a b", b"a,b", b"x" * 129, b"\xe9", b"a;b", b'"a"', b"a\tb", b"<a>", b"a%41"],
)
def test_bad_ids_in_a_header(name: bytes) -> None:
    sessions = contexts()
    for header in (b"X-Connection-Id: ", b"X-Reconnect-Id: "):
        message = refused(connect(sessions, header + name), 400, "bad_connection_id")
        assert message == "1 to 128 letters, digits or ._~+/=:@-"
    assert len(sessions) == 0


@pytest.mark.parametrize(
    "name", [b"", b"%0d%0aX-Evil:1", b"%00", b"a%0a", b"%C3%A9", b"%ff", b"%D9%A1", b"a%20b"]
)
def test_bad_ids_in_the_query(name: bytes) -> None:
    for parameter in (b"connection_id", b"reconnect_id"):
        answer = connect(contexts(), target=b"/?" + parameter + b"=" + name)
        refused(answer, 400, "bad_connection_id")


def test_bad_ids_in_a_cookie() -> None:
    refused(connect(contexts(), b"Cookie: connection_id=a b"), 400, "bad_connection_id")


# -- Return ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("extra", "target"),
    [
        ((b"X-Connection-Id: me",), b"/"),
        ((), b"/?connection_id=me"),
        ((b"Cookie: connection_id=me",), b"/"),
        ((b"X-Reconnect-Id: me",), b"/"),
        ((), b"/?reconnect_id=me"),
        ((b"X-Reconnect-Id: me", b"X-Connection-Id: else"), b"/?reconnect_id=no"),
        ((b"X-Connection-Id: else",), b"/?reconnect_id=me&connection_id=no"),
    ],
)
def test_a_client_that_returns_gets_its_session(extra: tuple[bytes, ...], target: bytes) -> None:
    sessions = contexts()
    context = session(sessions, b"X-Connection-Id: me")
    answer = accept(context, frames=b"\x81\x02hi")
    assert header_values(answer, b"X-Reconnect") == [b"new"]
    lose_client(context)
    assert connect(sessions, *extra, target=target) is context
    assert len(sessions) == 1
    answer = take(context, Side.CLIENT)
    assert header_values(answer, b"X-Reconnect") == [b"resumed"]
    assert answer.endswith(b"\r\n\r\n\x81\x02hi")  # unconfirmed, so it comes once more
    assert context.state is State.CONNECTED


def test_the_newest_client_wins() -> None:
    sessions = contexts()
    context = session(sessions, b"X-Connection-Id: me")
    accept(context)
    old = context.client.generation
    context.commands()
    assert connect(sessions, b"X-Connection-Id: me") is context
    (gone,) = [command for command in context.commands() if isinstance(command, Disconnect)]
    assert (gone.side, gone.generation) == (Side.CLIENT, old)
    assert gone.farewell.startswith(b"\x88")
    assert (4409).to_bytes(2, "big") in gone.farewell
    assert context.client.generation == old + 1


@pytest.mark.parametrize("extra", [b"X-Reconnect-Id: me", b"x-reconnect-ID: me"])
def test_who_must_resume_never_gets_a_fresh_session(extra: bytes) -> None:
    sessions = contexts()
    message = refused(connect(sessions, extra), 404, "unknown_session")
    assert message == "there is no such session, or it has ended"
    refused(connect(sessions, target=b"/?reconnect_id=me"), 404, "unknown_session")
    assert len(sessions) == 0


def test_a_session_that_opens_is_not_resumed_but_may_be_joined() -> None:
    sessions = contexts()
    context = session(sessions, b"X-Connection-Id: me")
    refused(connect(sessions, b"X-Reconnect-Id: me"), 404, "unknown_session")
    assert connect(sessions, b"X-Connection-Id: me") is context
    message = refused(
        connect(sessions, b"X-Connection-Id: me", b"Sec-WebSocket-Protocol: other"),
        409,
        "cannot_resume",
    )
    assert message == "other subprotocols or extensions than the session opens with"


def test_a_client_that_can_not_live_with_what_was_agreed() -> None:
    sessions = contexts()
    mine = (b"X-Connection-Id: me", b"Sec-WebSocket-Protocol: chat")
    context = session(sessions, *mine)
    accept(context, b"Sec-WebSocket-Protocol: chat")
    generation = context.client.generation
    for extra in (mine[0], b"X-Reconnect-Id: me"):
        message = refused(connect(sessions, extra), 409, "cannot_resume")
        assert message == "the session speaks subprotocol chat, which is not offered"
    assert context.client.generation == generation  # its own client is left alone
    assert connect(sessions, *mine) is context


@pytest.mark.parametrize(
    ("header", "query", "rest"),
    [
        (b"X-Reconnect-Received: 0", b"", b"\x81\x01a\x81\x01b\x81\x01c"),
        (b"X-Reconnect-Received: 1", b"", b"\x81\x01b\x81\x01c"),
        (b"X-Reconnect-Received: 3", b"&reconnect_received=1", b""),
        (b"X-Some: header", b"&reconnect_received=2", b"\x81\x01c"),
    ],
)
def test_a_client_that_counts(header: bytes, query: bytes, rest: bytes) -> None:
    sessions = contexts()
    context = session(sessions, b"X-Connection-Id: me")
    accept(context, frames=b"\x81\x01a\x81\x01b\x81\x01c")
    lose_client(context)
    assert connect(sessions, header, target=b"/?reconnect_id=me" + query) is context
    assert take(context, Side.CLIENT).endswith(b"\r\n\r\n" + rest)


def test_a_client_that_counts_what_was_never_sent() -> None:
    sessions = contexts()
    context = session(sessions, b"X-Connection-Id: me")
    accept(context, frames=b"\x81\x01a")
    answer = connect(sessions, b"X-Reconnect-Received: 2", b"X-Connection-Id: me")
    message = refused(answer, 409, "cannot_resume")
    assert message == "the session can't continue after message 2"
    assert context.state is State.CONNECTED


@pytest.mark.parametrize("value", [b"x", b"-1", b"1.5", b"\xb2", b"9" * 20])
def test_a_count_that_is_none(value: bytes) -> None:
    answer = connect(contexts(), b"X-Reconnect-Received: " + value)
    assert refused(answer, 400, "bad_count").endswith("is not a number of messages")


def test_an_empty_count_in_the_query_is_none_either() -> None:
    refused(connect(contexts(), target=b"/?reconnect_received="), 400, "bad_count")


# -- Whose session it is ------------------------------------------------------------------------


def test_a_stranger_gets_403_and_changes_nothing() -> None:
    sessions = contexts()
    mine = (b"X-Connection-Id: me", b"Authorization: Bearer mine")
    context = session(sessions, *mine)
    accept(context, frames=b"\x81\x02hi")
    lose_client(context)
    context.commands()
    before = (context.client.generation, context.next_deadline(), context.client.source.sent)
    for extra in (
        (mine[0],),
        (mine[0], b"Authorization: Bearer theirs", b"X-Reconnect-Received: 1"),
        (*mine, b"Origin: https://evil.example"),
        (b"X-Reconnect-Id: me", b"Origin: https://evil.example"),
    ):
        message = refused(connect(sessions, *extra), 403, "not_yours")
        assert message == "the session belongs to another client"
    after = (context.client.generation, context.next_deadline(), context.client.source.sent)
    assert after == before
    assert context.commands() == []
    assert connect(sessions, *mine) is context


def test_a_client_that_can_not_read_a_status_is_told_by_a_close_frame() -> None:
    sessions = contexts(Policy(require_minted_id=True))
    context = session(sessions, b"Sec-WebSocket-Protocol: chat")
    accept(context, b"Sec-WebSocket-Protocol: chat")
    for query, extra, status, code in (
        ("connection_id=invented", b"X: 1", 404, 4404),
        ("reconnect_id=invented", b"X: 1", 404, 4404),
        (f"connection_id={MINTED}", b"Origin: https://evil.example", 403, 4403),
        (f"connection_id={MINTED}", b"X: 1", 409, 4410),
    ):
        for greeting, told in (("&reconnect_hello=1", True), ("&reconnect_hello=0", False)):
            handshake = ClientHandshake("192.0.2.7")
            line = f"GET /?{query}{greeting} HTTP/1.1".encode()
            asked = handshake.receive_data(
                request(extra, b"Sec-WebSocket-Protocol: other, more", line=line)
            )
            assert isinstance(asked, UpgradeRequest)
            answer = sessions.connect(handshake, asked, 0.0)
            assert isinstance(answer, Refusal)
            assert answer.status == status
            data = handshake.refuse(answer)
            if told:
                assert data.startswith(b"HTTP/1.1 101 ")
                assert header_values(data, b"Sec-WebSocket-Protocol") == [b"other"]
                assert data.partition(b"\r\n\r\n")[2][2:4] == code.to_bytes(2, "big")
            else:
                assert data.startswith(b"HTTP/1.1 %d " % status)


@pytest.mark.parametrize(
    ("extra", "target"),
    [
        ((b"X-Connection-Id: mine",), b"/"),
        ((), b"/?connection_id=mine"),
        ((b"Cookie: connection_id=mine",), b"/"),
    ],
)
def test_only_the_proxy_makes_ids(extra: tuple[bytes, ...], target: bytes) -> None:
    sessions = contexts(Policy(require_minted_id=True))
    refused(connect(sessions, *extra, target=target), 404, "unknown_session")
    context = session(sessions)
    minted = b"X-Connection-Id: " + MINTED.encode()
    refused(connect(sessions, minted), 404, "unknown_session")  # no answer has told it yet
    accept(context)
    assert connect(sessions, minted) is context
    context.handle(Shutdown(1001, "bye"), 0.0)
    refused(connect(sessions, minted), 404, "unknown_session")


def test_a_client_that_wants_to_be_greeted() -> None:
    for query, greeted in ((b"?reconnect_hello=1", True), (b"?reconnect_hello=0", False)):
        context = session(contexts(), target=b"/" + query)
        answer = accept(context)
        assert (b'"x-connection-id": "' + MINTED.encode() in answer) is greeted
        assert b"reconnect_hello" not in take(context, Side.SERVER)


# -- The map -----------------------------------------------------------------------------------


def test_a_forgotten_session_frees_its_id() -> None:
    sessions = contexts()
    old = session(sessions, b"X-Connection-Id: me")
    sessions.forget(old)
    assert len(sessions) == 0
    sessions.forget(old)  # does no harm
    new = session(sessions, b"X-Connection-Id: me")
    assert new is not old
    sessions.forget(old)  # nor does this: the id is another's now
    assert list(sessions) == [new]


def test_an_ended_session_is_not_resumed() -> None:
    sessions = contexts()
    old = session(sessions, b"X-Connection-Id: me")
    accept(old)
    old.handle(Shutdown(1001, "bye"), 0.0)
    assert not old.resumable
    refused(connect(sessions, b"X-Reconnect-Id: me"), 404, "unknown_session")
    new = connect(sessions, b"X-Connection-Id: me")
    assert isinstance(new, ContextStateMachine)
    assert new is not old
    assert len(sessions) == 1
    assert list(sessions) == [new, old]  # which still says goodbye


def test_the_map_may_change_while_it_is_walked() -> None:
    sessions = contexts()
    for _ in range(3):
        session(sessions)
    for context in sessions:
        sessions.forget(context)
    assert len(sessions) == 0


def test_the_number_of_sessions_is_bounded() -> None:
    sessions = contexts(Policy(session_limit=2))
    first = session(sessions, b"X-Connection-Id: 1")
    second = session(sessions, b"X-Connection-Id: 2")
    answer = connect(sessions)
    assert refused(answer, 503, "session_limit") == "too many sessions at one time"
    assert isinstance(answer, Refusal)
    assert (b"retry-after", b"5") in answer.headers
    accept(first)
    lose_client(first)
    assert connect(sessions, b"X-Connection-Id: 1") is first  # a return is no new session
    sessions.forget(second)
    assert session(sessions, b"X-Connection-Id: 3") is not second


def test_sessions_share_one_budget() -> None:
    sessions = contexts(Policy(queue_total=1))
    first = session(sessions)
    second = session(sessions)
    accept(first)
    accept(second)
    assert first.client.queue.budget is second.server.queue.budget
    assert first.client.queue.budget.limit == 1


def test_a_session_that_ends_while_its_id_is_used_anew_is_counted_once() -> None:
    sessions = contexts(Policy(queue_total=1))
    old = session(sessions, b"X-Connection-Id: a")
    accept(old)
    old.receive_data(Side.SERVER, b"\x81\x01x", 0.0)
    old.handle(Shutdown(1001, ""), 0.0)
    new = session(sessions, b"X-Connection-Id: a")
    assert len(sessions) == 1
    assert list(sessions) == [new, old]
    assert survey(sessions).to_client.messages == 1
    sessions.forget(old)
    sessions.forget(old)
    assert list(sessions) == [new]
    assert survey(sessions).to_client.messages == 1


# -- What is learned of the servers ------------------------------------------------------------


def test_compression_that_no_session_can_use_is_not_offered_for_a_while() -> None:
    sessions = contexts()
    offer = b"Sec-WebSocket-Extensions: permessage-deflate"
    first = session(sessions, offer, now=1.0)
    first.handle(ServerConnected(1), 1.0)
    answer = accepting(take(first, Side.SERVER), offer)  # whose messages would hang together
    first.receive_data(Side.SERVER, answer, 1.0)
    assert first.commands()[-1] == Dial(2, 0, 1.0)
    first.handle(ServerConnected(2), 1.0)
    first.receive_data(Side.SERVER, accepting(take(first, Side.SERVER)), 1.0)
    assert first.state is State.CONNECTED
    for now, offers in ((1.0 + REMEMBERED - 0.1, 0), (1.0 + REMEMBERED, 1)):
        later = session(sessions, offer, now=now)
        later.handle(ServerConnected(1), now)
        sent = take(later, Side.SERVER)
        later.receive_data(Side.SERVER, accepting(sent), now)
        assert len(header_values(sent, b"Sec-WebSocket-Extensions")) == offers


DEFLATE = b"Sec-WebSocket-Extensions: permessage-deflate"
LIMITED = DEFLATE + b"; server_max_window_bits=9"


def is_offered(sessions: Contexts, offer: bytes, now: float, *, is_taken: bool = True) -> bool:
    """Whether a server is offered compression in a session of a client that offers that.

    If it `is_taken` ill, the server says 400 until it is offered none.
    """
    context = session(sessions, offer, now=now)
    context.handle(ServerConnected(1), now)
    sent = take(context, Side.SERVER)
    offers = header_values(sent, b"Sec-WebSocket-Extensions")
    if offers and not is_taken:
        context.receive_data(
            Side.SERVER, b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", now
        )
        context.handle(ServerConnected(2), now)
        sent = take(context, Side.SERVER)
    context.receive_data(Side.SERVER, accepting(sent), now)
    assert context.state is State.CONNECTED
    return bool(offers)


def test_what_one_client_offers_does_not_cost_others_their_compression() -> None:
    sessions = contexts()
    assert is_offered(sessions, LIMITED, 1.0, is_taken=False)
    assert not is_offered(sessions, LIMITED, 2.0)
    assert is_offered(sessions, DEFLATE, 2.0)


def test_no_more_offers_are_remembered_than_clients_make() -> None:
    sessions = contexts()
    assert is_offered(sessions, DEFLATE, 1.0, is_taken=False)
    for number in range(KEPT - 1):
        is_offered(sessions, LIMITED + b", x-%d" % number, 1.0, is_taken=False)
    assert not is_offered(sessions, DEFLATE, 2.0)
    is_offered(sessions, LIMITED, 1.0, is_taken=False)
    assert is_offered(sessions, DEFLATE, 2.0)
