"""The text form of what goes into a context and what comes out: read, check, compare.

    # A title
    policy retry_limit=3
    @1.500 > server lost
           = server_down
           < dial attempt=1 at=2.500

A line is an event (`>`) with its time in seconds, or what came out of it: a command or bytes
(`<`), a state (`=`), or a remark (`!`) of the player: this event can't happen here, and was left
out. The events and what they mean stand in grammar.py. `#` begins a comment line.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from difflib import unified_diff
from enum import Enum
from typing import get_args, get_type_hints

from reknit_core.lifecycle import State
from reknit_core.policy.policy import Delivery, Policy
from reknit_core.policy.setting import PolicyError
from reknit_core.script.actions import Action, ScenarioError
from reknit_core.script.grammar import USAGE, read_action

DEFAULT_POLICY = Policy(
    retry_interval=1.0,
    retry_limit=3,
    retry_jitter=0.0,
    client_grace=5.0,
    heartbeat_interval=0.0,
    delivery=Delivery.AT_MOST_ONCE,
    confirm_after=3600.0,
)
"""Where a scenario says nothing else: round numbers, nothing by chance, nothing unasked."""

INDENT = " " * 7
_LINE = re.compile(r"(?:@(\S+)\s*)?([><=!])\s*(.*)")
_TIME = re.compile(r"\d{1,9}(?:\.\d{1,6})?")
_WORD = re.compile(r'(?:[^\s"=]+=)?"(?:[^"\\]|\\.)*"(?=\s|$)|[^\s"]+(?=\s|$)')
_OUTCOMES = ("client", "server", "dial", "dialect")


@dataclass(frozen=True, slots=True)
class Step:
    """One event: at which time (seconds), what, and its text without the time."""

    at: float
    text: str
    action: Action


@dataclass(frozen=True, slots=True)
class Line:
    """A line that counts, in its canonical form; `step` is there if it is an event."""

    number: int
    text: str
    step: Step | None


@dataclass(frozen=True, slots=True)
class Scenario:
    """A whole file: its first comment, the policy, then events and what must come out of them."""

    title: str
    policy: Policy
    lines: tuple[Line, ...]

    @property
    def canonical(self) -> list[str]:
        """The file as the player would print it, if it plays as it says."""
        return [*policy_lines(self.policy), *(line.text for line in self.lines)]


def parse(text: str) -> Scenario:
    """Read a scenario file. Raises ScenarioError with the line's number."""
    title = ""
    settings: dict[str, object] = {}
    lines: list[Line] = []
    clock = 0.0
    for number, raw in enumerate(text.split("\n"), 1):
        content = raw.strip()
        if content.startswith("#"):
            title = title or content.lstrip("# ")
            continue
        if not content:
            continue
        try:
            if content.split()[0] == "policy":
                if lines:
                    raise ScenarioError("policy after the first event", "policy lines come first")
                settings.update(_read_settings(words_of(content)[1:]))
                continue
            line = _read_line(number, content)
            if line.step is not None:
                if line.step.at < clock:
                    raise ScenarioError(f"time goes back to {seconds(line.step.at)}", "later times")
                clock = line.step.at
            elif not lines:
                raise ScenarioError("an outcome without an event", "an event first: @0 > ...")
        except ScenarioError as error:
            raise error.at_line(number) from None
        lines.append(line)
    return Scenario(title, make_policy(settings), tuple(lines))


def parse_event(text: str) -> Step:
    """Read one event line. Raises ScenarioError."""
    step = _read_line(0, text.strip()).step
    if step is None:
        raise ScenarioError(f"no event: {text.strip()!r}", "@SECONDS > EVENT")
    return step


def diff(expected_text: str, played: Iterable[str]) -> str:
    """What a scenario file says against what was played: a unified diff, empty if the same.

    Comments, blank lines and spacing don't count. Raises ScenarioError for a file that can't
    be read.
    """
    expected = parse(expected_text).canonical
    return "\n".join(unified_diff(expected, list(played), "expected", "played", "", "", 5, ""))


# -- Printing ----------------------------------------------------------------------------------


def seconds(at: float) -> str:
    """A time as text: three decimals, or as many as it has, up to a microsecond."""
    whole, _, decimals = f"{at:.6f}".partition(".")
    return f"{whole}.{decimals[:3]}{decimals[3:].rstrip('0')}"


def event_line(at: float, text: str) -> str:
    """An event in canonical form."""
    return f"@{seconds(at)} > {text}"


def outcome_line(kind: str, text: str) -> str:
    """A command or bytes (`<`), a state (`=`) or a remark (`!`) in canonical form."""
    return f"{INDENT}{kind} {text}"


def policy_lines(policy: Policy) -> list[str]:
    """The policy, as far as it isn't the scenarios' default, in canonical form."""
    lines = []
    for item in fields(Policy):
        value = getattr(policy, item.name)
        if value != getattr(DEFAULT_POLICY, item.name):
            lines.append(f"policy {item.name}={_show(value)}")
    return lines


def _show(value: object) -> str:
    match value:
        case Enum():
            return str(value.value)
        case bool():
            return str(value).lower()
        case frozenset() | tuple():
            return ",".join(str(part) for part in sorted(value))
        case float():
            return f"{value:.15g}"
        case _:
            return str(value)


# -- Reading -----------------------------------------------------------------------------------


def words_of(text: str) -> list[str]:
    """Cut a line into words; a JSON string, or `name=` with one, is one word."""
    words = []
    position = 0
    while position < len(text):
        if text[position].isspace():
            position += 1
            continue
        match = _WORD.match(text, position)
        if match is None:
            raise ScenarioError(f"can't read {text[position:]!r}", 'words and "JSON strings"')
        words.append(match[0])
        position = match.end()
    return words


def _read_line(number: int, content: str) -> Line:
    match = _LINE.fullmatch(content)
    if match is None:
        allowed = "@SECONDS > EVENT, < OUTCOME, = STATE, ! REMARK, policy NAME=VALUE, # COMMENT"
        raise ScenarioError(f"can't read {content!r}", allowed)
    time, kind, rest = match.groups()
    words = words_of(rest) if kind != "!" else rest.split()
    if not words:
        raise ScenarioError(f"nothing after {kind!r}", _allowed_after(kind))
    text = " ".join(words)
    if kind == ">":
        if time is None or not _TIME.fullmatch(time):
            raise ScenarioError(f"time {time!r}", "@SECONDS with up to six decimals")
        step = Step(float(time), text, read_action(words))
        return Line(number, event_line(step.at, text), step)
    if time is not None:
        raise ScenarioError(f"a time before {kind!r}", "a time on events only")
    if kind == "=" and text not in (state.value for state in State):
        raise ScenarioError(f"unknown state {text!r}", _allowed_after(kind))
    if kind == "<" and words[0] not in _OUTCOMES:
        raise ScenarioError(f"unknown outcome {text!r}", _allowed_after(kind))
    return Line(number, outcome_line(kind, text), None)


def _allowed_after(kind: str) -> str:
    match kind:
        case ">":
            return "; ".join(USAGE)
        case "=":
            return ", ".join(state.value for state in State)
        case "<":
            return ", ".join(f"{word} ..." for word in _OUTCOMES)
        case _:
            return "a remark"


# -- Policy lines ------------------------------------------------------------------------------


def make_policy(settings: dict[str, object]) -> Policy:
    """The scenarios' default policy with these settings. Raises ScenarioError."""
    values = {item.name: getattr(DEFAULT_POLICY, item.name) for item in fields(Policy)}
    try:
        return Policy(**{**values, **settings})
    except PolicyError as error:
        raise ScenarioError(f"{error.name}={error.value!r}", error.allowed) from None


def _read_settings(words: list[str]) -> dict[str, object]:
    settings: dict[str, object] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or name not in {item.name for item in fields(Policy)}:
            names = ", ".join(item.name for item in fields(Policy))
            raise ScenarioError(f"unknown setting {word!r}", f"NAME=VALUE; names: {names}")
        settings[name] = _read_value(name, value)
    make_policy(settings)
    return settings


def _read_value(name: str, text: str) -> object:
    """A setting's value, of the type that its default has."""
    default = getattr(DEFAULT_POLICY, name)
    allowed = f"a value like {_show(default)}"
    try:
        match default:
            case Enum():
                allowed = ", ".join(str(member.value) for member in type(default))
                return type(default)(text)
            case bool():
                return {"true": True, "false": False}[text]
            case int():
                return int(text)
            case float():
                return float(text)
            case frozenset():
                (kind,) = get_args(get_type_hints(Policy)[name])
                return frozenset(kind(part) for part in text.split(",") if part)
            case _:
                return text
    except (ValueError, KeyError):
        raise ScenarioError(f"{name}={text}", allowed) from None
