"""The configuration of `reknit serve`: command line over environment over file over defaults.

Pure: text and TOML values go in, a checked Config comes out. The options are made from the
policy's own table of settings, so that each one is described once.
"""

import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from enum import Enum
from typing import Any, get_args, get_origin, get_type_hints

from reknit_core.policy import SETTINGS, Policy, PolicyError, Setting, Upstream, parse_upstream

PREFIX = "REKNIT_"
CONFIG = "config"  # names the file itself, so it can't stand in one
SHOWN = 60  # characters of a bad value in an error

# Kubernetes sets these for a service of the name "reknit"; they aren't meant for us.
_FOREIGN = re.compile(r"REKNIT_(SERVICE_(HOST|PORT(_\w+)?)|PORT(_\d+_[A-Z]+(_\w+)?)?)")


class ConfigError(ValueError):
    """What is wrong with the configuration: one line for people."""


class LogLevel(Enum):
    """How much is logged: from everything to errors only."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Listen:
    """Where clients connect. Port 0: the system chooses one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Option:
    """One thing that can be configured, under the same name everywhere.

    `allowed` says in words what may be given, `limits` the range of a number, with its unit.
    `read` takes a TOML value to the value itself; `parse` takes text to a TOML value first. Both
    raise ValueError for what is not allowed.
    """

    name: str
    metavar: str
    help: str
    allowed: str
    default: str
    parse: Callable[[str], object]
    read: Callable[[object], object]
    is_flag: bool = False
    limits: str = ""

    @property
    def flag(self) -> str:
        """The name on the command line."""
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """The name in the environment."""
        return PREFIX + self.name.upper()


@dataclass(frozen=True, slots=True)
class Given:
    """A checked value, and how the person named it: for errors."""

    label: str
    value: object


Layer = Mapping[str, Given]
"""What one source says, by option name."""


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that `reknit serve` needs to know."""

    upstream: Upstream
    listen: Listen
    log_level: LogLevel
    policy: Policy


# -- Values ------------------------------------------------------------------------------------


def parse_listen(text: str) -> Listen:
    """Read `HOST:PORT` or `[IPV6]:PORT`. Raises ValueError."""
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.%\w]+)\]|([\w.%-]+)):([0-9]{1,5})", text, re.ASCII)
    if match is None or int(match[3]) > 65535:
        raise ValueError(text)
    (match[1] or match[2]).encode("idna")  # as looking the name up would
    return Listen(match[1] or match[2], int(match[3]))


def _parse_as(kind: Any, text: str) -> object:
    """Text from a command line or the environment as a TOML value of that type."""
    if kind is bool:
        return {"true": True, "false": False}.get(text.lower(), text)
    if kind is int:
        return int(text)
    if kind is float:
        return float(text)
    return text


def _read_as(kind: Any, value: object) -> object:
    """A TOML value as a value of that type. Raises ValueError for another type."""
    if kind is float and type(value) in (int, float):
        return float(value)  # type: ignore[arg-type]
    if kind in (bool, int, str) and type(value) is kind:
        return value
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind(value)
    if get_origin(kind) is frozenset:
        (part,) = get_args(kind)
        if isinstance(value, str):
            words = [word.strip() for word in value.split(",")] if value.strip() else []
            return frozenset(_parse_as(part, word) for word in words)
        if isinstance(value, list):
            return frozenset(_read_as(part, item) for item in value)
    raise ValueError(value)


def _show_default(value: object) -> str:
    match value:
        case bool():
            return "on" if value else "off"
        case Enum():
            return str(value.value)
        case frozenset():
            return ",".join(str(part) for part in sorted(value))
        case float():
            return f"{value:g}"
        case _:
            return str(value)


def _metavar(kind: Any, unit: str) -> str:
    if isinstance(kind, type) and issubclass(kind, Enum):
        return "|".join(str(member.value) for member in kind)
    if get_origin(kind) is frozenset:
        return "CODE,..." if get_args(kind) == (int,) else "NAME,..."
    return unit.upper() or ("NAME" if kind is str else "NUMBER")


def _allowed(kind: Any, setting: Setting) -> str:
    if kind is bool:
        return "true or false"
    if isinstance(kind, type) and issubclass(kind, Enum):
        return ", ".join(str(member.value) for member in kind)
    return f"a whole number, {setting.allowed}" if kind is int else setting.allowed


def _policy_option(name: str, kind: Any, default: object) -> Option:
    setting = SETTINGS[name]

    def read(value: object) -> object:
        result = _read_as(kind, value)
        setting.check(name, result)
        return result

    return Option(
        name,
        _metavar(kind, setting.unit),
        setting.help,
        _allowed(kind, setting),
        _show_default(default),
        lambda text: _parse_as(kind, text),
        read,
        is_flag=kind is bool,
        limits=setting.allowed if kind in (int, float) else "",
    )


def _options() -> Iterable[Option]:
    def read_listen(value: object) -> object:
        return parse_listen(str(value))

    def read_upstream(value: object) -> object:
        return parse_upstream(str(value))

    levels = [level.value for level in LogLevel]
    yield Option(
        "upstream",
        "UPSTREAM",
        "The server behind the proxy.",
        "ws://HOST:PORT[/PATH]",
        "",
        str,
        read_upstream,
    )
    yield Option(
        "listen",
        "HOST:PORT",
        "Where clients connect.",
        "HOST:PORT or [IPV6]:PORT, with a port from 0 to 65535",
        "127.0.0.1:9300",
        str,
        read_listen,
    )
    yield Option(
        "log_level",
        "|".join(levels),
        "How much is logged, to standard error.",
        ", ".join(levels),
        LogLevel.INFO.value,
        str.lower,
        LogLevel,
    )
    kinds = get_type_hints(Policy)
    for item in fields(Policy):
        yield _policy_option(item.name, kinds[item.name], item.default)


OPTIONS: Mapping[str, Option] = {option.name: option for option in _options()}
"""Everything that can be configured, by name."""


# -- Sources -----------------------------------------------------------------------------------


def from_command_line(values: Mapping[str, object]) -> Layer:
    """What options were given, by name; None: not given. Raises ConfigError."""
    layer = {}
    for name, value in values.items():
        if value is not None:
            option = OPTIONS[name]
            label = option.metavar if name == "upstream" else option.flag
            layer[name] = _given(option, label, value, text=isinstance(value, str))
    return layer


def from_environment(environ: Mapping[str, str]) -> Layer:
    """What the REKNIT_ variables say. Raises ConfigError."""
    known = {option.variable: option for option in OPTIONS.values()}
    layer = {}
    for variable, value in sorted(environ.items()):
        if variable in known:
            option = known[variable]
            layer[option.name] = _given(option, f"environment variable {variable}", value)
        elif variable.startswith(PREFIX) and not _FOREIGN.fullmatch(variable):
            names = [*known, PREFIX + CONFIG.upper()]
            if variable not in names:
                raise _unknown("environment variable", variable, value, names)
    return layer


def from_toml(text: str, source: str) -> Layer:
    """What a TOML file says; `source` is its name, for errors. Raises ConfigError."""
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{source}: not valid TOML: {one_line(error)}") from None
    layer: dict[str, Given] = {}
    for key, value in table.items():
        name = key.replace("-", "_")
        if name not in OPTIONS:
            raise _unknown(f"{source}:", key, value, list(OPTIONS))
        if name in layer:
            raise ConfigError(f"{source}: {key} is given twice: as {name} and {key}")
        layer[name] = _given(OPTIONS[name], f"{source}: {key}", value, text=False)
    return layer


def merge(*layers: Layer) -> Config:
    """The configuration that the layers make together, the first one above the others.

    Raises ConfigError where no layer names an upstream, or values don't go together.
    """
    given: dict[str, Given] = {}
    for layer in reversed(layers):
        given.update(layer)
    values = {name: item.value for name, item in given.items()}
    upstream = values.pop("upstream", None)
    if not isinstance(upstream, Upstream):
        raise ConfigError(f"UPSTREAM is missing: the server's URL, {OPTIONS['upstream'].allowed}")
    listen = values.pop("listen", parse_listen(OPTIONS["listen"].default))
    level = values.pop("log_level", LogLevel.INFO)
    assert isinstance(listen, Listen)
    assert isinstance(level, LogLevel)
    try:
        policy = Policy(**values)  # type: ignore[arg-type]
    except PolicyError as error:
        label = given[error.name].label if error.name in given else error.name
        raise _not_allowed(label, error.value, error.allowed) from None
    return Config(upstream, listen, level, policy)


def _given(option: Option, label: str, value: object, *, text: bool = True) -> Given:
    try:
        return Given(label, option.read(option.parse(str(value)) if text else value))
    except (ValueError, OverflowError):
        raise _not_allowed(label, value, option.allowed) from None


# -- Errors ------------------------------------------------------------------------------------


def one_line(error: object) -> str:
    """Text for people on one line: anything that would break or colour it is escaped."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(error))


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."


def _not_allowed(label: str, value: object, allowed: str) -> ConfigError:
    return ConfigError(f"{label}: {_shown(value)} is not allowed; allowed: {allowed}")


def _unknown(where: str, key: str, value: object, known: list[str]) -> ConfigError:
    near = get_close_matches(key.replace("-", "_"), known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
    return ConfigError(f"{where} {one_line(key)}: unknown key (value {_shown(value)}); {hint}")
