"""One thing that can be configured; and those options that are the policy's settings."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, get_args, get_origin

from reknit_core.policy.policy import SETTINGS
from reknit_core.policy.setting import Setting

from reknit.settings.units import QUANTITIES, Quantity

PREFIX = "REKNIT_"


@dataclass(frozen=True, slots=True)
class Option:
    """One thing that can be configured, under the same name everywhere.

    A list may be given more than once on the command line, each time with commas or without.
    `allowed` says in words what may be given, `limits` the range of a number, with its unit;
    one of a `quantity` takes other units too. `words` are names of single values.
    One that `is_secret` can't stand on a command line, and is never shown.
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
    is_list: bool = False
    is_secret: bool = False
    limits: str = ""
    quantity: Quantity | None = None
    words: Mapping[str, object] = field(default_factory=dict)

    @property
    def flag(self) -> str:
        """The name on the command line."""
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """The name in the environment."""
        return PREFIX + self.name.upper()

    def shown(self, value: object) -> str:
        """The value as a person may give it."""
        for word, meaning in self.words.items():
            if value == meaning:
                return word
        if self.quantity is not None and isinstance(value, int | float):
            return self.quantity.show(value)
        return _shown(value)


def parse_as(kind: Any, text: str) -> object:
    """Text from a command line or the environment as a TOML value of that type."""
    if kind is bool:
        return {"true": True, "false": False}.get(text.lower(), text)
    if kind is int:
        return int(text)
    if kind is float:
        return float(text)
    return text


def read_as(kind: Any, value: object) -> object:
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
            return frozenset(parse_as(part, word) for word in words)
        if isinstance(value, list):
            return frozenset(read_as(part, item) for item in value)
    raise ValueError(value)


def read_file_name(value: object) -> str:
    """A file's name. Raises ValueError."""
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError(value)
    return value


def _shown(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case Enum():
            return str(value.value)
        case frozenset():
            return ",".join(str(part) for part in sorted(value))
        case float():
            return f"{value:g}"
        case _:
            return str(getattr(value, "url", value))


def _metavar(kind: Any, setting: Setting) -> str:
    if kind is bool:
        return "true|false"
    if isinstance(kind, type) and issubclass(kind, Enum):
        return "|".join(str(member.value) for member in kind)
    if get_origin(kind) is frozenset:
        return (setting.metavar or ("CODE" if get_args(kind) == (int,) else "NAME")) + ",..."
    return setting.metavar or setting.unit.upper() or ("NAME" if kind is str else "NUMBER")


def _allowed(kind: Any, setting: Setting) -> str:
    if kind is bool:
        return "true or false"
    if isinstance(kind, type) and issubclass(kind, Enum):
        return ", ".join(str(member.value) for member in kind)
    return f"a whole number, {setting.allowed}" if kind is int else setting.allowed


def policy_option(name: str, kind: Any, default: object) -> Option:
    """The setting of that name as an option; `kind` is its type."""
    setting = SETTINGS[name]
    quantity = QUANTITIES.get(setting.unit)
    if quantity is not None:
        return quantity_option(name, setting.help, quantity, default, setting.low, setting.high)

    def read(value: object) -> object:
        result = read_as(kind, value)
        setting.check(name, result)
        return result

    return Option(
        name,
        _metavar(kind, setting),
        setting.help,
        _allowed(kind, setting),
        _shown(default),
        lambda text: parse_as(kind, text),
        read,
        is_flag=kind is bool,
        is_list=get_origin(kind) is frozenset,
        limits=setting.allowed if kind in (int, float) else "",
    )


def quantity_option(
    name: str, help: str, quantity: Quantity, default: Any, low: float, high: float | None
) -> Option:
    """An option of seconds or bytes, within these limits."""
    limits = quantity.range(low, high)
    return Option(
        name,
        quantity.metavar,
        help,
        quantity.allowed(limits),
        quantity.show(default),
        str,
        lambda value: quantity.read(value, low, high),
        limits=limits,
        quantity=quantity,
    )
