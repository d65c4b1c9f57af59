"""Mistakes in a dialect's TOML file, as people are told of them."""

import re
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import NoReturn

Report = Callable[[str, str], None]
"""Is told from where a dialect is, and what is wrong with it."""

_SHOWN = 60  # characters of a bad value in an error
_HEAD = re.compile(r"\s*\[\[?\s*[\w-]+\s*\]")  # of a table that is in no other


def ignore(source: str, what: str) -> None:
    """A report for nobody."""


class DialectError(ValueError):
    """A dialect's file can't be used; the text says where, what is wrong and what is allowed."""


class TomlSource:
    """A file's text; knows on which line what stands. `source`: what to call it.

    A place is a table's name with its number, from 0: `statement[1]`; empty: the file itself.
    People count from 1: `[[statement]] 2`.
    """

    def __init__(self, text: str, source: str) -> None:
        self._lines = text.splitlines()
        self._source = source

    def known(self, place: str, table: Mapping[str, object], names: frozenset[str]) -> None:
        """Every key of the table is one of these. Raises DialectError."""
        for key in table:
            if key not in names:
                near = get_close_matches(key, names, n=1)
                hint = f"did you mean {near[0]}? " if near else ""
                self._say(place, key, f"unknown key; {hint}allowed: {', '.join(sorted(names))}")

    def fail(self, place: str, key: str, found: object, allowed: str, why: str = "") -> NoReturn:
        """Raise DialectError: what was found there, or nothing (None), is not allowed.

        `why`: what is wrong with it, where that is not plain.
        """
        if found is None:
            self._say(place, key, f"is missing; allowed: {allowed}")
        text = f"'{found}'" if isinstance(found, str) else _as_toml(found)
        shown = text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
        because = f" ({why})" if why else ""
        self._say(place, key, f"{shown} is not allowed{because}; allowed: {allowed}")

    def _say(self, place: str, key: str, what: str) -> NoReturn:
        table, _, number = place.rstrip("]").partition("[")
        name = f"[[{table}]] {int(number) + 1}, {key}" if place else key
        raise DialectError(f"{self._source}, line {self._line(place, key)}: {name}: {what}")

    def _line(self, place: str, key: str) -> int:
        """Where the key stands; where its table begins, if it is missing."""
        table, _, number = place.rstrip("]").partition("[")
        heads = [n for n, line in enumerate(self._lines) if _HEAD.match(line)]
        start = 0
        if number:
            head = re.compile(rf"\s*\[\[\s*{table}\s*\]\]")
            starts = [n for n in heads if head.match(self._lines[n])]
            start = starts[int(number)] if int(number) < len(starts) else 0
        end = next((n for n in heads if n > start), len(self._lines))
        numbers = [*range(start, end)] if number else [*range(end), *heads]
        key, _, path = key.partition(".")
        line = self._find(numbers, rf"(\[+\s*({table}\s*\.\s*)?)?", key)
        if line is None:
            return start + 1
        if path and self._lines[line].lstrip().startswith("["):  # a table of its own
            below = self._find(range(line + 1, end), "", path)
            line = line if below is None else below
        return line + 1

    def _find(self, numbers: Iterable[int], before: str, key: str) -> int | None:
        """The first of these lines that the key begins."""
        is_key = re.compile(rf"\s*{before}[\"']?{re.escape(key)}[\"']?\s*[=.\]]").match
        return next((number for number in numbers if is_key(self._lines[number])), None)


def _as_toml(value: object) -> str:
    """A value as a TOML file has it, for errors."""
    match value:
        case bool():
            return str(value).lower()
        case dict():
            members = (f"{key} = {_as_toml(part)}" for key, part in value.items())
            return f"{{{', '.join(members)}}}"
        case list():
            return f"[{', '.join(map(_as_toml, value))}]"
        case str():
            return repr(value)
        case _:
            return str(value)
