"""A player whose session is written down, and brought back from that after every single event."""

import pytest
from reknit_core.commands import Dial, Transitioned
from reknit_core.durable.frozen import freeze, thaw
from reknit_core.durable.journal import Journal
from reknit_core.durable.revival import DIED, Replay, revive
from reknit_core.events import ConnectionLost
from reknit_core.leg.phase import Phase
from reknit_core.lifecycle import State
from reknit_core.play.player import Player, Scenario
from reknit_core.policy.policy import Delivery, Policy
from reknit_core.proxy.contexts import Contexts
from reknit_core.queue.backlog import Backlog
from reknit_core.session.context import ContextStateMachine

WALL = 1_700_000_000.0  # the time of day when a scenario begins


class Files:
    """What a journal has written, without a disk."""

    def __init__(self) -> None:
        self.contents: dict[int, bytes] = {}

    def commit(self, journal: Journal, *contexts: ContextStateMachine, now: float = 0.0) -> None:
        """Write what is new, and remove what is no longer needed."""
        for file, data in journal.commit(contexts, now, WALL + now):
            self.contents[file] = self.contents.get(file, b"") + data
        for file in [file for file in self.contents if file < journal.needed_from]:
            del self.contents[file]

    def replay(self) -> Replay:
        """Read it, as after a crash."""
        replay = Replay()
        for file in sorted(self.contents):
            assert replay.read(self.contents[file]) is None
        assert not replay.given_up
        return replay


def successor(contexts: Contexts) -> Contexts:
    """The sessions of the next process, which has none yet."""
    return Contexts(contexts._policy, contexts.servers.upstreams, contexts._randomness)


def revived(files: Files, contexts: Contexts, now: float) -> ContextStateMachine | None:
    """The one session that was written down."""
    kept = list(files.replay().kept.values())
    assert len(kept) <= 1
    after = successor(contexts)
    context = revive(after, kept[0], now, WALL + now) if kept else None
    assert after.budget.used == (held(context) if context else 0)
    assert list(after) == ([context] if context else [])
    return context


def held(context: ContextStateMachine) -> int:
    """The bytes that a context holds: in its queues, and of what a new server must be told."""
    told = context.dialogue.held if context.dialogue else 0
    return context.client.queue.held + context.server.queue.held + told


class CrashingPlayer(Player):
    """Plays as Player does. What would be left of the session by a crash is right at any time."""

    def __init__(self, policy: Policy) -> None:
        super().__init__(policy)
        self._journal = Journal()
        self._files = Files()
        self.returns = 0

    def _settle(self) -> None:
        super()._settle()
        context = self.context
        if context is not None:
            if context.state is State.CLOSED:
                self._journal.forget(context)
            self._files.commit(self._journal, context, now=self.now)
            self._crash(context)

    def _crash(self, context: ContextStateMachine) -> None:
        after = revived(self._files, self.contexts, self.now)
        expected = self._without_connections(context)
        if context.state is State.OPENING:
            assert after is None
            return
        if expected is None:  # if that was its last attempt to reach the server, it gets another
            assert after is None or context.server.phase is Phase.HANDSHAKE
            return
        if after is None:  # nothing is owed: all may be written already
            assert context.state is State.CLOSING
            assert self._policy.delivery is Delivery.AT_MOST_ONCE
            return
        self.returns += 1
        assert _said(after) == _said(expected)
        assert after.state is expected.state
        assert after.connection_id == expected.connection_id
        assert after._pinned == expected._pinned
        assert after.terms == pytest.approx(expected.terms)
        assert after.next_deadline() == pytest.approx(expected.next_deadline())
        assert _outcomes(after) == _outcomes(expected)
        for one, other in ((after.client, expected.client), (after.server, expected.server)):
            assert one.phase is other.phase
            assert one.asked is other.asked
            connected = _is_connected(one.other.side, context)
            self._check_queue(one.queue, other.queue, receiver_was_connected=connected)

    def _check_queue(
        self, after: Backlog, expected: Backlog, *, receiver_was_connected: bool
    ) -> None:
        assert after.mark == expected.mark
        assert after.dropped == expected.dropped
        assert not after.partial
        assert after._marks[0] <= expected._marks[0]  # it can be gone on from as many places
        assert after.handed() >= expected.handed()
        if self._policy.delivery is Delivery.AT_LEAST_ONCE or not receiver_was_connected:
            assert (after.confirmed, after.sent) == (expected.confirmed, expected.sent)
        else:
            assert after.confirmed == after.sent == after.tail  # it may all be written already
        first = expected._marks[0][0]
        assert after._bytes(first, after.tail) == expected._bytes(first, after.tail)
        waiting = b"".join(after.pending(after.tail))
        assert waiting == after._bytes(after.sent, after.tail)

    def _without_connections(self, context: ContextStateMachine) -> ContextStateMachine | None:
        """What the context would be if it lost both connections now; None if it would be over."""
        twin = thaw(successor(self.contexts), freeze(context, self.now), self.now)
        for leg in (twin.client, twin.server):
            if leg.phase not in (Phase.AWAY, Phase.DIALLING):
                event = ConnectionLost(leg.side, leg.generation, DIED)
                twin.handle(event, self.now)
        deadline = twin.next_deadline()
        if deadline is not None and deadline <= self.now:  # nobody is waited for any longer
            twin.handle_timeout(self.now)
        return None if twin.state is State.CLOSED else twin


def _said(context: ContextStateMachine) -> object:
    """What is known of its messages, but for how far those go that mean nothing."""
    if context.dialogue is None:
        return None
    form = context.dialogue.frozen()
    return form.name, form.made, form.state and {**form.state, "last_end": 0}


def _is_connected(side: object, context: ContextStateMachine) -> bool:
    leg = context.client if side is context.client.side else context.server
    return leg.phase not in (Phase.AWAY, Phase.DIALLING, Phase.HANDSHAKE)


def _outcomes(context: ContextStateMachine) -> tuple[list[Transitioned], bool]:
    """The changes of state, and whether the server is dialled in the end."""
    commands = context.commands()
    changes = [command for command in commands if isinstance(command, Transitioned)]
    return changes, any(isinstance(command, Dial) for command in commands)


def play_crashing(scenario: Scenario) -> int:
    """Play a whole scenario; how often there was a session to bring back."""
    player = CrashingPlayer(scenario.policy)
    for line in scenario.lines:
        if line.step is not None:
            player.perform(line.step)
    return player.returns
