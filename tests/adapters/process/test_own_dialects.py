"""`--dialect FILE` with real sockets: servers die, the file changes, other processes take over."""

import signal
from pathlib import Path

import pytest
from own_dialect import RULES
from socket_bench import Bench, closed, socket_test
from succession import Succession
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.server import ServerConnection

OTHER = RULES.replace('"login"', '"hello"')
LOGIN, WELCOME, HELLO = '{"type":"login"}', '{"type":"welcome"}', '{"type":"hello"}'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A dialect's file."""
    file = tmp_path / "mine.toml"
    file.write_text(RULES)
    return file


async def begin(bench: Bench, word: str = LOGIN) -> tuple[ClientConnection, ServerConnection]:
    """A session that has begun its protocol."""
    client, server = await bench.connect(), await bench.upstream.accept()
    await client.send(word)
    assert await server.recv() == word
    await server.send(WELCOME)
    assert await client.recv() == WELCOME
    return client, server


async def tell(bench: Bench, client: ClientConnection, word: str = LOGIN) -> None:
    """A new server is told, and answers; then the session goes on."""
    server = await bench.upstream.accept()
    assert await server.recv() == word
    await server.send(WELCOME)
    await server.send("after that")
    assert await client.recv() == "after that"


@socket_test
async def test_a_wrong_path_is_said_in_the_log(bench: Bench, file: Path) -> None:
    file.write_text(RULES + 'key = "rom"\n')
    await bench.upstream.start()
    proxy = await bench.proxy("--dialect", str(file))
    await begin(bench)
    what = (
        r"a client's message matches \[\[statement\]\] 1, but has no text or whole number at 'rom'"
    )
    await proxy.logged(
        f"WARNING {file}: {what}, its key: it means nothing to the dialect; 1 so far"
    )


@socket_test
async def test_a_file_is_for_every_session(bench: Bench, file: Path) -> None:
    await bench.upstream.start()
    proxy = await bench.proxy("--dialect", str(file))
    client, _ = await begin(bench)
    await proxy.logged("speaks mine$")
    for _ in range(3):
        await bench.upstream.kill()
        await bench.upstream.start()
        await tell(bench, client)


@socket_test
async def test_hangup_reads_the_file_for_new_sessions(bench: Bench, file: Path) -> None:
    await bench.upstream.start()
    proxy = await bench.proxy("--dialect", f"auto,{file}")
    file.write_text(OTHER.replace("subprotocols", "target = '^/'\nsubprotocols"))
    proxy.signal(signal.SIGHUP)
    await proxy.logged("read the dialects' files again, for new sessions")
    new, _ = await begin(bench, HELLO)
    await proxy.logged("speaks mine$")
    file.write_text(RULES + "nonsense = 1")
    proxy.signal(signal.SIGHUP)
    line = await proxy.logged("ERROR the dialects stay as they were: ")
    assert f"{file}, line 8: [[statement]] 1, nonsense: unknown key; allowed: " in line
    file.write_text(RULES.replace("subprotocols", "target = '^/'\nsubprotocols"))
    proxy.signal(signal.SIGHUP)
    await proxy.logged("read the dialects' files again", times=2)
    await bench.upstream.kill()
    await bench.upstream.start()
    await tell(bench, new, HELLO)  # as it began
    newer, _ = await begin(bench)
    await newer.send(HELLO)
    await bench.upstream.kill()
    await bench.upstream.start()
    words = set()
    for _ in range(2):
        server = await bench.upstream.accept()
        words.add(await server.recv())
    assert words == {LOGIN, HELLO}


@socket_test
async def test_hangup_without_a_file_does_nothing(bench: Bench) -> None:
    await bench.upstream.start()
    proxy = await bench.proxy("--dialect", "auto")
    proxy.signal(signal.SIGHUP)
    await proxy.logged("got SIGHUP, and there are no certificates or dialects to read again")


async def succession(bench: Bench, *options: str) -> Succession:
    proxy = Succession(f"ws://127.0.0.1:{bench.upstream.port}", *options)
    await proxy.begin()
    bench.proxies.append(proxy)
    return proxy


@socket_test
async def test_the_next_process_has_the_same_dialect(bench: Bench, file: Path) -> None:
    await bench.upstream.start()
    proxy = await succession(bench, "--dialect", str(file))
    client, _ = await begin(bench)
    await proxy.restart()
    await bench.upstream.kill()
    await bench.upstream.start()
    await tell(bench, client)
    assert not any("not known here" in line for line in proxy.lines)


@socket_test
async def test_the_next_process_has_other_rules(bench: Bench, file: Path) -> None:
    await bench.upstream.start()
    proxy = await succession(bench, "--dialect", str(file))
    client, server = await begin(bench)
    file.write_text(OTHER)
    await proxy.restart()
    line = await proxy.logged("WARNING .* speaks mine, which is not known here: it ends with its ")
    assert line.endswith("server")
    await client.send("still here")
    assert await server.recv() == "still here"
    await bench.upstream.kill()
    assert (await closed(client))[0] == 1012


@socket_test
async def test_a_process_that_can_not_read_the_file_does_not_take_over(
    bench: Bench, file: Path
) -> None:
    await bench.upstream.start()
    proxy = await succession(bench, "--dialect", str(file))
    client, server = await begin(bench)
    file.write_text("name = 7")
    proxy.signal(signal.SIGUSR2)
    await proxy.logged("reknit: --dialect: .*line 1: name: 7 is not allowed; allowed: ")
    await proxy.logged("ERROR not taken over: ")
    await client.send("still here")
    assert await server.recv() == "still here"
