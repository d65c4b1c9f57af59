"""A proxy among other machines that are one with it: where its clients' sessions are."""

import os
from collections.abc import Callable, Mapping
from typing import Protocol, assert_never

import trio
from reknit_core.cluster.directory import Directory, Forward, Search
from reknit_core.cluster.events import Listed
from reknit_core.cluster.preface import (
    Answer,
    ClientPreface,
    Preface,
    ProbePreface,
    PromisePreface,
)
from reknit_core.cluster.secret import Secret
from reknit_core.cluster.states import Book
from reknit_core.policy.policy import Policy
from reknit_core.proxy.admission import Admission, Guest
from reknit_core.proxy.contexts import Absent, Contexts
from reknit_core.wire.handshake import ClientHandshake, Refusal, UpgradeRequest

from reknit.sockets.stream_socket import StreamSocket
from reknit.trio.cluster.callers import Caller, NodeDoor
from reknit.trio.cluster.calls import CallError, Calls, Reached
from reknit.trio.cluster.searches import AWAY, Comer, SessionKeys, Visitor
from reknit.trio.door.newcomers import Newcomers
from reknit.trio.door.pump import Pumps
from reknit.trio.reactor import Reactor
from reknit.trio.transport.certificates import BothEnds
from reknit.trio.watched import Deadlines

CALL = 1.0  # seconds for a node to take a client: it does at once, or stands still
QUESTION = 0.3  # seconds for a node to answer another one

Enter = Callable[
    [StreamSocket, Guest, ClientHandshake, UpgradeRequest, bytes | None, float], Refusal | None
]
"""Gives a client its session here, a new one with that nonce; or says why not."""


class Tenant(Protocol):
    """Who answers for this node's books."""

    def is_sure(self) -> bool:
        """Whether they are its own."""

    def ask_promise(
        self, node: str, books: Mapping[str, int], answer: Callable[[bool], None]
    ) -> None:
        """That node asks that none of these is claimed for a lease."""


class Nodes:
    """The other nodes, and the clients on their way to or from them. `name`: this one's.

    `certificates`: those of the links between nodes. `state_of`: what a book is to this node.
    `enter`: see Enter. `keys` and `tenant` are to be set before anything comes.
    """

    keys: SessionKeys
    tenant: Tenant

    def __init__(
        self,
        name: str,
        secret: Secret,
        certificates: BothEnds,
        state_of: Callable[[str], Book],
        policy: Policy,
        contexts: Contexts,
        admission: Admission,
        newcomers: Newcomers,
        pumps: Pumps,
        reactor: Reactor,
        enter: Enter,
    ) -> None:
        self.name = name
        self._contexts = contexts
        self._admission = admission
        self._newcomers = newcomers
        self._pumps = pumps
        self._reactor = reactor
        self._enter = enter
        self.directory = Directory(name, state_of)
        key = secret.for_links
        self._calls = Calls(key, certificates, CALL, os.urandom, reactor)
        self._questions = Calls(key, certificates, QUESTION, os.urandom, reactor)
        self.door = NodeDoor(
            key, certificates, policy.request_timeout, os.urandom, self._receive, reactor
        )
        self._comers: dict[Comer, None] = {}
        self._visitors: dict[Visitor, None] = {}
        self._deadlines: Deadlines[Comer] = Deadlines(
            policy.handshake_wait, reactor.schedule, self.turn_away
        )
        self.forwarded = 0
        """How many clients were brought to other nodes so far."""

    def __len__(self) -> int:
        return len(self._comers)

    async def run(self) -> None:
        """Look up where other nodes are, until cancelled."""
        await self._calls.run()

    # -- What is known of the others -----------------------------------------------------------

    def see(self, addresses: Mapping[str, str], books: Mapping[str, Listed]) -> None:
        """The store's lists: where the nodes are that have a lease, and whose the books are."""
        self.directory.see(addresses, books)
        self._calls.keep(addresses.values())
        self._questions.keep(addresses.values())
        self.news()

    def news(self) -> None:
        """Something else is known of the books or the store: those who wait may go on."""
        now = trio.current_time()
        for visitor in list(self._visitors):
            if visitor.is_over():
                self.forget_visitor(visitor)
        for seeker in (*self._comers, *self._visitors):
            if not seeker.is_over():  # what another one does may end it
                seeker.news(now)

    def probe(self, node: str, told: Callable[[bool], None]) -> None:
        """Ask that node whether it is sure of its books."""
        self._ask(node, ProbePreface(self.name, node), told)

    def ask_promise(
        self, node: str, books: Mapping[str, int], told: Callable[[bool], None]
    ) -> None:
        """Ask that node to claim none of these for a lease."""
        self._ask(node, PromisePreface(self.name, node, dict(books)), told)

    def _ask(self, node: str, preface: Preface, told: Callable[[bool], None]) -> None:
        address = self.directory.address(node)

        def answered(outcome: Reached | CallError, now: float) -> None:
            if isinstance(outcome, Reached):
                outcome.stream.close()
            told(isinstance(outcome, Reached) and outcome.answer is Answer.YES)

        if address is None:
            told(False)
            return
        try:
            self._questions.call(address, preface, answered, trio.current_time())
        except CallError:
            told(False)

    # -- Clients that come to this node ----------------------------------------------------------

    def begin(
        self,
        absent: Absent,
        stream: StreamSocket,
        guest: Guest,
        handshake: ClientHandshake,
        request: UpgradeRequest,
        now: float,
    ) -> None:
        """Find the session that isn't here, and bring the client there."""
        search = Search(self.directory, creates=absent.nonce is not None)
        comer = Comer(self, absent, search, stream, guest, handshake, request)
        self._comers[comer] = None
        self._deadlines.begin(comer, now)
        self._reactor.watch_also(comer, 0)
        comer.look_up()

    def has(self, connection_id: str) -> bool:
        """Whether the session is here."""
        return self._contexts.has(connection_id)

    def enter(self, comer: Comer, now: float) -> None:
        """The client gets its session here, or the answer that there is none."""
        self._forget(comer)
        stream, guest, handshake = comer.stream, comer.guest, comer.handshake
        answer = self._enter(stream, guest, handshake, comer.request, comer.nonce, now)
        if answer is not None:
            self._give_back(comer.absent, comer.nonce)
            self._newcomers.turn_away(stream, guest, handshake, answer, now)

    def forward(self, comer: Comer, to: Forward, now: float) -> None:
        """Call that node."""
        preface = comer.preface(self.name, to.node)
        try:
            comer.call = self._calls.call(to.address, preface, comer.told, now)
        except CallError:
            self.turn_away(comer, now)

    def relay(self, comer: Comer, reached: Reached, now: float) -> None:
        """The client is there: pass on."""
        self._forget(comer)
        self.forwarded += 1
        self._pumps.begin(comer.stream, reached.stream, comer.guest, reached.rest)

    def turn_away(self, comer: Comer, now: float) -> None:
        """The client gets 503."""
        self._forget(comer)
        self._newcomers.turn_away(comer.stream, comer.guest, comer.handshake, AWAY, now)

    def forget(self, comer: Comer) -> None:
        """The client's connection is closed."""
        self._forget(comer)
        self._admission.leave(comer.guest)

    def _forget(self, comer: Comer) -> None:
        comer.end()
        self._comers.pop(comer, None)
        self._deadlines.end(comer)
        self._reactor.release(comer)

    def _give_back(self, absent: Absent, nonce: bytes | None) -> None:
        if nonce is not None:
            self.keys.give_back(absent.connection_id, nonce)

    # -- Other nodes, and whom they bring --------------------------------------------------------

    def _receive(self, caller: Caller, preface: Preface, now: float) -> None:
        if preface.to != self.name:
            _answer_and_close(caller, Answer.OTHER)
            return
        match preface:
            case ProbePreface():
                _answer_and_close(caller, _yes_or_no(self.tenant.is_sure()))
            case PromisePreface(sender, _, books):
                self.tenant.ask_promise(
                    sender, books, lambda agreed: _answer_and_close(caller, _yes_or_no(agreed))
                )
            case ClientPreface():
                self._visit(caller, preface, now)
            case _:
                assert_never(preface)

    def _visit(self, caller: Caller, preface: ClientPreface, now: float) -> None:
        absent = self._contexts.expect(preface.session, creates=preface.creates)
        search = Search(self.directory, creates=absent.nonce is not None)
        visitor = Visitor(self, absent, search, caller, preface)
        self._visitors[visitor] = None
        if self.has(preface.session):
            self.let_in(visitor, now)
        else:
            visitor.look_up()

    def let_in(self, visitor: Visitor, now: float) -> None:
        """One whom another node has brought gets its session here, or hears that there is none."""
        self.forget_visitor(visitor)
        caller, arrival = visitor.caller, visitor.preface.arrival
        guest = self._admission.bring(arrival.address)
        if isinstance(guest, Refusal):
            self._give_back(visitor.absent, visitor.nonce)
            _answer_and_close(caller, Answer.BUSY)
            return
        stream = caller.answer(Answer.YES)
        if stream is None:
            self._give_back(visitor.absent, visitor.nonce)
            self._admission.leave(guest)
            return
        guest.is_brought = True
        guest.nonce = visitor.nonce
        begun = arrival.begun + caller.called.rest
        self._newcomers.welcome(stream, guest, now, begun, secure=arrival.secure)
        if not self.has(visitor.absent.connection_id):  # it was refused all the same
            self._give_back(visitor.absent, visitor.nonce)

    def forget_visitor(self, visitor: Visitor) -> None:
        """The other node has its answer, or has gone."""
        self._visitors.pop(visitor, None)


def _yes_or_no(is_so: bool) -> Answer:
    return Answer.YES if is_so else Answer.NO


def _answer_and_close(caller: Caller, answer: Answer) -> None:
    if not caller.is_over and (stream := caller.answer(answer)) is not None:
        stream.close()
