"""Checks of servers: connections of the proxy's own, when the core says that one is due."""

from functools import partial

from reknit_core.policy.policy import Policy
from reknit_core.proxy.server_check import ServerCheck
from reknit_core.servers import Server, Servers
from reknit_core.wire.reasons import reason_of

from reknit.observe.servers import tell_servers
from reknit.sockets.poller import READ
from reknit.sockets.stream_socket import StreamSocket
from reknit.trio.reactor import Reactor
from reknit.trio.transport.dialler import DialError, Dialler
from reknit.trio.transport.targets import Target, Targets
from reknit.trio.watched import Timed, Watched

READ_SIZE = 4096  # bytes


class Checks(Timed):
    """Looks at the servers when something is due, and says in the log which go and come.

    The dialler is its own: sessions' dials don't hold up a check.
    """

    def __init__(
        self, servers: Servers, policy: Policy, targets: Targets, dialler: Dialler, reactor: Reactor
    ) -> None:
        self._servers = servers
        self._policy = policy
        self._targets = targets
        self._dialler = dialler
        self._reactor = reactor

    def look(self, now: float) -> None:
        """There may be news: say it, check who is to be checked, and come back in time."""
        for server in self._servers.checks_due(now):
            checking = Checking(self, server, ServerCheck(self._servers, server, self._policy))
            target = self._targets[server.name]
            self._dialler.dial(now, checking.dialled, partial(_same, target))
        tell_servers(self._servers)
        self._reactor.schedule(self._servers.next_check, self)

    def due(self, now: float) -> None:
        """A check may be due."""
        if self._servers.next_check <= now:
            self.look(now)

    def ended(self, checking: "Checking", problem: str | None, now: float) -> None:
        """It is over: with that problem, or well."""
        self._servers.checked(checking.server, problem, now)
        self.look(now)

    def read(self, checking: "Checking", sock: StreamSocket, now: float) -> None:
        """Send its request, and wait for the answer."""
        asking = Asking(self, checking, sock)
        self._reactor.schedule(now + self._policy.connect_timeout, asking)
        self._reactor.watch_also(asking, READ)

    def release(self, asking: "Asking") -> None:
        """Nothing more comes of it."""
        self._reactor.release(asking)


class Checking:
    """A check that is under way."""

    __slots__ = ("_checks", "check", "server")

    def __init__(self, checks: Checks, server: Server, check: ServerCheck) -> None:
        self._checks = checks
        self.server = server
        self.check = check

    def dialled(self, outcome: StreamSocket | DialError, now: float) -> None:
        """There is a connection, or none."""
        if isinstance(outcome, DialError):
            self._checks.ended(self, str(outcome), now)
            return
        if not self.check.request:
            outcome.close()
            self._checks.ended(self, None, now)
            return
        try:
            outcome.send(self.check.request)  # a new connection has room for it
        except OSError as error:
            outcome.close()
            self._checks.ended(self, reason_of(error), now)
            return
        self._checks.read(self, outcome, now)


class Asking(Watched):
    """The connection on which a server's answer is awaited."""

    __slots__ = ("_checking", "_checks", "_socket")

    def __init__(self, checks: Checks, checking: Checking, sock: StreamSocket) -> None:
        super().__init__(sock.fileno())
        self._checks = checks
        self._checking = checking
        self._socket: StreamSocket | None = sock  # None: it is over

    def ready(self, now: float) -> None:
        """Something has come."""
        sock, check = self._socket, self._checking.check
        if sock is None:
            return
        try:
            if check.receive_data(sock.recv(READ_SIZE)):
                self._end(check.problem, now)
        except BlockingIOError:
            pass
        except OSError as error:
            self._end(reason_of(error), now)

    def due(self, now: float) -> None:
        """It has taken too long."""
        self._end("no answer to the check in time", now)

    def drop(self) -> None:
        """The proxy stops."""
        if self._socket is not None:
            self._checks.release(self)
            self._socket.close()
            self._socket = None

    def _end(self, problem: str | None, now: float) -> None:
        if self._socket is not None:
            self.drop()
            self._checks.ended(self._checking, problem, now)


def _same(target: Target) -> Target:
    return target
