"""A session by hand whose conversation has a dialect: what is said, lost and told again.

The queue's positions are the bytes that the client has said. After each step the whole of what is
known goes through its frozen form, as if another process had taken over.
"""

from math import inf

import msgspec
from reknit_core.dialect.interpreter import Interpreter, Verdict
from reknit_core.dialect.registry import registry
from reknit_core.dialect.speech import Dialect, Key, Message

LIMIT = 1 << 20


def binary(*parts: bytes) -> list[Message]:
    """Binary messages."""
    return [Message(part, False) for part in parts]


def text(*parts: str) -> list[Message]:
    """Text messages."""
    return [Message(part.encode(), True) for part in parts]


class DialectSession:
    """An interpreter of the dialect with that name."""

    def __init__(self, dialect: str | Dialect, limit: int = LIMIT) -> None:
        self.dialect = registry().find(dialect) if isinstance(dialect, str) else dialect
        self._limit = limit
        conversation = self.dialect.converse()
        assert conversation is not None
        self.interpreter = Interpreter(conversation, limit)
        self.end = 0

    def client(
        self, *messages: Message, away: bool = False, returned: bool = False
    ) -> list[Verdict]:
        """The client says this; `away`: while there is no server, `returned`: after it was lost."""
        verdicts = []
        for each in messages:
            end = self.end + len(each.data)
            verdict = self.interpreter.from_client(each, end, server_away=away, returned=returned)
            if verdict.passes is not None:
                self.end = end
            verdicts.append(verdict)
            self.take_over()
        return verdicts

    def server(self, *messages: Message, away: bool = False) -> list[Verdict]:
        """The server says this; `away`: while there is no client."""
        verdicts = []
        for each in messages:
            verdicts.append(self.interpreter.from_server(each, client_away=away))
            self.take_over()
        return verdicts

    def passes(self, *messages: Message) -> list[Message]:
        """The server says this: what the client gets."""
        return [v.passes for v in self.server(*messages) if v.passes is not None]

    def lose(self, position: int | None = None, *, repeats: bool = True) -> list[Message]:
        """The server is lost, and a new one is sent the queue from there; from its end, if None."""
        self.interpreter.server_lost()
        self.take_over()
        told = self.interpreter.reopen(self.end if position is None else position, repeats=repeats)
        self.take_over()
        return told

    def words(self) -> list[bytes]:
        """What the new server is told now."""
        words = [word.data for word in self.interpreter.words()]
        self.take_over()
        return words

    @property
    def is_open(self) -> bool:
        """Whether the queue may go, and all has been said."""
        return not self.interpreter.is_reopening and self.interpreter.hold == inf

    @property
    def is_lost(self) -> bool:
        """Whether a server's loss ends the session."""
        return self.interpreter.is_lost

    @property
    def keys(self) -> list[Key]:
        """Of the statements."""
        return [kept.statement.key for kept in self.interpreter.statements]

    def take_over(self) -> None:
        """Another process goes on."""
        state = msgspec.msgpack.decode(msgspec.msgpack.encode(self.interpreter.freeze()))
        conversation = self.dialect.converse(state["conversation"])
        assert conversation is not None
        self.interpreter = Interpreter(conversation, self._limit)
        self.interpreter.thaw(state)
        assert self.interpreter.freeze() == state or _plain(self.interpreter.freeze()) == state


def _plain(state: object) -> object:
    return msgspec.msgpack.decode(msgspec.msgpack.encode(state))
