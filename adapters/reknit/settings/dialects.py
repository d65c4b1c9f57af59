"""The dialects of a proxy: those that come with it, those of installed packages, and files.

A package has some by entry points of the group `reknit.dialects`, each a class or an object of
`reknit_core.Dialect`.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from reknit_core.dialect.choice import NO_DIALECTS, Choice, Dialects
from reknit_core.dialect.registry import NONE, Registry, registry
from reknit_core.dialect.ruled.mistakes import DialectError, Report, ignore
from reknit_core.dialect.speech import Dialect, Offer
from reknit_core.wire.reasons import reason_of

from reknit.settings.files import read_text

GROUP = "reknit.dialects"


def is_file(dialect: str) -> bool:
    """Whether that is a file's name, and no dialect's."""
    return "/" in dialect or "\\" in dialect or dialect.endswith(".toml")


class LoadedDialects:
    """What `--dialect` names, read now and at each reload(). `own`: a program's own, by source.

    Files are read again, packages are not. Raises DialectError: one line for people. `report` is
    told what classes do wrong later, `remark` which rules of files miss something.
    """

    def __init__(
        self,
        dialect: str,
        own: Mapping[str, object] | None = None,
        report: Report = ignore,
        remark: Report = ignore,
    ) -> None:
        self._dialect = dialect
        self._own = own or {}
        self._report = report
        self._remark = remark
        self._chosen = self._read()

    @property
    def reloadable(self) -> bool:
        """Whether there are files, which can change."""
        return any(map(is_file, _parts(self._dialect)))

    def reload(self) -> None:
        """Read all files again, for new sessions. Raises DialectError; then all stays as it was."""
        self._chosen = self._read()

    def choose(self, offer: Offer) -> Dialect | None:
        """As reknit_core's Dialects says."""
        return self._chosen.choose(offer)

    def named(self, name: str) -> Dialect | None:
        """As reknit_core's Dialects says."""
        return self._chosen.named(name)

    def _read(self) -> Dialects:
        if self._dialect == NONE:
            return NO_DIALECTS
        known = installed(self._report).with_objects(self._own, self._report)
        known, names = with_files(known, _parts(self._dialect), self._remark)
        return Choice(known, ",".join(names))


def installed(report: Report = ignore) -> Registry:
    """The dialects that come with the proxy, and those of installed packages.

    `report` is told what those do wrong later. Raises DialectError.
    """
    return registry().with_objects(_of_packages(), report)


def with_files(
    known: Registry, dialects: Iterable[str], remark: Report = ignore
) -> tuple[Registry, list[str]]:
    """Read those that are files; returns the names of all. Raises DialectError."""
    names = []
    for dialect in dialects:
        if is_file(dialect):
            known, read = known.with_file(_text(dialect), dialect, remark)
            dialect = read.name
        names.append(dialect)
    return known, names


def _parts(dialect: str) -> list[str]:
    return [part.strip() for part in dialect.split(",")]


def _text(name: str) -> str:
    try:
        return read_text(name)
    except UnicodeDecodeError:
        raise DialectError(f"{name}: not valid TOML: it is not in UTF-8") from None
    except (OSError, ValueError) as error:
        raise DialectError(f"can't read {name}: {reason_of(error)}") from None


@cache
def _of_packages() -> Mapping[str, object]:
    """What the entry points name, by where each is from. Raises DialectError."""
    found = {}
    for point in sorted(entry_points(group=GROUP), key=lambda point: (_owner(point), point.name)):
        source = f"{_owner(point)}, entry point {point.name}"
        try:
            found[source] = point.load()
        except (Exception, SystemExit) as error:
            raise DialectError(
                f"{source}: can't load {point.value}: {type(error).__name__}: {error}"
            ) from None
    return found


def _owner(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else "a package"
