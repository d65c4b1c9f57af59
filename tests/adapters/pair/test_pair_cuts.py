"""A reknit at each side of a bad network: a cut between them costs neither end anything."""

import asyncio
import signal
from pathlib import Path

import pytest
from patience import patience
from proxy_pair import ProxyPair, open_pair
from socket_bench import Bench, closed, socket_test
from tls_files import certificate, write_authority, write_certificate
from upstream_server import cut
from websockets.asyncio.client import connect
from websockets.asyncio.connection import Connection
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

CUTS = 12
HOST = "127.0.0.1"
END = ("--on-server-loss", "end")


async def both_ways(client: Connection, server: Connection, text: str = "x") -> None:
    """A message each way: it is the next one that comes."""
    await client.send(f"{text} up")
    await server.send(f"{text} down")
    assert await server.recv() == f"{text} up"
    assert await client.recv() == f"{text} down"


class Numbers:
    """Numbers from one end to the other until they are enough, each of which must come once."""

    def __init__(self, sender: Connection, receiver: Connection) -> None:
        self._sender, self._receiver = sender, receiver
        self.received = 0
        self.sent = 0
        self._ending = False

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._send())
            group.create_task(self._receive())
        assert self.received == self.sent

    def end(self) -> None:
        self._ending = True

    async def _send(self) -> None:
        while not self._ending:
            await self._sender.send(f"{self.sent} {'x' * (self.sent % 7 * 1000)}")
            self.sent += 1
            await asyncio.sleep(0.001)
        await self._sender.send("end")

    async def _receive(self) -> None:
        while (message := await self._receiver.recv()) != "end":
            assert isinstance(message, str)
            assert message.split()[0] == str(self.received)
            self.received += 1


async def stream_through_cuts(pair: ProxyPair, client: Connection, server: Connection) -> None:
    """Numbers both ways, while the link is cut again and again."""
    streams = (Numbers(client, server), Numbers(server, client))
    runs = [pair.bench.spawn(stream.run()) for stream in streams]
    for number in range(CUTS):
        goals = [stream.received + 20 for stream in streams]
        while any(s.received < goal for s, goal in zip(streams, goals, strict=True)):
            await asyncio.sleep(0.005)
        await pair.cut(away=number % 3 == 2)
        await asyncio.sleep(0.1 * (number % 3))
        pair.link.mend()
    for stream in streams:
        stream.end()
    await asyncio.gather(*runs)


@pytest.mark.parametrize("delivery", ["at-least-once", "at-most-once"])
@socket_test
async def test_a_stream_comes_exactly_once_through_cuts(bench: Bench, delivery: str) -> None:
    """Both proxies count, whatever they promise to ends that don't."""
    await bench.upstream.start()
    options = ("--delivery", delivery)
    async with open_pair(bench, near=options, far=options) as pair:
        client, server = await bench.connect(), await bench.upstream.accept()
        await stream_through_cuts(pair, client, server)
        assert pair.link.cuts >= CUTS
        assert bench.upstream.accepted == 1
        await client.close(4000, "enough")
        assert await closed(server) == (4000, "enough")


@socket_test
async def test_compressed_messages_and_subprotocols_come_through_cuts(bench: Bench) -> None:
    bench.upstream.subprotocols = ["chat"]
    bench.upstream.compression = "deflate"
    await bench.upstream.start()
    async with open_pair(bench) as pair:
        client = await bench.connect(
            subprotocols=["other", "chat"],
            extensions=[ClientPerMessageDeflateFactory(client_max_window_bits=True)],
        )
        server = await bench.upstream.accept()
        assert (client.subprotocol, server.subprotocol) == ("chat", "chat")
        assert client.protocol.extensions
        assert server.protocol.extensions
        await stream_through_cuts(pair, client, server)
        assert bench.upstream.accepted == 1


@socket_test
async def test_two_cuts_in_a_row_and_one_in_the_return(bench: Bench) -> None:
    await bench.upstream.start()
    async with open_pair(bench) as pair:
        client, server = await bench.connect(), await bench.upstream.accept()
        for number in range(4):
            await pair.cut()
            await client.send(f"{number} up")
            pair.link.cut()  # whatever the return has come to
            await server.send(f"{number} down")
            await asyncio.sleep(0.02 * number)
            pair.link.cut()
            assert await server.recv() == f"{number} up"
            assert await client.recv() == f"{number} down"
        assert bench.upstream.accepted == 1


@socket_test
async def test_a_link_that_swallows_everything(bench: Bench) -> None:
    """Nobody is told of such a cut: the heartbeat finds it."""
    await bench.upstream.start()
    beat = ("--heartbeat-interval", "0.5", "--heartbeat-timeout", str(patience(2)))
    async with open_pair(bench, near=beat, far=beat) as pair:
        client, server = await bench.connect(), await bench.upstream.accept()
        reading = [bench.spawn(one.recv()) for one in (client, server)]  # they answer Pings
        pair.link.swallow()
        await pair.near.reached("server_down")
        await client.send("up")
        await server.send("down")
        pair.link.cut()
        assert await reading[0] == "down"
        assert await reading[1] == "up"
        assert bench.upstream.accepted == 1


# -- Sessions that end with their server -------------------------------------------------------


@pytest.mark.parametrize("kind", ["end", "socket.io"])
@socket_test
async def test_a_cut_is_not_the_end_of_the_server(bench: Bench, kind: str) -> None:
    await bench.upstream.start()
    options = END if kind == "end" else ("--dialect", "socket.io")
    async with open_pair(bench, near=options, far=options) as pair:
        client, server = await bench.connect(), await bench.upstream.accept()
        await both_ways(client, server)
        for _ in range(3):
            await pair.cut()
            await both_ways(client, server)
        await bench.upstream.kill()
        assert (await closed(client))[0] == 1012
        await bench.upstream.start()
        await both_ways(await bench.connect(), await bench.upstream.accept())


@socket_test
async def test_a_server_that_dies_in_a_cut_is_no_secret(bench: Bench) -> None:
    """Where the client begins anew at its server's end, it does behind the cut."""
    await bench.upstream.start()
    async with open_pair(bench, near=END, far=END) as pair:
        client, _ = await bench.connect(), await bench.upstream.accept()
        await pair.cut(away=True)
        await bench.upstream.kill()
        await pair.far.reached("closing")
        await bench.upstream.start()
        pair.link.mend()
        assert (await closed(client))[0] == 1012
        await both_ways(await bench.connect(), await bench.upstream.accept())
        assert bench.upstream.accepted == 2


@socket_test
async def test_a_server_that_dies_in_a_cut_gets_what_waits(bench: Bench) -> None:
    """By default the client stays, as without a second proxy."""
    await bench.upstream.start()
    async with open_pair(bench) as pair:
        client, server = await bench.connect(), await bench.upstream.accept()
        await pair.cut(away=True)
        await bench.upstream.kill()
        await pair.far.reached("both_down")
        await client.send("meanwhile")
        await bench.upstream.start()
        server = await bench.upstream.accept()
        pair.link.mend()
        assert await server.recv() == "meanwhile"
        await both_ways(client, server)
        assert bench.upstream.requests[-1].headers["x-reconnect"] == "true"


@socket_test
async def test_a_far_session_whose_grace_has_ended_begins_anew_or_ends(bench: Bench) -> None:
    await bench.upstream.start()
    async with open_pair(bench, near=END, far=("--client-grace", "0.1")) as pair:
        client, server = await bench.connect(), await bench.upstream.accept()
        pair.link.cut(away=True)
        assert (await closed(server))[0] == 1001
        pair.link.mend()
        assert (await closed(client))[0] == 1012
        assert bench.upstream.accepted == 1  # nobody has asked for a new one


# -- Close -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "reason"), [(1000, ""), (1000, "bye"), (1011, "oops"), (3000, "x"), (4001, "banned")]
)
@pytest.mark.parametrize("in_a_cut", [False, True])
@socket_test
async def test_a_close_comes_to_the_other_end(
    bench: Bench, code: int, reason: str, in_a_cut: bool
) -> None:
    """Also where no message waits, which at most once is so."""
    await bench.upstream.start()
    once = ("--delivery", "at-most-once")
    async with open_pair(bench, near=once, far=once) as pair:
        for from_client in (True, False):
            client, server = await bench.connect(), await bench.upstream.accept()
            closer, other = (client, server) if from_client else (server, client)
            await both_ways(client, server)
            if in_a_cut:
                await pair.cut(away=True)
            closing = bench.spawn(closer.close(code, reason))
            if in_a_cut:
                await (pair.near if from_client else pair.far).reached("closing", 2 - from_client)
                pair.link.mend()
            assert await closed(other) == (code, reason)
            await closing
            assert closer.close_code == code
        assert bench.upstream.accepted == 2


@socket_test
async def test_a_close_without_a_code(bench: Bench) -> None:
    await bench.raw_upstream.start()
    async with open_pair(bench):
        client, server = await bench.raw_pair()
        client.send(bytes((0x88, 0x80, 0, 0, 0, 0)))
        assert (await server.read_message()).close == (None, "")


@pytest.mark.parametrize("how", ["reset", "end", "1001"])
@socket_test
async def test_a_client_that_is_gone_is_not_waited_for_twice(bench: Bench, how: str) -> None:
    """The grace is the near one's: the far one would wait an hour more."""
    await bench.upstream.start()
    async with open_pair(bench, near=("--grace-for", "named")) as pair:
        client = await connect(f"ws://{HOST}:{pair.near.port}", proxy=None, ping_interval=None)
        server = await bench.upstream.accept()
        if how == "1001":
            await client.close(1001)
        else:
            cut(client, reset=how == "reset")
        assert (await closed(server))[0] == 1001
        for proxy in (pair.near, pair.far):
            await proxy.reached("closed")


@socket_test
async def test_a_grace_that_has_ended_is_the_end(bench: Bench) -> None:
    await bench.upstream.start()
    async with open_pair(bench, near=("--client-grace", "0.1", "--grace-for", "all")):
        client, server = await bench.connect(), await bench.upstream.accept()
        cut(client)
        assert await closed(server) == (1001, "client did not return")


@socket_test
async def test_a_client_without_a_server(bench: Bench) -> None:
    """1013 when the far one has waited for it long enough: the near one does not begin again."""
    await bench.upstream.start()
    async with open_pair(bench, far=("--retry-limit", "1")):
        client, _ = await bench.connect(), await bench.upstream.accept()
        await bench.upstream.kill()
        assert (await closed(client))[0] == 1013


# -- TLS and tokens between them ---------------------------------------------------------------


@socket_test
async def test_tls_with_certificates_of_both_that_are_renewed(bench: Bench, tmp_path: Path) -> None:
    await bench.upstream.start()
    ca = write_authority(tmp_path)
    shown = tmp_path / "far.pem"
    write_certificate(shown, certificate(HOST))
    near = write_certificate(tmp_path / "near.pem", certificate("near.example"))
    async with open_pair(
        bench,
        near=("--upstream-ca", ca, "--upstream-cert", near),
        far=("--tls-cert", str(shown), "--tls-client-ca", ca, "--resume-token"),
        scheme="wss",
    ) as pair:
        client, server = await bench.connect(), await bench.upstream.accept()
        await both_ways(client, server)
        for _ in range(3):
            await pair.cut()
            await both_ways(client, server)
        write_certificate(shown, certificate(HOST, "localhost"))
        pair.far.signal(signal.SIGHUP)
        await pair.far.logged("certificates")
        await pair.cut()
        await both_ways(client, server)
        assert bench.upstream.accepted == 1
