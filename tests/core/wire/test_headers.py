"""What is forwarded, stripped and edited."""

from math import inf
from urllib.parse import quote, unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from reknit_core.wire.headers import (
    HeaderList,
    cookie,
    end_to_end,
    for_client,
    for_refused,
    for_server,
    is_via,
    query_value,
    reason_phrase,
    retry_after,
    value_of,
    without_query,
)

ID = b"x-connection-id"
KEPT: HeaderList = (
    (b"user-agent", b"x"),
    (b"origin", b"https://a.example"),
    (b"cookie", b"a=b"),
    (b"cookie", b"c=d"),
    (b"authorization", b"Bearer t"),
    (b"x-real-ip", b"10.0.0.1"),
    (b"x-sec-websocket-key", b"not the handshake's"),
    (b"accept-encoding", b"gzip"),
    (b"set-cookie", b"s=1"),
    (b"x-empty", b""),
)
HOP_BY_HOP: HeaderList = (
    (b"connection", b"Upgrade"),
    (b"keep-alive", b"timeout=5"),
    (b"te", b"trailers"),
    (b"trailer", b"x"),
    (b"transfer-encoding", b"chunked"),
    (b"content-length", b"5"),
    (b"upgrade", b"websocket"),
    (b"proxy-authenticate", b"Basic"),
    (b"proxy-authorization", b"Basic x"),
    (b"proxy-connection", b"keep-alive"),
)
HANDSHAKE: HeaderList = (
    (b"host", b"h"),
    (b"sec-websocket-key", b"k"),
    (b"sec-websocket-accept", b"a"),
    (b"sec-websocket-version", b"13"),
    (b"sec-websocket-protocol", b"p"),
    (b"sec-websocket-extensions", b"e"),
    (b"sec-websocket-new", b"n"),
)
OURS: HeaderList = (
    (ID, b"theirs"),
    (b"x-reconnect", b"true"),
    (b"x-reconnect-id", b"i"),
    (b"x-reconnect-info", b"f"),
    (b"x-reconnect-attempt", b"1"),
    (b"x-reconnect-received", b"5"),
)
FORWARDED: HeaderList = (
    (b"forwarded", b"for=1.2.3.4"),
    (b"x-forwarded-for", b"1.2.3.4"),
    (b"x-forwarded-host", b"evil"),
    (b"x-forwarded-proto", b"https"),
    (b"x-forwarded-port", b"443"),
)


def mixed(*groups: HeaderList) -> HeaderList:
    """All of them, in turn, so that no group stands apart."""
    pairs = [pair for group in groups for pair in group]
    return tuple(pairs[::2] + pairs[1::2])


def test_hop_by_hop_and_handshake_headers_stay_behind() -> None:
    headers = mixed(KEPT, HOP_BY_HOP, HANDSHAKE)
    assert set(end_to_end(headers)) == set(KEPT)
    order = [pair for pair in headers if pair in KEPT]
    assert list(end_to_end(headers)) == order


def test_what_connection_names_stays_behind() -> None:
    headers = (
        (b"Connection", b"Upgrade, X-One ,x-two,"),
        (b"connection", b"x-three"),
        (b"X-ONE", b"1"),
        (b"x-Two", b"2"),
        (b"x-three", b"3"),
        (b"x-four", b"4"),
    )
    assert end_to_end(headers) == ((b"x-four", b"4"),)


def test_names_and_values_are_as_they_are() -> None:
    kept = ((b"X-SOME", b"A b\xff"), (b"Set-Cookie", b"1"), (b"x-some", b""), (b"Set-Cookie", b"2"))
    assert end_to_end(kept) == for_client(kept, ID) == for_refused(kept, 403, ID) == kept
    assert end_to_end(((b"UPGRADE", b"websocket"), (b"Sec-WebSocket-Key", b"k"))) == ()


def test_a_client_can_not_speak_for_the_proxy() -> None:
    headers = mixed(KEPT, HOP_BY_HOP, HANDSHAKE, OURS, FORWARDED)
    assert set(for_server(headers, ID)) == set(KEPT)


def test_a_client_can_not_speak_for_the_proxy_in_the_dialect_of_cgi() -> None:
    groups = (HOP_BY_HOP, HANDSHAKE, OURS, FORWARDED)
    odd = tuple(
        (name.replace(b"-", b"_").title(), value) for group in groups for name, value in group
    )
    assert for_server((*odd, (b"x_harmless", b"1")), ID) == ((b"x_harmless", b"1"),)
    assert for_server(((b"my_id", b"1"), (b"my-id", b"2")), b"my_id") == ()


def test_a_server_can_not_speak_for_the_proxy() -> None:
    headers = mixed(KEPT, HOP_BY_HOP, HANDSHAKE, OURS)
    assert set(for_client(headers, ID)) == set(KEPT)
    # What it says about another hop is its own business.
    assert for_client(FORWARDED, ID) == FORWARDED


def test_a_refusal_says_what_it_wants_of_a_handshake() -> None:
    version = (b"Sec-WebSocket-Version", b"13, 8")
    headers = (
        (b"Connection", b"Upgrade, X-Hop"),
        (b"Upgrade", b"WebSocket"),
        version,
        (b"X-Hop", b"1"),
        (b"Keep-Alive", b"1"),
        (ID.title(), b"forged"),
        (b"X-Reconnect", b"forged"),
    )
    assert for_client(headers, ID) == ()
    assert for_refused(headers, 400, ID) == (version,)
    assert for_refused(headers, 426, ID) == (version, (b"Upgrade", b"WebSocket"))
    assert for_refused((version,), 426, ID) == (version,)


def test_the_first_header_of_a_name() -> None:
    headers = ((b"X-One", b"\xe9"), (b"x-one", b"2"))
    assert value_of(headers, b"x-one") == "\xe9"
    assert value_of(headers, b"x-two") is None
    assert value_of(((b"x-two", b""),), b"x-two") == ""


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ((), None),
        ((b"",), None),
        ((b"id=1",), "1"),
        ((b"a=b; id=1; c=d",), "1"),
        ((b"a=b;id=1",), "1"),
        ((b"id=1; id=2",), "1"),
        ((b"a=b", b"id=2"), "2"),
        ((b'id="quoted"',), "quoted"),
        ((b"id=a=b",), "a=b"),
        ((b"id=",), ""),
        ((b"id",), ""),
        ((b"ID=1",), None),
        ((b"xid=1; id2=2",), None),
        ((b'a="b; id=1"',), "1"),  # RFC 6265 knows no semicolon in a value
        ((b"id=\xe9",), "\xe9"),
    ],
)
def test_cookies(values: tuple[bytes, ...], found: str | None) -> None:
    headers = tuple((name, value) for name, value in zip((b"cookie", b"Cookie"), values))  # noqa: B905
    assert cookie(headers, "id") == found
    assert cookie(((b"x-cookie", b"id=1"),), "id") is None


@pytest.mark.parametrize(
    ("target", "found"),
    [
        ("/", None),
        ("/?", None),
        ("/?id=1", "1"),
        ("/?a=b&id=1&c", "1"),
        ("/?id=1&id=2", "1"),
        ("/?id", ""),
        ("/?id=", ""),
        ("/?%69d=1", "1"),
        ("/?id=%2F%20+", "/ +"),
        ("/?id=a=b", "a=b"),
        ("/?id=1?2", "1?2"),
        ("/id=1", None),
        ("/?xid=1&id2=2&ID=3", None),
        ("/?id=%", "%"),
        ("/?id=%zz", "%zz"),
        ("/?id=%ff", "\ufffd"),
    ],
)
def test_query_values(target: str, found: str | None) -> None:
    assert query_value(target, "id") == found


@pytest.mark.parametrize(
    ("target", "left"),
    [
        ("/", "/"),
        ("/?", "/?"),
        ("/p?a=b", "/p?a=b"),
        ("/p?&&a=b&", "/p?&&a=b&"),
        ("/p?id=1", "/p"),
        ("/p?id", "/p"),
        ("/p?id=1&id=2", "/p"),
        ("/p?a=%20+&id=1&c=%2f", "/p?a=%20+&c=%2f"),
        ("/p?id=1&a", "/p?a"),
        ("/p?a&id=1", "/p?a"),
        ("/p?a&i%64=1", "/p?a"),
        ("/p?token=x&other=y", "/p?token=x&other=y"),
        ("/p?id=1&key=2&a=b?c", "/p?a=b?c"),
        ("/id?xid=1", "/id?xid=1"),
        ("/p?id=1&", "/p"),
    ],
)
def test_a_query_without_the_proxys_parameters(target: str, left: str) -> None:
    assert without_query(target, frozenset(("id", "key"))) == left


parts = st.text(st.sampled_from('ab%2/?=+~#"<'), max_size=6)
kept_parts = st.lists(parts.filter(lambda part: unquote(part.partition("=")[0]) != "id"))
visible = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=8)


@given(parts, kept_parts, kept_parts, st.sampled_from(["id", "%69d", "i%64"]), st.text())
@example("", [], [""], "id", "")
def test_what_stands_around_a_parameter_stays_byte_for_byte(
    path: str, before: list[str], after: list[str], name: str, value: str
) -> None:
    path = "/" + path.replace("?", "")
    target = path + "?" + "&".join([*before, f"{name}={quote(value, safe='')}", *after])
    assert query_value(target, "id") == value
    rest = "&".join([*before, *after])
    assert without_query(target, frozenset(("id",))) == (f"{path}?{rest}" if rest else path)


@given(visible)
def test_a_target_without_such_a_parameter_stays_byte_for_byte(target: str) -> None:
    assert without_query(target, frozenset(("no such",))) == target
    assert query_value(target, "no such") is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, 0.0),
        (b"", 0.0),
        (b"0", 0.0),
        (b"7", 7.0),
        (b"3600", 3600.0),
        (b"86401", 86401.0),
        (b"9" * 400, inf),
        (b"-1", 0.0),
        (b"1.5", 0.0),
        (b"\xb2", 0.0),
        (b"Fri, 31 Dec 1999 23:59:59 GMT", 0.0),
    ],
)
def test_retry_after(value: bytes | None, seconds: float) -> None:
    headers = () if value is None else ((b"Retry-After", value),)
    assert retry_after(headers) == seconds


@pytest.mark.parametrize(
    ("given", "passed"),
    [
        (b"", b""),
        (b"I'm a teapot", b"I'm a teapot"),
        (b"sch\xc3\xb6n\tso", b"sch\xc3\xb6n\tso"),
        (b"\x01", b""),
        (b"not\x7f so", b""),
    ],
)
def test_a_reason_that_no_status_line_may_have_is_left_out(given: bytes, passed: bytes) -> None:
    assert reason_phrase(given) == passed


EIGHT = 784111777.0  # seconds from 1970 to 08:49:37, the time of RFC 9110's example


@pytest.mark.parametrize(
    "date",
    [
        b"Sun, 06 Nov 1994 08:49:37 GMT",
        b"Sunday, 06-Nov-94 08:49:37 GMT",
        b"Sun Nov  6 08:49:37 1994",
    ],
)
def test_retry_after_as_a_date(date: bytes) -> None:
    headers = ((b"retry-after", date),)
    assert retry_after(headers) == 0.0  # nobody knows what time it is
    assert retry_after(headers, EIGHT - 7.5) == 7.5
    assert retry_after(headers, EIGHT + 7.5) == 0.0
    said = (*headers, (b"Date", b"Sun, 06 Nov 1994 08:49:07 GMT"))
    assert retry_after(said) == 30.0  # by the server's clock, whatever the proxy's says
    assert retry_after(said, EIGHT + 1e6) == 30.0
    assert retry_after((*headers, (b"Date", b"now")), EIGHT - 1.0) == 1.0


@given(st.binary() | st.sampled_from([b"Mon, 99 Nov 9999 99:99:99 GMT", b"1 Jan 0000", b"+-1"]))
def test_retry_after_never_raises(value: bytes) -> None:
    assert retry_after(((b"retry-after", value), (b"date", value)), 0.0) >= 0.0


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ((), False),
        ((b"1.1 reknit",), True),
        ((b"1.0 fred, 1.1 reknit (here)",), True),
        ((b"1.1 fred", b"HTTP/1.1 reknit"), True),
        ((b"1.1 reknit.example",), False),
        ((b"reknit",), False),
        ((b", ,1.1",), False),
    ],
)
def test_via(lines: tuple[bytes, ...], found: bool) -> None:
    assert is_via(tuple((b"Via", line) for line in lines), "reknit") is found
