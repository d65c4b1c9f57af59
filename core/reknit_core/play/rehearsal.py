"""A recorded conversation held against a dialect: what a new server would be told, and why."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from reknit_core.dialect.interpreter import Interpreter, Verdict
from reknit_core.dialect.ruled.rules import Rules
from reknit_core.dialect.speech import (
    Beat,
    Conversation,
    Dialect,
    Heard,
    Key,
    LostError,
    Message,
    State,
    Statement,
)
from reknit_core.leg.dialogue import most_seen
from reknit_core.play.recording import Recording, Said
from reknit_core.policy.policy import Policy
from reknit_core.side import Side
from reknit_core.wire.messages import too_large
from reknit_core.wire.reasons import printable, shortened

_SHOWN = 100  # characters of a message


@dataclass(slots=True)
class _Told:
    """A statement as a new server is told it."""

    statement: Statement
    said: Message | None


class _Overheard:
    """A conversation, with what it says of the last message, and of each statement once more."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self.heard: tuple[Heard, ...] = ()
        self.told: list[_Told] = []

    def hear(self, side: Side, message: Message, *, away: bool = False) -> tuple[Heard, ...]:
        self.heard = self._conversation.hear(side, message, away=away)
        return self.heard

    def again(self, statement: Statement) -> Message | None:
        said = self._conversation.again(statement)
        self.told.append(_Told(statement, said))
        return said

    def beat(self, side: Side) -> Beat | None:
        return self._conversation.beat(side)

    def fails(self, statement: Statement) -> Message | None:
        return self._conversation.fails(statement)

    def begins_again(self) -> None:
        self._conversation.begins_again()

    def freeze(self) -> State:
        return self._conversation.freeze()


@dataclass(slots=True)
class Rehearsal:
    """One recording in one dialect.

    `each`: for every message a line, and below it what it means. `told`: what a new server would
    be told behind the last one. `findings`: the same in numbers: what was settled, what is left
    out, which messages are beats.
    """

    each: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)


def rehearse(dialect: Dialect, recording: Recording) -> Rehearsal:
    """Play the recording: as if the server were lost behind its last message."""
    remarks: list[str] = []
    if isinstance(dialect, Rules):
        dialect = replace(dialect, remark=lambda _, what: remarks.append(what))
    conversation = dialect.converse()
    if conversation is None:
        ends = "nothing: a server's loss ends the session, and the client begins anew (Close 1012)"
        return Rehearsal(told=[ends])
    return _Play(conversation, remarks).run(recording.said)


class _Play:
    def __init__(self, conversation: Conversation, remarks: list[str]) -> None:
        self._overheard = _Overheard(conversation)
        self._remarks = remarks  # on the last message
        self._warnings: list[str] = []
        self._limit = Policy().queue_bytes
        self._interpreter = Interpreter(self._overheard, self._limit)
        self._origin: dict[Key, int] = {}  # the messages that made statements
        self._answer: dict[Key, tuple[int, Message]] = {}  # the first answers to them
        self._settled: list[str] = []
        self._beats: list[int] = []
        self._answers: list[int] = []
        self._lost: int | None = None
        self._end = 0

    def run(self, said: tuple[Said, ...]) -> Rehearsal:
        each = []
        for number, one in enumerate(said, 1):
            each.append(f"{number:>4} {one.side.value}: {shown(one.message)}")
            each += [f"       {meaning}" for meaning in self._hear(number, one)]
        return Rehearsal(each, [*self._tell()], [*self._find()])

    def _hear(self, number: int, said: Said) -> list[str]:
        interpreter = self._interpreter
        stood = self._keys()
        if len(said.message.data) > most_seen(self._limit):
            self._overheard.heard = ()
            interpreter.lose(f"{too_large(most_seen(self._limit))} could not be followed")
        elif said.side is Side.CLIENT:
            self._end += len(said.message.data) + 1
            interpreter.from_client(said.message, self._end, server_away=False)
        else:
            interpreter.from_server(said.message, client_away=False)
        means = [line for heard in self._overheard.heard for line in self._means(number, heard)]
        for remark in self._remarks:
            self._warnings.append(f"warning: message {number} {remark}")
            means.append(f"warning: it {remark}")
        self._remarks.clear()
        taken_back = [key for key in stood if self._is_taken_back(key)]
        for key in stood:
            if key not in self._keys() or key in taken_back:
                self._settled.append(f"message {self._origin[key]} by message {number}")
                means.append(f"settles message {self._origin[key]}")
        for heard in self._overheard.heard:
            for statement in heard.states:
                if statement.key in self._keys():
                    self._origin[statement.key] = number
            for key in heard.answers:
                self._answer.setdefault(key, (number, said.message))
        if interpreter.is_lost and self._lost is None:
            self._lost = number
            means.append(
                "can't be followed: from here on a server's loss ends the session "
                f"({interpreter.why_lost})"
            )
        return means or ["passes, means nothing to the dialect"]

    def _means(self, number: int, heard: Heard) -> Iterator[str]:
        if heard.begins:
            yield "begins the protocol"
        for statement in heard.states if heard.reply is None else ():
            yield from _of_statement(statement)
        if heard.reply is not None:
            self._beats.append(number)
            yield f"a beat, answered while the other side is away by {shown(heard.reply)}"
        elif heard.is_beat:
            self._beats.append(number)
            yield "a beat, kept from a side that is away"
        for key in heard.answers:
            if key in self._keys() or key in self._origin:
                self._answers.append(number)
                yield f"answers message {self._origin.get(key, 0)}"
            else:
                what = f"answers nothing that was said ({shortened(_named(key))})"
                self._warnings.append(f"warning: message {number} {what}")
                yield f"warning: it {what}"
        if heard.greets:
            self._answers.append(number)
            yield "a greeting: left out, when a new server says it"
        if heard.refuses:
            yield "refuses what the client said"
        if heard.is_cut:
            yield "ends within something, which goes on in the next message"

    def _is_taken_back(self, key: Key) -> bool:
        prefixes = (back for heard in self._overheard.heard for back in heard.takes_back)
        return any(key[: len(back)] == back for back in prefixes)

    def _keys(self) -> list[Key]:
        return [kept.statement.key for kept in self._interpreter.statements]

    # -- What a new server is told -----------------------------------------------------------------

    def _tell(self) -> Iterator[str]:
        interpreter = self._interpreter
        if self._lost is not None:
            yield (
                f"nothing: message {self._lost} can't be followed "
                f"({self._interpreter.why_lost}): from there on the session ends with its server, "
                "and the client begins anew (Close 1012)"
            )
            return
        try:
            interpreter.server_lost()
            if interpreter.is_lost:
                yield "nothing: the server's last word is cut, and nobody can end it (Close 1012)"
                return
            interpreter.reopen(self._end, repeats=True)
            if interpreter.is_lost:
                yield "nothing: the client's last word is cut, and too long to be kept (Close 1012)"
                return
            yield from self._say()
        except LostError:
            yield "nothing more: the dialect's class has raised an exception (Close 1012)"

    def _say(self) -> Iterator[str]:
        said_any = False
        while True:
            self._overheard.told.clear()
            words = self._interpreter.words()
            for told in self._overheard.told:
                if told.said is not None:
                    said_any = True
                    origin = self._origin.get(told.statement.key, 0)
                    yield f"message {origin}: {shown(told.said)}"
                    yield from self._if_not_repeated(told.statement)
            for word in words[len([told for told in self._overheard.told if told.said]) :]:
                said_any = True
                yield f"the half that it has not heard: {shown(word)}"
            key = self._interpreter.awaited
            if key is None:
                break
            if key not in self._answer:
                yield "    then it must answer; the recording has no answer to that"
                return
            number, answer = self._answer[key]
            verdict = self._interpreter.from_server(answer, client_away=False)
            yield f"    then it must answer; message {number} was the answer{_left_out(verdict)}"
            if self._interpreter.awaited == key:
                return
        if not said_any:
            yield "nothing: no statement stands"

    def _if_not_repeated(self, statement: Statement) -> Iterator[str]:
        if statement.is_request:
            failed = self._overheard.fails(statement)
            instead = (
                "the session ends" if failed is None else f"the client receives {shown(failed)}"
            )
            yield f"    a request; with --delivery at-most-once it is not repeated: {instead}"

    def _find(self) -> Iterator[str]:
        yield from self._warnings
        if self._settled:
            yield f"settled: {', '.join(self._settled)}"
        if self._answers:
            yield f"left out, when a new server says it again: {_numbers(self._answers)}"
        if self._beats:
            yield f"beats: {_numbers(self._beats)}"


def _of_statement(statement: Statement) -> Iterator[str]:
    kind = "a request" if statement.is_request else "a statement"
    waits = "; a new server must answer it before it hears more" if statement.awaits else ""
    yield f"{kind}, {_named(statement.key)}{waits}"


def _named(key: Key) -> str:
    names = ", ".join(repr(part) for part in key[1:])
    return f"key {names}" if names else "without a key"


def _left_out(verdict: Verdict) -> str:
    return ", and is left out" if verdict.passes is None else ""


def _numbers(numbers: list[int]) -> str:
    several = [*dict.fromkeys(numbers)]
    return f"message{'s' if len(several) > 1 else ''} {', '.join(map(str, several))}"


def shown(message: Message) -> str:
    """A message for people, on one line."""
    if not message.is_text:
        text = repr(message.data[:_SHOWN])[1:].strip("'\"")
        text = f"{len(message.data)} byte{'s' * (len(message.data) != 1)} {text}"
    else:
        text = printable(message.data.decode(errors="replace")[: _SHOWN + 1])
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
