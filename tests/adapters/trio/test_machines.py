"""Clients come home in a cluster: whichever machine they reach, their session goes on."""

import socket
import struct
from functools import partial
from pathlib import Path

import pytest
import trio
from in_trio import in_trio, until
from machines import SECRET, Client, Machine, Machines, machines
from raw_websocket import frame, request
from reknit.settings.options import TlsFiles
from reknit.trio.cluster.callers import STRANGERS
from reknit.trio.links import Link
from reknit.trio.transport.certificates import Certificates
from reknit_core.cluster.directory import Lookup
from reknit_core.cluster.preface import MAGIC, Answer, Caller, ClientPreface
from reknit_core.cluster.secret import Secret
from reknit_core.cluster.states import Book
from reknit_core.policy.policy import Policy
from reknit_core.proxy.arrival import Arrival
from tls_files import certificate, write_authority, write_certificate

NAMED = "x-connection-id: one"
BACK = "x-reconnect-id: one"
IMPATIENT = Policy(handshake_wait=0.3)


async def begin(world: Machines, machine: Machine, *headers: str) -> tuple[Client, Client]:
    """A session there, as its two ends have it."""
    client = await world.client(machine, NAMED, *headers)
    return client, await world.server.accept()


async def talks(client: Client, server: Client) -> None:
    """Both hear each other."""
    await client.say("up")
    assert await server.hear() == "up"
    await server.say("down")
    assert await client.hear() == "down"


def reset(client: Client) -> None:
    """Cut its connection."""
    at_once = struct.pack("ii", 1, 0)
    client.stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
    client.stream.socket.close()


@in_trio
async def test_a_client_that_comes_back_elsewhere_has_its_session() -> None:
    async with machines() as world:
        a, b, c = [await world.start(name) for name in "abc"]
        client, server = await begin(world, a, "x-reconnect-received: 0")
        await client.say("1")
        assert await server.hear() == "1"
        await client.stream.aclose()

        for number, machine in enumerate([b, c, a, b], 2):
            client = await world.client(machine, BACK, f"x-reconnect-received: {number - 2}")
            await client.say(f"up {number}")
            assert await server.hear() == f"up {number}"
            await server.say(f"down {number}")
            assert await client.hear() == f"down {number}"
            await client.stream.aclose()

        assert (a.nodes.forwarded, b.nodes.forwarded, c.nodes.forwarded) == (0, 2, 1)
        assert (len(a.contexts), len(b.contexts), len(c.contexts)) == (1, 0, 0)


@in_trio
async def test_what_a_client_has_said_behind_its_request_comes_along() -> None:
    async with machines() as world:
        a, b = [await world.start(name) for name in "ab"]
        _, server = await begin(world, a)
        client = await world.connect(b)

        await client.send(request("/", BACK) + frame(1, b"at once"))

        assert (await client.head()).status == 101
        assert await server.hear() == "at once"


@in_trio
async def test_an_id_that_nobody_has_begins_where_it_comes_or_is_unknown() -> None:
    async with machines() as world:
        a, b = [await world.start(name) for name in "ab"]

        refused = await world.client(b, BACK, status=404)
        client, server = await begin(world, b)

        assert refused.asked.value("retry-after") is None
        await talks(client, server)
        assert (len(a.contexts), len(b.contexts)) == (0, 1)
        assert world.store.sessions["one"].book == b.book
        (context,) = b.contexts
        assert world.store.sessions["one"].nonce == context.nonce


@in_trio
async def test_of_two_machines_that_begin_one_id_at_once_one_has_it() -> None:
    async with machines() as world:
        pair = [await world.start(name) for name in "ab"]
        for number in range(20):
            heads: list[int] = []

            async def come(machine: Machine, number: int, heads: list[int]) -> None:
                client = await world.connect(machine)
                await client.send(request("/", "x-reconnect: true", f"x-connection-id: {number}"))
                heads.append((await client.head()).status)

            async with trio.open_nursery() as nursery:
                for machine in pair:
                    nursery.start_soon(come, machine, number, heads)
            await world.server.accept()

            assert heads.count(101) >= 1, heads
            assert set(heads) <= {101, 409, 503}, heads
            assert sum(len(machine.contexts) for machine in pair) == number + 1


@in_trio
async def test_a_client_is_held_while_its_machine_is_away_and_goes_on_then() -> None:
    async with machines() as world:
        a, b = [await world.start(name) for name in "ab"]
        _, server = await begin(world, a)
        address = world.store.addresses.pop("a")
        world.look()
        client = await world.connect(b)
        await client.send(request("/", BACK))
        await until(lambda: len(b.nodes) == 1)

        world.look()
        await trio.sleep(0.05)
        assert len(b.nodes) == 1
        world.store.addresses["a"] = address
        world.look()

        assert (await client.head()).status == 101
        await talks(client, server)


@pytest.mark.parametrize("header", [NAMED, BACK])
@in_trio
async def test_a_client_whose_session_nobody_has_in_time_is_to_come_again(header: str) -> None:
    async with machines(IMPATIENT) as world:
        a, b = [await world.start(name) for name in "ab"]
        await begin(world, a)
        del world.store.addresses["a"]
        world.look()

        client = await world.client(b, header, status=503)

        assert client.asked.value("retry-after") == "1"
        assert len(b.nodes) == 0


@in_trio
async def test_a_machine_that_does_not_answer_is_as_one_that_is_away() -> None:
    async with machines(IMPATIENT) as world:
        a, b = [await world.start(name) for name in "ab"]
        await begin(world, a)
        silent = socket.create_server(("127.0.0.1", 0))
        world.store.addresses["a"] = f"127.0.0.1:{silent.getsockname()[1]}"
        world.look()

        await world.client(b, BACK, status=503)

        silent.close()
        await world.client(b, BACK, status=503)
        world.store.addresses["a"] = "no address"
        world.look()
        await world.client(b, BACK, status=503)


@in_trio
async def test_a_client_waits_for_a_book_that_is_being_claimed() -> None:
    async with machines() as world:
        a, b, c = [await world.start(name) for name in "abc"]
        client, server = await begin(world, a)
        a.states[a.book] = Book.REPLAYING  # as if a had claimed it
        context = next(iter(a.contexts))
        del a.contexts._contexts["one"]
        for machine in (a, b):
            client = await world.connect(machine)
            await client.send(request("/", BACK))
        await until(lambda: len(a.nodes) == len(b.nodes) == 1)

        a.contexts._contexts["one"] = context
        a.states[a.book] = Book.OWNED
        world.look()

        assert (await client.head()).status == 101
        await talks(client, server)
        assert c.nodes.forwarded == 0


@in_trio
async def test_a_session_that_has_ended_without_the_store_is_unknown_or_begins_anew() -> None:
    async with machines() as world:
        a, b = [await world.start(name) for name in "ab"]
        world.store.sessions["one"] = left = Lookup(a.book, b"from before")

        for machine in (a, b):
            await world.client(machine, BACK, status=404)
        assert world.store.sessions["one"] == left
        client, server = await begin(world, b)

        await talks(client, server)
        assert (len(a.contexts), len(b.contexts)) == (1, 0)  # its book is a's
        assert world.store.sessions["one"].nonce == next(iter(a.contexts)).nonce


@in_trio
async def test_a_book_that_is_in_no_list_has_no_sessions() -> None:
    async with machines() as world:
        _, b = [await world.start(name) for name in "ab"]
        world.store.sessions["one"] = Lookup("no book", b"from before")
        client = await world.connect(b)
        await client.send(request("/", BACK))
        await until(lambda: len(b.nodes) == 1)
        await trio.testing.wait_all_tasks_blocked()  # it has its answer

        for _ in range(2):
            world.look()

        assert (await client.head()).status == 404


@in_trio
async def test_without_an_answer_of_the_store_a_client_is_held() -> None:
    async with machines() as world:
        a, b = [await world.start(name) for name in "ab"]
        _, server = await begin(world, a)
        world.store.is_away = True
        client = await world.connect(b)
        await client.send(request("/", BACK))
        await until(lambda: world.store.asked > 1)
        await trio.testing.wait_all_tasks_blocked()

        world.store.is_away = False
        world.look()

        assert (await client.head()).status == 101
        await talks(client, server)


@in_trio
async def test_a_full_machine_sends_clients_away_for_a_while() -> None:
    async with machines(Policy(connection_limit=1)) as world:
        a, b = [await world.start(name) for name in "ab"]
        await begin(world, a)

        await world.client(b, BACK, status=503)


@in_trio
async def test_a_machine_with_another_secret_is_none_of_them() -> None:
    async with machines(IMPATIENT) as world:
        a, b = await world.start("a"), await world.start("b", secret="another secret, " * 2)
        _, server = await begin(world, a)

        await world.client(b, BACK, status=503)

        client = await world.client(a, BACK)
        await talks(client, server)


# -- The relay ----------------------------------------------------------------------------------


@in_trio
async def test_a_machine_that_dies_while_it_passes_on_costs_its_clients_connection_only() -> None:
    async with machines() as world:
        a, b, c = [await world.start(name) for name in "abc"]
        client, server = await begin(world, a)
        client = await world.client(b, BACK)
        await talks(client, server)

        await world.kill(b)

        await client.ends()
        client = await world.client(c, BACK)
        await talks(client, server)


@in_trio
async def test_a_client_learns_at_once_that_its_sessions_machine_has_died() -> None:
    async with machines() as world:
        a, b = [await world.start(name) for name in "ab"]
        client, server = await begin(world, a)
        client = await world.client(b, BACK)
        await talks(client, server)

        with trio.fail_after(2):
            await world.kill(a)
            await client.ends()


@in_trio
async def test_a_cut_stays_a_cut_and_an_end_an_end() -> None:
    async with machines() as world:
        a, b = [await world.start(name) for name in "ab"]
        client, server = await begin(world, a)
        client = await world.client(b, BACK)
        await talks(client, server)
        link = _link(a)

        reset(client)

        await until(lambda: link.client is None)
        await until(lambda: len(b.proxy.pumps) == 0)
        client = await world.client(b, BACK)
        await server.send(b"\x88\x02\x03\xe8")  # Close 1000
        assert await client.close_code() == 1000
        await client.send(frame(8, b"\x03\xe8"))
        assert await client.ends() == "fin"
        await until(lambda: len(b.proxy.pumps) == 0)
        assert b.proxy.admission.connections == 0


@in_trio
async def test_a_client_that_does_not_read_holds_back_its_server() -> None:
    async with machines() as world:
        a, b = [await world.start(name) for name in "ab"]
        _, server = await begin(world, a)
        client = await world.client(b, BACK)
        sent = 0

        with trio.move_on_after(1.0):
            while True:
                await server.send(frame(2, bytes(60_000), masked=False))
                sent += 60_000

        assert sent < 64 * 2**20
        client.stream.socket.close()


def _link(machine: Machine) -> Link:
    (link,) = machine.proxy.sessions
    return link


# -- Questions ------------------------------------------------------------------------------------


@pytest.mark.parametrize("yes", [True, False])
@in_trio
async def test_nodes_ask_each_other(yes: bool) -> None:
    async with machines() as world:
        a, b = [await world.start(name) for name in "ab"]
        b.tenancy.sure = b.tenancy.agrees = yes
        answers: list[bool] = []

        a.nodes.probe("b", answers.append)
        a.nodes.ask_promise("b", {"book": 3}, answers.append)
        await until(lambda: len(answers) == 2)

        assert answers == [yes, yes]
        assert b.tenancy.asked == [("a", {"book": 3})]


@in_trio
async def test_who_does_not_answer_or_is_another_one_says_no() -> None:
    async with machines() as world:
        a, _ = [await world.start(name) for name in "ab"]
        silent = socket.create_server(("127.0.0.1", 0))
        world.store.addresses["c"] = f"127.0.0.1:{silent.getsockname()[1]}"
        world.store.addresses["d"] = world.store.addresses["b"]
        world.look()
        answers: dict[str, bool] = {}

        for node in "cdx":
            a.nodes.probe(node, partial(answers.__setitem__, node))
        await until(lambda: len(answers) == 3)

        assert answers == {"c": False, "d": False, "x": False}
        silent.close()


# -- The port for nodes -------------------------------------------------------------------------


async def call(machine: Machine) -> Client:
    return Client(await trio.open_tcp_stream("127.0.0.1", machine.node_port))


async def is_closed(stranger: Client) -> None:
    with trio.fail_after(5):
        await stranger.ends()
    await stranger.stream.aclose()


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02", bytes(100)])
@in_trio
async def test_garbage_at_the_port_for_nodes_is_not_listened_to(garbage: bytes) -> None:
    async with machines() as world:
        a, b = [await world.start(name) for name in "ab"]
        client, server = await begin(world, a)
        stranger = await call(a)

        await stranger.send(garbage)

        await is_closed(stranger)
        client = await world.client(b, BACK)
        await talks(client, server)


@in_trio
async def test_a_preface_that_was_recorded_is_worth_nothing() -> None:
    async with machines() as world:
        a = await world.start("a")
        await begin(world, a)
        caller = Caller(
            Secret(SECRET).for_links,
            b"1" * 16,
            ClientPreface("b", "a", "one", False, Arrival("192.0.2.1", request("/", BACK))),
        )
        honest = await call(a)
        await honest.send(caller.hello)
        preface = caller.receive_data(await honest.stream.receive_some())
        assert isinstance(preface, bytes)
        await honest.send(preface)
        assert caller.receive_data(await honest.stream.receive_some()) is Answer.YES
        await honest.stream.aclose()

        stranger = await call(a)
        await stranger.send(caller.hello)
        await stranger.stream.receive_some()
        await stranger.send(preface)

        await is_closed(stranger)


@in_trio
async def test_who_says_nothing_at_the_port_for_nodes_has_to_go() -> None:
    async with machines(Policy(request_timeout=0.2)) as world:
        a = await world.start("a")

        await is_closed(await call(a))


@in_trio
async def test_so_many_strangers_at_the_port_for_nodes_keep_no_node_out() -> None:
    async with machines() as world:
        a, b = [await world.start(name) for name in "ab"]
        _, server = await begin(world, a)
        strangers = [await call(a) for _ in range(STRANGERS + 20)]

        client = await world.client(b, BACK)

        await talks(client, server)
        await is_closed(strangers[0])
        for stranger in strangers:
            await stranger.stream.aclose()


@in_trio
async def test_links_with_certificates_take_only_who_has_one(tmp_path: Path) -> None:
    ca = write_authority(tmp_path, "nodes")
    own = write_certificate(tmp_path / "node.pem", certificate("any.name", ca="nodes"))
    links = Certificates(TlsFiles(node_cert=own, node_ca=ca)).links
    async with machines(IMPATIENT, links) as world:
        a, b = [await world.start(name) for name in "ab"]
        _, server = await begin(world, a)

        client = await world.client(b, BACK)
        await talks(client, server)
        stranger = await call(a)
        await stranger.send(MAGIC + bytes(16))

        await is_closed(stranger)
        assert server.asked.value("x-forwarded-proto") == "http"
        other = write_certificate(tmp_path / "other.pem", certificate("any.name"))
        links.for_server = Certificates(TlsFiles(node_cert=other, node_ca=ca)).links.for_server
        await world.client(b, BACK, status=503)
