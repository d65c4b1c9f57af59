"""A player whose context is frozen and thawed after every single event."""

from reknit_core.durable.frozen import freeze, thaw
from reknit_core.lifecycle import State
from reknit_core.play.player import Player, Scenario
from reknit_core.proxy.contexts import Contexts
from reknit_core.session.context import ContextStateMachine


class RestartingPlayer(Player):
    """Plays as Player does, on a new context each time; none of that must be seen."""

    restarts = 0

    def _settle(self) -> None:
        super()._settle()
        if self._stage is not None:
            self._restart()

    def _restart(self) -> None:
        stage, old = self._stage, self.contexts
        assert stage is not None
        context = stage.driver.context
        frozen = freeze(context, self.now)
        self.contexts = Contexts(old._policy, old.servers.upstreams, old._randomness)
        thawed = thaw(self.contexts, frozen, self.now)
        assert self.contexts.budget.used == held(context)
        dial = stage.awaited
        assert thawed.commands() == ([] if dial is None else [dial]), "the dial goes on"
        assert freeze(thawed, self.now) == frozen
        assert thawed.next_deadline() == context.next_deadline()
        assert (thawed in list(self.contexts)) == (context.state is not State.CLOSED)
        stage.driver.context = thawed
        self.restarts += 1


def held(context: ContextStateMachine) -> int:
    """The bytes that a context holds: in its queues, and of what a new server must be told."""
    told = context.dialogue.held if context.dialogue else 0
    return context.client.queue.held + context.server.queue.held + told


def play_restarting(scenario: Scenario) -> list[str]:
    """Play a whole scenario, restarting all the time."""
    player = RestartingPlayer(scenario.policy)
    for line in scenario.lines:
        if line.step is not None:
            player.perform(line.step)
    assert player.restarts
    return player.lines
