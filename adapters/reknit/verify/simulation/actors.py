"""Simulated clients and servers on the in-memory network.

Each end of a session sends numbered messages and counts what arrives (ledger.py); it outlives
its connections, as an application that reconnects does. Its stack answers Pings and Close frames.
One that promises exactly-once says on a return what it has received, and sends again what the
proxy says it has not taken.
"""

from collections.abc import Callable

from reknit_core.codes import GOING_AWAY, SERVICE_RESTART

from reknit.memory.network import Address, MemoryNetwork, MemorySocket
from reknit.verify.simulation.ledger import Dialogue, Ledger, Promise
from reknit.verify.simulation.stack import Cut, Stack

DIAL_TIMEOUT = 10.0  # seconds
ACCEPT = 101
SILENT = 0
RECEIVED = "x-reconnect-received"

Dialogues = Callable[[str], Dialogue]
"""The ledgers of a session, by its connection id."""


def _ignore() -> None:
    pass


def _ignore_stack(stack: Stack | None) -> None:
    pass


class Peer:
    """One end of a session: what client and server have in common."""

    def __init__(self, outbound: Ledger, inbound: Ledger) -> None:
        self.outbound = outbound
        self.inbound = inbound
        self.stack: Stack | None = None
        """The connection, or the one under way; None: away."""
        self.closed: tuple[int, str] | None = None
        """The last Close from the proxy."""
        self.deliberate = False
        """Whether this end has closed the session on purpose."""
        self.on_open: Callable[[], None] = _ignore
        self.on_gone: Callable[[Stack | None], None] = _ignore_stack
        """Called when the connection is over, or, with None, when a dial came to nothing."""
        self._past: list[Stack] = []

    @property
    def up(self) -> bool:
        """Whether messages can be sent."""
        return self.stack is not None and self.stack.open

    def send(self, count: int = 1, fragments: int = 1) -> int:
        """Send the next messages if the connection is open; returns how many were sent."""
        if self.stack is None or not self.stack.open:
            return 0
        self.stack.send([self.outbound.next() for _ in range(count)], fragments)
        return count

    def read(self, wanted: bool) -> None:
        """Stop reading, or go on."""
        if self.stack is not None:
            self.stack.read(wanted)

    def close(self, code: int = 1000, reason: str = "") -> None:
        """End the session on purpose, or say by the code that this end will be back."""
        if self.up:
            assert self.stack is not None
            self.deliberate = self.deliberate or code not in (GOING_AWAY, SERVICE_RESTART)
            self.stack.close(code, reason)

    def cut(self, how: Cut = Cut.RESET) -> None:
        """Lose the connection."""
        if self.stack is not None:
            self.stack.cut(how)

    @property
    def received_header(self) -> dict[str, str]:
        """What a peer that counts says on a return."""
        if self.inbound.promise is Promise.EXACTLY_ONCE:
            return {RECEIVED: str(self.inbound.last)}
        return {}

    def join(self, stack: Stack, headers: dict[str, str]) -> None:
        """The new connection is open: the losses of the earlier ones are final."""
        taken = headers.get(RECEIVED)
        again = self.outbound.promise is Promise.EXACTLY_ONCE and taken is not None
        for past in self._past:
            self.inbound.receiver_lost(past.unread)
            if not again:
                self.outbound.sender_lost(past.unaccepted)
        self._past.clear()
        if again and taken is not None:
            stack.send(self.outbound.after(int(taken)))
        self.on_open()

    def take(self, stack: Stack) -> None:
        """That is the connection now, open or not."""
        old, self.stack = self.stack, stack
        if old is not None and old is not stack:
            self._past.append(old)
            old.cut(Cut.RESET)

    # -- What the stack tells ------------------------------------------------------------------

    def received(self, message: bytes) -> None:
        """Count it."""
        self.inbound.receive(message)

    def gone(self, stack: Stack) -> None:
        """The connection is over."""
        if stack.close_received is not None:
            self.closed = stack.close_received
        if stack is self.stack:
            self.stack = None
            self._past.append(stack)
            self.on_gone(stack)


class MemoryClient(Peer):
    """A client with a connection id; it comes back when it is told to."""

    def __init__(
        self, network: MemoryNetwork, proxy: Address, connection_id: str, dialogue: Dialogue
    ) -> None:
        super().__init__(dialogue.to_server, dialogue.to_client)
        self.connection_id = connection_id
        self.dialogue = dialogue
        self.status: int | None = None
        """The HTTP status of the proxy's last answer; None: no answer."""
        self.answer: dict[str, str] = {}
        """That answer's headers."""
        self._network = network
        self._proxy = proxy
        self._request = ("/", False)
        self._dials = 0

    def connect(self, target: str = "/", *, resume: bool = False) -> None:
        """Dial the proxy; with `resume` for this very session or none, else for a new one too."""
        self.status = None
        self._dials += 1
        dial = self._dials
        self._request = (target, resume)
        self._network.dial(self._proxy, DIAL_TIMEOUT, lambda outcome: self._dialled(dial, outcome))

    def _dialled(self, dial: int, outcome: MemorySocket | str) -> None:
        if isinstance(outcome, str):
            self.on_gone(None)
            return
        stack = Stack(outcome, self._answered, mask=self._network.random.randbytes(4))
        if dial != self._dials:
            outcome.close()  # a later dial was begun
            return
        stack.application = self
        self.take(stack)
        target, resume = self._request
        if resume:
            stack.request(target, {"X-Reconnect-Id": self.connection_id, **self.received_header})
        else:
            stack.request(target, {"X-Connection-Id": self.connection_id})

    def _answered(self, stack: Stack, line: str, headers: dict[str, str]) -> None:
        self.status = int(line.split()[1])
        self.answer = headers
        if self.status == ACCEPT:
            self.join(stack, headers)


class MemoryServer:
    """A server with one session (`ServerSession`) for each connection id.

    `sessions`: those of several servers, which keep them where each can go on with them. `status`:
    what it answers to a handshake: ACCEPT, SILENT for no answer, or an HTTP status.
    """

    def __init__(
        self,
        network: MemoryNetwork,
        address: Address,
        dialogues: Dialogues,
        sessions: "dict[str, ServerSession] | None" = None,
    ) -> None:
        self.address = address
        self.status = ACCEPT
        self.accepted = 0
        """How many connections it has accepted."""
        self.sessions: dict[str, ServerSession] = {} if sessions is None else sessions
        self._network = network
        self._dialogues = dialogues
        self.start()

    def start(self) -> None:
        """Listen."""
        self._network.listen(self.address, self._accept)

    def kill(self, how: Cut = Cut.RESET) -> None:
        """Stop listening and lose every connection; what the sessions have counted stays."""
        self._network.refuse(self.address)
        for session in self.sessions.values():
            if session.server is self:
                session.cut(how)

    def _accept(self, socket: MemorySocket) -> None:
        Stack(socket, self._asked)

    def _asked(self, stack: Stack, line: str, headers: dict[str, str]) -> None:
        if self.status == SILENT:
            return
        if self.status != ACCEPT:
            stack.refuse(self.status)
            return
        if "x-connection-id" not in headers:  # a check
            stack.refuse(426)
            return
        name = headers["x-connection-id"]
        session = self.sessions.get(name)
        if session is None:
            session = self.sessions[name] = ServerSession(name, self._dialogues(name))
        self.accepted += 1
        session.request = headers
        session.server = self
        stack.application = session
        session.take(stack)
        if "x-reconnect" in headers:
            stack.answer(headers, session.received_header)
        else:  # an earlier answer, if there was one, has not reached the proxy
            session.outbound.begin_again()
            stack.answer(headers, {})
        session.join(stack, headers)


class ServerSession(Peer):
    """The server's end of one session."""

    def __init__(self, connection_id: str, dialogue: Dialogue) -> None:
        super().__init__(dialogue.to_client, dialogue.to_server)
        self.connection_id = connection_id
        self.request: dict[str, str] = {}
        """The headers of the last handshake."""
        self.server: MemoryServer | None = None
        """The one that it is with, or was."""
