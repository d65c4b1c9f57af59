"""All dialects by name: those that come with the proxy, and the users' own."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cache

from reknit_core.dialect.guarded import Guarded
from reknit_core.dialect.protocols.mqtt import Mqtt
from reknit_core.dialect.protocols.nats import Nats
from reknit_core.dialect.protocols.phoenix import Phoenix
from reknit_core.dialect.protocols.signalr import SignalR
from reknit_core.dialect.protocols.stomp import Stomp
from reknit_core.dialect.protocols.yjs import HOCUSPOCUS, Y_WEBSOCKET
from reknit_core.dialect.ruled.builtin import FILES, built_in
from reknit_core.dialect.ruled.mistakes import DialectError, Report, ignore
from reknit_core.dialect.ruled.rules_file import NAME, NAME_ALLOWED, read_rules
from reknit_core.dialect.speech import Dialect, Offer

AUTO = "auto"
NONE = "none"
RESERVED = frozenset((AUTO, NONE))
"""What stands in a dialect's place, and can't name one."""

BUILT_IN = "built-in"
"""From where the dialects are that come with the proxy."""


class Registry:
    """Dialects, sorted by name. The users' own come before those of the same name, or offer.

    `sources`: from where the users' own are, by name.
    """

    __slots__ = ("_dialects", "_in_turn", "_own", "_sources")

    def __init__(
        self,
        built_in: Iterable[Dialect],
        own: Iterable[Dialect] = (),
        sources: Mapping[str, str] | None = None,
    ) -> None:
        self._own = {dialect.name: dialect for dialect in own}
        self._sources = sources or {}
        everything = {dialect.name: dialect for dialect in built_in} | self._own
        self._dialects = dict(sorted(everything.items()))
        self._in_turn = [  # those that come with the proxy say so, if no handshake shows them
            *self._own.values(),
            *(each for each in self if each.chosen_by and each.name not in self._own),
        ]

    def __iter__(self) -> Iterator[Dialect]:
        return iter(self._dialects.values())

    @property
    def names(self) -> tuple[str, ...]:
        """Of all dialects, sorted."""
        return (*self._dialects,)

    def source(self, name: str) -> str:
        """From where the dialect of that name is: BUILT_IN, or what was said when it came in."""
        return self._sources.get(name, BUILT_IN)

    def choose(self, offer: Offer) -> Dialect | None:
        """The dialect that a session which opened so certainly speaks; None: it is not known."""
        for dialect in self._in_turn:
            if dialect.speaks(offer):
                return dialect
        return None

    def find(self, name: str) -> Dialect:
        """The dialect of that name. Raises DialectError, which says what there is."""
        if name not in self._dialects:
            allowed = ", ".join((*sorted(RESERVED), *self.names))
            raise DialectError(
                f"dialect '{name}' is not known; allowed: {allowed}, or a file: a path with a /, "
                "or a name that ends with .toml"
            )
        return self._dialects[name]

    def with_file(
        self, text: str, source: str, remark: Report = ignore
    ) -> tuple["Registry", Dialect]:
        """With the dialect of a TOML file, `source` is its name for people. Raises DialectError.

        `remark` is told later which rules miss something in what they match.
        """
        rules = replace(read_rules(text, source), source=source, remark=remark)
        return self._with(rules, source), rules

    def with_objects(self, objects: Mapping[str, object], report: Report = ignore) -> "Registry":
        """With dialects that were loaded from elsewhere, by where from. Raises DialectError.

        `report` is told what one of them raises later, or does otherwise than it must.
        """
        registry = self
        for source, given in objects.items():
            dialect = Guarded(_as_dialect(given, source), source, report)
            if dialect.name in registry._own:
                other = registry.source(dialect.name)
                raise DialectError(
                    f"{source}: the name '{dialect.name}' is taken by {other}; "
                    "allowed: a name for each dialect"
                )
            registry = registry._with(dialect, source)
        return registry

    def _with(self, dialect: Dialect, source: str) -> "Registry":
        if dialect.name in RESERVED or not NAME.fullmatch(dialect.name):
            allowed = f"{NAME_ALLOWED}; not {' or '.join(sorted(RESERVED))}"
            raise DialectError(
                f"{source}: the name '{dialect.name}' is not allowed; allowed: {allowed}"
            )
        built_in = [each for each in self if each.name not in self._own]
        sources = {**self._sources, dialect.name: source}
        return Registry(built_in, [*self._own.values(), dialect], sources)


@cache
def registry() -> Registry:
    """The dialects that come with the proxy."""
    classes = (Mqtt(), Stomp(), Nats(), Phoenix(), SignalR(), Y_WEBSOCKET, HOCUSPOCUS)
    return Registry([*classes, *map(built_in, FILES)])


def _as_dialect(given: object, source: str) -> Dialect:
    """A dialect, or that which a class of such makes. Raises DialectError."""
    try:
        made = given() if isinstance(given, type) else given
        if isinstance(made, Dialect) and isinstance(made.name, str):
            made.converse()  # what it raises is told now
            return made
    except Exception as error:
        raise DialectError(f"{source}: {type(error).__name__}: {error}") from error
    needs = "name, summary, chosen_by, ends, speaks() and converse()"
    raise DialectError(
        f"{source}: {given!r} is no dialect: it needs {needs}, "
        "most of which it has from reknit_core.Dialect"
    )
