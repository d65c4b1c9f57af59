"""Reading a dialect's TOML file: a mistake is said with its line, its key and what is allowed."""

import re
import tomllib
import warnings
from collections.abc import Mapping
from hashlib import blake2s

from reknit_core.dialect.ruled.mistakes import DialectError, TomlSource
from reknit_core.dialect.ruled.patterns import Path, Pattern, Presence, Wanted, encode, read_path
from reknit_core.dialect.ruled.rules import BeatRule, Rules, StatementRule
from reknit_core.side import Side

NAME = re.compile(r"(?!.*\.toml$)[a-z0-9][a-z0-9.-]{0,63}")
NAME_ALLOWED = "lower-case letters, digits, dots and hyphens, at most 64, without .toml at the end"
_KIND = re.compile(r"(?!beat$)[a-z][a-z0-9.-]{0,63}")
_KIND_ALLOWED = "lower-case letters, digits, dots and hyphens, a letter first; not 'beat'"
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2

PATTERN = (
    "a table of paths and values: a text, a number, true, false, a list of such, or "
    "{present = true|false}, {matches = a regular expression}; a path with dots stands in quotes"
)
PATTERNS = f"{PATTERN}; or a list of such tables"
_PATH = "a path such as 'payload.id' or '1', of at most 8 names"

_TOP = frozenset(
    ("name", "summary", "subprotocols", "target", "on_server_loss", "statement", "beat", "greeting")
)
_STATEMENT = frozenset(
    (
        "kind",
        "match",
        "key",
        "ref",
        "awaits",
        "answered_by",
        "refused_by",
        "settled_by",
        "settled_by_server",
        "request",
        "begins",
        "fails",
    )
)
_BEAT = frozenset(("from", "match", "reply", "copy", "every"))
_GREETING = frozenset(("match",))
_RULES = ("statement", "beat", "greeting")

MIN_BEAT, MAX_BEAT = 1, 3600  # seconds


def read_rules(text: str, source: str) -> Rules:
    """The dialect that a TOML text describes; `source`: what to call it. Raises DialectError."""
    try:
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise DialectError(f"{source}: not valid TOML: {error}") from None
    return _Reader(text, source).read(data)


class _Reader(TomlSource):
    """Reads one file."""

    def read(self, data: Mapping[str, object]) -> Rules:
        self.known("", data, _TOP)
        name = self._text("", data, "name", NAME, NAME_ALLOWED)
        ends = self._choice("", data, "on_server_loss", ("resume", "end"), "resume") == "end"
        statements = [
            self._statement(f"statement[{number}]", table, str(number))
            for number, table in enumerate(self._tables(data, "statement"))
        ]
        rules = [key for key in _RULES if data.get(key)]
        if ends and rules:
            allowed = f"'resume', where there is [[{rules[0]}]]"
            self.fail("", "on_server_loss", "end", allowed)
        self._check_kinds(statements)
        return Rules(
            name=name,
            summary=self._summary(data),
            subprotocols=self._subprotocols(data),
            target=self._target(data),
            ends=ends,
            statements=tuple(statements),
            beats=tuple(
                self._beat(f"beat[{number}]", table)
                for number, table in enumerate(self._tables(data, "beat"))
            ),
            greetings=tuple(
                self._greeting(f"greeting[{number}]", table)
                for number, table in enumerate(self._tables(data, "greeting"))
            ),
            edition=_digest([data.get(key) for key in _RULES]),
        )

    def _summary(self, data: Mapping[str, object]) -> str:
        given = data.get("summary", "")
        if not isinstance(given, str) or not given.isprintable():
            self.fail("", "summary", given, "one line of text")
        return given

    def _check_kinds(self, statements: list[StatementRule]) -> None:
        """Those of one kind are told apart by keys of one length."""
        lengths: dict[str, int] = {}
        for number, rule in enumerate(statements):
            length = lengths.setdefault(rule.kind, len(rule.key))
            if length != len(rule.key):
                allowed = f"as many paths as before for the kind '{rule.kind}': {length}"
                self.fail(f"statement[{number}]", "key", [*map(_shown_path, rule.key)], allowed)

    def _subprotocols(self, data: Mapping[str, object]) -> frozenset[str]:
        given = data.get("subprotocols", [])
        if not isinstance(given, list) or not all(
            isinstance(part, str) and _TOKEN.fullmatch(part) for part in given
        ):
            self.fail("", "subprotocols", given, "a list of subprotocol names")
        return frozenset(given)

    def _target(self, data: Mapping[str, object]) -> re.Pattern[str] | None:
        if "target" not in data:
            return None
        given = data["target"]
        try:
            return _expression(given)
        except ValueError as error:
            why = str(error) if isinstance(error, _ExpressionError) else ""
            self.fail("", "target", given, "a regular expression for path and query", why)

    def _statement(self, place: str, table: Mapping[str, object], kind: str) -> StatementRule:
        self.known(place, table, _STATEMENT)
        rule = StatementRule(
            kind=self._kind(place, table, kind),
            match=self._pattern(place, table, "match"),
            key=self._paths(place, table, "key"),
            ref=self._paths(place, table, "ref"),
            awaits=self._patterns(place, table, "awaits"),
            answered_by=self._patterns(place, table, "answered_by"),
            refused_by=self._patterns(place, table, "refused_by"),
            settled_by=self._patterns(place, table, "settled_by"),
            settled_by_server=self._patterns(place, table, "settled_by_server"),
            is_request=self._flag(place, table, "request"),
            begins=self._flag(place, table, "begins"),
            fails=self._object(place, table, "fails"),
        )
        if rule.is_request and not (rule.key and (rule.settled_by or rule.settled_by_server)):
            allowed = "true only with a key, and with settled_by or settled_by_server"
            self.fail(place, "request", True, allowed)
        if rule.fails is not None and not rule.is_request:
            self.fail(place, "fails", table["fails"], "only with request = true")
        if rule.ref and not (rule.awaits or rule.answered_by or rule.refused_by):
            allowed = "only with awaits, answered_by or refused_by"
            self.fail(place, "ref", table["ref"], allowed)
        return rule

    def _kind(self, place: str, table: Mapping[str, object], number: str) -> str:
        """Statements of one kind have their keys in common, whichever rule they are of."""
        if "kind" not in table:
            return number
        return self._text(place, table, "kind", _KIND, _KIND_ALLOWED)

    def _beat(self, place: str, table: Mapping[str, object]) -> BeatRule:
        self.known(place, table, _BEAT)
        side = self._choice(place, table, "from", ("client", "server"), None)
        every = table.get("every", 0)
        if isinstance(every, bool) or not (
            isinstance(every, (int, float)) and (every == 0 or MIN_BEAT <= every <= MAX_BEAT)
        ):
            self.fail(place, "every", every, f"{MIN_BEAT} to {MAX_BEAT} seconds")
        copies = table.get("copy", [])
        if not isinstance(copies, list) or not all(isinstance(part, str) for part in copies):
            self.fail(place, "copy", copies, "a list of names")
        match = self._pattern(place, table, "match") if "match" in table or not every else None
        reply = self._object(place, table, "reply")
        if reply is None and (match is None or every):
            self.fail(place, "reply", None, "a table; left out only where there is no every")
        if copies and (reply is None or match is None):
            self.fail(place, "copy", copies, "only with match and reply")
        return BeatRule(Side(side), match, reply, tuple(copies), float(every))

    def _greeting(self, place: str, table: Mapping[str, object]) -> Pattern:
        self.known(place, table, _GREETING)
        return self._pattern(place, table, "match")

    # -- Parts -------------------------------------------------------------------------------------

    def _pattern(self, place: str, table: Mapping[str, object], key: str) -> Pattern:
        given = table.get(key)
        if not isinstance(given, dict) or not given:
            self.fail(place, key, given, PATTERN)
        return self._read_pattern(place, key, given)

    def _patterns(self, place: str, table: Mapping[str, object], key: str) -> tuple[Pattern, ...]:
        given = table.get(key, [])
        several = given if isinstance(given, list) else [given]
        tables = [part for part in several if isinstance(part, dict) and part]
        if len(tables) < len(several):
            self.fail(place, key, given, PATTERNS)
        return tuple(self._read_pattern(place, key, part) for part in tables)

    def _read_pattern(self, place: str, key: str, given: Mapping[str, object]) -> Pattern:
        places = []
        for text, value in given.items():
            try:
                path = read_path(text)
            except ValueError:
                self.fail(place, f"{key}.{text}", text, _PATH)
            try:
                places.append((path, _wanted(value)))
            except _ExpressionError as error:
                self.fail(place, f"{key}.{text}", value, PATTERN, str(error))
            except ValueError:
                self.fail(place, f"{key}.{text}", value, PATTERN)
        return Pattern(tuple(places))

    def _paths(self, place: str, table: Mapping[str, object], key: str) -> tuple[Path, ...]:
        given = table.get(key, [])
        several = given if isinstance(given, list) else [given]
        try:
            return tuple(_path(part) for part in several)
        except ValueError:
            self.fail(place, key, given, f"{_PATH}; or a list of such")

    def _object(
        self, place: str, table: Mapping[str, object], key: str
    ) -> dict[str, object] | None:
        given = table.get(key)
        if given is None:
            return None
        if isinstance(given, dict):
            try:
                encode(given)
            except (ValueError, TypeError, OverflowError, RecursionError):
                self.fail(place, key, given, "what JSON can say")
            return given
        return self.fail(place, key, given, "a table")

    def _flag(self, place: str, table: Mapping[str, object], key: str) -> bool:
        given = table.get(key, False)
        if not isinstance(given, bool):
            self.fail(place, key, given, "true or false")
        return given

    def _text(
        self,
        place: str,
        table: Mapping[str, object],
        key: str,
        pattern: re.Pattern[str],
        allowed: str,
    ) -> str:
        given = table.get(key)
        if not isinstance(given, str) or not pattern.fullmatch(given):
            self.fail(place, key, given, allowed)
        return given

    def _choice(
        self,
        place: str,
        table: Mapping[str, object],
        key: str,
        words: tuple[str, ...],
        default: str | None,
    ) -> str:
        given = table.get(key, default)
        if not isinstance(given, str) or given not in words:
            self.fail(place, key, given, " or ".join(f"'{word}'" for word in words))
        return given

    def _tables(self, data: Mapping[str, object], key: str) -> list[Mapping[str, object]]:
        given = data.get(key, [])
        if isinstance(given, dict):
            allowed = f"[[{key}]], with two brackets, as there may be several"
            self.fail("", key, given, allowed, "it is one table")
        if not isinstance(given, list) or not all(isinstance(part, dict) for part in given):
            self.fail("", key, given, f"tables, each begun by [[{key}]]")
        return given


def _digest(rules: list[object]) -> str:
    return blake2s(repr(rules).encode(), digest_size=8).hexdigest()


def _path(text: object) -> Path:
    """Raises ValueError."""
    if not isinstance(text, str):
        raise ValueError(text)
    return read_path(text)


def _shown_path(path: Path) -> str:
    return ".".join(map(str, path))


class _ExpressionError(ValueError):
    """A text is no regular expression; says why."""


def _expression(text: object) -> re.Pattern[str]:
    """Raises ValueError."""
    if not isinstance(text, str) or not text:
        raise ValueError(text)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return re.compile(text)
    except (re.error, OverflowError, RecursionError, Warning) as error:
        raise _ExpressionError(f"the regular expression has a mistake: {error}") from None


def _wanted(value: object) -> Wanted:
    """What a pattern's value stands for. Raises ValueError."""
    if isinstance(value, dict) and set(value) == {"matches"}:
        return _expression(value["matches"])
    if isinstance(value, dict):
        if set(value) != {"present"} or not isinstance(value["present"], bool):
            raise ValueError(value)
        return Presence(value["present"])
    several = value if isinstance(value, list) else [value]
    if not several or not all(isinstance(part, (str, int, float, bool)) for part in several):
        raise ValueError(value)
    return tuple(several)
