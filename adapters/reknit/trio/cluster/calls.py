"""Calling other nodes: a connection for each question, or for each client that is brought home."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

import trio
from reknit_core.cluster.preface import RANDOM_BYTES, Answer, Caller, Preface, PrefaceError
from reknit_core.policy.upstream import Upstream
from reknit_core.wire.reasons import reason_of

from reknit.settings.addresses import parse_listen
from reknit.sockets.poller import READ, WRITE
from reknit.sockets.stream_socket import StreamSocket
from reknit.trio.reactor import Reactor
from reknit.trio.transport.certificates import BothEnds
from reknit.trio.transport.dialler import DialError, Dialler, Dialling
from reknit.trio.transport.names import Places
from reknit.trio.transport.targets import Target
from reknit.trio.watched import Deadlines, Watched

READ_SIZE = 4096  # bytes


class CallError(Exception):
    """A node can't be spoken to; says why."""


@dataclass(frozen=True, slots=True)
class Reached:
    """What a node has answered. `stream`: the connection to it; `rest`: what it has said since."""

    answer: Answer
    stream: StreamSocket
    rest: bytes


Told = Callable[[Reached | CallError, float], None]
"""Is told once what has come of a call; then the connection, if there is one, is its own."""


class Call:
    """One that is under way. `told`: None once it is over."""

    __slots__ = ("_calls", "caller", "dialling", "talk", "told")

    def __init__(self, calls: "Calls", caller: Caller, told: Told) -> None:
        self._calls = calls
        self.caller = caller
        self.told: Told | None = told
        self.dialling: Dialling | None = None
        self.talk: Talk | None = None

    def dialled(self, outcome: StreamSocket | DialError, now: float) -> None:
        """There is a connection, or none."""
        self.dialling = None
        if isinstance(outcome, DialError):
            self._calls.end(self, CallError(str(outcome)), now)
            return
        self.talk = Talk(self._calls, self, outcome)
        self.talk.ready(now)

    def cancel(self) -> None:
        """It isn't wanted any more."""
        self._calls.cancel(self)


class Talk(Watched):
    """The connection on which both nodes prove themselves."""

    __slots__ = ("_call", "_calls", "_unsent", "stream")

    def __init__(self, calls: "Calls", call: Call, stream: StreamSocket) -> None:
        super().__init__(stream.fileno())
        self._calls = calls
        self._call = call
        self.stream = stream
        self._unsent = call.caller.hello

    def ready(self, now: float) -> None:
        """Go on: say what is to be said, then hear."""
        try:
            while self._say():
                outcome = self._call.caller.receive_data(self._hear())
                if isinstance(outcome, Answer):
                    rest = self._call.caller.rest
                    self._calls.end(self._call, Reached(outcome, self.stream, rest), now)
                    return
                self._unsent = outcome or b""
        except BlockingIOError:
            self._calls.reactor.watch_also(self, WRITE if self._unsent else READ)
        except (OSError, PrefaceError) as error:
            reason = str(error) if isinstance(error, PrefaceError) else reason_of(error)
            self._calls.end(self._call, CallError(reason), now)

    def _say(self) -> bool:
        """True when all is said. Raises OSError."""
        while self._unsent:
            self._unsent = self._unsent[self.stream.send(self._unsent) :]
        return True

    def _hear(self) -> bytes:
        data = self.stream.recv(READ_SIZE)
        if not data:
            raise OSError("the node has closed the connection")
        return data

    def drop(self) -> None:
        """Nobody waits for the answer."""
        self._call.cancel()


class Calls:
    """All of them. `key`: the cluster's; each is over after `patience` seconds.

    What a node does with what waits for another one doesn't hold it up: each has its own dialler.
    """

    def __init__(
        self,
        key: bytes,
        certificates: BothEnds,
        patience: float,
        randomness: Callable[[int], bytes],
        reactor: Reactor,
    ) -> None:
        self._key = key
        self._certificates = certificates
        self._patience = patience
        self._randomness = randomness
        self.reactor = reactor
        self._deadlines: Deadlines[Call] = Deadlines(patience, reactor.schedule, self._expire)
        self._ways: dict[str, tuple[Dialler, Target]] = {}
        self._new: list[Places] = []  # whose names nobody looks up yet
        self._has_new = trio.Event()

    async def run(self) -> None:
        """Look names up, until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                for places in self._new:
                    nursery.start_soon(places.run)
                self._new = []
                self._has_new = trio.Event()
                await self._has_new.wait()

    def call(self, address: str, preface: Preface, told: Told, now: float) -> Call:
        """Say the preface to the node there. Raises CallError if that can't be."""
        try:
            caller = Caller(self._key, self._randomness(RANDOM_BYTES), preface)
            dialler, target = self._ways.get(address) or self._find_way(address)
        except PrefaceError as error:
            raise CallError(str(error)) from None
        except ValueError:
            raise CallError(f"{address!r} is no address of a node") from None
        call = Call(self, caller, told)
        call.dialling = dialler.dial(now, call.dialled, lambda: self._begin(call, target))
        return call

    def _find_way(self, address: str) -> tuple[Dialler, Target]:
        listen = parse_listen(address)
        places = Places(Upstream(listen.host, listen.port), self._patience)
        if not places.is_fixed:
            self._new.append(places)
            self._has_new.set()
        is_secure = self._certificates.for_server is not None
        dialler = Dialler(self._certificates, self._patience, self.reactor)
        way = self._ways[address] = dialler, Target(listen.host, places.find, is_secure)
        return way

    def keep(self, addresses: Collection[str]) -> None:
        """There are no other nodes than those any more."""
        for address in self._ways.keys() - set(addresses):
            del self._ways[address]

    def _begin(self, call: Call, target: Target) -> Target:
        self._deadlines.begin(call, trio.current_time())
        return target

    def _expire(self, call: Call, now: float) -> None:
        self.end(call, CallError(f"no answer in {self._patience:g} seconds"), now)

    def cancel(self, call: Call) -> None:
        """It isn't wanted any more."""
        call.told = None
        self._forget(call)
        if call.talk is not None:
            call.talk.stream.close()

    def end(self, call: Call, outcome: Reached | CallError, now: float) -> None:
        """It is over."""
        told = call.told
        call.told = None
        self._forget(call)
        if call.talk is not None and isinstance(outcome, CallError):
            call.talk.stream.close()
        if told is not None:
            told(outcome, now)

    def _forget(self, call: Call) -> None:
        self._deadlines.end(call)
        if call.dialling is not None:
            call.dialling.cancel()
            call.dialling = None
        if call.talk is not None:
            self.reactor.release(call.talk)
