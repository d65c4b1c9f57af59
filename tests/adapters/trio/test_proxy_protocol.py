"""Balancers below HTTP, which say in a PROXY protocol header whose a connection is."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from linux import only_on_linux
from patience import patience
from raw_websocket import TEXT, Frame, RawConnection, frame, raw_connect, request
from reknit.asyncio import open_proxy
from reknit_core import Policy, parse_upstream
from reknit_core.wire.proxy_header import SIGNATURE
from socket_bench import COMES_BACK, Bench, socket_test
from staff import with_tls
from succession import Succession
from upstream_server import Port

FROM = ("--proxy-protocol-from", "127.0.0.1")
V1 = b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n"
V1_OTHER = b"PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n"
V2 = SIGNATURE + b"\x21\x11\x00\x10\xc0\0\2\1\xc6\x33\x64\7\xdc\4\1\xbb\4\0\1a"
LOCAL = SIGNATURE + b"\x20\0\0\0"
ADDRESS = "192.0.2.1"


async def announced(bench: Bench, header: bytes) -> RawConnection:
    """A client that a balancer brings."""
    client = await bench.raw()
    client.send(header + request("/", COMES_BACK))
    return client


@pytest.mark.parametrize(
    ("header", "told"),
    [
        (V1, ADDRESS),
        (V1_OTHER, "2001:db8::1"),
        (V2, ADDRESS),
        (LOCAL, "127.0.0.1"),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
    ],
)
@socket_test
async def test_the_server_hears_whose_a_connection_is(
    bench: Bench, header: bytes, told: str
) -> None:
    await bench.raw_upstream.start()
    proxy = await bench.proxy(*FROM)
    client = await bench.raw()
    client.send(header + request("/", COMES_BACK) + frame(TEXT, b"early"))
    server = await bench.raw_upstream.accept()
    assert server.head.value("x-forwarded-for") == told
    assert (await client.read_head()).status == 101
    assert await server.read_frame() == Frame(TEXT, b"early")
    await proxy.logged(rf"client {told} asks for a session")


@socket_test
async def test_it_comes_byte_by_byte_and_is_waited_for(bench: Bench) -> None:
    await bench.raw_upstream.start()
    await bench.proxy(*FROM)
    clients = [await bench.raw() for _ in range(3)]
    for client, header in zip(clients, (V1, V2, LOCAL), strict=True):
        for byte in header + request():
            client.send(bytes([byte]))
            await asyncio.sleep(0)
    for _ in clients:
        await bench.raw_upstream.accept()
    for client in clients:
        assert (await client.read_head()).status == 101


@socket_test
async def test_what_else_comes_from_a_balancer_is_refused(bench: Bench) -> None:
    proxy = await bench.proxy(*FROM)
    for bad in (request(), b"PROXY TCP4 nobody\r\n", SIGNATURE + b"\x30\0\0\0", b"\x16\x03\x01"):
        client = await bench.raw()
        client.send(bad)
        assert (await client.read_head()).status == 400
        assert (await client.read_json())["error"] == "proxy_protocol"
    await proxy.logged("balancer 127.0.0.1 refused: no PROXY protocol header: it begins otherwise")
    await proxy.logged("no PROXY protocol header: its line is malformed")


@socket_test
async def test_a_stranger_says_it_for_nothing(bench: Bench) -> None:
    proxy = await bench.proxy("--proxy-protocol-from", "10.0.0.0/8", "--http", "pass")
    for header in (V1, V2, LOCAL):
        client = await bench.raw()
        client.send(header + request())
        assert (await client.read_head()).status == 400
        assert (await client.read_json())["error"] == "proxy_protocol"
    await proxy.logged(r"127.0.0.1 refused: 400 proxy_protocol \(its address is not in --proxy-pro")
    await proxy.logged(r"DEBUG client .* proxy_protocol .*; 3 so far")  # the 4th is said again


@socket_test
async def test_one_that_never_comes_ends_in_time(bench: Bench) -> None:
    proxy = await bench.proxy(*FROM, "--request-timeout", "0.1")
    client = await bench.raw()
    client.send(V1[:-1])
    await proxy.logged("no PROXY protocol header: not complete in time")
    with suppress(ConnectionError):
        assert await client.read_all() == b""


@socket_test
async def test_limits_are_for_whom_it_names(bench: Bench) -> None:
    await bench.raw_upstream.start()
    proxy = await bench.proxy(*FROM, "--address-connections", "1")
    first = await announced(bench, V1)
    await bench.raw_upstream.accept()
    assert (await first.read_head()).status == 101
    second = await announced(bench, V2)
    assert (await second.read_head()).status == 429
    other = await announced(bench, V1_OTHER)
    await bench.raw_upstream.accept()
    assert (await other.read_head()).status == 101
    for _ in range(3):  # its own checks
        await announced(bench, LOCAL)
        await bench.raw_upstream.accept()
    await proxy.logged(rf"client {ADDRESS} refused: 429 address_connections")


@socket_test
async def test_a_proxy_between_that_is_trusted_names_the_client(bench: Bench) -> None:
    await bench.raw_upstream.start()
    proxy = await bench.proxy(*FROM, "--trust-forwarded", ADDRESS)
    client = await bench.raw()
    client.send(V1 + request("/", COMES_BACK, "X-Forwarded-For: 203.0.113.9"))
    server = await bench.raw_upstream.accept()
    assert server.head.value("x-forwarded-for") == f"203.0.113.9, {ADDRESS}"
    await proxy.logged("client 203.0.113.9 asks for a session")


@pytest.mark.parametrize("tls", [False, True])
@socket_test
async def test_another_process_takes_over_in_the_middle_of_a_line(
    bench: Bench, tls: bool, tmp_path: Path
) -> None:
    await bench.raw_upstream.start()
    options = with_tls(bench, tmp_path) if tls else ()
    balancer = ("--proxy-protocol-from", "127.0.0.5")
    proxy = Succession(f"ws://127.0.0.1:{bench.upstream.port}", *balancer, *options)
    await proxy.begin()
    bench.proxies.append(proxy)  # type: ignore[arg-type]
    only_on_linux("another address on loopback")
    clients = [await raw_connect(proxy.port, 0, "127.0.0.5") for _ in range(2)]
    clients[0].send(V1[:20])
    clients[1].send(V2[:7])
    await bench.turned()
    await proxy.restart()
    clients[0].send(V1[20:])
    clients[1].send(V2[7:])
    for client in clients:
        if bench.tls is not None:
            await client.start_tls(bench.tls)
        client.send(request())
        server = await bench.raw_upstream.accept()
        assert server.head.value("x-forwarded-for") == ADDRESS
        assert (await client.read_head()).status == 101
        client.abort()


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionRefusedError:
        return False
    writer.close()
    return True


@asynccontextmanager
async def haproxy(directory: Path, target: int, option: str) -> AsyncIterator[int]:
    """HAProxy in front of that port; the port where it listens."""
    port = Port()
    port.release()
    file = directory / "haproxy.cfg"
    file.write_text(
        "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 600s\n"
        f"  timeout server 600s\nlisten front\n  bind 127.0.0.1:{port.number}\n"
        f"  server one 127.0.0.1:{target} {option}\n"
    )
    process = await asyncio.create_subprocess_exec("haproxy", "-db", "-q", "-f", str(file))
    try:
        async with asyncio.timeout(patience(10)):
            while not await _listens(port.number):
                await asyncio.sleep(0.02)
        yield port.number
    finally:
        process.kill()
        await process.wait()


@pytest.mark.skipif(shutil.which("haproxy") is None, reason="HAProxy is not installed")
@pytest.mark.parametrize("option", ["send-proxy", "send-proxy-v2", "send-proxy-v2 check"])
@pytest.mark.parametrize("tls", [False, True])
@socket_test
async def test_haproxy_in_front(bench: Bench, option: str, tls: bool, tmp_path: Path) -> None:
    await bench.raw_upstream.start()
    options = with_tls(bench, tmp_path) if tls else ()
    proxy = await bench.proxy(*FROM, *options)
    async with haproxy(tmp_path, proxy.port, option) as port:
        client = await raw_connect(port, 0, "127.0.0.3", bench.tls)
        client.send(request("/", COMES_BACK))
        server = await bench.raw_upstream.accept()
        assert server.head.value("x-forwarded-for") == "127.0.0.3"
        assert server.head.value("x-forwarded-proto") == ("https" if tls else "http")
        assert (await client.read_head()).status == 101
        client.send(frame(TEXT, b"there"))
        assert await server.read_frame() == Frame(TEXT, b"there")
        client.abort()
    assert not any("no PROXY" in line for line in proxy.lines)


@socket_test
async def test_embedded_under_asyncio(bench: Bench) -> None:
    await bench.raw_upstream.start()
    policy = Policy(proxy_protocol_from=frozenset({"127.0.0.1"}), address_connections=1)
    async with open_proxy(policy, parse_upstream(f"ws://127.0.0.1:{bench.upstream.port}")) as proxy:
        (address,) = proxy.addresses
        port = int(str(address).rpartition(":")[2])
        client = await raw_connect(port)
        for byte in V2:
            client.send(bytes([byte]))
            await asyncio.sleep(0)
        client.send(request("/", COMES_BACK))
        server = await bench.raw_upstream.accept()
        assert server.head.value("x-forwarded-for") == ADDRESS
        assert (await client.read_head()).status == 101
        for bad, status in ((V1 + request(), 429), (request(), 400)):
            other = await raw_connect(port)
            other.send(bad)
            assert (await other.read_head()).status == status
            other.abort()
        client.abort()
