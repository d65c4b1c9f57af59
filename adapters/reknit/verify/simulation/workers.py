"""A simulation of several proxies that are one: who comes anywhere is at its session, by seed.

Their sockets are left out; what the core decides for them is here: whose a session is, what each
may hold, who is let in. Workers die, others are more or fewer, and clients are on their way
meanwhile.
"""

import base64
import hashlib
import re
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

from reknit_core.commands import Dial
from reknit_core.durable.frozen import freeze, id_of, thaw
from reknit_core.events import ConnectionLost, ServerConnected, Shutdown
from reknit_core.lifecycle import State
from reknit_core.policy.policy import GraceFor, Policy
from reknit_core.policy.upstream import Upstream
from reknit_core.proxy.admission import Admission, Guest
from reknit_core.proxy.contexts import Contexts
from reknit_core.proxy.share import Share
from reknit_core.session.context import ContextStateMachine
from reknit_core.side import Side
from reknit_core.wire.handshake import ClientHandshake, Refusal, UpgradeRequest

MOST = 5  # workers
_UPSTREAM = Upstream("server.test", 80)
_REQUEST = (
    b"GET / HTTP/1.1\r\nhost: proxy.test\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
    b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n"
)
_KEY = re.compile(rb"(?i)\r\nsec-websocket-key: (\S+)\r\n")
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_ADDRESS = "192.0.2.1"


@dataclass(slots=True)
class WorkersResult:
    """What a simulation came to: how often each thing happened, and what did not hold."""

    seed: int
    counts: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class _Client:
    """`name`: its session's id, once it knows; `is_up`: whether it has a connection."""

    own: str
    name: str | None = None
    nonce: bytes = b""
    is_up: bool = False
    guest: Guest | None = None
    at: "_Worker | None" = None
    passed: int = 0  # times that this connection was passed on


@dataclass(eq=False, slots=True)
class _Worker:
    share: Share
    contexts: Contexts
    admission: Admission
    inbox: deque[tuple[_Client, bytes]] = field(default_factory=deque)

    def find(self, name: str) -> ContextStateMachine | None:
        found = [each for each in self.contexts if each.connection_id == name]
        return found[0] if found else None


def simulate_workers(seed: int, steps: int, clients: int = 40) -> WorkersResult:
    """Have so many clients come and go in so many steps."""
    return _Simulation(seed, clients).run(steps)


class _Simulation:
    def __init__(self, seed: int, clients: int) -> None:
        self._result = WorkersResult(seed)
        self._random = Random(seed)  # noqa: S311  # it must be repeatable
        self._policy = Policy(
            session_limit=clients // 2, connection_limit=clients // 4, grace_for=GraceFor.ALL
        )
        self._clients = [_Client(f"user-{number}") for number in range(clients)]
        self._alive: dict[str, bytes] = {}  # sessions that must be there: their nonces by id
        self._now = 0.0
        self._workers = self._begin(2)

    def run(self, steps: int) -> WorkersResult:
        happenings = (
            *([self._come] * 40 + [self._deliver] * 40 + [self._drop] * 20),
            *([self._end] * 3 + [self._die] + [self._take_over]),
        )
        for _ in range(steps):
            self._now += 0.001
            happening = self._random.choice(happenings)
            happening()
            self._check(happening.__name__)
            if self._result.broken:
                break
        return self._result

    def _begin(self, number: int) -> list[_Worker]:
        shares = [Share(each, number) for each in range(number)]
        return [self._worker(share) for share in shares]

    def _worker(self, share: Share) -> _Worker:
        policy = share.divide(self._policy)
        contexts = Contexts(policy, _UPSTREAM, self._random.randbytes, share=share)
        return _Worker(share, contexts, Admission(policy))

    def _note(self, text: str) -> None:
        self._result.broken.append(text)

    # -- Clients -------------------------------------------------------------------------------

    def _come(self) -> None:
        """One that is away comes, or comes back, to any worker."""
        away = [client for client in self._clients if not client.is_up]
        if not away:
            return
        client = self._random.choice(away)
        if client.name is not None:
            line = b"x-reconnect-id: " + client.name.encode()
        elif self._random.random() < 0.5:
            line = b"x-connection-id: " + client.own.encode()
        else:
            line = b"x-reconnect: true"
        client.passed = 0
        self._arrive(self._random.choice(self._workers), client, _REQUEST + line + b"\r\n\r\n")

    def _arrive(self, worker: _Worker, client: _Client, request: bytes) -> None:
        """It comes to that worker, which looks whose it is."""
        guest = worker.admission.arrive(_ADDRESS, self._now)
        if isinstance(guest, Refusal):
            self._refused(worker, client, guest)
            return
        _, asked = _read(request)
        worker.admission.ask(guest, asked, self._now)
        owner = worker.contexts.elsewhere(asked)
        if owner is None:
            self._enter(worker, client, guest, request)
            return
        if owner == worker.share.number:
            self._note(f"{client.own} is passed on to where it is")
        client.passed += 1
        client.is_up = True  # it waits
        worker.admission.leave(guest)
        self._workers[owner].inbox.append((client, request))
        self._result.counts["passed on"] += 1

    def _deliver(self) -> None:
        """A worker looks into its inbox."""
        full = [worker for worker in self._workers if worker.inbox]
        if full:
            worker = self._random.choice(full)
            client, request = worker.inbox.popleft()
            client.is_up = False
            guest = worker.admission.bring(_ADDRESS)
            if isinstance(guest, Refusal):
                self._refused(worker, client, guest)
            else:
                self._enter(worker, client, guest, request)

    def _enter(self, worker: _Worker, client: _Client, guest: Guest, request: bytes) -> None:
        handshake, asked = _read(request)
        before = len(worker.contexts)
        context = worker.contexts.connect(handshake, asked, self._now)
        if isinstance(context, Refusal):
            worker.admission.leave(guest)
            self._refused(worker, client, context)
            return
        name = context.connection_id
        how = "resumed" if name in self._alive else "began"
        self._result.counts[how] += 1
        if how == "resumed" and context.nonce != self._alive[name]:
            self._note(f"{name} is not the session that there was")
        if how == "began" and before >= self._part(self._policy.session_limit):
            self._note(f"{name} began where there was no room")
        for other in self._clients:
            if other.name == name and other.guest is not None:
                self._hang_up(other)  # another connection of the same client
        self._alive[name] = context.nonce
        client.name, client.nonce = name, context.nonce
        client.is_up, client.guest, client.at = True, guest, worker
        self._serve(context)

    def _refused(self, worker: _Worker, client: _Client, answer: Refusal) -> None:
        self._result.counts[answer.error] += 1
        client.is_up = False
        sessions, connections = len(worker.contexts), worker.admission.connections
        match answer.error:
            case "unknown_session":
                if client.name in self._alive:
                    self._note(f"{client.name} is not found at worker {worker.share}")
                client.name = None
            case "session_limit" if sessions >= self._part(self._policy.session_limit):
                pass
            case "connection_limit" if connections >= self._part(self._policy.connection_limit):
                pass
            case _:
                self._note(f"{client.own} is refused: {answer.error}")

    def _part(self, limit: int) -> int:
        """What each worker may have, where all together may have that many."""
        return (limit + len(self._workers) - 1) // len(self._workers)

    def _drop(self) -> None:
        """A client's connection breaks."""
        connected = [client for client in self._clients if client.guest is not None]
        if connected:
            client = self._random.choice(connected)
            assert client.at is not None
            assert client.name is not None
            context = client.at.find(client.name)
            self._hang_up(client)
            if context is None:
                self._note(f"{client.name} is gone")
                return
            lost = ConnectionLost(Side.CLIENT, context.client.generation, "reset")
            context.handle(lost, self._now)
            self._serve(context)

    def _hang_up(self, client: _Client) -> None:
        assert client.guest is not None
        assert client.at is not None
        client.at.admission.leave(client.guest)
        client.is_up, client.guest, client.at = False, None, None

    # -- Sessions ------------------------------------------------------------------------------

    def _serve(self, context: ContextStateMachine) -> None:
        """Do all that it wants; its server accepts at once."""
        while True:
            for command in context.commands():
                if isinstance(command, Dial):
                    context.handle(ServerConnected(command.generation), self._now)
            sent = self._take(context, Side.SERVER)
            if (key := _KEY.search(sent)) is None:
                break
            token = base64.b64encode(hashlib.sha1(key[1] + _GUID, usedforsecurity=False).digest())
            answer = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n"
            answer += b"connection: upgrade\r\nsec-websocket-accept: " + token + b"\r\n\r\n"
            context.receive_data(Side.SERVER, answer, self._now)
        self._take(context, Side.CLIENT)
        context.commands()

    def _take(self, context: ContextStateMachine, side: Side) -> bytes:
        data = b""
        while buffers := context.pending(side):
            part = b"".join(buffers)
            context.advance(side, len(part), self._now)
            data += part
        return data

    def _end(self) -> None:
        """A session is over."""
        sessions = [*self._sessions()]
        if sessions:
            worker, context = self._random.choice(sessions)
            context.handle(Shutdown(1001, "over"), self._now)
            for side in (Side.CLIENT, Side.SERVER):
                leg = context.client if side is Side.CLIENT else context.server
                context.handle(ConnectionLost(side, leg.generation, "reset"), self._now)
            self._serve(context)
            if context.state is not State.CLOSED:
                self._note(f"{context.connection_id} does not end: {context.state}")
            worker.contexts.forget(context)
            del self._alive[context.connection_id]
            for client in self._clients:
                if client.name == context.connection_id and client.guest is not None:
                    self._hang_up(client)

    def _sessions(self) -> Iterator[tuple[_Worker, ContextStateMachine]]:
        for worker in self._workers:
            for context in worker.contexts:
                yield worker, context

    # -- Workers -------------------------------------------------------------------------------

    def _die(self) -> None:
        """A worker dies; the next one has its inbox, and none of its sessions."""
        worker = self._random.choice(self._workers)
        for context in worker.contexts:
            del self._alive[context.connection_id]
        for client in self._clients:
            if client.at is worker:
                client.is_up, client.guest, client.at = False, None, None
        again = self._worker(worker.share)
        again.inbox = worker.inbox
        self._workers[worker.share.number] = again
        self._result.counts["died"] += 1

    def _take_over(self) -> None:
        """So many others take over; who is on the way is looked at again."""
        before = self._workers
        frozen = [freeze(context, self._now) for _, context in self._sessions()]
        self._workers = after = self._begin(self._random.randint(1, MOST))
        for data in frozen:
            owner = after[after[0].share.owner(id_of(data))]
            context = thaw(owner.contexts, data, self._now)
            self._serve(context)
            for client in self._clients:
                if client.guest is not None and client.name == context.connection_id:
                    client.at, client.guest = owner, owner.admission.readmit(_ADDRESS)
        for client, request in [each for worker in before for each in worker.inbox]:
            client.passed = 0
            self._arrive(after[0], client, request)
        self._result.counts["taken over"] += 1

    # -- What has to hold ----------------------------------------------------------------------

    def _check(self, happening: str) -> None:
        found: dict[str, bytes] = {}
        for worker, context in self._sessions():
            name = context.connection_id
            if name in found:
                self._note(f"after {happening}: {name} is at two workers")
            if not worker.share.owns(name):
                self._note(f"after {happening}: {name} is not at its own worker")
            found[name] = context.nonce
        if found != self._alive:
            names = found.keys() ^ self._alive.keys()
            self._note(f"after {happening}: lost, or too many: {sorted(names)}")
        connected = sum(client.guest is not None for client in self._clients)
        counted = sum(worker.admission.connections for worker in self._workers)
        if connected != counted:
            self._note(f"after {happening}: {counted} connections are counted of {connected}")
        if any(client.passed > 1 for client in self._clients):
            self._note(f"after {happening}: a client was passed on twice")


def _read(request: bytes) -> tuple[ClientHandshake, UpgradeRequest]:
    handshake = ClientHandshake(_ADDRESS)
    asked = handshake.receive_data(request)
    assert isinstance(asked, UpgradeRequest)
    return handshake, asked
