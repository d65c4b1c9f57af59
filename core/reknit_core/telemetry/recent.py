"""What a session has been through lately: its events and commands, in the text form of scenarios.

Nothing per message, no payload, no id: connections that come and go, dials and states.
"""

from math import inf

from reknit_core.commands import (
    Answered,
    AttemptFailed,
    Command,
    Dial,
    DialectChosen,
    Disconnect,
    Dropped,
    Transitioned,
    Undelivered,
)
from reknit_core.events import (
    Ask,
    ClientConnected,
    ConnectionLost,
    DialFailed,
    Event,
    ServerConnected,
    Shutdown,
    StopAsking,
)
from reknit_core.leg.phase import Phase
from reknit_core.lifecycle import Trigger
from reknit_core.script.phrases import quote
from reknit_core.script.scenario import INDENT, event_line, outcome_line, seconds
from reknit_core.session.context import ContextStateMachine
from reknit_core.side import Side
from reknit_core.wire.reasons import printable

KEPT = 64  # entries at most; then the oldest go

_CAUSES = {Trigger.SERVER_ACCEPTED: "server accepts", Trigger.GRACE_ENDED: "timeout"}


class Recent:
    """One session's last entries. `began`: when it began (seconds)."""

    __slots__ = ("_entries", "_lost", "began", "since")

    def __init__(self, began: float) -> None:
        self.began = began
        self.since = began  # when it came into its present state
        self._lost = (began, began)  # when the client and the server were lost
        self._entries: list[tuple[float, str | Command]] = []

    def note_event(self, event: Event, now: float) -> None:
        """Note an event that goes into the context."""
        self._add(_text(event), now)

    def note(self, command: Command, now: float) -> None:
        """Note a command that has come out of it."""
        self._add(command, now)
        if isinstance(command, Transitioned):
            self.since = now
            client_lost, server_lost = self._lost
            if command.trigger is Trigger.CLIENT_LOST:
                self._lost = (now, server_lost)
            elif command.trigger is Trigger.SERVER_LOST:
                self._lost = (client_lost, now)

    def _add(self, entry: str | Command, now: float) -> None:
        if len(self._entries) == KEPT:
            del self._entries[: KEPT // 4]
        self._entries.append((now, entry))

    def waited(self, context: ContextStateMachine, side: Side, now: float) -> float:
        """How long messages of the session have been waiting for that side (seconds).

        They wait since it went away, or since it owes an answer to the proxy's Ping.
        """
        leg = context.client if side is Side.CLIENT else context.server
        source = leg.source
        if source.confirmed == source.tail:
            return 0.0
        if leg.phase is not Phase.OPEN:
            return now - self._lost[0 if side is Side.CLIENT else 1]
        return 0.0 if leg.probe.sent_at == inf else now - leg.probe.sent_at

    def lines(self) -> list[str]:
        """All entries; times count from when the session began.

        Where bytes of a peer, or time, were the cause, the event is a `wait`; a comment says why
        a state was left.
        """
        lines: list[str] = []
        shown = -1.0  # the time of the last event line
        for at, entry in self._entries:
            at -= self.began
            if isinstance(entry, str):
                lines.append(event_line(at, entry))
                shown = at
                continue
            if at != shown:
                lines.append(event_line(at, _cause(entry)))
                shown = at
            lines += self._outcome(entry)
        return lines

    def _outcome(self, command: Command) -> list[str]:
        match command:
            case Dial(_, attempt, at):
                at = max(0.0, at - self.began)
                return [outcome_line("<", f"dial attempt={attempt} at={seconds(at)}")]
            case AttemptFailed(_, failure, reason, server):
                where = f" server={server}" if server else ""
                text = f"dial failed {failure.value} {_quoted(reason)}{where}"
                return [outcome_line("<", text)]
            case Disconnect(side, generation):
                text = f"{side.value} disconnect generation={generation}"
                return [outcome_line("<", text)]
            case Transitioned(trigger, state, reason):
                why = f": {reason}" if reason else ""
                comment = f"{INDENT}# {trigger.value}{printable(why)}"
                return [outcome_line("=", state.value), comment]
            case DialectChosen(name, known):
                return [outcome_line("<", f"dialect {name}{'' if known else ' unknown'}")]
            case Dropped(side, total):
                return [outcome_line("<", f"{side.value} dropped total={total}")]
            case Undelivered(side, messages, size):
                text = f"{side.value} undelivered messages={messages} bytes={size}"
                return [outcome_line("<", text)]
            case Answered(side, reply, reason):
                what = f"no reply: {reason}" if reply is None else "reply"
                return [outcome_line("<", f"{side.value} {what}")]


def _cause(entry: Command) -> str:
    return _CAUSES.get(entry.trigger, "wait") if isinstance(entry, Transitioned) else "wait"


def _text(event: Event) -> str:
    match event:
        case ClientConnected():
            received = "" if event.received is None else f" received={event.received}"
            return f"client connected{received}"
        case ServerConnected():
            return "server connected"
        case DialFailed():
            answered = " answered" if event.answered else ""
            return f"server dial failed{answered} reason={_quoted(event.reason)}"
        case ConnectionLost():
            return f"{event.side.value} reset{' answered' if event.answered else ''}"
        case Shutdown():
            server = "" if event.server_code is None else f" server={event.server_code}"
            return f"shutdown {event.code} {_quoted(event.reason)}{server}"
        case Ask():
            return f"{event.side.value} asked"
        case StopAsking():
            return f"{event.side.value} unasked"


def _quoted(text: str) -> str:
    return quote(printable(text).encode("ascii", "replace")[:200])
