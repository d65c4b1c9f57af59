"""The words after an event's verb, and questions to them."""

import json
import re

from reknit_core.script.actions import ScenarioError
from reknit_core.script.phrases import padded

MAX_SIZE = 64 * 2**20  # bytes of one message: a scenario is played in memory


class Arguments:
    """The words after the verb. Each question takes its answer out; done() checks the rest."""

    def __init__(self, words: list[str], usage: str) -> None:
        self._words = words
        self._usage = usage

    def wrong(self, what: str) -> ScenarioError:
        """An error that says what is allowed for this verb."""
        return ScenarioError(what, self._usage)

    def done(self) -> None:
        """Raise ScenarioError if a word is left that nobody asked for."""
        if self._words:
            raise self.wrong(f"unexpected {self._words[0]!r}")

    def flag(self, word: str) -> bool:
        """Whether that word is there."""
        if word in self._words:
            self._words.remove(word)
            return True
        return False

    def option(self, name: str, pattern: str) -> str | None:
        """The value of `name=value`, which must match."""
        for word in self._words:
            if word.startswith(name + "="):
                self._words.remove(word)
                value = word[len(name) + 1 :]
                if value.startswith('"'):
                    value = self._unquote(value)
                if not re.fullmatch(pattern, value):
                    raise self.wrong(f"{word!r} (must match {pattern})")
                return value
        return None

    def number(self, name: str, low: int, high: int) -> int | None:
        """The value of `name=N`."""
        value = self.option(name, r"\d+")
        return None if value is None else self._within(value, low, high)

    def between(self, before: str, after: str, low: int, high: int) -> int | None:
        """The number in the words `before N after`."""
        if before not in self._words:
            return None
        at = self._words.index(before)
        words = self._words[at : at + 3]
        if len(words) < 3 or not words[1].isdecimal() or words[2] != after:
            raise self.wrong(f"{' '.join(words)!r} (must be {before} N {after})")
        del self._words[at : at + 3]
        return self._within(words[1], low, high)

    def word(self) -> str:
        """The next word."""
        if not self._words:
            raise self.wrong("something is missing")
        return self._words.pop(0)

    def next_number(self, low: int, high: int) -> int | None:
        """The next word if it is a number."""
        if not self._words or not self._words[0].isdecimal():
            return None
        return self._within(self._words.pop(0), low, high)

    def payloads(self) -> list[bytes]:
        """Every payload there is, in order. `size=N` pads the last one."""
        found = []
        for word in list(self._words):
            if word.startswith('"'):
                found.append(self._encode(self._unquote(word)))
            elif word.startswith("hex="):
                if not re.fullmatch(r"(?:[0-9a-f]{2})*", word[4:]):
                    raise self.wrong(f"{word} is no row of bytes")
                found.append(bytes.fromhex(word[4:]))
            else:
                continue
            self._words.remove(word)
        size = self.number("size", len(found[-1]) if found else 0, MAX_SIZE)
        if size is not None:
            found = found or [b""]
            found[-1] = padded(found[-1], size)
        return found

    def payload(self, limit: int = MAX_SIZE) -> bytes:
        """At most one payload; nothing is the empty one."""
        found = self.payloads()
        if len(found) > 1:
            raise self.wrong("more than one payload")
        if found and len(found[0]) > limit:
            raise self.wrong(f"a payload of {len(found[0])} bytes (at most {limit})")
        return found[0] if found else b""

    def _within(self, digits: str, low: int, high: int) -> int:
        if len(digits) > 12 or not low <= int(digits) <= high:
            raise self.wrong(f"{digits} (must be {low} to {high})")
        return int(digits)

    def _encode(self, text: str) -> bytes:
        try:
            return text.encode()
        except UnicodeEncodeError:
            raise self.wrong(f"{text!r} is half a character") from None

    def _unquote(self, word: str) -> str:
        try:
            value = json.loads(word)
        except ValueError:
            raise self.wrong(f"{word} is no JSON string") from None
        assert isinstance(value, str)
        return value
