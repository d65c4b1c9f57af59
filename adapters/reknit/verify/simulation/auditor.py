"""The auditor: watches every session of a simulated proxy and notes each broken invariant.

It knows the stated rules, not the code: when a session may end, what must be under way in each
state, how much may wait.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from math import inf, isclose
from typing import assert_never

from reknit_core.commands import (
    Answered,
    AttemptFailed,
    Command,
    Dial,
    DialectChosen,
    Disconnect,
    Dropped,
    Failure,
    Transitioned,
    Undelivered,
)
from reknit_core.driver import Driver
from reknit_core.lifecycle import State, Trigger
from reknit_core.policy.policy import Delivery, OnServerLoss, Policy
from reknit_core.servers import Servers

from reknit.memory.network import READ_SIZE, MemoryNetwork

MAX_NOTED = 20
READ_AHEAD = 16 * 2**20
"""Bytes, in at-least-once: a peer that owes a Pong is read on, as it may stand behind them."""
SMALLEST_FRAME = 2  # bytes
_SERVER_LOST = "server lost: "  # so begins the reason where a session ends with its server


class Record:
    """What the auditor remembers of one session."""

    __slots__ = (
        "accepted_at",
        "attempts",
        "client_lost_at",
        "failure",
        "goes_on",
        "missed_at",
        "refusals",
    )

    def __init__(self) -> None:
        self.goes_on = False
        """Whether the attempt that has failed goes on with another server."""
        self.attempts = 0
        """Dials since the last server connection that lasted."""
        self.refusals = 0
        """Those of them that the server has refused."""
        self.failure: Failure | None = None
        """What the last one has met, if it failed."""
        self.missed_at = inf
        """When the last attempt has failed: who opens may have waited since, and is let in."""
        self.accepted_at = -inf
        self.client_lost_at = -inf


class Auditor:
    """Observes commands and looks at sessions.

    `deliberate`: tells by its connection id whether an end has closed a session on purpose.
    """

    def __init__(
        self, network: MemoryNetwork, policy: Policy, deliberate: Callable[[str], bool]
    ) -> None:
        self.broken: list[str] = []
        self.triggers: Counter[Trigger] = Counter()
        self.states: Counter[State] = Counter()
        self.dials = 0
        self.most_bytes = 0
        """The most bytes that have waited in one queue."""
        self._read_size = min(READ_SIZE, network.conditions.capacity)
        ahead = 0 if policy.delivery is Delivery.AT_MOST_ONCE else READ_AHEAD
        self.most_allowed = policy.queue_bytes + self._read_size + policy.message_limit + ahead
        """The most that may: one read may still complete a message."""
        self._counted = policy.delivery is Delivery.AT_MOST_ONCE
        self._network = network
        self._policy = policy
        self._deliberate = deliberate
        self._records: dict[str, Record] = {}

    def note(self, name: str, what: str) -> None:
        """An invariant is broken."""
        if len(self.broken) < MAX_NOTED:
            self.broken.append(f"@{self._network.now:.6f} {name}: {what}")

    # -- Commands ------------------------------------------------------------------------------

    def observe(self, name: str, command: Command) -> None:
        """That command comes out of the session of that connection id."""
        match command:
            case Dial():
                self.dials += 1
                record = self._record(name)
                if record.goes_on:  # the attempt does, with another server
                    record.goes_on = False
                elif command.attempt:
                    self._attempted(name)
                    waited = self._record(name).missed_at < self._network.now
                    if command.at <= self._network.now and not waited:
                        self.note(name, "a retry without a wait")
            case AttemptFailed(_, failure, reason):
                if not reason:
                    self.note(name, "an attempt failed, and nobody is told why")
                record = self._record(name)
                record.goes_on = command.goes_on
                if command.goes_on:
                    return
                record.failure = failure
                record.missed_at = self._network.now
                record.refusals += failure is Failure.REFUSED
            case Transitioned():
                self.triggers[command.trigger] += 1
                self.states[command.state] += 1
                self._transitioned(name, command)
            case Dropped():
                self.note(name, f"{command.total} messages dropped")
            case DialectChosen() | Disconnect() | Undelivered() | Answered():
                pass
            case _:
                assert_never(command)

    def _attempted(self, name: str) -> None:
        record = self._record(name)
        record.attempts += 1
        if record.failure is Failure.FINAL:
            self.note(name, "a retry after a final refusal")

    def _transitioned(self, name: str, change: Transitioned) -> None:
        record = self._record(name)
        now = self._network.now
        policy = self._policy
        match change.trigger:
            case Trigger.SERVER_ACCEPTED | Trigger.SERVER_UNAWARE:
                record.accepted_at = now
                record.failure = None
            case Trigger.SERVER_LOST:
                record.missed_at = inf
                if policy.on_server_loss is OnServerLoss.END:
                    self.note(name, "goes on without its server")
                if now - record.accepted_at >= policy.retry_reset:
                    record.attempts = record.refusals = 0
            case Trigger.CLIENT_BEGAN_ANEW:  # the server's, too: with its own attempts
                record.missed_at = inf
                record.attempts = record.refusals = 0
            case Trigger.CLIENT_LOST:
                record.client_lost_at = now
            case Trigger.GRACE_ENDED:
                away = now - record.client_lost_at
                if not isclose(away, policy.client_grace, abs_tol=1e-6):
                    self.note(name, f"its grace ended after {away} s")
            case Trigger.RETRIES_SPENT:
                opening = record.accepted_at == -inf
                spent = record.attempts == policy.retry_limit
                refused = record.refusals == policy.refused_limit
                if not (spent or refused or opening):
                    self.note(name, f"given up after {record.attempts} attempts")
            case Trigger.SESSION_ENDED | Trigger.SESSION_FAILED:
                ends = policy.on_server_loss is OnServerLoss.END
                with_server = ends and change.reason.startswith(_SERVER_LOST)
                if not (with_server or self._deliberate(name)):
                    self.note(name, f"ended though no end closed it: {change.reason}")
            case Trigger.SERVER_REFUSED:
                if record.failure is not Failure.FINAL and record.accepted_at != -inf:
                    self.note(name, f"ended by a refusal that is not final: {change.reason}")
            case (
                Trigger.LEGS_CLOSED
                | Trigger.CLIENT_RETURNED
                | Trigger.DRAINED
                | Trigger.SERVER_INFORMED
            ):
                pass
            case _:
                assert_never(change.trigger)
        if change.state is State.CLOSED:
            self._records.pop(name, None)

    def _record(self, name: str) -> Record:
        record = self._records.get(name)
        if record is None:
            record = self._records[name] = Record()
        return record

    # -- Sessions ------------------------------------------------------------------------------

    def look(self, driver: Driver) -> None:
        """Check that the session can go on, and holds no more than its bounds."""
        context = driver.context
        if not _goes_on(driver):
            self.note(context.connection_id, f"stuck in {context.state.value}")
        policy = self._policy
        for leg in (context.client, context.server):
            waiting = leg.queue.tail - leg.queue.confirmed
            messages = leg.queue.count - leg.queue.confirmed_count
            self.most_bytes = max(self.most_bytes, waiting)
            if waiting > self.most_allowed:
                self.note(context.connection_id, f"{waiting} bytes wait")
            if (
                self._counted
                and messages > policy.queue_messages + self._read_size // SMALLEST_FRAME
            ):
                self.note(context.connection_id, f"{messages} messages wait")

    def look_at_waiting(self, drivers: Iterable[Driver]) -> None:
        """Check that where sessions wait to open, one of them dials for all."""
        opening = [driver for driver in drivers if driver.context.state is State.OPENING]
        if opening and not any(driver.dialling or driver.server for driver in opening):
            self.note(opening[0].context.connection_id, "waits, and nobody dials")

    def look_at_servers(self, servers: Servers) -> None:
        """Check that each of several servers that is down is looked for."""
        for server in servers:
            is_sought = server.is_checked or server.check_at < inf
            if servers.are_several and not (server.is_up or is_sought):
                self.note(server.name, "is down, and nobody looks whether it is back")


def _goes_on(driver: Driver) -> bool:
    """Whether something is under way, so that this state must end or needs no end."""
    client, server = driver.client is not None, driver.server is not None
    dialling, timer = bool(driver.dialling), driver.deadline < inf
    match driver.context.state:
        case State.CONNECTED | State.DRAINING | State.REOPENING:
            return client and server
        case State.OPENING:
            return client and timer  # it may wait for others' dials: see look_at_waiting()
        case State.SERVER_DOWN:
            return client and (dialling or server)
        case State.CLIENT_DOWN | State.REOPENING_ALONE:
            return server and timer
        case State.BOTH_DOWN:
            return timer and (dialling or server)
        case State.CLOSING | State.CLOSED:
            return timer or dialling
        case never:
            assert_never(never)
