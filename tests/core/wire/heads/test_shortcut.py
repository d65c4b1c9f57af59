"""The shortcut comes to what wsproto comes to, for all that it takes; and these tests can fail."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain, pairwise
from typing import Any
from unittest.mock import ANY

import h11
import pytest
from compiled_form import COMPILED
from handshake_bytes import ACCEPT, CRLF, KEY
from heads_by_wsproto import wsproto_alone
from hypothesis import example, given, settings
from hypothesis import strategies as st
from real_heads import ANSWERS, PLAIN_REQUESTS, REQUESTS
from reknit_core.wire.handshake import (
    MAX_HEAD,
    NO_UPGRADE,
    Accepted,
    ClientHandshake,
    ServerHandshake,
    UpgradeRequest,
    read_long_way,
)
from reknit_core.wire.headers import HeaderList
from reknit_core.wire.heads import shortcut
from reknit_core.wire.heads.ambiguity import MAX_HEADERS
from reknit_core.wire.wire_forms import ServerRequest
from wsproto.utilities import LocalProtocolError

END = CRLF * 2
ASKED = ServerRequest(
    "/t?a=1",
    "server.example:9000",
    ((b"x-reconnect", b"true"),),
    ("chat", "other"),
    "permessage-deflate; server_no_context_takeover",
    b"cookie: a=b\norigin: https://a.example",
)


def split(data: bytes, places: Iterable[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in pairwise(edges)]


def written(write: Callable[[], bytes]) -> bytes | str:
    """What is written, or that it can't be."""
    try:
        return write()
    except (LocalProtocolError, h11.LocalProtocolError, UnicodeError) as error:
        return type(error).__name__


# -- What differs ------------------------------------------------------------------------------


def request_differs(data: bytes, places: Iterable[int] = ()) -> bool:
    """Whether the shortcut makes something else of a client's request than the long one."""
    return is_misread_request(data) or _read(data, places) != _alone(lambda: _read(data, ()))


def is_misread_request(data: bytes) -> bool:
    """Whether the shortcut takes what the long one does not, or takes it otherwise."""
    head = data[: data.find(END) + len(END)]
    common = shortcut.read_request(head) if head.endswith(END) else None
    return common is not None and common != read_long_way(head)


def _read(data: bytes, places: Iterable[int]) -> object:
    client = ClientHandshake()
    outcome = None
    pieces = split(data, places)
    while outcome is None and pieces:
        outcome = client.receive_data(pieces.pop(0))
    if not isinstance(outcome, UpgradeRequest):
        return outcome
    subprotocol = outcome.subprotocols[0] if outcome.subprotocols else None
    answer = client.accept(subprotocol, ((b"x-one", b"1"),))
    return outcome, client.head, client.rest + b"".join(pieces), answer


def _alone(read: Callable[[], object]) -> object:
    with wsproto_alone():
        return read()


def answer_differs(data: bytes, places: Iterable[int] = ()) -> bool:
    """The same of a server's answer."""
    return is_misread_answer(data) or _answered(data, places) != _alone(lambda: _answered(data, ()))


def is_misread_answer(data: bytes) -> bool:
    """As is_misread_request()."""
    end = data.find(END) + len(END)
    head, rest = data[:end], data[end:]
    if not head.endswith(END):
        return False
    common = shortcut.read_answer(head, rest, ASKED, KEY)
    if head[9:12] != b"101":  # which no long way would take
        return common is not None
    return common is not None and common != ServerHandshake(ASKED, KEY).read_long_way(head, rest)


def _answered(data: bytes, places: Iterable[int]) -> object:
    server = ServerHandshake(ASKED, KEY)
    outcome = None
    pieces = split(data, places)
    while outcome is None and pieces:
        outcome = server.receive_data(pieces.pop(0))
    if isinstance(outcome, Accepted):  # what follows a head may come with it, or later
        return outcome.subprotocol, outcome.extensions, outcome.headers
    return outcome, b"".join(pieces) if outcome is None else b""


def writing_differs(request: ServerRequest) -> bool:
    """The same of what is written: a request, and an answer with these headers."""
    server = ServerHandshake(request, KEY)
    if written(server.request) != written(lambda: server.ask_long_way()[1]):
        return True
    client = ClientHandshake()
    client.receive_data(REQUESTS["chrome"])
    headers = (*request.pinned, *request.headers)
    for name in (None, "graphql-ws", *request.subprotocols):
        if written(partial(client.accept, name, headers)) != written(
            partial(client.accept_long_way, name, headers)
        ):
            return True
    return False


# -- Near the common shape ---------------------------------------------------------------------

ODD_LINES = (
    *(b"Content-Length: 0", b"Content-Length: 5", b"Content_Length: 5", b"content-length: 00"),
    *(b"Transfer-Encoding: chunked", b"Transfer_Encoding: chunked", b"Expect: 100-continue"),
    *(b"Host: a", b"Host: xn--a\xc3", b"Host: xn--zzzzzzzzz", b"Host: xn--", b"Host:"),
    *(b"Origin: null", b"Origin: https://b", b"Cookie: a=b", b"Cookie:c", b"X: \xe9", b"X:\ty"),
    *(b"X: y ", b"X: y\t", b"X:  y", b"X: a\tb", b"X: a  b", b"X:", b"X: ", b"X_Y: z", b"X y: z"),
    *(b"X: a\x01b", b"X: a\x7fb", b"X: a\0b", b"X: a\rb", b"X: a\nb", b" folded", b"X : y", b": y"),
    *(b"Connection: Upgrade", b"Connection: close", b"Connection: Upgrade, Cookie"),
    *(b"Upgrade: websocket", b"Upgrade: WebSocket", b"Upgrade: h2c", b"Keep-Alive: timeout=5"),
    *(b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Version: 8", b"Sec_WebSocket_Version: 13"),
    *(b"Sec-WebSocket-Key: " + KEY, b"Sec-WebSocket-Key: x", b"Sec-WebSocket-Key: " + b"A" * 24),
    *(b"Sec-WebSocket-Protocol: a,", b"Sec-WebSocket-Protocol: a b", b"Sec-WebSocket-Protocol: ,"),
    *(b"Sec-WebSocket-Protocol: chat", b"Sec-WebSocket-Protocol: a,a", b"Sec-WebSocket-Protocol:"),
    *(b"Sec-WebSocket-Extensions: x; y, z", b"Sec-WebSocket-Extensions: permessage-deflate"),
    *(b"Sec-WebSocket-Extensions: ,", b'Sec-WebSocket-Extensions: a; b="c, d"'),
    *(b"Sec-WebSocket-Extensions: permessage-deflate ;a, permessage-deflate",),
    *(b"Sec-WebSocket-Accept: " + ACCEPT, b"Sec-WebSocket-Accept: x", b"X-Reconnect: true"),
    *(b"X: " + b"y" * (MAX_HEAD - 600), b"X: " + b"y" * MAX_HEAD),
)
ODD_VALUES = (
    *(b"Upgrade", b"upgrade, keep-alive", b"Upgrade,Origin", b"keep-alive,Upgrade", b"x, upgrade"),
    *(b"websocket", b"WEBSOCKET", b"13", b"8", b"a", b"a b", b"a, b", b"a,b", b"a,,b", b"(a)", b""),
    *(b"xn--a.example", b"xn--\xff", b"a..b", b"a" * 70, b"[::1]", b"[x]", b"a:b", b"a/b", b"a@b"),
    *(
        b"a:",
        b":80",
        b"a_b",
        b"%61",
        b"a,b:80",
        b"\xc3\xa9.example",
        b"chat",
        b"permessage-deflate",
    ),
    *(b"permessage-deflate; server_no_context_takeover; x", b"x-other", b"Permessage-Deflate"),
    *(KEY, ACCEPT, ACCEPT.lower(), b"0", b"5", b"chunked", b"y " * 20, b"\xff"),
)
ODD_STARTS = (
    *(b"GET /a/../b HTTP/1.1", b"GET /.. HTTP/1.1", b"GET /..a HTTP/1.1", b"GET /a..b HTTP/1.1"),
    *(
        b"GET /%2e%2e/ HTTP/1.1",
        b"GET /%41 HTTP/1.1",
        b"GET /a\\..\\b HTTP/1.1",
        b"GET // HTTP/1.1",
    ),
    *(
        b"GET /?a=/../b HTTP/1.1",
        b"GET /?%2e%2e HTTP/1.1",
        b"GET /a#b HTTP/1.1",
        b"GET /? HTTP/1.1",
    ),
    *(b"GET /a?b?c=\\ HTTP/1.1", b"GET /?a#b HTTP/1.1", b"GET /\xe9 HTTP/1.1", b"GET * HTTP/1.1"),
    *(b"GET http://chat.example:8443/x HTTP/1.1", b"GET a HTTP/1.1", b"GET /a b HTTP/1.1"),
    *(
        b"GET / HTTP/1.0",
        b"GET / HTTP/2.0",
        b"get / HTTP/1.1",
        b"POST / HTTP/1.1",
        b"GET /  HTTP/1.1",
    ),
    *(b"GET /!\"$&'()*+,-.:;<=>@[]^_`{|}~ HTTP/1.1", b"GET /./a HTTP/1.1", b"GET /a/.. HTTP/1.1"),
    *(
        b"HTTP/1.0 101 X",
        b"HTTP/1.1 101",
        b"HTTP/1.1 101 ",
        b"HTTP/1.1 101 A B",
        b"HTTP/1.1 200 OK",
    ),
    *(b"HTTP/1.1 101 \xe9", b"HTTP/1.1 101  X", b"HTTP/1.1 101 X ", b"HTTP/1.1 1011 X", b""),
    *(
        b"HTTP/1.1 101\tX",
        b"HTTP/1.2 101 X",
        b"HTTP/1.1 101 a\x01b",
        b"HTTP/1.1 100 X",
        b"http/1.1 101 X",
    ),
)
SEPARATORS = (b": ", b":", b":  ", b":\t", b" : ")


@st.composite
def heads(draw: st.DrawFn, real: tuple[tuple[bytes, ...], ...]) -> bytes:
    """A real head with some lines of it odd, and then perhaps some bytes."""
    lines = list(draw(st.sampled_from(real)))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(1, len(lines) - 1)) if len(lines) > 1 else 0
        name, _, value = lines[at].partition(b": ")
        match draw(st.integers(0, 7)):
            case 0:
                lines[0] = draw(st.sampled_from(ODD_STARTS))
            case 1:
                lines.insert(at, draw(st.sampled_from(ODD_LINES)))
            case 2:
                lines[at] = draw(st.sampled_from(ODD_LINES))
            case 3:
                lines[at] = name + b": " + draw(st.sampled_from(ODD_VALUES))
            case 4:
                lines[at] = name + draw(st.sampled_from(SEPARATORS)) + value
            case 5:
                lines.insert(at, lines[at])
            case 6:
                if at:
                    del lines[at]
            case _:
                lines[at] = draw(st.sampled_from((lines[at].upper(), lines[at].swapcase())))
    data = CRLF.join(lines) + END
    for _ in range(draw(st.sampled_from((0, 0, 0, 1, 2)))):
        at = draw(st.integers(0, len(data)))
        new = draw(st.binary(max_size=3) | st.sampled_from((b"\r\n", b"\n", b" ", b",", b":")))
        data = data[:at] + new + data[at + draw(st.integers(0, 2)) :]
    return data + draw(st.sampled_from((b"", b"", b"\x81\x80mask", b"\r\n", b"GET / HTTP/1.1")))


def single_edits(lines: Sequence[bytes]) -> Iterator[bytes]:
    """A real head with each odd thing in each place of it."""
    for start in ODD_STARTS:
        yield CRLF.join((start, *lines[1:])) + END
    for at in range(1, len(lines)):
        before, line, behind = lines[:at], lines[at], lines[at + 1 :]
        name, _, value = line.partition(b": ")
        changed = [(odd,) for odd in ODD_LINES] + [(odd, line) for odd in ODD_LINES]
        changed += [(name + b": " + odd,) for odd in ODD_VALUES]
        changed += [(name + odd + value,) for odd in SEPARATORS]
        changed += [(line, line), (), (line.upper(),), (line.swapcase(),), (line + b" ",)]
        for new in changed:
            yield CRLF.join((*before, *new, *behind)) + END


def lines_of(head: bytes) -> tuple[bytes, ...]:
    return tuple(head.removesuffix(END).split(CRLF))


ALL_REQUESTS = REQUESTS | PLAIN_REQUESTS
REQUEST_LINES = tuple(map(lines_of, ALL_REQUESTS.values()))
ANSWER_LINES = tuple(tuple(line.replace(b"%b", ACCEPT) for line in a) for a in ANSWERS.values())
requests = heads(REQUEST_LINES)
answers = heads(ANSWER_LINES)
places = st.lists(st.integers(0, 10**5), max_size=6)

ODD_NAMES = (b"x-one", b"Cookie", b"X_Two", b"x three", b"x-f\xe9", b"", b"a:b")
ODD_CONTENT = (b"1", b"", b" a", b"a ", b"a\tb", b"\xe9", b"a\r\nX-Evil: b", b"a\0", b"y" * 99)
ODD_TARGETS = ("/", "/a?b=%20", "/a b", "/\u00e9", "/a\r\nX-Evil: b", "/..")
pairs = st.lists(
    st.tuples(st.sampled_from(ODD_NAMES), st.sampled_from(ODD_CONTENT)) | st.just((b"x-one", b"1")),
    max_size=3,
).map(tuple)


def as_lines(headers: HeaderList) -> bytes:
    """As Pinned keeps them, which come from a request that was read."""
    return b"\n".join(
        name + b": " + value for name, value in headers if b"\n" not in value and name
    )


written_requests = st.builds(
    ServerRequest,
    st.sampled_from(ODD_TARGETS),
    st.sampled_from(("server.example", "[::1]:80", "", "xn--a", "a b", "\u00e9.example")),
    pairs,
    st.sampled_from(((), ("chat",), ("a", "b"), ("a b",), ("\u00e9",))),
    st.sampled_from((None, "permessage-deflate; server_no_context_takeover", "permessage-deflate")),
    pairs.map(as_lines),
)


# -- The tests ---------------------------------------------------------------------------------


@pytest.mark.long
@settings(max_examples=400)
@given(requests, places)
@example(REQUESTS["chrome"].replace(b"chat.example:8443", b"xn--a\xff"), [])
@example(REQUESTS["chrome"].replace(b"chat.example:8443", b"xn--99999999.example"), [])
def test_a_request_is_read_as_wsproto_reads_it(data: bytes, places: list[int]) -> None:
    assert not request_differs(data, places)


@pytest.mark.long
@settings(max_examples=400)
@given(answers, places)
def test_an_answer_is_read_as_wsproto_reads_it(data: bytes, places: list[int]) -> None:
    assert not answer_differs(data, places)


@settings(max_examples=200)
@given(written_requests)
def test_heads_are_written_as_wsproto_writes_them(request: ServerRequest) -> None:
    assert not writing_differs(request)


@pytest.mark.parametrize("lines", REQUEST_LINES, ids=ALL_REQUESTS)
def test_each_odd_thing_in_each_place_of_a_request(lines: tuple[bytes, ...]) -> None:
    assert not [data for data in single_edits(lines) if is_misread_request(data)]


@pytest.mark.parametrize("lines", ANSWER_LINES, ids=ANSWERS)
def test_each_odd_thing_in_each_place_of_an_answer(lines: tuple[bytes, ...]) -> None:
    assert not [data for data in single_edits(lines) if is_misread_answer(data)]


def test_the_limits_are_those_of_the_long_way() -> None:
    data = REQUESTS["gorilla"]
    for more in range(MAX_HEADERS - 12, MAX_HEADERS):
        assert not request_differs(data[:-2] + b"X: y\r\n" * more + CRLF)
    for size in range(MAX_HEAD - 3, MAX_HEAD + 6):
        line = b"X: " + b"y" * (size - len(data) - 5) + CRLF
        assert not request_differs(data[:-2] + line + CRLF)


@pytest.mark.parametrize("name", ALL_REQUESTS)
def test_real_requests_take_the_shortcut(name: str) -> None:
    found = shortcut.read_request(ALL_REQUESTS[name])
    assert found is NO_UPGRADE if name in PLAIN_REQUESTS else isinstance(found, UpgradeRequest)
    assert not request_differs(ALL_REQUESTS[name], range(0, 2000, 7))


@pytest.mark.parametrize("name", ANSWERS)
def test_real_answers_take_the_shortcut(name: str) -> None:
    data = CRLF.join(ANSWERS[name]).replace(b"%b", ACCEPT) + END
    assert shortcut.read_answer(data, b"rest", ASKED, KEY) is not None
    assert not answer_differs(data, range(0, 2000, 7))


def test_what_the_proxy_says_takes_the_shortcut() -> None:
    assert shortcut.written_request(ASKED, KEY) is not None
    assert shortcut.written_answer(KEY, "chat", ASKED.pinned) is not None


def test_odd_heads_go_to_wsproto() -> None:
    for line in (b"X_Y: z", b"X:y", b"X: \xe9", b"X: y ", b"Content-Length: 0", b"Host: a"):
        assert shortcut.read_request(REQUESTS["gorilla"][:-2] + line + END) is None


def test_who_names_an_upgrade_at_all_goes_to_wsproto(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Upgrade, too: it may have to hear which version there is."""
    lines = (*lines_of(PLAIN_REQUESTS["curl"]), b"Sec-WebSocket-Version: 8")
    head = CRLF.join((*lines, b"Connection: Upgrade")) + END
    assert shortcut.read_request(head) is None
    for line in (b"Upgrade: websocket", b"Upgrade: h2c"):
        assert shortcut.read_request(CRLF.join((*lines, line)) + END) is None
    if not COMPILED:
        monkeypatch.setattr(shortcut, "_NO_UPGRADES", {b"upgrade"})
        assert is_misread_request(head)


# -- They can fail -----------------------------------------------------------------------------

LINES = shortcut._LINES
BREAKS: dict[str, tuple[str, Any]] = {
    "any target": ("_REQUEST", re.compile(rb"GET (\S+) HTTP/1\.1\r\n" + LINES)),
    "any path": ("_REQUEST", re.compile(rb"GET (/[!\"$-~]*) HTTP/1\.1\r\n" + LINES)),
    "any version": (
        "_REQUEST",
        re.compile(shortcut._REQUEST.pattern.replace(rb"1\.1", rb"1\.\d")),
    ),
    "any method": ("_REQUEST", re.compile(shortcut._REQUEST.pattern.replace(b"GET", b"[A-Z]+"))),
    "controls": (
        "_REQUEST",
        re.compile(shortcut._REQUEST.pattern.replace(b"[ -~]*+", rb"[^\r]*")),
    ),
    "names with _": (
        "_REQUEST",
        re.compile(shortcut._REQUEST.pattern.replace(b"A-Za-z0-9-]++:", b"A-Za-z0-9_-]++:")),
    ),
    "spaces at the end": ("_SPACE_AT_END", b"\n\n"),
    "two of each": ("_ONCE", shortcut._ONCE - {b"origin"}),
    "a body": ("_BODY", frozenset()),
    "any key": ("_KEY", re.compile(rb".*")),
    "any host": ("_HOST", re.compile(rb".+")),
    "any subprotocol": ("_NAMES", re.compile(rb".*")),
    "any connection": ("_UPGRADES", shortcut._UPGRADES | {b"close", b"upgrade,origin"}),
    "more in a request": ("_NOT_IN_REQUEST", frozenset((b"host",))),
}
ANSWER_BREAKS: dict[str, tuple[str, Any]] = {
    "any status": ("_ANSWER", re.compile(rb"HTTP/1\.1 \d+ [ -~]*+\r\n" + LINES)),
    "any token": ("_accept_token", lambda _: ANY),
    "any connection": ("_UPGRADES", shortcut._UPGRADES | {b"close"}),
    "any extension": ("DEFLATE", "x-other"),
    "spaces at the end": ("_SPACE_AT_END", b"\n\n"),
    "more in an answer": ("NOT_HANDED_OVER", frozenset((b"upgrade",))),
}
WRITING_BREAKS: dict[str, tuple[str, Any]] = {
    "anything": ("_WRITTEN", re.compile(rb"(?s).*")),
    "spaces at the end": ("_SPACE_AT_END", b"\n\n"),
    "another token": ("_GUID", b"258EAFA5"),
}


def odd_writing() -> Iterator[ServerRequest]:
    for headers in (((name, value),) for name in ODD_NAMES for value in ODD_CONTENT):
        yield replace(ASKED, headers=headers)
    for target in ODD_TARGETS:
        yield replace(ASKED, target=target)


@pytest.mark.parametrize("name", BREAKS)
def test_a_wrong_reading_of_a_request_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shortcut, *BREAKS[name])
    assert any(map(is_misread_request, chain(*map(single_edits, REQUEST_LINES))))


@pytest.mark.parametrize("name", ANSWER_BREAKS)
def test_a_wrong_reading_of_an_answer_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if COMPILED and name == "any token":
        pytest.skip("a compiled function can't be replaced")
    monkeypatch.setattr(shortcut, *ANSWER_BREAKS[name])
    assert any(map(is_misread_answer, chain(*map(single_edits, ANSWER_LINES))))


@pytest.mark.parametrize("name", WRITING_BREAKS)
def test_a_wrong_writing_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shortcut, *WRITING_BREAKS[name])
    assert any(map(writing_differs, odd_writing()))
