"""A session whose protocol is known: what its dialect makes of each message, and of a new server.

Both legs hand in what they scan. What the session has to do about it waits here until it has
looked at all that came with one read.
"""

from contextlib import suppress
from math import inf

from reknit_core.dialect.interpreter import Interpreter, Verdict
from reknit_core.dialect.speech import Beat, Conversation, Dialect, Heard, Message, State, Statement
from reknit_core.leg.leg_forms import FrozenDialogue
from reknit_core.queue.budget import Budget
from reknit_core.side import Side

MIN_SEEN = 4 * 2**20  # bytes: a message of this size can be followed, however small the queue


def most_seen(limit: int) -> int:
    """Bytes of a message that can be followed, where a queue may hold `limit`."""
    return max(limit, MIN_SEEN)


class Dialogue:
    """One session in its dialect, which is called `name`.

    `limit`: bytes that a queue may hold, and so its statements, or a message that is followed.
    `since`: generation of the client's connection on which it has begun.
    """

    __slots__ = (
        "_afresh",
        "_dialect",
        "_is_afresh_cut",
        "_limit",
        "_noted",
        "_stuck",
        "anew_at",
        "begins_anew",
        "begins_elsewhere",
        "falls_back",
        "held",
        "interpreter",
        "is_forgotten",
        "made",
        "name",
        "replies",
        "seen",
        "since",
    )

    def __init__(
        self,
        name: str,
        dialect: Dialect | None,
        conversation: Conversation | None,
        limit: int,
        since: int,
    ) -> None:
        self.name = name
        self.since = since
        self._dialect = dialect
        self._limit = limit
        self.seen = most_seen(limit)
        """Bytes: a larger message can't be followed."""
        self._noted = None if conversation is None else _Noted(conversation)
        self.interpreter = None if self._noted is None else Interpreter(self._noted, limit)
        """None: a server's loss ends the session, and its messages need not be seen."""
        self.made: dict[Side, int] = dict.fromkeys(Side, 0)
        """How many messages were said in that side's place, and are in what comes from it."""
        self.replies: list[tuple[Side, Message]] = []
        """What is to be said in a side's place."""
        self.is_forgotten = False
        """Whether another process understood its messages, and this one does not."""
        self._stuck: dict[str, object] | None = None  # what it is stuck in
        self._afresh: Conversation | None = None  # what a client says that may have forgotten all
        self._is_afresh_cut = False  # whether that ends within something
        self.begins_anew = False
        """Whether the client knows nothing of what it has begun: what it says is for nobody, until
        begin_anew()."""
        self.begins_elsewhere = False
        """Whether a client that begins anew needs another session for that."""
        self.anew_at: int | None = None
        """Where in its queue the client has just begun anew; until the session has seen to it."""
        self.falls_back = False  # whether the server did not take what it was told
        self.held = 0
        """Bytes of the conversation, as the budget counts them."""

    @classmethod
    def begun(cls, dialect: Dialect, limit: int, since: int) -> "Dialogue":
        """A new session's."""
        return cls(dialect.name, dialect, dialect.converse(), limit, since)

    @classmethod
    def thawed(cls, form: FrozenDialogue, dialect: Dialect | None, limit: int) -> "Dialogue":
        """That one which frozen() gave `form` of. Without its dialect it can't be followed."""
        state = form.state
        conversation = None
        if dialect is not None and state is not None:
            # It raises where the state is of another dialect that has the same name.
            with suppress(LookupError, TypeError, ValueError, AttributeError):
                conversation = dialect.converse(state["conversation"])
        dialogue = cls(form.name, dialect, conversation, limit, form.since)
        dialogue.begins_elsewhere = form.begins_elsewhere
        dialogue._is_afresh_cut = form.is_afresh_cut
        if dialect is not None and conversation is not None and form.afresh is not None:
            dialogue._afresh = dialect.converse(form.afresh)
        dialogue.made = dict(zip(Side, form.made, strict=True))
        if dialogue.interpreter is not None and state is not None:
            dialogue.interpreter.thaw(state)
        elif state is not None:
            dialogue.is_forgotten = True
            dialogue._stuck = state if state["in_the_middle"] else None
        return dialogue

    def frozen(self, *, whole: bool = True) -> FrozenDialogue:
        """The dialogue as data; not `whole`: but for the statements."""
        interpreter = self.interpreter
        state = self._stuck if interpreter is None else dict(interpreter.freeze(whole=whole))
        made = [self.made[side] for side in Side]
        afresh = None if self._afresh is None else dict(self._afresh.freeze())
        return FrozenDialogue(
            self.name,
            state,
            made,
            self.since,
            self.begins_elsewhere,
            afresh,
            self._is_afresh_cut,
        )

    @property
    def is_stuck(self) -> bool:
        """Whether it was forgotten in the middle of something: no end may hear on."""
        return self._stuck is not None

    @property
    def changes(self) -> int:
        """Differs when what frozen() gives may."""
        return 0 if self._noted is None else self._noted.changes

    @property
    def ends(self) -> bool:
        """Whether the session ends with its server: a new one could not be told enough."""
        return self.interpreter is None or self.interpreter.is_lost

    @property
    def hold(self) -> float:
        """The position in the client's queue up to which the server may have it now."""
        if self.interpreter is None:
            return 0 if self.is_stuck else inf
        return self.interpreter.hold

    @property
    def is_reopening(self) -> bool:
        """Whether a new server still has to hear, or to answer, what it must."""
        return self.interpreter is not None and self.interpreter.is_reopening

    def hear(
        self, side: Side, message: Message, end: int, generation: int, *, away: bool
    ) -> Message | None:
        """What becomes of that side's message, which ends at that position of its queue.

        `generation`: its connection's. `away`: the other side is.
        """
        interpreter = self.interpreter
        if interpreter is None:
            return None if self.is_stuck and side is Side.SERVER else message
        verdict: Verdict
        if side is Side.CLIENT and self.begins_anew:
            return None  # it is to say that in another session
        if side is Side.CLIENT and self._afresh is not None and self._begins(self._afresh, message):
            self.begins_anew = True
            return None
        if side is Side.CLIENT:
            away = away or self.anew_at is not None
            returned = generation > self.since
            verdict = interpreter.from_client(message, end, server_away=away, returned=returned)
            absent = Side.SERVER
        else:
            verdict = interpreter.from_server(message, client_away=away)
            absent = Side.CLIENT
        if verdict.reply is not None:
            self.replies.append((absent, verdict.reply))
        self.falls_back |= verdict.falls_back
        self.begins_anew |= verdict.begins_anew
        self.begins_elsewhere |= verdict.within
        return verdict.passes

    def client_returned(self) -> None:
        """A client is back that does not count: within what it was saying, if it has not forgotten.

        Its first word would else be taken for the rest of that.
        """
        is_cut = self.interpreter is not None and self.interpreter.client_is_cut
        self._is_afresh_cut = False
        self._afresh = self._dialect.converse() if is_cut and self._dialect is not None else None

    def _begins(self, afresh: Conversation, message: Message) -> bool:
        """Whether this is a beginning, or the end of one, to who knows nothing of what came before.

        One that is cut has passed in part: it must be said elsewhere.
        """
        heard = afresh.hear(Side.CLIENT, message)
        begins = any(part.begins for part in heard)
        if begins:
            self.begins_elsewhere |= self._is_afresh_cut or not heard[0].begins
        self._is_afresh_cut = bool(heard) and heard[-1].is_cut
        if begins or not self._is_afresh_cut:
            self._afresh = None
        return begins

    def begin_anew(self, at: int, generation: int) -> None:
        """What was said before that place in the client's queue is void: another one begins there.

        `generation`: of the client's connection.
        """
        conversation = None if self._dialect is None else self._dialect.converse()
        changes = self.changes
        self._noted = None if conversation is None else _Noted(conversation)
        self.interpreter = None if self._noted is None else Interpreter(self._noted, self._limit)
        if self._noted is not None:
            self._noted.changes = changes + 1
        self.replies = []
        self.falls_back = self.begins_anew = False
        self.anew_at = at
        self.since = generation

    @property
    def why_lost(self) -> str:
        """Why it can't be followed any more, for people; empty: it is."""
        return "" if self.interpreter is None else self.interpreter.why_lost

    def lose(self, why: str) -> None:
        """Something can't be followed: from now on the session ends with its server."""
        if self.interpreter is None or self._noted is None or self.interpreter.is_lost:
            return
        self.interpreter.lose(why)
        self._noted.changes += 1

    def count_made(self, side: Side) -> None:
        """Something was said in that side's place."""
        self.made[side] += 1
        if self._noted is not None:
            self._noted.changes += 1

    def server_lost(self) -> None:
        """What was under way with that server is void."""
        self.falls_back = False
        if self.interpreter is not None:
            self.interpreter.server_lost()

    def beat(self, side: Side) -> Beat | None:
        """What that side says by itself, and somebody must in its place."""
        return None if self.interpreter is None else self.interpreter.beat(side)

    def count(self, budget: Budget, *, over: bool = False) -> None:
        """Let the budget know what the conversation takes; nothing when the session is `over`."""
        size = 0 if over or self.interpreter is None else self.interpreter.size
        budget.used += size - self.held
        self.held = size


class _Noted:
    """A conversation, with a number that differs when something may have changed in it."""

    __slots__ = ("_conversation", "changes")

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self.changes = 0

    def hear(self, side: Side, message: Message, *, away: bool = False) -> tuple[Heard, ...]:
        heard = self._conversation.hear(side, message, away=away)
        if heard:
            self.changes += 1
        return heard

    def again(self, statement: Statement) -> Message | None:
        return self._conversation.again(statement)

    def beat(self, side: Side) -> Beat | None:
        return self._conversation.beat(side)

    def fails(self, statement: Statement) -> Message | None:
        return self._conversation.fails(statement)

    def begins_again(self) -> None:
        self.changes += 1
        self._conversation.begins_again()

    def freeze(self) -> State:
        return self._conversation.freeze()
