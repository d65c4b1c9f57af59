"""One session's conversation: what is heard, what is kept of it, and what a new server is told.

The session hands in each whole message with the place that it has in its queue, and asks what
becomes of it. When a new server has accepted, `reopen` begins: `words` gives what to say now, and
`hold` says how far the queue may be sent, until `is_reopening` is False.
"""

from collections import deque
from math import inf
from typing import Any, NamedTuple

from reknit_core.dialect.halves import Halves
from reknit_core.dialect.speech import (
    NEEDLESS,
    NOTHING,
    Beat,
    Conversation,
    Heard,
    Key,
    LostError,
    Message,
    State,
    Statement,
)
from reknit_core.dialect.statements import NEVER, OVERHEAD, Kept, Statements
from reknit_core.side import Side


class Verdict(NamedTuple):
    """What becomes of a message.

    `passes`: it goes to the other side, in this form; None: it is left out. `reply`: what its
    sender gets in the other side's place. `falls_back`: the new server did not take what it was
    told: the session ends, so that the client begins anew. `begins_anew`: the client begins its
    protocol, which it had begun before: it knows nothing of this session, and wants a server that
    does neither; `within`: but not at the beginning of this message.
    """

    passes: Message | None
    reply: Message | None = None
    falls_back: bool = False
    begins_anew: bool = False
    within: bool = False


class Interpreter:
    """What the proxy knows of one session's conversation."""

    __slots__ = (
        "_awaited",
        "_conversation",
        "_greeted",
        "_half",
        "_halves",
        "_held_back",
        "_last_end",
        "_renewed",
        "_server_greeted",
        "_server_is_cut",
        "_to_say",
        "confirmed",
        "hold",
        "statements",
        "why_lost",
    )

    def __init__(self, conversation: Conversation, limit: int) -> None:
        self._conversation = conversation
        self.statements = Statements(limit)
        self.why_lost = ""
        """Why a server's loss ends the session, for people; empty: it does not."""
        self.hold = inf
        """The position in the client's queue up to which it may be sent."""
        self.confirmed = 0
        """The position up to which the server has heard the client, as its answers show."""
        self._greeted = False  # whether the client has had a server's greeting
        self._renewed = False  # whether the server is not the session's first one
        self._server_greeted = False  # whether this server has greeted
        self._server_is_cut = False  # whether what the server says ends within something
        self._held_back = 0  # bytes of the server's that have not passed on yet
        self._halves = Halves()  # where no server can go on without what came before
        self._last_end = 0  # of the client's last message
        self._to_say: deque[Key] = deque()
        self._half: Message | None = None  # to say behind that
        self._awaited: Key | None = None

    @property
    def is_lost(self) -> bool:
        """Whether a server's loss ends the session, since a new one could not be told enough."""
        return bool(self.why_lost)

    def lose(self, why: str) -> None:
        """The conversation can't be followed any more; the first reason stands."""
        self.why_lost = self.why_lost or why

    @property
    def is_reopening(self) -> bool:
        """Whether the server has not yet heard, or not yet answered, what it must."""
        return bool(self._to_say) or self._awaited is not None or self.hold != inf

    @property
    def awaited(self) -> Key | None:
        """The statement whose answer comes before all else."""
        return self._awaited

    @property
    def begun(self) -> bool:
        """Whether the client has said anything that a new server must hear."""
        return len(self.statements) > 0

    @property
    def client_is_cut(self) -> bool:
        """Whether what the client has said ends within something."""
        return self._halves.at(self._last_end) is not None

    @property
    def size(self) -> int:
        """Bytes that are kept: of statements, of halves, and what has not passed on yet."""
        return self.statements.size + self._halves.size + max(0, self._held_back)

    # -- What is heard -----------------------------------------------------------------------------

    def from_client(
        self, message: Message, end: int, *, server_away: bool, returned: bool = False
    ) -> Verdict:
        """A client's message, which ends at position `end` of its queue if it passes.

        `returned`: the client has, since the conversation began.
        """
        heard = self._conversation.hear(Side.CLIENT, message, away=server_away)
        if heard is NOTHING:
            self._last_end = end
            return Verdict(message)
        if server_away and (left := _for_nobody(heard)) is not None:
            return left
        if returned and self.begun and any(part.begins for part in heard):
            within = not heard[0].begins or self.client_is_cut
            return Verdict(None, begins_anew=True, within=within)
        for place, part in enumerate(heard):
            self._note(part)
            confirms = end if place == len(heard) - 1 else self._last_end
            for statement in part.states:
                self._keep(statement, end, confirms, in_place=statement.awaits or part.begins)
            for key in part.takes_back:
                self.statements.take_back(key, NEVER if part.until_answered else end)
            if part.is_cut:
                self._halves.add(end, Message(part.half, message.is_text))
        self._last_end = end
        return Verdict(message)

    def from_server(self, message: Message, *, client_away: bool) -> Verdict:
        """A server's message."""
        heard = self._conversation.hear(Side.SERVER, message, away=client_away)
        if heard is NOTHING:
            self._server_is_cut = False
            return Verdict(message)
        self._server_is_cut = any(part.is_cut for part in heard)
        falls_back = False
        passed = []
        for part in heard:
            falls_back |= self._renewed and any(
                part.is_ours or self._was_asked_again(key) for key in part.refuses
            )
            for key in (*part.settles, *part.answers):
                self._confirm(key)
            self._note(part)
            for key in part.takes_back:
                self.statements.taken_back(key)
            had = [self._answered(key) and self._renewed for key in part.answers]
            if part.greets:
                had.append(self._greeted and not self._server_greeted)
                self._greeted = self._server_greeted = True
            if not part.is_ours and not (had and all(had)):
                passed.append(message.data if part.part is None else part.part)
        taken = sum(len(message.data if part.part is None else part.part) for part in heard)
        self._held_back += len(message.data) - taken
        falls_back |= self._held_back > 0 and any(part.lost for part in heard)
        if falls_back:
            return Verdict(None, falls_back=True)
        if client_away and (left := _for_nobody(heard)) is not None:
            return left
        data = b"".join(passed)
        if data == message.data and passed:
            return Verdict(message)
        return Verdict(Message(data, message.is_text) if data else None)

    @property
    def is_in_the_middle(self) -> bool:
        """Whether nobody can go on who knows nothing of the session."""
        return self.is_reopening or self._held_back > 0

    def heard_to(self, position: int) -> None:
        """A server has heard the client's queue up to `position`, and it is kept no longer."""
        self.statements.heard(position)
        self._halves.forget(position)

    def beat(self, side: Side) -> Beat | None:
        """What that side sends by itself, and the proxy in its place while it is away."""
        return self._conversation.beat(side)

    def _note(self, heard: Heard) -> None:
        if heard.lost:
            self.lose("something was said that can't be followed")
        for key in heard.settles:
            self.statements.settle(key)
            self._is_heard(key)

    def _keep(self, statement: Statement, end: int, confirms: int, *, in_place: bool) -> None:
        if self.is_lost or self.statements.keep(statement, end, confirms, in_place=in_place):
            return
        size = len(statement.said.data)
        if size + OVERHEAD > self.statements.limit:
            self.lose(f"a statement of {size:,} bytes is too large to be kept")
        else:
            self.lose("there are too many statements to be kept")

    def _confirm(self, key: Key) -> None:
        meant = self._meant(key)
        if meant is not None:
            self.confirmed = max(self.confirmed, meant.confirms)

    def _meant(self, key: Key) -> Kept | None:
        """Which of the statements with that key the server means by its answer."""
        kept = self.statements.get(key)
        if kept is None or not kept.formers:
            return kept
        if self._awaited == key:
            return kept.at(self.hold) or kept
        return kept.unanswered

    def _answered(self, key: Key) -> bool:
        meant = self._meant(key)
        had = meant is not None and self.statements.answer(meant)
        self._is_heard(key)
        return had

    def _is_heard(self, key: Key) -> None:
        """The server has answered this: what waits for that goes on."""
        if self._awaited == key:
            self._awaited = None
            self._hold_on()

    def _was_asked_again(self, key: Key) -> bool:
        meant = self._meant(key)
        return meant is not None and meant.answered

    # -- A new server ------------------------------------------------------------------------------

    def server_lost(self) -> None:
        """The server is gone: what it had not answered, the next one is told again."""
        self._to_say.clear()
        self._half = None
        self._awaited = None
        self.hold = inf
        self._server_greeted = False
        self._held_back = 0
        if self._server_is_cut:  # the client would hear on within something
            self.lose("the server was lost within something that it said")
        try:
            self._conversation.begins_again()
        except LostError:
            self.lose("the dialect can't begin again")

    def reopen(self, position: int, *, repeats: bool) -> list[Message]:
        """A new server has accepted, and is sent the queue from `position` on.

        `repeats`: whether a request may be asked twice; if not, those that a server may have heard
        are given up. Returns what tells the client so; where nothing can, the conversation is lost,
        since the client would wait for ever.
        """
        self._renewed = True
        self.heard_to(position)
        self._half = self._halves.at(position)
        if self._half is not None and not self._half.data:
            self.lose("the client's last word is cut, and too long to be kept")
        told = []
        for kept in self.statements.before(position):
            statement = kept.statement
            if statement.is_request and not repeats:
                self.statements.settle(statement.key)
                failed = self._conversation.fails(statement)
                if failed is None:
                    self.lose("a request must not be repeated, and the client can't be told")
                elif failed != NEEDLESS:
                    told.append(failed)
            else:
                self._to_say.append(statement.key)
        self.hold = float(position)
        self._hold_on()
        return told

    def words(self) -> list[Message]:
        """What to tell the server now: up to a statement whose answer has to be awaited.

        Raises LostError.
        """
        said = []
        while self._to_say and self._awaited is None:
            standing = self.statements.get(self._to_say.popleft())
            kept = None if standing is None else standing.at(self.hold)
            if kept is None:
                continue  # it is settled meanwhile, or is said by the queue
            statement = kept.statement
            again = self._conversation.again(statement)
            if again is not None:
                said.append(again)
            if statement.awaits and again is not None:
                self._awaited = statement.key
        if self._half is not None and not self._to_say and self._awaited is None:
            said.append(self._half)
            self._half = None
        self._hold_on()
        return said

    def _hold_on(self) -> None:
        """Say how far the queue may go: all is told, or the next statement in it awaits."""
        if self.hold == inf or self._to_say or self._half or self._awaited is not None:
            return
        following = self.statements.awaiting(int(self.hold))
        if following is None:
            self.hold = inf
        else:
            self.hold = float(following.end)
            self._awaited = following.statement.key

    # -- In another process ------------------------------------------------------------------------

    def freeze(self, *, whole: bool = True) -> State:
        """All that is known of the session, as data; not `whole`: but for the statements."""
        return {
            "conversation": self._conversation.freeze(),
            "statements": self.statements.freeze() if whole else [],
            "why_lost": self.why_lost,
            "hold": None if self.hold == inf else int(self.hold),
            "confirmed": self.confirmed,
            "greeted": self._greeted,
            "server_greeted": self._server_greeted,
            "renewed": self._renewed,
            "server_is_cut": self._server_is_cut,
            "held_back": self._held_back,
            "in_the_middle": self.is_in_the_middle,
            "halves": self._halves.freeze(),
            "last_end": self._last_end,
            "to_say": [[*key] for key in self._to_say],
            "half": None if self._half is None else [*self._half],
            "awaited": None if self._awaited is None else [*self._awaited],
        }

    def thaw(self, state: State) -> None:
        """Become what freeze() gave; the conversation is made from its part of it."""
        each: dict[str, Any] = dict(state)
        self.statements.thaw(each["statements"])
        self.why_lost = each["why_lost"]
        self.hold = inf if each["hold"] is None else float(each["hold"])
        self.confirmed = each["confirmed"]
        self._greeted = bool(each["greeted"])
        self._server_greeted = bool(each["server_greeted"])
        self._renewed = bool(each["renewed"])
        self._server_is_cut = bool(each["server_is_cut"])
        self._held_back = each["held_back"]
        self._halves.thaw(each["halves"])
        self._last_end = each["last_end"]
        self._to_say.extend(tuple(key) for key in each["to_say"])
        self._half = None if each["half"] is None else Message(*each["half"])
        self._awaited = None if each["awaited"] is None else tuple(each["awaited"])


def _for_nobody(heard: tuple[Heard, ...]) -> Verdict | None:
    """What becomes of a message that means nothing but a heartbeat, to a side that is away."""
    if len(heard) == 1 and (heard[0].reply is not None or heard[0].is_beat):
        return Verdict(None, heard[0].reply)
    return None
