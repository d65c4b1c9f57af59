"""From process to process: what a proxy gives away, and how another one goes on with it.

What the two processes say meanwhile stands in takeover.py, who begins it in restart.py.
"""

import socket
from dataclasses import dataclass, field
from logging import INFO
from typing import TYPE_CHECKING

import trio
from reknit_core.durable.frozen import FrozenError, freeze, thaw
from reknit_core.proxy.arrival import Arrival
from reknit_core.side import Side
from reknit_core.telemetry.totals import add_totals, take_totals

from reknit.observe.logs import tell
from reknit.process.takeover import (
    Channel,
    Estate,
    Moving,
    TakeoverError,
    accept,
    hand_over,
    take_over,
)
from reknit.trio.door.listeners import close_listeners
from reknit.trio.door.newcomer import Newcomer
from reknit.trio.links import Connection, Link

if TYPE_CHECKING:
    from reknit.trio.proxy import Proxy


@dataclass(slots=True)
class Doors:
    """Where a process listens: for clients, and for its operator."""

    clients: list[socket.socket] = field(default_factory=list)
    admin: list[socket.socket] = field(default_factory=list)


def give(proxy: "Proxy", doors: Doors, channel: Channel) -> None:
    """Give all sessions that can move, clients and listeners to another process.

    A session of which a connection is more than its descriptor, as with TLS, stays, and so does a
    plain request on its way. Raises TakeoverError, and then all are still here.
    """
    now = trio.current_time()
    links = [link for link in proxy.sessions if _is_plain(link.client) and _is_plain(link.server)]
    estate = Estate(
        proxy.sessions.key,
        take_totals(proxy.sessions.contexts),
        (_moving(link, now) for link in links),
        [
            (
                newcomer.stream,
                _arrival(newcomer),
            )
            for newcomer in proxy.newcomers.reading
            if isinstance(newcomer.stream, socket.socket)  # else it has to begin again, with TLS
        ]
        + ([] if proxy.colleagues is None else proxy.colleagues.waiting),
    )
    hand_over(channel, doors.clients, doors.admin, estate)
    proxy.sessions.contexts.is_draining = True
    proxy.listener.stop()
    close_listeners(doors.clients)
    proxy.newcomers.let_go()
    if proxy.colleagues is not None:
        proxy.colleagues.let_go()
    for link in links:
        proxy.reactor.let_go(link)
        proxy.sessions.let_go(link)
        proxy.reports.forget(link)


def _arrival(newcomer: Newcomer) -> Arrival:
    guest, handshake = newcomer.guest, newcomer.handshake
    secure = handshake.secure and not guest.awaits  # it will be, by a handshake that is to come
    return Arrival(guest.address, newcomer.read, secure, guest.awaits)


def _is_plain(connection: Connection | None) -> bool:
    return connection is None or isinstance(connection.socket, socket.socket)


def _moving(link: Link, now: float) -> Moving:
    client, server = link.client, link.server
    return Moving(
        freeze(link.context, now),
        _plain_socket(client),
        _plain_socket(server),
        client.guest.address if client and client.guest else "",
    )


def _plain_socket(connection: Connection | None) -> socket.socket | None:
    if connection is None:
        return None
    assert isinstance(connection.socket, socket.socket)  # the others stay
    return connection.socket


def take(proxy: "Proxy", channel: Channel) -> Doors:
    """Build what another process gives, which is greeted; returns where it listened.

    Raises TakeoverError. Nothing is written or dialled until the proxy runs.
    """
    try:
        clients, admin, estate = take_over(channel)
        _build(proxy, estate)
        accept(channel)
    except (TakeoverError, FrozenError) as error:
        reason = f"can't take over from the running process: {error}"
        raise TakeoverError(reason) from None
    text = "took over %(sessions)d sessions"
    tell(INFO, "taken_over", text, sessions=len(proxy.sessions))
    return Doors(clients, admin)


def _build(proxy: "Proxy", estate: Estate) -> None:
    now = trio.current_time()
    proxy.sessions.key = estate.key
    add_totals(proxy.sessions.contexts.counters, estate.totals)
    for moving in estate.sessions:
        link = proxy.sessions.link(thaw(proxy.sessions.contexts, moving.context, now), now)
        if moving.client is not None:
            guest = proxy.admission.readmit(moving.address)
            proxy.reactor.adopt(link, Side.CLIENT, moving.client, guest)
        if moving.server is not None:
            proxy.reactor.adopt(link, Side.SERVER, moving.server, None)
    proxy.inherited = estate.newcomers
