"""Reading a dialect's TOML file: a mistake is said with its line, its key and what is allowed."""

import re
import tomllib
from collections.abc import Callable, Mapping
from typing import NoReturn

from reknit_core.dialect.ruled.patterns import Path, Pattern, Presence, Wanted, read_path
from reknit_core.dialect.ruled.rules import BeatRule, Rules, StatementRule
from reknit_core.side import Side

NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,63}")
NAME_ALLOWED = "lower-case letters, digits, dots and hyphens"
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2

PATTERN = (
    "a table of paths and values: a text, a number, true, false, a list of such, or "
    "{present = true|false}, {matches = a regular expression}"
)
PATTERNS = f"{PATTERN}; or a list of such tables"

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


class DialectError(ValueError):
    """A dialect's file can't be used; the text says where, what is wrong and what is allowed."""


def read_rules(text: str, source: str) -> Rules:
    """The dialect that a TOML text describes; `source`: what to call it. Raises DialectError."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise DialectError(f"{source}: {error}") from None
    return _Reader(text, source).read(data)


class _Reader:
    """Reads one file; knows on which line what stands."""

    def __init__(self, text: str, source: str) -> None:
        self._lines = text.splitlines()
        self._source = source

    def read(self, data: Mapping[str, object]) -> Rules:
        self._known("", data, _TOP)
        name = self._text("", data, "name", NAME, NAME_ALLOWED)
        ends = self._choice("", data, "on_server_loss", ("resume", "end"), "resume") == "end"
        statements = [
            self._statement(f"statement[{number}]", table, str(number))
            for number, table in enumerate(self._tables(data, "statement"))
        ]
        if ends and statements:
            self._fail("", "on_server_loss", "'end'", "'resume', where there are statements")
        return Rules(
            name=name,
            summary=str(data.get("summary", "")),
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
        )

    def _subprotocols(self, data: Mapping[str, object]) -> frozenset[str]:
        given = data.get("subprotocols", [])
        if not isinstance(given, list) or not all(
            isinstance(part, str) and _TOKEN.fullmatch(part) for part in given
        ):
            self._fail("", "subprotocols", repr(given), "a list of subprotocol names")
        return frozenset(given)

    def _target(self, data: Mapping[str, object]) -> re.Pattern[str] | None:
        if "target" not in data:
            return None
        given = data["target"]
        try:
            return re.compile(str(given)) if isinstance(given, str) and given else self._bad(given)
        except (re.error, ValueError):
            self._fail("", "target", repr(given), "a regular expression for path and query")

    def _bad(self, given: object) -> NoReturn:
        raise ValueError(given)

    def _statement(self, place: str, table: Mapping[str, object], kind: str) -> StatementRule:
        self._known(place, table, _STATEMENT)
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
        if rule.is_request and not rule.settled_by and not rule.settled_by_server:
            allowed = "true only with settled_by or settled_by_server"
            self._fail(place, "request", "true", allowed)
        return rule

    def _kind(self, place: str, table: Mapping[str, object], number: str) -> str:
        """Statements of one kind have their keys in common, whichever rule they are of."""
        if "kind" not in table:
            return number
        return self._text(place, table, "kind", NAME, NAME_ALLOWED)

    def _beat(self, place: str, table: Mapping[str, object]) -> BeatRule:
        self._known(place, table, _BEAT)
        side = self._choice(place, table, "from", ("client", "server"), None)
        every = table.get("every", 0)
        if isinstance(every, bool) or not isinstance(every, (int, float)) or not 0 <= every <= 3600:
            self._fail(place, "every", repr(every), "0 to 3600 seconds")
        copies = table.get("copy", [])
        if not isinstance(copies, list) or not all(isinstance(part, str) for part in copies):
            self._fail(place, "copy", repr(copies), "a list of names")
        match = self._pattern(place, table, "match") if "match" in table or not every else None
        reply = self._object(place, table, "reply")
        if reply is None and (match is None or every):
            self._fail(place, "reply", "nothing", "a table; nothing only with match alone")
        return BeatRule(Side(side), match, reply, tuple(copies), float(every))

    def _greeting(self, place: str, table: Mapping[str, object]) -> Pattern:
        self._known(place, table, _GREETING)
        return self._pattern(place, table, "match")

    # -- Parts -------------------------------------------------------------------------------------

    def _pattern(self, place: str, table: Mapping[str, object], key: str) -> Pattern:
        given = table.get(key)
        if not isinstance(given, dict) or not given:
            self._fail(place, key, repr(given), PATTERN)
        return self._read_pattern(place, key, given)

    def _patterns(self, place: str, table: Mapping[str, object], key: str) -> tuple[Pattern, ...]:
        given = table.get(key, [])
        several = given if isinstance(given, list) else [given]
        tables = [part for part in several if isinstance(part, dict) and part]
        if len(tables) < len(several):
            self._fail(place, key, repr(given), PATTERNS)
        return tuple(self._read_pattern(place, key, part) for part in tables)

    def _read_pattern(self, place: str, key: str, given: Mapping[str, object]) -> Pattern:
        places = []
        for text, value in given.items():
            try:
                places.append((read_path(text), _wanted(value)))
            except ValueError:
                self._fail(place, key, f"{text} = {value!r}", PATTERN)
        return Pattern(tuple(places))

    def _paths(self, place: str, table: Mapping[str, object], key: str) -> tuple[Path, ...]:
        given = table.get(key, [])
        several = given if isinstance(given, list) else [given]
        try:
            return tuple(read_path(self._as_text(part)) for part in several)
        except ValueError:
            self._fail(place, key, repr(given), "a path such as 'payload.id' or '1', or several")

    def _as_text(self, part: object) -> str:
        return part if isinstance(part, str) else self._bad(part)

    def _object(
        self, place: str, table: Mapping[str, object], key: str
    ) -> dict[str, object] | None:
        given = table.get(key)
        if given is not None and not isinstance(given, dict):
            self._fail(place, key, repr(given), "a table")
        return given

    def _flag(self, place: str, table: Mapping[str, object], key: str) -> bool:
        given = table.get(key, False)
        if not isinstance(given, bool):
            self._fail(place, key, repr(given), "true or false")
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
            self._fail(place, key, repr(given), allowed)
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
            self._fail(place, key, repr(given), " or ".join(f"'{word}'" for word in words))
        return given

    def _tables(self, data: Mapping[str, object], key: str) -> list[Mapping[str, object]]:
        given = data.get(key, [])
        if not isinstance(given, list) or not all(isinstance(part, dict) for part in given):
            self._fail("", key, repr(given), f"tables, each begun by [[{key}]]")
        return given

    # -- Mistakes ----------------------------------------------------------------------------------

    def _known(self, place: str, table: Mapping[str, object], names: frozenset[str]) -> None:
        for key in table:
            if key not in names:
                self._fail(place, key, "this key", ", ".join(sorted(names)))

    def _fail(self, place: str, key: str, found: str, allowed: str) -> NoReturn:
        name = f"{place}.{key}" if place else key
        where = f"{self._source}, line {self._line(place, key)}"
        raise DialectError(f"{where}: {name}: {found} is not allowed; allowed: {allowed}")

    def _line(self, place: str, key: str) -> int:
        """Where the key stands; where its table begins, if it is missing."""
        table, _, number = place.rstrip("]").partition("[")
        heads = [n for n, line in enumerate(self._lines) if line.strip().startswith(f"[[{table}]]")]
        start = heads[int(number)] if number and int(number) < len(heads) else 0
        is_key: Callable[[str], bool] = re.compile(rf"\s*[\"']?{re.escape(key)}\b").match  # type: ignore[assignment]
        for line in range(start, len(self._lines)):
            if line > start and number and self._lines[line].lstrip().startswith("[["):
                break
            if is_key(self._lines[line]):
                return line + 1
        return start + 1


def _wanted(value: object) -> Wanted:
    """What a pattern's value stands for. Raises ValueError."""
    if isinstance(value, dict) and set(value) == {"matches"}:
        try:
            return re.compile(value["matches"])
        except (re.error, TypeError):
            raise ValueError(value) from None
    if isinstance(value, dict):
        if set(value) != {"present"} or not isinstance(value["present"], bool):
            raise ValueError(value)
        return Presence(value["present"])
    several = value if isinstance(value, list) else [value]
    if not several or not all(isinstance(part, (str, int, float, bool)) for part in several):
        raise ValueError(value)
    return tuple(several)
