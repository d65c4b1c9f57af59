"""One session's conversation: what is heard, what is kept of it, and what a new server is told.

The session hands in each whole message with the place that it has in its queue, and asks what
becomes of it. When a new server has accepted, `reopen` begins: `words` gives what to say now, and
`hold` says how far the queue may be sent, until `is_reopening` is False.
"""

from collections import deque
from dataclasses import dataclass
from math import inf

from reknit_core.dialect.speech import Conversation, Heard, Key, Message
from reknit_core.dialect.statements import Kept, Statements
from reknit_core.side import Side

MAX_RAGGED = 256  # messages that end within something, and may yet be sent again


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a message.

    `passes`: it goes to the other side, in this form; None: it is left out. `reply`: what its
    sender gets in the other side's place. `falls_back`: the new server did not take what it was
    told: the session ends, so that the client begins anew.
    """

    passes: Message | None
    reply: Message | None = None
    falls_back: bool = False


class Interpreter:
    """What the proxy knows of one session's conversation."""

    __slots__ = (
        "_awaited",
        "_conversation",
        "_greeted",
        "_ragged",
        "_renewed",
        "_to_say",
        "hold",
        "is_lost",
        "statements",
    )

    def __init__(self, conversation: Conversation, limit: int) -> None:
        self._conversation = conversation
        self.statements = Statements(limit)
        self.is_lost = False
        """Whether a server's loss ends the session, since a new one could not be told enough."""
        self.hold = inf
        """The position in the client's queue up to which it may be sent."""
        self._greeted = False  # whether the client has had a server's greeting
        self._renewed = False  # whether the server is not the session's first one
        self._ragged: list[int] = []  # ends of messages behind which no server can go on
        self._to_say: deque[Kept] = deque()
        self._awaited: Key | None = None

    @property
    def is_reopening(self) -> bool:
        """Whether the server has not yet heard, or not yet answered, what it must."""
        return bool(self._to_say) or self._awaited is not None or self.hold != inf

    @property
    def begun(self) -> bool:
        """Whether the client has said anything that a new server must hear."""
        return len(self.statements) > 0

    # -- What is heard -----------------------------------------------------------------------------

    def from_client(self, message: Message, end: int, *, server_away: bool) -> Verdict:
        """A client's message, which ends at position `end` of its queue if it passes."""
        heard = self._conversation.hear(Side.CLIENT, message)
        for part in heard:
            self._note(part)
            for statement in part.states:
                if not self.statements.keep(statement, end):
                    self.is_lost = True
            if part.is_cut:
                self._ragged.append(end)
            if server_away and part.reply is not None and len(heard) == 1:
                return Verdict(None, part.reply)
        if len(self._ragged) > MAX_RAGGED:
            self.is_lost = True
        return Verdict(message)

    def from_server(self, message: Message, *, client_away: bool) -> Verdict:
        """A server's message."""
        heard = self._conversation.hear(Side.SERVER, message)
        left_out = falls_back = False
        passed = []
        for part in heard:
            if self._renewed and any(self._was_asked_again(key) for key in part.refuses):
                falls_back = True
            self._note(part)
            had = [self._answered(key) for key in part.answers]
            if part.greets:
                had.append(self._greeted)
                self._greeted = True
            if client_away and part.reply is not None and len(heard) == 1:
                return Verdict(None, part.reply, falls_back=falls_back)
            if had and all(had):
                left_out = True
            else:
                passed.append(part.part)
        if falls_back or not left_out:
            return Verdict(None if falls_back else message, falls_back=falls_back)
        data = b"".join(part for part in passed if part is not None)
        return Verdict(Message(data, message.is_text) if data else None)

    def _note(self, heard: Heard) -> None:
        self.is_lost |= heard.lost
        for key in heard.settles:
            self.statements.settle(key)
            self._is_heard(key)

    def _answered(self, key: Key) -> bool:
        had = self.statements.answer(key)
        self._is_heard(key)
        return had

    def _is_heard(self, key: Key) -> None:
        """The server has answered this: what waits for that goes on."""
        if self._awaited == key:
            self._awaited = None
            self._hold_on()

    def _was_asked_again(self, key: Key) -> bool:
        kept = self.statements.get(key)
        return kept is not None and kept.answered

    # -- A new server ------------------------------------------------------------------------------

    def server_lost(self) -> None:
        """The server is gone: what it had not answered, the next one is told again."""
        self._to_say.clear()
        self._awaited = None
        self.hold = inf
        self._conversation.begins_again()

    def reopen(self, position: int, *, repeats: bool) -> list[Message]:
        """A new server has accepted, and is sent the queue from `position` on.

        `repeats`: whether a request may be asked twice; if not, those that a server may have heard
        are given up. Returns what tells the client so.
        """
        self._renewed = True
        self.is_lost |= position in self._ragged
        self._ragged = [end for end in self._ragged if end > position]
        told = []
        for kept in self.statements.before(position):
            statement = kept.statement
            if statement.is_request and not repeats:
                self.statements.settle(statement.key)
                failed = self._conversation.fails(statement)
                if failed is not None:
                    told.append(failed)
            else:
                self._to_say.append(kept)
        self.hold = position
        self._hold_on()
        return told

    def words(self) -> list[Message]:
        """What to tell the server now: up to a statement whose answer has to be awaited."""
        said = []
        while self._to_say and self._awaited is None:
            statement = self._to_say.popleft().statement
            said.append(self._conversation.again(statement))
            if statement.awaits:
                self._awaited = statement.key
        self._hold_on()
        return said

    def _hold_on(self) -> None:
        """Say how far the queue may go: all is told, or the next statement in it awaits."""
        if self.hold == inf or self._to_say or self._awaited is not None:
            return
        following = next(self.statements.awaiting(int(self.hold)), None)
        if following is None:
            self.hold = inf
        else:
            self.hold = following.end
            self._awaited = following.statement.key
