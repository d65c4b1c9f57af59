"""A dialect that is data: rules over JSON messages, as a TOML file gives them (rules_file.py)."""

import re
from dataclasses import dataclass, field

from reknit_core.dialect import patterns
from reknit_core.dialect.patterns import MISSING, Path, Pattern
from reknit_core.dialect.speech import (
    NOTHING,
    Beat,
    Heard,
    Key,
    Message,
    Offer,
    State,
    Statement,
)
from reknit_core.side import Side


@dataclass(frozen=True, slots=True)
class StatementRule:
    """A client's message that is a statement, and what the server says to it.

    `kind` tells the statements of different rules apart; `key`: where the protocol's own name for
    it stands. `awaits`, `answered_by`: a server's answer to it, for which it is held back or not.
    `refused_by`: the server won't have it. `settled_by`: it is done, whoever says so.
    """

    kind: str
    match: Pattern
    key: tuple[Path, ...] = ()
    awaits: tuple[Pattern, ...] = ()
    answered_by: tuple[Pattern, ...] = ()
    refused_by: tuple[Pattern, ...] = ()
    settled_by: tuple[Pattern, ...] = ()
    is_request: bool = False
    begins: bool = False
    fails: dict[str, object] | None = None


@dataclass(frozen=True, slots=True)
class BeatRule:
    """A heartbeat: what one side sends, and what the other answers; or sends each `every` seconds.

    `copies`: the members that the answer takes over from what it answers.
    """

    side: Side
    match: Pattern | None
    reply: dict[str, object] | None
    copies: tuple[str, ...] = ()
    every: float = 0.0


@dataclass(frozen=True, slots=True)
class Rules:
    """A dialect. `ends`: it has no rules, a server's loss ends the session."""

    name: str
    summary: str
    subprotocols: frozenset[str] = frozenset()
    target: re.Pattern[str] | None = None
    ends: bool = False
    statements: tuple[StatementRule, ...] = ()
    beats: tuple[BeatRule, ...] = ()
    greetings: tuple[Pattern, ...] = field(default=())

    def speaks(self, offer: Offer) -> bool:
        """Whether the session's subprotocol, or its target, is one of this dialect's."""
        if offer.subprotocol in self.subprotocols:
            return True
        return self.target is not None and self.target.search(offer.target) is not None

    def converse(self, state: State | None = None) -> "RuledConversation | None":
        """A conversation: its rules have no state of their own."""
        return None if self.ends else RuledConversation(self)


class RuledConversation:
    """Holds each message against the rules."""

    __slots__ = ("_rules",)

    def __init__(self, rules: Rules) -> None:
        self._rules = rules

    def hear(self, side: Side, message: Message, *, away: bool = False) -> tuple[Heard, ...]:
        """What the message means; nothing, if it is no JSON object or array."""
        document = patterns.decode(message.data)
        if document is MISSING:
            return NOTHING
        if side is Side.CLIENT:
            return self._from_client(document, message)
        return self._from_server(document)

    def again(self, statement: Statement) -> Message:
        """The same once more."""
        return statement.said

    def beat(self, side: Side) -> Beat | None:
        """The first beat that this side sends by itself."""
        for rule in self._rules.beats:
            if rule.side is side and rule.every and rule.reply is not None:
                return Beat(Message(patterns.encode(rule.reply), True), rule.every)
        return None

    def fails(self, statement: Statement) -> Message | None:
        """What the statement's rule has for the client, with the statement's name in it."""
        rule = next(rule for rule in self._rules.statements if rule.kind == statement.key[0])
        if rule.fails is None:
            return None
        names = zip(rule.key, statement.key[1:], strict=True)
        members = {str(path[-1]): value for path, value in names}
        return Message(patterns.encode({**rule.fails, **members}), True)

    def begins_again(self) -> None:
        """Nothing is half said between two JSON messages."""

    def freeze(self) -> State:
        """No state of its own."""
        return {}

    # -- From either side --------------------------------------------------------------------------

    def _from_client(self, document: object, message: Message) -> tuple[Heard, ...]:
        for rule in self._rules.statements:
            if rule.match.fits(document):
                key = _key(rule, document)
                if key is None:
                    continue
                awaits = bool(rule.awaits)
                said = Statement(key, message, awaits=awaits, is_request=rule.is_request)
                return (Heard(states=(said,), begins=rule.begins),)
        settled = self._settled(document)
        reply = self._reply(Side.CLIENT, document)
        if not settled and reply is None:
            return NOTHING
        return (Heard(settles=settled, reply=reply),)

    def _from_server(self, document: object) -> tuple[Heard, ...]:
        rules = self._rules
        answers, refuses = [], []
        for rule in rules.statements:
            said = _any(rule.awaits, document) or _any(rule.answered_by, document)
            if said and (key := _key(rule, document)) is not None:
                answers.append(key)
            if _any(rule.refused_by, document) and (key := _key(rule, document)) is not None:
                refuses.append(key)
        settled = self._settled(document)
        greets = _any(rules.greetings, document)
        reply = self._reply(Side.SERVER, document)
        if not (answers or refuses or settled or greets or reply is not None):
            return NOTHING
        return (
            Heard(
                settles=settled,
                reply=reply,
                answers=tuple(answers),
                refuses=tuple(refuses),
                greets=greets,
            ),
        )

    def _settled(self, document: object) -> tuple[Key, ...]:
        keys = [
            _key(rule, document)
            for rule in self._rules.statements
            if _any(rule.settled_by, document)
        ]
        return tuple(key for key in keys if key is not None)

    def _reply(self, side: Side, document: object) -> Message | None:
        for rule in self._rules.beats:
            if rule.side is side and rule.match is not None and rule.match.fits(document):
                if rule.reply is None:
                    return None
                found = {name: patterns.find(document, (name,)) for name in rule.copies}
                copied = {name: value for name, value in found.items() if value is not MISSING}
                return Message(patterns.encode({**rule.reply, **copied}), True)
        return None


def _any(several: tuple[Pattern, ...], document: object) -> bool:
    return any(pattern.fits(document) for pattern in several)


def _key(rule: StatementRule, document: object) -> Key | None:
    """By what the document names a statement of this rule; None if it names none."""
    names: list[str | int] = []
    for path in rule.key:
        name = patterns.find(document, path)
        if isinstance(name, bool) or not isinstance(name, (str, int)):
            return None
        names.append(name)
    return (rule.kind, *names)
