"""What a peer gets that doesn't keep to HTTP or RFC 6455, and what the other end is told."""

import asyncio
import struct

import pytest
from patience import patience
from raw_websocket import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    TEXT,
    Frame,
    close_frame,
    frame,
    request,
)
from socket_bench import COMES_BACK, Bench, closed, socket_test
from websockets.exceptions import ConnectionClosed

VALID = request().decode()
BAD_REQUESTS: tuple[tuple[bytes, int, str], ...] = (
    (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 426, "upgrade_required"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", 426, "upgrade_required"),
    (b"GET / HTTP/1.0\r\n\r\n", 426, "upgrade_required"),
    (VALID.replace("Version: 13", "Version: 8").encode(), 426, "bad_version"),
    (VALID.replace("Upgrade: websocket", "Upgrade: h2c").encode(), 426, "upgrade_required"),
    (VALID.replace("Sec-WebSocket-Key", "X-Key").encode(), 400, "bad_request"),
    (VALID.replace("Sec-WebSocket-Version", "X-Version").encode(), 400, "bad_request"),
    (VALID.replace("GET", "POST").encode(), 400, "bad_request"),
    (VALID.replace("Host: proxy.test\r\n", "").encode(), 400, "bad_request"),
    (VALID.replace("proxy.test", "pröxy.test").encode(), 400, "bad_request"),
    (VALID.replace("Host: proxy.test", "Host : proxy.test").encode(), 400, "bad_request"),
    (VALID.replace("\r\n", "\n").encode(), 400, "bad_request"),
    (VALID.replace("13\r\n", "13\r\nX-Folded: a\r\n b\r\n").encode(), 400, "bad_request"),
    (VALID.replace("13\r\n", "13\r\nTransfer-Encoding: chunked\r\n").encode(), 400, "bad_request"),
    (VALID.replace("dGhl", "????").encode(), 400, "bad_request"),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, "bad_request"),  # TLS
    (b"hello\r\n\r\n", 400, "bad_request"),
    (b"\r\n\r\n\r\n\r\n", 400, "bad_request"),
    (request("/", "X-Long: " + "x" * 16384), 431, "head_too_large"),
    (request("/" + "x" * 16384), 431, "head_too_large"),
    (b"GET / HTTP/1.1\r\nX-Endless: " + b"x" * 20000, 431, "head_too_large"),
    (request("/?reconnect_received=many"), 400, "bad_count"),
    (request("/", "x-reconnect-received: -1"), 400, "bad_count"),
)


@socket_test
async def test_a_request_that_is_no_websocket_handshake_is_refused(bench: Bench) -> None:
    proxy = await bench.proxy()
    for data, status, error in BAD_REQUESTS:
        client = await bench.raw()
        client.send(data)
        head = await client.read_head()
        assert (head.status, data[:60]) == (status, data[:60])
        assert head.value("connection") == ("close, upgrade" if status == 426 else "close")
        if status == 426:
            assert head.value("upgrade") == "websocket"
        if error == "bad_version":
            assert head.value("sec-websocket-version") == "13"
        assert (await client.read_json())["error"] == error
    assert not proxy.transitions


@socket_test
async def test_a_head_just_under_the_limit_is_let_in(bench: Bench) -> None:
    await bench.raw_upstream.start()
    await bench.proxy()
    padding = "x" * (16 * 1024 - len(request("/", COMES_BACK, "X-Long: ")))
    _, server = await bench.raw_pair("/", "X-Long: " + padding)
    assert server.head.value("x-long") == padding


@socket_test
async def test_a_handshake_that_is_too_slow_is_408(bench: Bench) -> None:
    await bench.proxy("--request-timeout", str(patience(0.5)))
    for data in (b"", request()[:-2]):
        client = await bench.raw()
        client.send(data)
        assert (await client.read_head()).status == 408
        assert (await client.read_json())["error"] == "request_timeout"


@socket_test
async def test_a_client_that_leaves_during_its_handshake_costs_nothing(bench: Bench) -> None:
    await bench.upstream.start()
    proxy = await bench.proxy()
    for data in (b"", request()[:20], request()[:-1]):
        for reset in (True, False):
            client = await bench.raw()
            client.send(data)
            await asyncio.sleep(0)
            client.abort(reset=reset)
    await bench.connect()
    await proxy.reached("connected")
    assert proxy.transitions == [("connected", "server_accepted")]


def breaches(*, masked: bool) -> dict[str, bytes]:
    """Frames that break RFC 6455, of the side that `masked` says."""
    text = frame(TEXT, b"x", masked=masked)
    mask_bit = masked << 7
    key = bytes(4) if masked else b""
    return {
        "mask bit": frame(TEXT, b"wrong", masked=not masked),
        "empty, mask bit": frame(BINARY, b"", masked=not masked),
        "RSV1 without an extension": frame(TEXT, b"x", masked=masked, rsv=4),
        "RSV2": frame(TEXT, b"x", masked=masked, rsv=2),
        "RSV3": frame(TEXT, b"x", masked=masked, rsv=1),
        "opcode 3": frame(3, b"x", masked=masked),
        "opcode 11": frame(11, b"x", masked=masked),
        "nothing to continue": frame(CONTINUATION, b"x", masked=masked),
        "a message within a message": frame(TEXT, b"x", masked=masked, fin=False) + text,
        "a fragmented Ping": frame(PING, b"x", masked=masked, fin=False),
        "a long Ping": frame(PING, bytes(126), masked=masked),
        "a longer length than needed": bytes((0x81, mask_bit | 126, 0, 1)) + key + b"x",
        "a much longer length": struct.pack("!BBQ", 0x81, mask_bit | 127, 1) + key + b"x",
        "a length beyond 63 bits": bytes((0x81, mask_bit | 127)) + b"\xff" * 8 + key,
        "a Close with half a code": frame(CLOSE, b"\x03", masked=masked),
        "a Close with 1005": close_frame(1005, masked=masked),
        "a Close with 999": close_frame(999, masked=masked),
        "a Close that is not UTF-8": frame(CLOSE, b"\x03\xe8\xff", masked=masked),
    }


CODES = {"a length beyond 63 bits": {1002, 1009}, "a Close that is not UTF-8": {1002, 1007}}


@pytest.mark.parametrize("offender", ["client", "server"])
@socket_test
async def test_a_frame_that_breaks_the_protocol_ends_the_session(
    bench: Bench, offender: str
) -> None:
    await bench.raw_upstream.start()
    await bench.proxy()
    by_client = offender == "client"
    for what, data in breaches(masked=by_client).items():
        client, server = await bench.raw_pair()
        end, other = (client, server) if by_client else (server, client)
        end.send(frame(TEXT, b"good", masked=by_client) + data)
        assert await other.read_message() == Frame(TEXT, b"good"), what
        code, reason = (await end.read_message()).close
        assert (code in CODES.get(what, {1002}), reason != "") == (True, True), what
        told, told_why = (await other.read_message()).close
        assert told == code, what
        assert offender in told_why, what
        other.send(close_frame(code or 0, masked=not by_client))
        await other.ended()
        await end.ended()


@pytest.mark.parametrize("fragmented", [False, True])
@pytest.mark.parametrize("offender", ["client", "server"])
@socket_test
async def test_a_message_over_the_limit_ends_the_session(
    bench: Bench, offender: str, fragmented: bool
) -> None:
    await bench.upstream.start()
    await bench.proxy("--message-limit", "1000")
    client = await bench.connect()
    server = await bench.upstream.accept()
    end, other = (client, server) if offender == "client" else (server, client)
    for message in (b"x" * 1000, b"x" * 1001):
        await end.send([message[:500], message[500:]] if fragmented else message)
    assert await other.recv() == b"x" * 1000
    for told in (end, other):
        code, reason = await closed(told)
        assert code == 1009
        assert reason


@socket_test
async def test_text_that_is_not_utf8_is_for_the_receiver_to_refuse(bench: Bench) -> None:
    """The proxy doesn't look at payloads; an end that does closes with 1007, which passes."""
    await bench.upstream.start()
    await bench.proxy()
    client = await bench.raw_client()
    server = await bench.upstream.accept()
    client.send(frame(TEXT, b"\xff"))
    with pytest.raises(ConnectionClosed):
        await server.recv()
    code, _ = (await client.read_message()).close
    assert code == 1007


@socket_test
async def test_other_sessions_do_not_notice(bench: Bench) -> None:
    await bench.upstream.start()
    await bench.proxy()
    client = await bench.connect()
    server = await bench.upstream.accept()
    for _ in range(10):
        offender = await bench.raw_client()
        offender.send(frame(3))
        await offender.ended()
    await client.send("quiet here")
    assert await server.recv() == "quiet here"
