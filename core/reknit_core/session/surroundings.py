"""What all sessions of one proxy have in common, and how each of them asks the server with it."""

from dataclasses import replace
from typing import Generic, TypeVar

from reknit_core.counters import Counters, DialResult
from reknit_core.dialect.choice import NO_DIALECTS, Dialects
from reknit_core.dialect.speech import Offer
from reknit_core.leg.dialling import Outcome
from reknit_core.leg.dialogue import Dialogue
from reknit_core.leg.leg_forms import FrozenDialogue
from reknit_core.leg.legs import OutgoingWebSocket
from reknit_core.leg.phase import Phase
from reknit_core.lifecycle import State
from reknit_core.policy.policy import Delivery, OnServerLoss, Policy
from reknit_core.queue.backlog import Backlog
from reknit_core.queue.budget import Budget
from reknit_core.servers import Servers
from reknit_core.session.ending import Ending
from reknit_core.session.waiting_room import Waiter, WaitingRoom
from reknit_core.terms.claim import RECEIVED, received_count
from reknit_core.terms.habits import Habits
from reknit_core.terms.pinned import Pinned, counts
from reknit_core.wire.handshake import Accepted, Failed, Refusal
from reknit_core.wire.headers import for_refused, value_of
from reknit_core.wire.reasons import shortened

W = TypeVar("W", bound=Waiter)


class GapError(Exception):
    """A server can't go on where the session is; the text says why, for people."""


class Surroundings(Generic[W]):
    """One proxy's, shared by its sessions.

    `budget` counts the bytes that wait in all sessions, `counters` what happens in them, `habits`
    is what they have learned of the servers, `room` says when one that opens may dial, `servers`
    where. `dialects` says what is known of a session's messages.
    """

    __slots__ = ("budget", "counters", "dialects", "habits", "policy", "room", "servers")

    def __init__(
        self,
        policy: Policy,
        servers: Servers,
        budget: Budget,
        counters: Counters,
        habits: Habits,
        room: WaitingRoom[W],
        dialects: Dialects = NO_DIALECTS,
    ) -> None:
        self.policy = policy
        self.servers = servers
        self.budget = budget
        self.counters = counters
        self.habits = habits
        self.room = room
        self.dialects = dialects

    def backlog(self) -> Backlog:
        """The queue of one direction of a new session."""
        eager = self.policy.delivery is Delivery.AT_MOST_ONCE
        return Backlog(eager=eager, window=self.policy.replay_window, budget=self.budget)

    def dialogue(self, pinned: Pinned, since: int) -> Dialogue | None:
        """A session begins, on the client's connection `since`: what is known of its messages."""
        dialect = self.dialects.choose(Offer(pinned.target, pinned.subprotocol))
        if dialect is None:
            return None
        self.counters.dialects[dialect.name] += 1
        dialogue = Dialogue.begun(dialect, self.policy.queue_bytes, since)
        resumes = self.policy.on_server_loss is OnServerLoss.RESUME
        dialogue.begins_elsewhere = pinned.server_is_proxy or not resumes
        return dialogue

    def dialogue_again(self, form: FrozenDialogue) -> Dialogue:
        """That one which another process had."""
        return Dialogue.thawed(form, self.dialects.named(form.name), self.policy.queue_bytes)

    def choose(self, server: OutgoingWebSocket, pinned: Pinned) -> str | None:
        """The server that is to be dialled now, by name; None: none is up."""
        dialling = server.dialling
        name = self._choose(server, pinned, dialling.tried)
        dialling.server = name or "" if self.servers.are_several else ""
        return name

    def has_other(self, server: OutgoingWebSocket, pinned: Pinned) -> bool:
        """Whether an attempt that has failed can go on with another server."""
        dialling = server.dialling
        if not dialling.server:
            return False
        return self._choose(server, pinned, (*dialling.tried, dialling.server)) is not None

    def _choose(
        self, server: OutgoingWebSocket, pinned: Pinned, tried: tuple[str, ...]
    ) -> str | None:
        """Another reknit has a session that no other one could go on with."""
        stays = pinned.server_is_proxy
        return self.servers.choose(pinned.connection_id, server.dialling.own, tried, stays=stays)

    def met(
        self,
        server: OutgoingWebSocket,
        result: DialResult,
        now: float,
        reason: str,
        *,
        answers: bool = False,
    ) -> None:
        """A dial has ended so: count it. Nothing, where there was no server to dial."""
        name = server.dialling.server
        if name or not self.servers.are_several:
            self.counters.dial_results[result] += 1
            self.servers.dialled(name, result, now, shortened(reason), answers=answers)

    def ask(
        self,
        server: OutgoingWebSocket,
        pinned: Pinned,
        made: int,
        now: float,
        wall: float | None,
        *,
        must_resume: bool,
    ) -> None:
        """The server is connected: it gets the opening handshake.

        `made`: how many messages were said in its place. `must_resume`: another reknit is asked
        for this session or none.
        """
        known = counts(server.queue, server.source, made)
        request = pinned.server_request(
            self.policy,
            self.servers.upstream(server.dialling.server),
            server.dialling.attempt,
            known,
            must_resume=must_resume,
        )
        key = pinned.binding.handshake_key(server.generation)
        server.say(server.dialling.begin(request, key, now, wall), server.source.sent)
        server.phase = Phase.HANDSHAKE

    def weigh(
        self,
        answer: Accepted | Refusal | Failed,
        server: OutgoingWebSocket,
        pinned: Pinned,
        ending: Ending,
        state: State,
        now: float,
    ) -> Outcome:
        """What the server's answer comes to; a Refusal is as the client is to have it."""
        result, outcome = server.dialling.weigh(
            answer,
            pinned,
            self.habits,
            self.policy,
            now,
            is_opening=state is State.OPENING,
            is_patient=self.room.is_shut
            or ending.comes_with_server
            or self.has_other(server, pinned),
            must_resume=ending.must_resume(state),
        )
        reason = answer.reason if isinstance(answer, Failed) else ""
        self.met(server, result, now, reason, answers=not isinstance(answer, Failed))
        if isinstance(outcome, Refusal):
            headers = for_refused(outcome.headers, outcome.status, self.policy.id_header_name)
            return replace(outcome, headers=headers)
        return outcome


def continues_at(answer: Accepted, server: OutgoingWebSocket, pinned: Pinned) -> int | None:
    """How many messages a server that counts has had, as it has accepted; None: it does not count.

    Raises GapError if it can't go on there: what it lacks is gone, or was never sent.
    """
    claimed = value_of(answer.headers, RECEIVED) if pinned.server_counts else None
    try:
        received = received_count(claimed)
    except ValueError:
        received = -1
    if received is not None and not server.can_go_on(received):
        raise GapError(shortened(f"the server can't continue after message {claimed}"))
    return received
