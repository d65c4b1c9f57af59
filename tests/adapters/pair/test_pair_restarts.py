"""One proxy of a pair, or both, is restarted, killed or drained; the network is cut meanwhile."""

import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from bad_link import BadLink
from proxy_pair import open_pair
from proxy_process import ProxyProcess
from socket_bench import Bench, closed, header, socket_test
from succession import Succession
from test_pair_cuts import both_ways
from upstream_server import Port
from websockets.asyncio.connection import Connection


def kept(folder: Path, name: str) -> tuple[str, ...]:
    """The options by which that proxy keeps its sessions."""
    return ("--state-dir", str(folder / name), "--state-sync", "off")


async def repeated(server: Connection, last: str, following: str) -> None:
    """A new connection to a server that doesn't count: the last message may come once more."""
    message = await server.recv()
    assert message in (last, following)
    assert message == following or await server.recv() == following


@asynccontextmanager
async def open_successions(
    bench: Bench, *, options: Sequence[str] = ()
) -> AsyncIterator[tuple[Succession, BadLink, Succession]]:
    """A pair whose proxies can start their successors: near, the link, far."""
    far = Succession(f"ws://127.0.0.1:{bench.upstream.port}", *options)
    await far.begin()
    bench.proxies.append(far)  # type: ignore[arg-type]
    async with BadLink(far.port) as link:
        near = Succession(f"ws://127.0.0.1:{link.port}", *options)
        await near.begin()
        bench.proxies.append(near)  # type: ignore[arg-type]
        yield near, link, far


@socket_test
async def test_each_is_restarted_and_the_link_is_cut(bench: Bench) -> None:
    """SIGUSR2: what the one knows of the other goes to its successor."""
    await bench.upstream.start()
    async with open_successions(bench, options=("--on-server-loss", "end")) as (near, link, far):
        client, server = await bench.connect(), await bench.upstream.accept()
        for number, proxy in enumerate((near, far), 1):
            await both_ways(client, server)
            await proxy.restart()
            await both_ways(client, server)
            link.cut()
            await near.reached("server_down", number)
            await both_ways(client, server)
        assert bench.upstream.accepted == 1


@pytest.mark.parametrize("which", ["near", "far"])
@socket_test
async def test_one_is_restarted_in_a_cut(bench: Bench, which: str) -> None:
    await bench.upstream.start()
    async with open_successions(bench, options=("--on-server-loss", "end")) as (near, link, far):
        client, server = await bench.connect(), await bench.upstream.accept()
        await both_ways(client, server)
        link.cut(away=True)
        await near.reached("server_down")
        await far.reached("client_down")
        await client.send("early up")
        await server.send("early down")
        await (near if which == "near" else far).restart()
        link.mend()
        assert await server.recv() == "early up"
        assert await client.recv() == "early down"
        await both_ways(client, server)
        assert bench.upstream.accepted == 1


@socket_test
async def test_a_process_takes_over_from_the_near_one(bench: Bench, tmp_path: Path) -> None:
    await bench.upstream.start()
    far = await bench.proxy()
    async with BadLink(far.port) as link:
        door = ("--takeover", str(tmp_path / "door"))
        near = Succession(f"ws://127.0.0.1:{link.port}", *door)
        await near.begin()
        bench.proxies.append(near)  # type: ignore[arg-type]
        client, server = await bench.connect(), await bench.upstream.accept()
        await near.start()
        await near.taken_over()
        await both_ways(client, server)
        link.cut()
        await near.reached("server_down")
        await both_ways(client, server)
        assert bench.upstream.accepted == 1


# -- Killed ------------------------------------------------------------------------------------


async def kill(bench: Bench, proxy: ProxyProcess) -> None:
    bench.proxies.remove(proxy)
    proxy.signal(signal.SIGKILL)
    assert await proxy.wait() == -signal.SIGKILL


class Mortals:
    """A pair whose proxies are killed and started again, each at its port."""

    def __init__(self, bench: Bench, folder: Path, link: BadLink) -> None:
        self._bench, self._folder, self.link = bench, folder, link
        self._ports = {"near": Port(), "far": Port()}
        link.to = self._ports["far"].number
        self.proxies: dict[str, ProxyProcess] = {}

    def release(self) -> None:
        for port in self._ports.values():
            port.release()

    async def start(self, *names: str) -> None:
        for name in names:
            to = self._bench.upstream.port if name == "far" else self.link.port
            proxy = await ProxyProcess.start(
                f"ws://127.0.0.1:{to}",
                *("--listen", f"127.0.0.1:{self._ports[name].number}"),
                *kept(self._folder, name),
            )
            self.proxies[name] = proxy
            self._bench.proxies.append(proxy)
        near = self.proxies["near"]  # the last one is it that clients come to
        self._bench.proxies.remove(near)
        self._bench.proxies.append(near)

    async def kill(self, *names: str) -> None:
        for name in names:
            await kill(self._bench, self.proxies.pop(name))


@pytest.mark.parametrize("killed", [("far",), ("near",), ("far", "near")])
@socket_test
async def test_killed_proxies_that_keep_their_sessions(
    bench: Bench, tmp_path: Path, killed: tuple[str, ...]
) -> None:
    """A client whose own proxy dies comes back with its id and its count."""
    await bench.upstream.start()
    async with BadLink(0) as link:
        pair = Mortals(bench, tmp_path, link)
        try:
            await pair.start("far", "near")
            client: Connection = await bench.connect("/?connection_id=me")
            server = await bench.upstream.accept()
            await both_ways(client, server)
            await pair.kill(*killed)
            await pair.start(*killed)
            if "near" in killed:
                await closed(client)
                client = await bench.connect("/?connection_id=me&reconnect_received=1")
                assert header(client.response, "x-reconnect") == "resumed"  # type: ignore[attr-defined]
            if "far" in killed:
                server = await bench.upstream.accept()  # its connection died with the far one
                await client.send("after")
                await repeated(server, "x up", "after")
            await both_ways(client, server, "later")
            link.cut()
            await both_ways(client, server, "last")
        finally:
            pair.release()


@socket_test
async def test_a_near_one_that_dies_leaves_the_far_one_its_grace(bench: Bench) -> None:
    """Nobody has told the far one: the server's connection stays for --client-grace."""
    await bench.upstream.start()
    async with open_pair(bench, far=("--client-grace", "0.1")) as pair:
        await bench.connect()
        server = await bench.upstream.accept()
        await kill(bench, pair.near)
        assert await closed(server) == (1001, "client did not return")


# -- Drained -----------------------------------------------------------------------------------


@socket_test
async def test_a_near_one_that_is_drained_ends_its_sessions(bench: Bench) -> None:
    """The client begins anew, and the server hears at once that it has gone."""
    await bench.upstream.start()
    async with open_pair(bench) as pair:
        client, server = await bench.connect(), await bench.upstream.accept()
        await both_ways(client, server)
        pair.near.signal(signal.SIGTERM)
        assert (await closed(client))[0] == 1012
        assert (await closed(server))[0] == 1001
        await pair.far.reached("closed")


@pytest.mark.parametrize("on_loss", ["resume", "end"])
@socket_test
async def test_a_far_one_that_is_drained(bench: Bench, on_loss: str) -> None:
    """As when the server is restarted: the client stays, or begins anew, as it was asked for."""
    await bench.upstream.start()
    port = Port()
    try:
        listen = ("--listen", f"127.0.0.1:{port.number}")
        far = await bench.proxy(*listen)
        async with BadLink(port.number) as link:
            near = await ProxyProcess.start(
                f"ws://127.0.0.1:{link.port}", "--on-server-loss", on_loss
            )
            bench.proxies.append(near)
            client, server = await bench.connect(), await bench.upstream.accept()
            await both_ways(client, server)
            far.signal(signal.SIGTERM)
            assert (await closed(server))[0] == 1001
            await far.wait()
            await bench.proxy(*listen)
            bench.proxies.reverse()  # clients come to the near one
            if on_loss == "end":
                assert (await closed(client))[0] == 1012
                client = await bench.connect()
            server = await bench.upstream.accept()
            if on_loss == "resume":
                await client.send("after")
                await repeated(server, "x up", "after")
            await both_ways(client, server)
            link.cut()  # and the counts of the two are not mixed up
            for sender, receiver in ((client, server), (server, client)):
                await sender.send("last")
                while (message := await receiver.recv()) != "last":
                    assert message in ("after", "x up", "x down")
    finally:
        port.release()
