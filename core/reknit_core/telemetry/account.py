"""What a session comes to when it is over: whose it was, how long, how much, what it outlived."""

from dataclasses import dataclass
from math import inf

from reknit_core.session.context import ContextStateMachine
from reknit_core.side import Side
from reknit_core.wire.reasons import shortened


@dataclass(frozen=True, slots=True)
class Passed:
    """What came for one side, and how that was away.

    `messages` and `bytes` were received for it, frame headers and what was dropped included.
    `outages`: how often it was away, for `away_seconds` in all.
    """

    messages: int
    bytes: int
    outages: int
    away_seconds: float


@dataclass(frozen=True, slots=True)
class Account:
    """A session until now, for people and their programs.

    `address`: of its client, as far as known; `path`: what it asks for, without the query. `code`
    ends it: a close code, or the HTTP status by which its client was refused; `cause` says why.
    """

    address: str
    path: str
    seconds: float
    code: int
    cause: str
    to_client: Passed
    to_server: Passed


def account(context: ContextStateMachine, now: float) -> Account:
    """What the session comes to at that time (seconds)."""
    course = context.course
    return Account(
        course.address,
        path_of(context),
        now - course.began,
        context.code,
        course.cause,
        _passed(context, Side.CLIENT, now),
        _passed(context, Side.SERVER, now),
    )


def address_of(context: ContextStateMachine) -> str:
    """Where its client comes from, or last came from; empty: it has no address."""
    return context.course.address


def path_of(context: ContextStateMachine) -> str:
    """What its client asks for, without the query: that may hold secrets."""
    return shortened(context.target.partition("?")[0])


def age_of(context: ContextStateMachine, now: float) -> float:
    """How long it has been there (seconds)."""
    return now - context.course.began


def _passed(context: ContextStateMachine, side: Side, now: float) -> Passed:
    course = context.course
    is_client = side is Side.CLIENT
    source = (context.server if is_client else context.client).queue
    away = course.client if is_client else course.server
    messages = source.count + source.dropped
    if away is None:
        return Passed(messages, source.tail, 0, 0.0)
    seconds = away.seconds if away.since == inf else away.seconds + now - away.since
    return Passed(messages, source.tail, away.times, seconds)
