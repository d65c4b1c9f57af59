"""A new process takes over from the running one: no session is lost, and none notices."""

import asyncio
import signal
from pathlib import Path

from raw_websocket import TEXT, frame, request
from socket_bench import Bench, closed, id_of, socket_test
from streams import PAUSE, Stream
from succession import Succession
from upstream_server import cut

SESSIONS = 50
ENOUGH = 20  # messages that each stream passes on before it may end
BIG = 300_000  # bytes: more than a read, and than a socket takes at once


async def begin(bench: Bench, *options: str) -> Succession:
    """A proxy of real processes for the bench's server."""
    proxy = Succession(f"ws://127.0.0.1:{bench.upstream.port}", *options)
    await proxy.begin()
    bench.proxies.append(proxy)
    return proxy


@socket_test
async def test_many_sessions_under_load_notice_nothing_of_several_takeovers(
    bench: Bench, tmp_path: Path
) -> None:
    await bench.upstream.start()
    proxy = await begin(bench, "--takeover", str(tmp_path / "door"))
    streams = []
    for index in range(SESSIONS):
        size = BIG if index % 10 == 0 else 40
        client, server = await bench.connect(), await bench.upstream.accept()
        streams += [Stream(client, server, size), Stream(server, client, size)]
    runs = [bench.spawn(stream.run()) for stream in streams]
    await proxy.restart()
    await proxy.start()
    await proxy.taken_over()
    await proxy.restart()
    while min(stream.received for stream in streams) < ENOUGH:
        await asyncio.sleep(PAUSE)
    for stream in streams:
        stream.end()
    await asyncio.gather(*runs)
    assert not any("drain" in line for line in proxy.lines)  # nobody was sent away
    await proxy.reached("connected", SESSIONS)
    assert proxy.transitions == [("connected", "server_accepted")] * SESSIONS
    assert bench.upstream.accepted == SESSIONS


@socket_test
async def test_what_is_half_done_goes_on_in_the_next_process(bench: Bench) -> None:
    await bench.raw_upstream.start()
    proxy = await begin(bench)
    client, server = await bench.raw_pair()
    up, down = frame(TEXT, b"u" * 500), frame(TEXT, b"d" * 500, masked=False)
    client.send(frame(TEXT, b"whole") + up[:3])  # cut in the header
    server.send(down[:200])
    assert (await server.read_message()).payload == b"whole"

    newcomer = await bench.raw()
    newcomer.send(request("/early")[:30])
    opening = await bench.raw()
    opening.send(request("/opening"))
    asked = await bench.raw_upstream.next()
    half = b"HTTP/1.1 101 Switching Protocols\r\nUpgr"
    asked.send(half)
    await bench.turned()  # so all of it has been read

    await proxy.restart()
    client.send(up[3:])
    server.send(down[200:])
    assert (await server.read_message()).payload == b"u" * 500
    assert (await client.read_message()).payload == b"d" * 500

    rest = bytearray()
    asked.send, send = rest.extend, asked.send  # type: ignore[method-assign]
    asked.accept()
    send(bytes(rest).removeprefix(half))
    assert (await opening.read_head()).status == 101
    newcomer.send(request("/early")[30:])
    late = await bench.raw_upstream.accept()
    assert late.head.start == "GET /early HTTP/1.1"
    assert (await newcomer.read_head()).status == 101


@socket_test
async def test_ends_that_are_away_are_awaited_by_the_next_process(bench: Bench) -> None:
    await bench.upstream.start()
    proxy = await begin(bench)
    first, server = await bench.connect(), await bench.upstream.accept()
    name = id_of(first)
    cut(first)
    await proxy.reached("client_down")
    await server.send("while you were away")
    await proxy.restart()
    again = await bench.connect(headers={"x-reconnect-id": name})
    assert await again.recv() == "while you were away"

    await bench.upstream.kill()
    await proxy.reached("server_down")
    await again.send("to whom it may concern")
    await proxy.restart()
    await bench.upstream.start()
    server = await bench.upstream.accept()
    assert await server.recv() == "to whom it may concern"


@socket_test
async def test_a_client_that_does_not_return_to_the_next_process_is_given_up(bench: Bench) -> None:
    await bench.upstream.start()
    proxy = await begin(bench, "--client-grace", "0.5")
    client, server = await bench.connect(), await bench.upstream.accept()
    cut(client)
    await proxy.reached("client_down")
    await proxy.restart()
    assert (await closed(server))[0] == 1001


@socket_test
async def test_a_successor_that_fails_costs_nothing(bench: Bench, tmp_path: Path) -> None:
    """It can't even start; it comes, hears, and goes; it says what it should not."""
    await bench.upstream.start()
    config = tmp_path / "reknit.toml"
    config.write_text("")
    proxy = await begin(bench, "--takeover", str(tmp_path / "door"), "--config", str(config))
    client, server = await bench.connect(), await bench.upstream.accept()
    stream = Stream(client, server, BIG)
    run = bench.spawn(stream.run())

    config.write_text("no_such_setting = 1")
    proxy.signal(signal.SIGUSR2)
    await proxy.logged("not taken over: it has closed the connection")
    config.write_text("")

    rude = (b"", b"\0\0\0\0\0\x04gulp", HELLO, HELLO + HELLO)
    for failures, spoken in enumerate(rude, 2):
        reader, writer = await asyncio.open_unix_connection(tmp_path / "door")
        writer.write(spoken)
        await reader.read(100)
        writer.close()
        await proxy.logged("not taken over", failures)

    await proxy.restart()
    stream.end()
    assert await run > 0


HELLO = b"\0\0\0\0\0\x22\x84\xa4type\xa5Hello\xa3pid\x01\xa7version\x01\xa6frozen\x01"


@socket_test
async def test_clients_that_wait_for_the_server_are_let_in_by_the_successor(
    bench: Bench, tmp_path: Path
) -> None:
    """There, too, one of them dials for all."""
    proxy = await begin(bench, "--takeover", str(tmp_path / "door"), "--on-server-loss", "end")
    clients = []
    for count in range(5):
        clients.append(await bench.raw())
        clients[-1].send(request())
        await proxy.logged("asks for a session", count + 1)
        await proxy.logged("attempt 0 failed")
    await proxy.restart()
    await bench.raw_upstream.start()
    scout = await bench.raw_upstream.next()
    await bench.turned()
    assert bench.raw_upstream.count == 1
    scout.accept()
    for _ in clients[1:]:
        await bench.raw_upstream.accept()
    for client in clients:
        assert (await client.read_head()).status == 101
