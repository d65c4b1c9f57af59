"""Several proxies that are one, in one trio loop, on real sockets; what they share is simulated."""

import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial

import trio
import trio.testing
from handshake_bytes import accepting
from raw_websocket import Head, frame, parse_head, request
from reknit.settings.addresses import Listen
from reknit.trio.cluster.nodes import Nodes
from reknit.trio.door.listeners import open_listeners
from reknit.trio.proxy import Proxy
from reknit.trio.transport.certificates import BothEnds, Certificates
from reknit_core.cluster.directory import KeysError, Lookup
from reknit_core.cluster.events import Listed
from reknit_core.cluster.secret import Secret
from reknit_core.cluster.states import Book
from reknit_core.policy.policy import Policy
from reknit_core.policy.upstream import Upstream
from reknit_core.proxy.contexts import Contexts
from trio import SocketStream

END = b"\r\n\r\n"
SECRET = "a secret of thirty-two characters"
ANYWHERE = Listen("127.0.0.1", 0)


class SharedStore:
    """What all machines see: sessions' keys, the books, and where nodes are that live."""

    def __init__(self) -> None:
        self.sessions: dict[str, Lookup] = {}
        self.books: dict[str, Listed] = {}
        self.addresses: dict[str, str] = {}
        self.is_away = False
        self.asked = 0


class Keys:
    """A machine's way to the store: done at once, and told a moment later."""

    def __init__(self, machine: "Machine", store: SharedStore) -> None:
        self._machine = machine
        self._store = store

    def look_up(
        self,
        connection_id: str,
        nonce: bytes | None,
        told: Callable[[Lookup | KeysError | None, float], None],
    ) -> None:
        sessions, outcome = self._store.sessions, None
        self._store.asked += 1
        if self._store.is_away:
            self._later(partial(told, KeysError("it is away")))
            return
        outcome = sessions.get(connection_id)
        if outcome is None and nonce is not None:
            sessions[connection_id] = Lookup(self._machine.book, nonce)
        self._later(partial(told, outcome))

    def replace(
        self,
        connection_id: str,
        old: Lookup,
        nonce: bytes,
        told: Callable[[bool | KeysError, float], None],
    ) -> None:
        is_done = self._store.sessions.get(connection_id) == old
        if is_done:
            self._store.sessions[connection_id] = Lookup(self._machine.book, nonce)
        self._later(partial(told, is_done))

    def give_back(self, connection_id: str, nonce: bytes) -> None:
        if self._store.sessions.get(connection_id) == Lookup(self._machine.book, nonce):
            del self._store.sessions[connection_id]

    def _later(self, call: Callable[[float], None]) -> None:
        async def tell() -> None:
            call(trio.current_time())

        trio.lowlevel.spawn_system_task(tell)


class Tenancy:
    """What a machine says of its books."""

    def __init__(self) -> None:
        self.sure = True
        self.agrees = True
        self.asked: list[tuple[str, Mapping[str, int]]] = []

    def is_sure(self) -> bool:
        return self.sure

    def ask_promise(
        self, node: str, books: Mapping[str, int], answer: Callable[[bool], None]
    ) -> None:
        self.asked.append((node, books))
        answer(self.agrees)


class Machine:
    """A proxy with one book of its own."""

    def __init__(
        self,
        name: str,
        store: SharedStore,
        upstream: Upstream,
        policy: Policy,
        links: BothEnds,
        secret: str,
    ) -> None:
        self.name = name
        self.book = f"book-of-{name}"
        self.states = {self.book: Book.OWNED}
        self.tenancy = Tenancy()
        certificates = Certificates()
        certificates.links = links
        self.proxy = Proxy(policy, (upstream,), certificates)
        self.contexts: Contexts = self.proxy.sessions.contexts
        self.secret = Secret(secret)
        self.keys = Keys(self, store)
        self.port = 0
        self.node_port = 0
        self.stopped = trio.CancelScope()

    def join(self, doors: list[socket.socket]) -> None:
        """Let the others in there."""
        self.node_port = doors[0].getsockname()[1]
        self.proxy.join(self.name, self.secret, self.keys, self.tenancy, self.state_of, doors)

    def state_of(self, book: str) -> Book:
        return self.states.get(book, Book.FREE)

    @property
    def nodes(self) -> Nodes:
        assert self.proxy.nodes is not None
        return self.proxy.nodes


class Machines:
    """All of them, with a server behind."""

    def __init__(self, nursery: trio.Nursery, policy: Policy, links: BothEnds) -> None:
        self.store = SharedStore()
        self._nursery = nursery
        self._policy = policy
        self._links = links
        self._all: dict[str, Machine] = {}
        self.server = Server()
        self.clients: list[Client] = []

    async def start(self, name: str, *, secret: str = SECRET) -> Machine:
        """Another one."""
        upstream = Upstream("127.0.0.1", self.server.port)
        machine = Machine(name, self.store, upstream, self._policy, self._links, secret)
        listeners = await open_listeners(ANYWHERE)
        doors = await open_listeners(ANYWHERE)
        machine.port = listeners[0].getsockname()[1]
        machine.join(doors)
        self.store.books[machine.book] = Listed(name, 1)
        self.store.addresses[name] = f"127.0.0.1:{machine.node_port}"
        self._all[name] = machine

        async def run() -> None:
            with machine.stopped:
                await machine.proxy.run(listeners, trio.Event())

        self._nursery.start_soon(run)
        self.look()
        return machine

    def look(self) -> None:
        """All read the store's lists."""
        for machine in self._all.values():
            machine.nodes.see(dict(self.store.addresses), dict(self.store.books))

    async def kill(self, machine: Machine) -> None:
        """It is gone, and its lease stands still."""
        machine.stopped.cancel()
        del self._all[machine.name]
        await trio.testing.wait_all_tasks_blocked()

    async def connect(self, machine: Machine) -> "Client":
        """A connection to it, on which nothing is said yet."""
        stream = await trio.open_tcp_stream("127.0.0.1", machine.port)
        client = Client(stream)
        self.clients.append(client)
        return client

    async def client(self, machine: Machine, *headers: str, status: int = 101) -> "Client":
        """One that has asked it for a session, and got that answer."""
        client = await self.connect(machine)
        await client.send(request("/", "x-reconnect: true", *headers))
        head = await client.head()
        assert head.status == status, head
        return client


class Client:
    """Any end of a WebSocket."""

    def __init__(self, stream: SocketStream, *, masks: bool = True) -> None:
        self.stream = stream
        self._masks = masks
        self._read = b""
        self.asked = Head("", [])

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def say(self, text: str) -> None:
        await self.send(frame(1, text.encode(), masked=self._masks))

    async def head(self) -> Head:
        return parse_head(await self.request())

    async def request(self) -> bytes:
        """The head that comes first, as it came."""
        while END not in self._read:
            await self._more()
        head, _, self._read = self._read.partition(END)
        self.asked = parse_head(head + END)
        return head + END

    async def hear(self) -> str:
        """The next text; Pings are passed over, and answered."""
        while True:
            opcode, payload = await self._frame()
            if opcode == 1:
                return payload.decode()
            if opcode == 9:
                await self.send(frame(10, payload, masked=self._masks))

    async def close_code(self) -> int:
        """That of the Close which comes next."""
        while True:
            opcode, payload = await self._frame()
            if opcode == 8:
                return int.from_bytes(payload[:2], "big")

    async def _frame(self) -> tuple[int, bytes]:
        while len(self._read) < 2 or len(self._read) < (end := self._end()):
            await self._more()
        whole, self._read = self._read[:end], self._read[end:]
        masked = whole[1] & 0x80
        begin = 2 + (2 if whole[1] & 0x7F == 126 else 0) + (4 if masked else 0)
        payload = whole[begin:]
        if masked:
            mask = whole[begin - 4 : begin]
            payload = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
        return whole[0] & 0x0F, payload

    def _end(self) -> int:
        length = self._read[1] & 0x7F
        size = 2 + (4 if self._read[1] & 0x80 else 0)
        if length == 126:
            return size + 2 + int.from_bytes(self._read[2:4], "big")
        return size + length

    async def _more(self) -> None:
        data = await self.stream.receive_some()
        if not data:
            raise EOFError
        self._read += data

    async def ends(self) -> str:
        """How the connection ends: `fin` or `rst`."""
        try:
            while await self.stream.receive_some():
                pass
        except trio.BrokenResourceError:
            return "rst"
        return "fin"


class Server:
    """Takes connections, each of which the test gets from accept()."""

    def __init__(self) -> None:
        self.port = 0
        self._put, self._get = trio.open_memory_channel[Client](1000)

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as nursery:
            serve = partial(trio.serve_tcp, self._serve, 0, host="127.0.0.1")
            listeners: list[trio.SocketListener] = await nursery.start(serve)
            self.port = listeners[0].socket.getsockname()[1]
            task_status.started()

    async def _serve(self, stream: SocketStream) -> None:
        client = Client(stream, masks=False)
        try:
            await client.send(accepting(await client.request()))
        except EOFError:
            return
        await self._put.send(client)
        await trio.sleep_forever()  # the stream is the test's now

    async def accept(self) -> Client:
        """The next one; `asked` is its request."""
        return await self._get.receive()


@asynccontextmanager
async def machines(
    policy: Policy | None = None, links: BothEnds | None = None
) -> AsyncIterator[Machines]:
    """A world of them, which ends with the block."""
    async with trio.open_nursery() as nursery:
        world = Machines(nursery, policy or Policy(), links or BothEnds())
        await nursery.start(world.server.run)
        try:
            yield world
        finally:
            for client in world.clients:
                client.stream.socket.close()
            nursery.cancel_scope.cancel()
