"""open_proxy under asyncio and trio: what it leaves alone, TLS, Unix sockets, errors."""

import asyncio
import gc
import resource
import signal
import socket
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
import reknit.asyncio
import reknit.trio
import trio
from reknit.settings.addresses import Listen, UnixPath
from reknit_core.dialect.ruled.mistakes import DialectError
from reknit_core.dialect.speech import Conversation, Dialect, Heard, Message, Statement
from reknit_core.lifecycle import State
from reknit_core.policy.policy import Policy
from reknit_core.policy.upstream import Upstream
from reknit_core.side import Side
from tls_files import certificate, client_context, server_context
from websockets.asyncio.client import ClientConnection, connect, unix_connect
from websockets.asyncio.server import ServerConnection, serve, unix_serve
from websockets.exceptions import ConnectionClosed

Open = Callable[..., AbstractAsyncContextManager[Any]]
RUNS: list[tuple[Callable[[Callable[[], Any]], Any], Open]] = [
    (lambda main: asyncio.run(main()), reknit.asyncio.open_proxy),
    (trio.run, reknit.trio.open_proxy),
]
IDS = ["asyncio", "trio"]
POLICY = Policy(close_timeout=2.0)


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


@pytest.mark.parametrize(("run", "open_proxy"), RUNS, ids=IDS)
def test_the_process_stays_as_it_was(run: Any, open_proxy: Open) -> None:
    def settings() -> list[object]:
        handlers = [signal.getsignal(number) for number in signal.valid_signals()]
        files = resource.getrlimit(resource.RLIMIT_NOFILE)
        return [*handlers, gc.isenabled(), gc.get_threshold(), gc.get_freeze_count(), files]

    seen: list[list[object]] = []

    async def main() -> None:
        before = settings()
        async with open_proxy(POLICY, Upstream("127.0.0.1", 1)):
            seen.extend((before, settings()))

    run(main)
    assert seen[0] == seen[1]


@pytest.mark.parametrize(("run", "open_proxy"), RUNS, ids=IDS)
def test_it_says_where_it_listens_and_then_does_so_no_more(run: Any, open_proxy: Open) -> None:
    ports: list[int] = []

    async def main() -> None:
        async with open_proxy(POLICY, Upstream("127.0.0.1", 1), Listen("localhost", 0)) as proxy:
            ports.extend(address.port for address in proxy.addresses)
            assert proxy.sessions == []
            for address in proxy.addresses:
                socket.create_connection((address.host, address.port)).close()

    run(main)
    assert ports
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", ports[0]))


@pytest.mark.parametrize(("run", "open_proxy"), RUNS, ids=IDS)
def test_an_address_in_use_is_an_os_error(run: Any, open_proxy: Open) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:

        async def main() -> None:
            address = Listen("127.0.0.1", taken.getsockname()[1])
            async with open_proxy(POLICY, Upstream("127.0.0.1", 1), address):
                pass

        with pytest.raises(OSError, match="in use"):
            run(main)


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize(("run", "open_proxy"), RUNS, ids=IDS)
def test_whoever_is_turned_away_at_the_door_is_told_why_and_so_is_the_log(
    run: Any, open_proxy: Open, caplog: pytest.LogCaptureFixture, *, secure: bool
) -> None:
    caplog.set_level("INFO")
    answers: list[bytes] = []

    def ask(address: Listen) -> None:
        with socket.create_connection((address.host, address.port), 60) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            answers.append(client.makefile("rb").read())

    async def main() -> None:
        tls = server_context(certificate("127.0.0.1")) if secure else None
        async with open_proxy(POLICY, Upstream("127.0.0.1", 1), tls=tls) as proxy:
            if run is trio.run:
                await trio.to_thread.run_sync(ask, proxy.addresses[0])
            else:
                await asyncio.to_thread(ask, proxy.addresses[0])

    run(main)
    if secure:
        assert answers[0].startswith(b"HTTP/1.1 400 ")
        assert b"this port takes TLS only" in answers[0]
        assert "client 127.0.0.1 refused: TLS: http request" in caplog.text
    else:
        assert answers[0].startswith(b"HTTP/1.1 426 ")
        told = "426 upgrade_required (--http pass would pass its request to the server); 1 so far"
        assert f"client 127.0.0.1 refused: {told}" in caplog.text


def test_tls_on_both_legs() -> None:
    async def main() -> None:
        secure = server_context(certificate("127.0.0.1"))
        async with serve(echo, "127.0.0.1", 0, ssl=secure, max_size=None) as server:
            port = server.sockets[0].getsockname()[1]
            upstream = Upstream("127.0.0.1", port, secure=True)
            async with reknit.asyncio.open_proxy(
                POLICY,
                upstream,
                tls=server_context(certificate("127.0.0.1")),
                upstream_tls=client_context(),
            ) as proxy:
                address = proxy.addresses[0]
                assert isinstance(address, Listen)
                url = f"wss://{address}"
                async with connect(url, ssl=client_context(), max_size=None) as client:
                    for size in (0, 10, 3_000_000):
                        await client.send("x" * size)
                        assert await client.recv() == "x" * size
                    assert [view.state for view in proxy.sessions] == [State.CONNECTED]
                await plain(address)
                async with connect(url, ssl=client_context()) as client:
                    await client.send("still here")
                    assert await client.recv() == "still here"

    async def plain(address: Listen) -> None:
        """A client without TLS is told so and let go, and nobody else is."""
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
        writer.close()
        await writer.wait_closed()

    asyncio.run(main())


def test_a_server_with_another_name_is_not_talked_to() -> None:
    async def main() -> None:
        async with serve(
            echo, "127.0.0.1", 0, ssl=server_context(certificate("other.test"))
        ) as server:
            upstream = Upstream("127.0.0.1", server.sockets[0].getsockname()[1], secure=True)
            policy = Policy(retry_limit=0, close_timeout=2.0)
            async with reknit.asyncio.open_proxy(
                policy, upstream, upstream_tls=client_context()
            ) as proxy:
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1",
                    getattr(proxy.addresses[0], "port"),  # noqa: B009
                )
                writer.write(
                    b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "
                    b"dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
                )
                answer = await reader.read()
                assert answer.startswith(b"HTTP/1.1 502 ")
                assert b"certificate is for another name" in answer
                writer.close()

    asyncio.run(main())


def test_unix_sockets_on_both_legs(tmp_path: Path) -> None:
    async def main() -> None:
        behind, front = tmp_path / "behind", tmp_path / "front"
        async with unix_serve(echo, str(behind)):
            upstream = Upstream("localhost", 80, socket_path=str(behind))
            async with reknit.asyncio.open_proxy(POLICY, upstream, UnixPath(str(front))) as proxy:
                assert proxy.addresses == [UnixPath(str(front))]
                async with unix_connect(str(front)) as client:
                    await client.send("hello")
                    assert await client.recv() == "hello"
        assert not front.exists()

    asyncio.run(main())


def test_who_leaves_by_an_error_leaves_at_once() -> None:
    async def main() -> None:
        async with serve(echo, "127.0.0.1", 0) as server:
            upstream = Upstream("127.0.0.1", server.sockets[0].getsockname()[1])
            async with reknit.asyncio.open_proxy(POLICY, upstream) as proxy:
                await connect(f"ws://{proxy.addresses[0]}")
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(main())


def test_a_client_that_says_nothing_is_answered_in_time() -> None:
    async def main() -> None:
        policy = Policy(request_timeout=0.1, close_timeout=2.0)
        async with reknit.asyncio.open_proxy(policy, Upstream("127.0.0.1", 1)) as proxy:
            address = proxy.addresses[0]
            assert isinstance(address, Listen)
            reader, writer = await asyncio.open_connection(address.host, address.port)
            assert (await reader.read()).startswith(b"HTTP/1.1 408 ")
            writer.close()

    asyncio.run(main())


def test_the_policys_limits_hold() -> None:
    async def main() -> None:
        policy = Policy(address_connections=1, close_timeout=2.0)
        async with reknit.asyncio.open_proxy(policy, Upstream("127.0.0.1", 1)) as proxy:
            address = proxy.addresses[0]
            assert isinstance(address, Listen)
            first = await asyncio.open_connection(address.host, address.port)
            reader, writer = await asyncio.open_connection(address.host, address.port)
            assert (await reader.read()).startswith(b"HTTP/1.1 429 ")
            for end in (writer, first[1]):
                end.close()

    asyncio.run(main())


# -- Dialects --------------------------------------------------------------------------------------


class Shouting(Conversation):
    """`HI` is said again to a new server. What is no text raises."""

    def hear(self, side: Side, message: Message, *, away: bool = False) -> tuple[Heard, ...]:
        if not message.is_text:
            raise ValueError("not a word")
        return (Heard(states=(Statement(("hi",), message),)),) if message.data == b"HI" else ()


class Shouts(Dialect):
    name = "shouts"
    summary = "The greeting is said again."

    def converse(self, state: Mapping[str, object] | None = None) -> Conversation:
        return Shouting()


@pytest.mark.parametrize("raises", [False, True])
def test_a_dialect_of_the_program(raises: bool, caplog: pytest.LogCaptureFixture) -> None:
    """The server's connection breaks: the next one hears the greeting, unless the class raised."""
    caplog.set_level("INFO", "reknit")
    heard: list[str | bytes] = []
    connections: list[ServerConnection] = []

    async def hears(connection: ServerConnection) -> None:
        connections.append(connection)
        async for message in connection:
            heard.append(message)
            await connection.send(message)

    async def main() -> None:
        policy = Policy(dialect="shouts", retry_interval=0.05, close_timeout=2.0)
        async with serve(hears, "127.0.0.1", 0) as server:
            upstream = Upstream("127.0.0.1", server.sockets[0].getsockname()[1])
            async with (
                reknit.asyncio.open_proxy(policy, upstream, dialects=[Shouts()]) as proxy,
                connect(f"ws://{proxy.addresses[0]}") as client,
            ):
                await talk(client)

    async def talk(client: ClientConnection) -> None:
        await client.send("HI")
        assert await client.recv() == "HI"
        if raises:
            await client.send(b"?")
            assert await client.recv() == b"?"
        connections[0].transport.abort()
        if raises:
            with pytest.raises(ConnectionClosed):
                await client.recv()
            assert client.close_code == 1012
        else:
            await client.send("again")
            assert [await client.recv(), await client.recv()] == ["HI", "again"]

    asyncio.run(main())
    assert heard == (["HI", b"?"] if raises else ["HI", "HI", "again"])
    told = "the dialect of dialects[0] raised ValueError: not a word (test_embedding.py, line "
    assert (told in caplog.text) is raises


@pytest.mark.parametrize(("run", "open_proxy"), RUNS, ids=IDS)
def test_a_dialect_that_is_none(run: Any, open_proxy: Open) -> None:
    policy = Policy(dialect="shouts", close_timeout=2.0)

    async def main() -> None:
        with pytest.raises(DialectError, match=r"^dialects\[0\]: 7 is no dialect: "):
            async with open_proxy(policy, Upstream("127.0.0.1", 1), dialects=[7]):
                pass
        with pytest.raises(DialectError, match=r"^dialect 'shouts' is not known; allowed: "):
            async with open_proxy(policy, Upstream("127.0.0.1", 1)):
                pass
        async with open_proxy(policy, Upstream("127.0.0.1", 1), dialects=[Shouts()]) as proxy:
            assert proxy.sessions == []

    run(main)
