"""What the log says of the sessions: how their states change, what that has cost, outages."""

import hashlib
from collections.abc import Callable
from logging import DEBUG, INFO, WARNING
from math import inf
from typing import assert_never

from reknit_core import ContextStateMachine
from reknit_core.commands import AttemptFailed, DialectChosen, Dropped, Transitioned, Undelivered
from reknit_core.counters import Counters
from reknit_core.lifecycle import State, Trigger
from reknit_core.telemetry.account import Account, account, address_of
from reknit_core.telemetry.losses import MoreLosses
from reknit_core.telemetry.server_outage import OutageBegan, OutageEnded, OutageGoesOn
from reknit_core.telemetry.teller import Change, Remark, Teller, Volume

from reknit.observe.logs import LOG, tell

LABEL = 6  # bytes of a session's digest: enough to tell a hundred thousand apart
_AMOUNTS = (
    "; %(to_server_messages)d messages, %(to_server_bytes)d bytes to the server"
    "; %(to_client_messages)d messages, %(to_client_bytes)d bytes to the client"
)
_LEVELS = {Volume.DETAIL: DEBUG, Volume.NEWS: INFO, Volume.TROUBLE: WARNING}


def label_of(connection_id: str, key: bytes) -> str:
    """How a session is called in logs and calls: its id is a secret."""
    return hashlib.blake2s(connection_id.encode(), key=key, digest_size=LABEL).hexdigest()


class Reports:
    """Tells the log what happens to sessions. Times in seconds.

    `counters`: those of the same sessions. `wake`: called with the time at which look() is due, in
    place of any before.
    """

    def __init__(self, counters: Counters, wake: Callable[[float], None]) -> None:
        self._teller = Teller(counters)
        self._wake = wake
        self._next_look = inf

    def report(self, label: str, context: ContextStateMachine, change: Change, now: float) -> None:
        """That has happened to the session that is called so."""
        volume = self._teller.hear(label, change, now)
        self._tell_remarks()
        level = _LEVELS[volume]
        if LOG.isEnabledFor(level):
            _tell_change(level, label, context, change, now)

    def forget(self, label: str) -> None:
        """That session is over, or another process's."""
        self._teller.gone(label)

    def look(self, now: float) -> None:
        """Say what is due in time."""
        self._next_look = inf
        self._teller.look(now)
        self._tell_remarks()

    def finish(self) -> None:
        """Say what is left to be said: the proxy stops."""
        self._teller.finish()
        self._tell_remarks()

    def _tell_remarks(self) -> None:
        if self._next_look == inf and self._teller.is_calm:
            return
        for remark in self._teller.remarks():
            _tell_remark(remark)
        if self._teller.next_look != self._next_look:
            self._next_look = self._teller.next_look
            self._wake(self._next_look)


def _tell_change(
    level: int, session: str, context: ContextStateMachine, change: Change, now: float
) -> None:
    now_in = context.state.value
    match change:
        case Transitioned(trigger, State.CLOSED):
            _tell_ended(level, session, trigger, account(context, now))
        case Transitioned(Trigger.SERVER_ACCEPTED, State.CONNECTED):
            _tell_came(level, session, change, address_of(context))
        case Transitioned(Trigger.CLIENT_RETURNED):
            _tell_came(level, session, change, address_of(context))
        case Transitioned(trigger, state, reason):
            text = "%(session)s %(state)s by %(trigger)s" + (": %(reason)s" if reason else "")
            tell(
                level,
                "transition",
                text,
                session=session,
                state=state.value,
                trigger=trigger.value,
                reason=reason,
            )
        case AttemptFailed(attempt, _, reason, server):
            where = " at %(server)s" if server else ""
            text = f"%(session)s attempt %(attempt)d{where} failed: %(reason)s"
            which = {"server": server} if server else {}
            tell(
                level,
                "dial_failed",
                text,
                session=session,
                state=now_in,
                attempt=attempt,
                reason=reason,
                **which,
            )
        case DialectChosen(name, known):
            text = "%(session)s speaks %(dialect)s"
            if not known:
                text += ", which is not known here: it ends with its server"
            tell(level, "dialect", text, session=session, state=now_in, dialect=name)
        case Dropped(side, total):
            text = "%(session)s queue full: %(total)d to the %(side)s dropped"
            tell(
                level,
                "dropped",
                text,
                session=session,
                state=now_in,
                side=side.value,
                total=total,
            )
        case Undelivered(side, messages, size):
            text = "%(session)s lost %(messages)d messages to the %(side)s (%(bytes)d bytes)"
            tell(
                level,
                "lost",
                text,
                session=session,
                state=now_in,
                side=side.value,
                messages=messages,
                bytes=size,
            )
        case _:
            assert_never(change)


def _tell_came(level: int, session: str, change: Transitioned, address: str) -> None:
    """A client is there, for the first time or again."""
    text = "%(session)s %(state)s by %(trigger)s" + (" from %(address)s" if address else "")
    tell(
        level,
        "transition",
        text,
        session=session,
        state=change.state.value,
        trigger=change.trigger.value,
        address=address,
    )


def _tell_ended(level: int, session: str, trigger: Trigger, ended: Account) -> None:
    """A session is over: what a proxy's access log says of a request."""
    up, down = ended.to_server, ended.to_client
    text = "%(session)s closed by %(trigger)s after %(seconds).1f s, code %(code)d"
    if ended.cause:
        text += ": %(reason)s"
    text += "; from %(address)s for %(path)s" if ended.address else "; for %(path)s"
    text += _AMOUNTS
    if up.outages:
        text += "; server away %(server_outages)d times, %(server_away_seconds).1f s"
    if down.outages:
        text += "; client away %(client_outages)d times, %(client_away_seconds).1f s"
    tell(
        level,
        "ended",
        text,
        session=session,
        state=State.CLOSED.value,
        trigger=trigger.value,
        code=ended.code,
        reason=ended.cause,
        address=ended.address,
        path=ended.path,
        seconds=round(ended.seconds, 3),
        to_server_messages=up.messages,
        to_server_bytes=up.bytes,
        to_client_messages=down.messages,
        to_client_bytes=down.bytes,
        server_outages=up.outages,
        server_away_seconds=round(up.away_seconds, 3),
        client_outages=down.outages,
        client_away_seconds=round(down.away_seconds, 3),
    )


def _tell_remark(remark: Remark) -> None:
    match remark:
        case OutageBegan(reason, waiting, sessions, ended):
            text = "the server is out: %(waiting)d of %(sessions)d sessions wait: %(reason)s"
            if ended:
                text = (
                    "the server is out: %(ended)d sessions have ended with it, "
                    "%(waiting)d of %(sessions)d wait: %(reason)s"
                )
            tell(
                WARNING,
                "outage_began",
                text,
                waiting=waiting,
                sessions=sessions,
                ended=ended,
                reason=reason,
            )
        case OutageGoesOn(seconds, reason, waiting, ended):
            text = (
                "the server has been out for %(seconds).0f seconds: %(waiting)d sessions wait, "
                "%(ended)d have ended: %(reason)s"
            )
            tell(
                WARNING,
                "outage_goes_on",
                text,
                seconds=round(seconds, 3),
                waiting=waiting,
                ended=ended,
                reason=reason,
            )
        case OutageEnded(seconds, returned, ended, waiting):
            text = (
                "the server is back after %(seconds).1f seconds: %(returned)d sessions have "
                "returned to it, %(ended)d have ended, %(waiting)d wait"
            )
            tell(
                WARNING,
                "outage_ended",
                text,
                seconds=round(seconds, 3),
                returned=returned,
                ended=ended,
                waiting=waiting,
            )
        case MoreLosses(seconds, sessions, ended, messages, size, dropped, names):
            text = (
                "%(sessions)d more sessions in %(seconds).0f seconds: %(ended)d have failed, "
                "%(messages)d messages (%(bytes)d bytes) lost, %(dropped)d dropped: %(names)s"
            )
            more = ", …" if sessions > len(names) else ""
            tell(
                WARNING,
                "more_losses",
                text,
                seconds=seconds,
                sessions=sessions,
                ended=ended,
                messages=messages,
                bytes=size,
                dropped=dropped,
                names=", ".join(names) + more,
            )
        case _:
            assert_never(remark)
