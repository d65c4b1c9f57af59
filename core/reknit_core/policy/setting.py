"""What a setting of the policy means to a person, and which values it may have."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from math import isfinite
from typing import Any


class PolicyError(ValueError):
    """A value that is not allowed: for which name, what it was, and what is allowed.

    `problem` says which part of it is wrong, where that can be said.
    """

    def __init__(self, name: str, value: object, allowed: str, problem: str = "") -> None:
        why = f": {problem}" if problem else ""
        super().__init__(f"{name}: {value!r} is not allowed{why}; allowed: {allowed}")
        self.name = name
        self.value = value
        self.allowed = allowed
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Setting:
    """What a field of the policy means to a person, and which values it may have.

    `low` and `high` bound a number; `pattern` is what a text, or each part of a list, must match.
    `accepts` says it for a part that no pattern describes, and `metavar` what such a part is.
    """

    help: str
    unit: str = ""
    low: float = 0
    high: float | None = None
    pattern: str = ""
    words: str = ""
    accepts: Callable[[str], bool] | None = None
    metavar: str = ""

    @property
    def allowed(self) -> str:
        """The allowed values in words."""
        if self.words:
            return self.words
        unit = f" {self.unit}" if self.unit else ""
        if self.high is None:
            return f"{_plain(self.low)} or more{unit}"
        return f"{_plain(self.low)} to {_plain(self.high)}{unit}"

    def check(self, name: str, value: object) -> None:
        """Raise PolicyError unless the value is allowed."""
        match value:
            case Enum():
                good = True
            case int() | float() if not self.pattern:
                good = isinstance(value, int) or isfinite(value)
                good = good and self.low <= value
                good = good and (self.high is None or value <= self.high)
            case str() if self.pattern:
                good = re.fullmatch(self.pattern, value) is not None
            case frozenset() if self.accepts:
                good = all(isinstance(part, str) and self.accepts(part) for part in value)
            case frozenset() if self.pattern:
                good = all(re.fullmatch(self.pattern, str(part)) for part in value)
            case _:
                good = False
        if not good:
            shown = sorted(value, key=str) if isinstance(value, frozenset) else value
            raise PolicyError(name, shown, self.allowed)


def _plain(number: float) -> str:
    return str(number) if isinstance(number, int) else f"{number:g}"


def setting(
    default: object,
    help: str,
    unit: str = "",
    low: float = 0,
    high: float | None = None,
    *,
    pattern: str = "",
    words: str = "",
    metavar: str = "",
) -> Any:
    """A field of the policy with that default."""
    known = Setting(help, unit, low, high, pattern, words, metavar=metavar)
    return field(default=default, metadata={"setting": known})
