"""From what is written in a journal back to sessions, whose connections are lost.

Sessions for which records are missing, because a file was damaged, are given up rather than
brought back with a hole in what their ends have said.
"""

from dataclasses import dataclass, field
from typing import assert_never

from reknit_core.durable.records import (
    AnyRecord,
    Appended,
    Changed,
    Confirmed,
    Ended,
    JournalError,
    Spoke,
    Whole,
    read_file,
)
from reknit_core.events import ConnectionLost
from reknit_core.leg.phase import Phase
from reknit_core.lifecycle import State
from reknit_core.proxy.contexts import Contexts
from reknit_core.queue.backlog_form import FrozenBacklog
from reknit_core.session.context import ContextStateMachine
from reknit_core.session.forms import FrozenContext
from reknit_core.side import Side

DIED = "the proxy died"

_STRIDE = 4096  # bytes between two marks of message ends, and in a chunk

_NOT_CONNECTED = (Phase.AWAY, Phase.DIALLING, Phase.HANDSHAKE)


@dataclass(slots=True)
class Kept:
    """A session as its records have it: as it was at `wall` (seconds since 1970)."""

    wall: float
    form: FrozenContext
    statements: dict[tuple[object, ...], object] | None = None
    """The dialogue's, by their keys, once a record has changed them."""

    def queue(self, sender: Side) -> FrozenBacklog:
        """What came from that side."""
        return self.form.client.leg.queue if sender is Side.CLIENT else self.form.server.leg.queue

    def last_form(self) -> FrozenContext:
        """What the session was when the process died; to be called once.

        What was for a peer that was there may all have been written to it.
        """
        form = self.form
        legs = (
            (form.client.leg, form.server.leg.queue),
            (form.server.leg, form.client.leg.queue),
        )
        for leg, source in legs:
            if leg.phase not in _NOT_CONNECTED:
                source.sent = source.tail
            source.cursor, source.offset = _place(source)
        state = None if form.telling is None else form.telling.dialogue.state
        if state is not None and self.statements is not None:
            state["statements"] = [*self.statements.values()]
        return form

    def speak(self, record: Spoke) -> bool:
        """Take in what was known of the messages then; False if nothing was before."""
        telling = self.form.telling
        if telling is None or telling.dialogue.state is None:
            return False
        if self.statements is None:
            rows = telling.dialogue.state["statements"]
            self.statements = {tuple(row[0]): row for row in rows}
        for key in record.gone:
            self.statements.pop(tuple(key), None)
        self.statements.update((tuple(row[0]), row) for row in record.rows)
        telling.dialogue = record.dialogue
        return True


@dataclass(slots=True)
class Replay:
    """Reads a journal's files, the oldest first. `given_up`: sessions for which records miss."""

    kept: dict[bytes, Kept] = field(default_factory=dict)
    given_up: set[bytes] = field(default_factory=set)

    def read(self, data: bytes) -> JournalError | None:
        """Read a file as far as that can be done; what is wrong with it, if something is."""
        try:
            for block in read_file(data):
                for record in block:
                    self._apply(record)
        except JournalError as error:
            return error
        return None

    def _apply(self, record: AnyRecord) -> None:
        key = record.key
        match record:
            case Whole():
                self.kept.pop(key, None)  # for the order
                self.kept[key] = Kept(record.wall, record.form)
                self.given_up.discard(key)
            case Ended():
                self.kept.pop(key, None)
                self.given_up.discard(key)
            case Changed() | Appended() | Confirmed() | Spoke():
                kept = self.kept.get(key)
                if kept is None or not _go_on(kept, record):
                    self.kept.pop(key, None)
                    self.given_up.add(key)
            case _:
                assert_never(record)


def _go_on(kept: Kept, record: Changed | Appended | Confirmed | Spoke) -> bool:
    """Bring a session forward by a record; False if one before it is missing."""
    match record:
        case Changed(_, wall, form):
            for sender in Side:
                before, after = kept.queue(sender), Kept(wall, form).queue(sender)
                if (before.tail, before.count) != (after.tail, after.count):
                    return False
                after.chunks, after.base, after.marks = before.chunks, before.base, before.marks
            kept.wall, kept.form, kept.statements = wall, form, None
        case Appended(_, sender, start, messages, data):
            queue = kept.queue(sender)
            if queue.tail != start:
                return False
            if queue.chunks and len(queue.chunks[-1]) < _STRIDE:
                queue.chunks[-1] += data
            else:
                queue.chunks.append(bytes(data))
            queue.tail += len(data)
            queue.received = queue.tail
            queue.count += messages
            if queue.tail - queue.marks[-1][0] >= _STRIDE:
                queue.marks.append((queue.tail, queue.count))
        case Confirmed(_, sender, position, count, dropped):
            queue = kept.queue(sender)
            if not queue.base <= position <= queue.tail:
                return False
            queue.confirmed, queue.confirmed_count, queue.dropped = position, count, dropped
            queue.sent = max(queue.sent, position)
        case Spoke():
            return kept.speak(record)
        case _:
            assert_never(record)
    return True


def _place(queue: FrozenBacklog) -> tuple[int, int]:
    """In which chunk, and where in it, `sent` stands."""
    offset = queue.sent - queue.base
    for index, chunk in enumerate(queue.chunks):
        if offset < len(chunk):
            return index, offset
        offset -= len(chunk)
    return len(queue.chunks), 0


def revive(contexts: Contexts, kept: Kept, now: float, wall: float) -> ContextStateMachine | None:
    """Take in a context that was written down by a process which then died; None if it is over.

    Both its connections are lost. A client that was connected has all of the grace, from now on.
    For one that was away it has run on by the clock on the `wall` (seconds since 1970), and what
    came due meanwhile has happened then.
    """
    context = contexts.take_in(kept.last_form(), now - max(0.0, wall - kept.wall))
    for leg in (context.client, context.server):
        leg.queue.trim()
        if leg.phase not in (Phase.AWAY, Phase.DIALLING):
            context.handle(ConnectionLost(leg.side, leg.generation, DIED), now)
    while (due := context.next_deadline()) is not None and due <= now:
        context.armed(due)  # at its time: it isn't one that is handled late
        context.handle_timeout(due)
    if context.state is State.CLOSED:
        contexts.forget(context)
        return None
    return context
