"""What a session keeps of its first handshake, and what it says to each side later."""

import pytest
from handshake_bytes import accepting, header_values, request
from hypothesis import example, given
from hypothesis import strategies as st
from reknit_core.policy.policy import GraceFor, Policy
from reknit_core.policy.upstream import Upstream
from reknit_core.queue.backlog import Backlog
from reknit_core.side import Side
from reknit_core.terms.pinned import Pinned, counts
from reknit_core.wire.handshake import (
    Accepted,
    ClientHandshake,
    Refusal,
    ServerHandshake,
    ServerRequest,
    UpgradeRequest,
)
from reknit_core.wire.headers import HeaderList

POLICY = Policy()
UPSTREAM = Upstream("server.example", 9000, "/base")
KEY = bytes(range(16))
WS_KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
DEFLATE = "permessage-deflate"
ALONE = "server_no_context_takeover"
TOLD: HeaderList = (
    (b"x-forwarded-for", b"192.0.2.7"),
    (b"x-forwarded-proto", b"http"),
    (b"x-forwarded-host", b"client.example"),
)


def upgrade(*extra: bytes, line: bytes = b"GET /p?a=1 HTTP/1.1") -> UpgradeRequest:
    outcome = ClientHandshake().receive_data(request(*extra, line=line))
    assert isinstance(outcome, UpgradeRequest)
    return outcome


def pinned(*extra: bytes, policy: Policy = POLICY, **line: bytes) -> Pinned:
    return Pinned.from_request(policy, "the-id", upgrade(*extra, **line), TOLD, KEY)


def accepted(
    subprotocol: str | None = None, *extensions: str, headers: HeaderList = ()
) -> Accepted:
    return Accepted(subprotocol, extensions, headers, b"")


def sent(session: Pinned, attempt: int = 0, told: HeaderList = ()) -> bytes:
    """The request to the server as bytes."""
    return ServerHandshake(
        session.server_request(POLICY, UPSTREAM, attempt, told), WS_KEY
    ).request()


OFFERS = (
    b"Sec-WebSocket-Protocol: chat, other",
    b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits, x-other",
)


# -- Towards the server ------------------------------------------------------------------------


def test_the_first_request_to_the_server() -> None:
    session = pinned(
        *OFFERS,
        b"Cookie: a=b; connection_id=x",
        b"Origin: https://a.example",
        b"Authorization: Basic x",
        b"X-Connection-Id: theirs",
        b"X-Reconnect: true",
        b"X-Reconnect-Id: theirs",
        b"X-Reconnect-Token: theirs",
        b"X-Forwarded-For: 1.2.3.4",
        b"X-Hop: x",
        b"Proxy-Authorization: secret",
        b"Connection: Upgrade, X-Hop",
        line=b"GET /p?a=%20&reconnect_id=1&connection_id=2&b&reconnect_received=3&reconnect_hello=1"
        b"&reconnect_token=4 HTTP/1.1",
    )
    assert session.server_request(POLICY, UPSTREAM, 0, ()) == ServerRequest(
        target="/base/p?a=%20&b",
        host="client.example",
        headers=((b"via", b"1.1 reknit"),),
        subprotocols=("chat", "other"),
        deflate=f"{DEFLATE}; client_max_window_bits; {ALONE}",
        lines=b"""cookie: a=b; connection_id=x
origin: https://a.example
authorization: Basic x
x-connection-id: the-id
x-forwarded-for: 192.0.2.7
x-forwarded-proto: http
x-forwarded-host: client.example""",
    )


def test_a_retry_before_the_first_answer_is_no_reconnect() -> None:
    session = pinned(*OFFERS)
    assert session.server_request(POLICY, UPSTREAM, 3, ((b"x-reconnect-received", b"0"),)) == (
        session.server_request(POLICY, UPSTREAM, 0, ())
    )


def test_a_reconnect_says_so() -> None:
    session = pinned(*OFFERS, b"X-Empty:")
    assert session.agree(accepted("other", headers=((b"x-reconnect-info", b"caf\xe9"),))) is None
    again = session.server_request(POLICY, UPSTREAM, 2, ((b"x-reconnect-received", b"5"),))
    assert again.subprotocols == ("other", "chat")
    assert again.deflate is None  # as agreed
    assert (*again.pinned, *again.headers) == (
        (b"x-empty", b""),
        (b"x-connection-id", b"the-id"),
        (b"x-forwarded-for", b"192.0.2.7"),
        (b"x-forwarded-proto", b"http"),
        (b"x-forwarded-host", b"client.example"),
        (b"via", b"1.1 reknit"),
        (b"x-reconnect", b"true"),
        (b"x-reconnect-attempt", b"2"),
        (b"x-reconnect-received", b"5"),
        (b"x-reconnect-info", b"caf\xe9"),
    )
    assert session.agree(accepted("other")) is None  # which keeps what was said before
    assert session.server_request(POLICY, UPSTREAM, 1, ()).headers[-1] == (
        b"x-reconnect-info",
        b"caf\xe9",
    )


def test_another_reknit_is_known_by_what_it_says_at_first() -> None:
    for told, is_proxy in (((b"x-reconnect", b"new"),), True), ((), False):
        session = pinned(*OFFERS)
        assert session.agree(accepted("other", headers=told)) is None
        assert session.is_proxy(Side.SERVER) is is_proxy
        again = session.server_request(POLICY, UPSTREAM, 1, (), must_resume=True).headers
        assert ((b"x-reconnect-id", b"the-id") in again) is is_proxy
        assert session.agree(accepted("other", headers=((b"x-reconnect", b"resumed"),))) is None
        assert session.is_proxy(Side.SERVER) is is_proxy
        assert not session.is_proxy(Side.CLIENT)
    assert pinned(b"Via: 1.0 fred, 1.1 reknit").is_proxy(Side.CLIENT)


def test_another_reknit_gets_its_newest_token_back() -> None:
    session = pinned(*OFFERS)
    for new, shown in ((b"one", b"one"), (None, b"one"), (b"two", b"two")):
        told = () if new is None else ((b"x-reconnect-token", new),)
        assert session.agree(accepted("other", headers=told)) is None
        headers = session.server_request(POLICY, UPSTREAM, 1, ()).headers
        assert headers[-1] == (b"x-reconnect-token", shown)


def test_subprotocols_are_asked_for_again_and_then_only_the_agreed_one() -> None:
    for agreed, again, pared in (
        ("other", ("other", "chat"), ("other",)),
        (None, ("chat", "other"), ()),
    ):
        session = pinned(*OFFERS)
        session.agree(accepted(agreed))
        assert session.server_request(POLICY, UPSTREAM, 1, ()).subprotocols == again
        assert session.agree(accepted("chat")) is not None
        assert session.pare(accepted("chat"))
        assert session.server_request(POLICY, UPSTREAM, 1, ()).subprotocols == pared
        assert not session.pare(accepted("chat"))
        assert session.agree(accepted(agreed)) is None
        assert session.server_request(POLICY, UPSTREAM, 1, ()).subprotocols == again


@pytest.mark.parametrize(
    ("offer", "status", "pares"),
    [
        (DEFLATE, 400, True),
        (DEFLATE, 401, False),
        (f"{DEFLATE}; {ALONE}", 400, False),  # as the client itself asks
        ("x-other", 400, False),
    ],
)
def test_an_offer_that_the_proxy_has_changed_may_be_why_a_server_says_400(
    offer: str, status: int, pares: bool
) -> None:
    session = pinned(f"Sec-WebSocket-Extensions: {offer}".encode())
    assert session.pare(Refusal(status, (), b"")) is pares
    assert not session.pare(Refusal(status, (), b""))  # not for that reason, then
    assert session.agree(accepted()) is None
    assert not session.pare(Refusal(status, (), b""))


def test_compression_is_asked_for_as_it_was_agreed_on() -> None:
    session = pinned(*OFFERS)
    answer = accepted("chat", f"{DEFLATE}; {ALONE}; client_max_window_bits=9")
    assert session.agree(answer) is None
    again = session.server_request(POLICY, UPSTREAM, 1, ())
    assert again.deflate == f"{DEFLATE}; client_max_window_bits=9; {ALONE}"


def test_who_begins_without_compression_asks_for_none() -> None:
    session = Pinned.from_request(POLICY, "the-id", upgrade(*OFFERS), TOLD, KEY, pared=True)
    asked = session.server_request(POLICY, UPSTREAM, 0, ())
    assert (asked.deflate, asked.subprotocols) == (None, ("chat", "other"))
    assert session.mismatch(upgrade(*OFFERS)) is None


def test_the_names_are_the_policys() -> None:
    policy = Policy(id_header="X-My-Id", id_query="my")
    line = b"GET /?my=1&connection_id=2 HTTP/1.1"
    session = pinned(b"x-my-ID: theirs", b"X-Connection-Id: kept", policy=policy, line=line)
    asked = session.server_request(POLICY, UPSTREAM, 0, ())
    assert asked.target == "/base/?connection_id=2"
    assert asked.pinned[:2] == ((b"x-connection-id", b"kept"), (b"x-my-id", b"the-id"))
    assert session.told_client(policy, None)[0] == (b"x-my-id", b"the-id")


names = st.text(st.sampled_from("abcXYZ-_!#$%&'*+.^`|~019"), min_size=1, max_size=12)
letters = [bytes([byte]) for byte in (*b'\t az:;=,%"\\', 0x7F, 0x80, 0xE9, 0xFF)]
words = st.lists(st.sampled_from(letters), max_size=12).map(b"".join)
values = (
    words
    | st.binary(max_size=3)
    | st.sampled_from([b": ", b"a: b", b"\\n", b"%0d%0aX-Evil: 1", b"x;y=\xff"])
)
pairs = st.lists(st.tuples(names.map(str.encode), values), max_size=6)
queries = st.lists(
    st.sampled_from(["a=1", "connection_id=%0d%0aX-Evil:1", "b=%0a", "%00", "reconnect_id=\x7f"])
)
NEEDED = ("host", "upgrade", "connection", "sec-websocket", "content-length", "transfer-encoding")


# What a server sends is its own to read again, control characters and all; no request may.
infos = values.filter(lambda value: not any(byte < 0x20 or byte == 0x7F for byte in value))


@given(pairs, queries, infos, st.booleans())
@example([(b"X", b"y\rX-Evil: 1")], [], b"", True)
@example([(b"X", b"y\x0bX-Evil: 1")], [], b"", True)
def test_nothing_that_a_client_sends_can_add_a_header_of_its_own(
    headers: list[tuple[bytes, bytes]], query: list[str], info: bytes, again: bool
) -> None:
    extra = [
        name + b": " + value
        for name, value in headers
        if not name.lower().decode().startswith(NEEDED)
    ]
    line = f"GET /p?{'&'.join(query)} HTTP/1.1".encode()
    outcome = ClientHandshake().receive_data(request(*extra, line=line))
    if not isinstance(outcome, UpgradeRequest):
        return  # h11 takes no control characters
    session = Pinned.from_request(POLICY, "the-id", outcome, TOLD, KEY)
    if again:
        answer = ServerHandshake(session.server_request(POLICY, UPSTREAM, 0, ()), WS_KEY)
        told = accepting(answer.request(), b"X-Reconnect-Info: " + info)
        heard = answer.receive_data(told)
        if not isinstance(heard, Accepted):
            return
        assert session.agree(heard) is None
    data = sent(session, 1)
    assert data.count(b"\r\n\r\n") == 1
    assert data.endswith(b"\r\n\r\n")
    assert header_values(data, b"X-Evil") == []
    assert header_values(data, b"X-Connection-Id") == [b"the-id"]
    assert header_values(data, b"X-Reconnect") == ([b"true"] if again else [])
    # A server reads in it what the client's headers were.
    read = ClientHandshake().receive_data(data)
    assert isinstance(read, UpgradeRequest)
    mine = [pair for pair in read.headers if not pair[0].startswith((b"x-forwarded", b"sec-web"))]
    theirs = [pair for pair in outcome.headers if not pair[0].startswith(b"sec-web")]
    kept = [pair for pair in theirs if pair[0] not in (b"te", b"forwarded", b"trailer")]
    mine.remove((b"via", b"1.1 reknit"))
    ours = {b"x-connection-id", b"x-reconnect", b"x-reconnect-attempt", b"x-reconnect-info"}
    assert [pair for pair in mine if pair[0] not in ours] == kept


# -- What was agreed ---------------------------------------------------------------------------


def test_a_later_answer_must_be_like_the_first() -> None:
    compressed = f"{DEFLATE}; {ALONE}"
    session = pinned(*OFFERS)
    assert session.agree(accepted("chat", compressed)) is None
    assert session.agree(accepted("chat", compressed)) is None
    for answer, problem in (
        (accepted("other", compressed), "another subprotocol than before"),
        (accepted(None, compressed), "another subprotocol than before"),
        (accepted("chat"), "other permessage-deflate parameters than before"),
        (
            accepted("chat", f"{compressed}; client_max_window_bits=10"),
            "other permessage-deflate parameters than before",
        ),
    ):
        assert session.agree(answer) == problem
        assert (session.subprotocol, session.compression) == ("chat", (ALONE,))


def test_an_answer_whose_messages_hang_together_is_no_agreement() -> None:
    session = pinned(*OFFERS)
    problem = session.agree(accepted(None, DEFLATE))
    assert problem is not None
    assert problem.startswith("the server takes permessage-deflate without")
    assert not session.agreed
    assert session.pare(accepted(None, DEFLATE))
    assert session.server_request(POLICY, UPSTREAM, 0, ()).deflate is None


# -- Towards the client ------------------------------------------------------------------------


def test_what_a_client_is_told() -> None:
    session = pinned()
    told: HeaderList = ((b"x-connection-id", b"the-id"), (b"x-reconnect", b"new"))
    assert session.told_client(POLICY, None) == told
    counted = ((b"x-reconnect-received", b"7"),)
    told = (told[0], (b"x-reconnect", b"resumed"), *counted)
    assert session.told_client(POLICY, counted) == told


@pytest.mark.parametrize("named", [True, False])
def test_a_client_that_is_not_waited_for_is_told_nothing(named: bool) -> None:
    policy = Policy(grace_for=GraceFor.NAMED, resume_token=True)
    session = Pinned.from_request(policy, "the-id", upgrade(), TOLD, KEY, named=named)
    assert session.is_awaited(policy) is named
    assert bool(session.told_client(policy, None)) is named
    assert session.is_awaited(Policy(grace_for=GraceFor.ALL))


def test_each_answer_has_a_fresh_token() -> None:
    session = pinned()
    answers = [session.told_client(Policy(resume_token=True), None) for _ in range(3)]
    assert {answer[:-1] for answer in answers} == {session.told_client(POLICY, None)}
    assert {name for *_, (name, _) in answers} == {b"x-reconnect-token"}
    assert len({token for *_, (_, token) in answers}) == 3


def test_the_clients_extension_header() -> None:
    session = pinned(*OFFERS)
    session.agree(accepted())
    assert session.agreed_headers() == ()
    session = pinned(*OFFERS)
    session.agree(accepted(None, f"{DEFLATE}; {ALONE}"))
    (header,) = session.agreed_headers()
    expected = f"{DEFLATE}; {ALONE}; client_no_context_takeover".encode()
    assert header == (b"Sec-WebSocket-Extensions", expected)


def test_a_client_that_comes_while_the_session_opens_must_offer_the_same() -> None:
    session = pinned(*OFFERS)
    assert session.mismatch(upgrade(*OFFERS, b"Cookie: x=y", line=b"GET /else HTTP/1.1")) is None
    for offers in ((), OFFERS[:1], OFFERS[1:], (b"Sec-WebSocket-Protocol: other", OFFERS[1])):
        problem = session.mismatch(upgrade(*offers))
        assert problem == "other subprotocols or extensions than the session opens with"


@pytest.mark.parametrize(
    ("subprotocol", "extension", "offers", "problem"),
    [
        (None, None, (), None),
        (None, None, OFFERS, None),
        ("chat", None, OFFERS, None),
        ("chat", None, (b"Sec-WebSocket-Protocol: a, chat",), None),
        ("chat", None, (), "the session speaks subprotocol chat, which is not offered"),
        (
            "chat",
            None,
            (b"Sec-WebSocket-Protocol: CHAT",),
            "the session speaks subprotocol chat, which is not offered",
        ),
        (None, f"{DEFLATE}; {ALONE}", OFFERS, None),
        (None, f"{DEFLATE}; {ALONE}; client_max_window_bits=9", OFFERS, None),
        (
            None,
            f"{DEFLATE}; {ALONE}",
            OFFERS[:1],
            "the session is compressed in a way that is not offered",
        ),
        (
            None,
            f"{DEFLATE}; {ALONE}; client_max_window_bits=9",
            (b"Sec-WebSocket-Extensions: permessage-deflate",),
            "the session is compressed in a way that is not offered",
        ),
        (
            None,
            f"{DEFLATE}; {ALONE}; server_max_window_bits=9",
            (b"Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=abc",),
            "the session is compressed in a way that is not offered",
        ),
    ],
)
def test_which_client_can_join(
    subprotocol: str | None, extension: str | None, offers: tuple[bytes, ...], problem: str | None
) -> None:
    session = pinned(*OFFERS)
    answer = accepted(subprotocol, *([extension] if extension else []))
    assert session.agree(answer) is None
    assert session.mismatch(upgrade(*offers)) == problem


# -- Counts ------------------------------------------------------------------------------------


def test_a_peer_is_told_how_much_was_taken_and_dropped() -> None:
    queue, source = Backlog(eager=True), Backlog(eager=True)
    assert counts(queue, source) == ((b"x-reconnect-received", b"0"),)
    queue.append(b"\x82\x01a\x82\x01b", 6, 2)
    queue.drop_newest(1, 0, 0)
    source.append(b"\x82\x01a\x82\x01b\x82\x01c", 9, 3)
    assert counts(queue, source) == ((b"x-reconnect-received", b"2"),)
    source.drop_newest(2, 0, 0)
    told = ((b"x-reconnect-received", b"2"), (b"x-reconnect-dropped", b"2"))
    assert counts(queue, source) == told
