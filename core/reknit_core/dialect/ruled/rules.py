"""A dialect that is data: rules over JSON messages, as a TOML file gives them (rules_file.py)."""

import re
from dataclasses import dataclass, field
from typing import Any

from reknit_core.dialect.ruled import patterns
from reknit_core.dialect.ruled.glance import Glance
from reknit_core.dialect.ruled.mistakes import Report, ignore
from reknit_core.dialect.ruled.patterns import MISSING, Path, Pattern
from reknit_core.dialect.speech import (
    NOTHING,
    Beat,
    Heard,
    Key,
    Message,
    Offer,
    State,
    Statement,
    taken_up,
)
from reknit_core.dialect.statements import MAX_NAME
from reknit_core.side import Side

MAX_BITS = 63  # of a number that is kept as one: MessagePack has none that are much larger

Names = tuple[str | int, ...]

_MAX_REFS = 1024


@dataclass(frozen=True, slots=True)
class StatementRule:
    """A client's message that is a statement, and what the server says to it.

    `kind` tells statements apart whose keys are alike; `key`: where the protocol's own name for
    it stands. `awaits`, `answered_by`: a server's answer to it, for which it is held back or not.
    `refused_by`: the server won't have it. `settled_by`: it is done, whoever says so;
    `settled_by_server`: if the server does. `ref`: what an answer and a refusal repeat of it, where
    that is not its key.
    """

    kind: str
    match: Pattern
    key: tuple[Path, ...] = ()
    ref: tuple[Path, ...] = ()
    awaits: tuple[Pattern, ...] = ()
    answered_by: tuple[Pattern, ...] = ()
    refused_by: tuple[Pattern, ...] = ()
    settled_by: tuple[Pattern, ...] = ()
    settled_by_server: tuple[Pattern, ...] = ()
    is_request: bool = False
    begins: bool = False
    fails: dict[str, object] | None = None


@dataclass(frozen=True, slots=True)
class BeatRule:
    """A heartbeat: what one side sends, and what the other answers; or sends each `every` seconds.

    One without a reply only says that its side is there. `copies`: the members that the answer
    takes over from what it answers.
    """

    side: Side
    match: Pattern | None
    reply: dict[str, object] | None
    copies: tuple[str, ...] = ()
    every: float = 0.0


@dataclass(frozen=True, slots=True)
class Rules:
    """A dialect. `ends`: it has no rules, a server's loss ends the session.

    `edition` differs when the rules do: what a session has by others can't be gone on with.
    `remark` is told of a message that a rule matches and can't name, and that it is of `source`.
    """

    name: str
    summary: str
    subprotocols: frozenset[str] = frozenset()
    target: re.Pattern[str] | None = None
    ends: bool = False
    statements: tuple[StatementRule, ...] = ()
    beats: tuple[BeatRule, ...] = ()
    greetings: tuple[Pattern, ...] = field(default=())
    edition: str = ""
    source: str = ""
    remark: Report = field(default=ignore, repr=False, compare=False)
    index: "Index" = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "index", Index(self.statements, self.beats, self.greetings))

    @property
    def chosen_by(self) -> str:
        """The subprotocols, and the expression for the target."""
        names = sorted(self.subprotocols)
        ways = [f"subprotocol {' or '.join(names)}"] if names else []
        if self.target is not None:
            ways.append(f"path and query: {self.target.pattern}")
        return "; ".join(ways)

    def speaks(self, offer: Offer) -> bool:
        """Whether the session's subprotocol, or its target, is one of this dialect's."""
        if offer.subprotocol in self.subprotocols:
            return True
        return self.target is not None and self.target.search(offer.target) is not None

    def converse(self, state: State | None = None) -> "RuledConversation | None":
        """A conversation by these rules; none, from a state that is by others."""
        if self.ends or (state is not None and state["edition"] != self.edition):
            return None
        return taken_up(RuledConversation(self), state)


class Index:
    """The rules by what they are looked up for, so that no message is held against all of them."""

    __slots__ = ("answering", "glances", "replies", "settling")

    def __init__(
        self,
        statements: tuple[StatementRule, ...],
        beats: tuple[BeatRule, ...],
        greetings: tuple[Pattern, ...],
    ) -> None:
        self.answering = [r for r in statements if r.awaits or r.answered_by or r.refused_by]
        """The rules that an answer or a refusal may belong to."""
        from_both = [(rule, rule.settled_by) for rule in statements]
        from_server = [(rule, (*rule.settled_by, *rule.settled_by_server)) for rule in statements]
        self.settling = {
            Side.CLIENT: [(rule, by) for rule, by in from_both if by],
            Side.SERVER: [(rule, by) for rule, by in from_server if by],
        }
        """What settles the statements of a rule, by who says it."""
        replies = [(number, _reply(rule)) for number, rule in enumerate(beats)]
        self.replies = [
            (number, reply)
            for number, reply in replies
            if beats[number].side is Side.CLIENT and reply.places
        ]
        """What a server answers to the client's heartbeats, with their numbers."""
        settling = {side: [each for _, by in self.settling[side] for each in by] for side in Side}
        beating = {side: [r.match for r in beats if r.side is side and r.match] for side in Side}
        answers = [each for r in statements for each in (*r.awaits, *r.answered_by, *r.refused_by)]
        said = [rule.match for rule in statements]
        replied = [reply for _, reply in self.replies]
        self.glances = {
            Side.CLIENT: Glance([*said, *settling[Side.CLIENT], *beating[Side.CLIENT]]),
            Side.SERVER: Glance(
                [*answers, *settling[Side.SERVER], *beating[Side.SERVER], *greetings, *replied]
            ),
        }
        """By which most messages are seen to mean nothing."""


class RuledConversation:
    """Holds each message against the rules."""

    __slots__ = ("_index", "_refs", "_rules")

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._index = rules.index
        self._refs: dict[Key, Names] = {}  # of statements: what their answers repeat

    def hear(self, side: Side, message: Message, *, away: bool = False) -> tuple[Heard, ...]:
        """What the message means; nothing, if it is no JSON object or array."""
        if self._index.glances[side].excludes(message.data):
            return NOTHING  # most mean nothing
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
        kind = statement.key[0]
        rules = (rule for rule in self._rules.statements if rule.kind == kind and rule.fails)
        rule = next(rules, None)
        if rule is None or rule.fails is None:
            return None
        told = rule.fails
        for path, name in zip(rule.key, statement.key[1:], strict=True):
            told = patterns.placed(told, path, name)
        return Message(patterns.encode(told), True)

    def begins_again(self) -> None:
        """Nothing is half said between two JSON messages."""

    def freeze(self) -> State:
        """What answers repeat, and by which rules."""
        refs = [[[*key], [*ref]] for key, ref in self._refs.items()]
        return {"edition": self._rules.edition, "refs": refs}

    def thaw(self, state: State) -> None:
        """Become what freeze() gave."""
        each: dict[str, Any] = dict(state)
        self._refs = {tuple(key): tuple(ref) for key, ref in each["refs"]}

    # -- From either side --------------------------------------------------------------------------

    def _from_client(self, document: object, message: Message) -> tuple[Heard, ...]:
        unnamed: list[int] = []
        for place, rule in enumerate(self._rules.statements):
            if rule.match.fits(document):
                key = _key(rule, document)
                if key is None:
                    unnamed.append(place)
                    continue
                is_kept = self._refer(rule, key, document)
                awaits = bool(rule.awaits)
                said = Statement(key, message, awaits=awaits, is_request=rule.is_request)
                return (Heard(states=(said,), begins=rule.begins, lost=not is_kept),)
        for place in unnamed:
            self._remark(f"matches [[statement]] {place + 1}", place, document)
        settled = self._settled(document, Side.CLIENT)
        return self._beat(Side.CLIENT, document, message, settled)

    def _remark(self, which: str, place: int, document: object) -> None:
        """A message is not what that rule must have meant: a key's path may be wrong."""
        rules = self._rules
        for path in rules.statements[place].key:
            if not _names((path,), document):
                where = ".".join(map(str, path))
                what = f"{which}, but has no text or whole number at '{where}', its key"
                rules.remark(rules.source, what)

    def _from_server(self, document: object) -> tuple[Heard, ...]:
        answers: list[Key] = []
        refuses: list[Key] = []
        unnamed: list[StatementRule] = []
        for rule in self._index.answering:
            says = _any(rule.awaits, document) or _any(rule.answered_by, document)
            refuses_it = _any(rule.refused_by, document)
            if not (says or refuses_it):
                continue
            key = self._answered(rule, document)
            if _key(rule, document) is None:
                unnamed.append(rule)
            if key is not None:
                answers += [key] if says else []
                refuses += [key] if refuses_it else []
        for rule in unnamed if not (answers or refuses) else ():
            place = self._rules.statements.index(rule)
            self._remark(f"matches what answers [[statement]] {place + 1}", place, document)
        settled = self._settled(document, Side.SERVER)
        greets = _any(self._rules.greetings, document)
        if answers or refuses or greets:
            heard = Heard(
                settles=settled, answers=tuple(answers), refuses=tuple(refuses), greets=greets
            )
            return (heard,)
        return self._beat(Side.SERVER, document, None, settled)

    def _answered(self, rule: StatementRule, document: object) -> Key | None:
        """Which statement of this rule the document may be an answer to."""
        key = _key(rule, document)
        if key is None or not rule.ref:
            return key
        return key if _names(rule.ref, document) == self._refs.get(key, ()) else None

    def _refer(self, rule: StatementRule, key: Key, document: object) -> bool:
        """Keep what the answer to a statement will repeat; False if that is too much."""
        names = _names(rule.ref, document)
        if any(len(str(name)) > MAX_NAME for name in (*key, *names)):
            return not names
        if names:
            self._refs[key] = names
            if len(self._refs) > _MAX_REFS:
                del self._refs[next(iter(self._refs))]
        return True

    def _settled(self, document: object, side: Side) -> tuple[Key, ...]:
        keys = [
            _key(rule, document)
            for rule, settled_by in self._index.settling[side]
            if _any(settled_by, document)
        ]
        if side is Side.SERVER:
            keys += [
                _beat_key(number) for number, reply in self._index.replies if reply.fits(document)
            ]
        return tuple(key for key in keys if key is not None)

    def _beat(
        self, side: Side, document: object, message: Message | None, settled: tuple[Key, ...]
    ) -> tuple[Heard, ...]:
        """A heartbeat. A client's stands until it has its reply."""
        for number, rule in enumerate(self._rules.beats):
            if rule.side is not side or rule.match is None or not rule.match.fits(document):
                continue
            if rule.reply is None:
                return (Heard(settles=settled, is_beat=True),)
            found = {name: patterns.find(document, (name,)) for name in rule.copies}
            copied = {name: value for name, value in found.items() if value is not MISSING}
            reply = Message(patterns.encode({**rule.reply, **copied}), True)
            states = () if message is None else (Statement(_beat_key(number), message),)
            return (Heard(states=states, settles=settled, reply=reply),)
        return (Heard(settles=settled),) if settled else NOTHING


def _beat_key(number: int) -> Key:
    return ("beat", number)


def _reply(rule: BeatRule) -> Pattern:
    """What it is answered with, as far as that is texts and whole numbers."""
    wanted = {} if rule.match is None or rule.reply is None else rule.reply
    plain = [(name, value) for name, value in wanted.items() if isinstance(value, (str, int))]
    return Pattern(tuple(((name,), (value,)) for name, value in plain))


def _any(several: tuple[Pattern, ...], document: object) -> bool:
    for pattern in several:  # noqa: SIM110 - it is done for every message
        if pattern.fits(document):
            return True
    return False


def _key(rule: StatementRule, document: object) -> Key | None:
    """By what the document names a statement of this rule; None if it names none."""
    names = _names(rule.key, document)
    return None if len(names) < len(rule.key) else (rule.kind, *names)


def _names(paths: tuple[Path, ...], document: object) -> Names:
    """What stands at the paths; nothing, unless a text or a whole number stands at each."""
    names: list[str | int] = []
    for path in paths:
        name = patterns.find(document, path)
        if isinstance(name, bool) or not isinstance(name, (str, int)):
            return ()
        is_huge = isinstance(name, int) and name.bit_length() > MAX_BITS
        names.append(f"{name:x}" if is_huge else name)
    return tuple(names)
