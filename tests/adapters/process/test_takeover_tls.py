"""The keys of a TLS connection can't leave their process, so its session stays there too."""

import asyncio
import os
import signal
import ssl
from pathlib import Path

import pytest
from socket_bench import Bench, closed, socket_test
from succession import Succession
from tls_files import (
    certificate,
    client_context,
    server_context,
    write_authority,
    write_certificate,
)
from websockets.asyncio.connection import Connection

HOST = "127.0.0.1"
GOES = (1012, "the proxy restarts")


async def begin(bench: Bench, tmp_path: Path, *options: str) -> Succession:
    """A proxy that speaks TLS on both legs."""
    bench.upstream.tls = server_context(certificate(HOST))
    bench.tls = client_context()
    await bench.upstream.start()
    proxy = Succession(
        f"wss://{HOST}:{bench.upstream.port}",
        *("--upstream-ca", write_authority(tmp_path)),
        *("--tls-cert", write_certificate(tmp_path / "cert.pem", certificate(HOST))),
        *options,
    )
    await proxy.begin()
    bench.proxies.append(proxy)
    return proxy


async def exchange(client: Connection, server: Connection) -> None:
    await client.send("there")
    assert await server.recv() == "there"
    await server.send("back")
    assert await client.recv() == "back"


@socket_test
async def test_a_session_with_tls_stays_where_it_is_and_new_ones_go_on(
    bench: Bench, tmp_path: Path
) -> None:
    proxy = await begin(bench, tmp_path)
    pairs = []
    for _ in range(3):  # so one process each, and the first ones are still there
        pairs.append((await bench.connect(), await bench.upstream.accept()))
        await proxy.restart()
    for client, server in pairs:
        await exchange(client, server)
        await client.close()
        assert (await closed(server))[0] == 1000


@socket_test
async def test_who_is_shaking_hands_is_let_go_and_can_come_again(
    bench: Bench, tmp_path: Path
) -> None:
    proxy = await begin(bench, tmp_path)
    hello = client_hello()
    strangers = [await asyncio.open_connection(HOST, proxy.port) for _ in range(3)]
    for (_, writer), sent in zip(strangers, (b"", hello[:50], hello), strict=True):
        writer.write(sent)
    assert await strangers[2][0].read(1)  # so it has been heard
    asking = await bench.raw()
    asking.send(b"GET / HTTP/1.1\r\n")
    await proxy.restart()
    await asking.ended()
    for reader, writer in strangers:
        await reader.read()
        writer.close()
    await exchange(await bench.connect(), await bench.upstream.accept())


@pytest.mark.parametrize("is_told", [True, False])
@socket_test
async def test_sessions_with_tls_can_be_drained(
    bench: Bench, tmp_path: Path, is_told: bool
) -> None:
    """By an option; or, where they are kept, by SIGTERM to the process that keeps them."""
    choice = ("--takeover-tls", "keep" if is_told else "drain", "--drain-time", "0.2")
    proxy = await begin(bench, tmp_path, *choice)
    old = [(await bench.connect(), await bench.upstream.accept()) for _ in range(2)]
    keeper = proxy.pid
    await proxy.restart()
    if is_told:
        await exchange(*old[0])
        os.kill(keeper, signal.SIGTERM)
    for client, server in old:
        assert await closed(client) == GOES
        assert await closed(server) == (1001, GOES[1])
    await proxy.logged("INFO drained: 0 sessions cut, 0 messages lost")
    await exchange(await bench.connect(), await bench.upstream.accept())


@socket_test
async def test_plain_connections_go_on_where_the_new_process_speaks_tls(
    bench: Bench, tmp_path: Path
) -> None:
    await bench.upstream.start()
    door = str(tmp_path / "door")
    drain = ("--takeover-tls", "drain")
    proxy = Succession(f"ws://{HOST}:{bench.upstream.port}", "--takeover", door, *drain)
    await proxy.begin()
    bench.proxies.append(proxy)
    client, server = await bench.connect(), await bench.upstream.accept()
    file = write_certificate(tmp_path / "cert.pem", certificate(HOST))
    await proxy.start("--tls-cert", file)
    await proxy.taken_over()
    await exchange(client, server)
    bench.tls = client_context()
    secure, _ = await bench.connect(), await bench.upstream.accept()
    await proxy.restart()
    assert await closed(secure) == GOES
    await exchange(client, server)


def client_hello() -> bytes:
    """What a client says first."""
    outgoing = ssl.MemoryBIO()
    connection = client_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=HOST)
    with pytest.raises(ssl.SSLWantReadError):
        connection.do_handshake()
    return outgoing.read()
