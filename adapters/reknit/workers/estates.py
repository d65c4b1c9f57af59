"""Takeovers of several workers: what they have goes by the parents, from one's to the other's.

To its workers a parent is what another process is to a proxy, and says the same to them (see
process/takeover.py). The messages pass through as they come, but that the sessions which arrive
are sorted by whose they are. So either side may have any number of workers, or be one process.
"""

import socket
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from logging import ERROR
from typing import Protocol

import msgspec
from reknit_core.durable.frozen import FrozenError, id_of
from reknit_core.proxy.share import Share
from reknit_core.telemetry.totals import Totals, sum_totals

from reknit.observe.logs import tell
from reknit.process.handover import Doors
from reknit.process.takeover import (
    BATCH,
    Channel,
    End,
    Give,
    Listeners,
    Newcomers,
    Ready,
    Session,
    Sessions,
    TakeoverError,
    Yours,
    accept,
)
from reknit.trio.door.brought import Brought
from reknit.trio.door.inboxes import InboxError, pack, unpack
from reknit.workers.listening import listen_now, share_out, widen

NOTHING: Totals = sum_totals(())

Pair = tuple[socket.socket, socket.socket]
"""An inbox: where it is read, and where it is written to."""


class Member(Protocol):
    """A worker, as far as it matters here."""

    number: int
    channel: Channel

    def kill(self) -> None:
        """End it."""


# -- Giving ------------------------------------------------------------------------------------


class Gift:
    """What workers have, on its way to a successor."""

    def __init__(self, workers: Sequence[Member], inboxes: Sequence[Pair]) -> None:
        self._workers = workers
        self._inboxes = inboxes
        self._asked: list[Member] = []
        self._still: set[int] = set()
        self._said_all: set[int] = set()
        self._waiting: list[tuple[int, Brought, socket.socket]] = []

    def give(self, doors: Doors, key: bytes, successor: Channel) -> None:
        """Give it. Raises TakeoverError: then nothing has changed hands, and all goes on."""
        try:
            totals = self._stop()
            successor.renew()
            listeners = Listeners(len(doors.clients), key, totals)
            successor.send(listeners, [*doors.clients, *doors.admin])
            for worker in self._workers:
                self._pass_on(worker, successor)
            self._pass_on_waiting(successor)
            successor.send(End())
            successor.receive(Ready)
            successor.send(Yours())
        except BaseException:
            self._take_back()
            raise
        finally:
            for _, _, sock in self._waiting:
                sock.close()
        for worker in self._workers:
            _let_go(worker)

    def _stop(self) -> Totals:
        """All stand still when this returns: what they have counted."""
        for worker in self._workers:
            self._asked.append(worker)
            worker.channel.renew()
            worker.channel.send(Give())
        totals = []
        for worker in self._workers:
            totals.append(worker.channel.receive(Listeners)[0].totals)
            self._still.add(worker.number)
        return sum_totals(totals)

    def _pass_on(self, worker: Member, successor: Channel) -> None:
        while True:
            message, sockets = worker.channel.receive_any()
            try:
                match message:
                    case Sessions() | Newcomers():
                        successor.send(message, sockets)
                    case End():
                        self._said_all.add(worker.number)
                        return
                    case _:
                        said = type(message).__name__
                        raise TakeoverError(
                            f"worker {worker.number} says {said} in the wrong place"
                        )
            finally:
                _close(sockets)

    def _pass_on_waiting(self, successor: Channel) -> None:
        """Those who wait in inboxes: nobody takes them out, or puts any in."""
        for number, (inbox, _) in enumerate(self._inboxes):
            for brought, sock in _take_out(inbox):
                self._waiting.append((number, brought, sock))
        waiting = iter(self._waiting)
        while group := list(islice(waiting, BATCH)):
            arrivals = [brought.arrival for _, brought, _ in group]
            successor.send(Newcomers(arrivals), [sock for _, _, sock in group])

    def _take_back(self) -> None:
        for number, brought, sock in self._waiting:
            with suppress(OSError):  # there was room for it
                pack(brought, sock, self._inboxes[number][1])
        for worker in self._asked:
            try:
                if worker.number in self._still:  # else its time is running, or over
                    worker.channel.renew()
                while worker.number not in self._said_all:
                    message, sockets = worker.channel.receive_any()
                    _close(sockets)
                    if isinstance(message, End):
                        self._said_all.add(worker.number)
                worker.channel.send(End())  # it waits for Ready: so it goes on
            except TakeoverError as error:
                text = "worker %(number)d can't go on after a takeover that failed: %(reason)s"
                tell(ERROR, "worker_lost", text, number=worker.number, reason=str(error))
                worker.kill()


def _let_go(worker: Member) -> None:
    """What it had is another process's."""
    try:
        worker.channel.renew()
        worker.channel.send(Ready())
        worker.channel.receive(Yours)
    except TakeoverError as error:
        text = "worker %(number)d does not let go of its sessions: %(reason)s"
        tell(ERROR, "worker_lost", text, number=worker.number, reason=str(error))
        worker.kill()


def _take_out(inbox: socket.socket) -> list[tuple[Brought, socket.socket]]:
    found: list[tuple[Brought, socket.socket]] = []
    while True:
        try:
            found.append(unpack(inbox))
        except InboxError:
            continue
        except OSError:
            return found


# -- Taking ------------------------------------------------------------------------------------


def take_all(workers: Sequence[Member], predecessor: Channel) -> tuple[Doors, bytes]:
    """Have workers take what another process gives; its listeners, and how sessions are called.

    Raises TakeoverError. Nothing is written or dialled until the workers are told to go.
    """
    opened: list[socket.socket] = []
    try:
        predecessor.renew(2)  # by then the other has given up
        said, sockets = predecessor.receive(Listeners)
        opened += sockets
        more = widen(sockets[: said.clients], len(workers))
        opened += more
        doors = Doors([*sockets[: said.clients], *more], sockets[said.clients :])
        totals = msgspec.structs.replace(said.totals, takeovers=said.totals.takeovers + 1)
        hand_out(workers, doors.clients, said.key, totals, times=2)
        while not _sort_in(workers, predecessor):
            pass
        for worker in workers:
            worker.channel.send(End())
        for worker in workers:
            worker.channel.receive(Ready)
        accept(predecessor)
    except (TakeoverError, FrozenError) as error:
        _close(opened)
        raise TakeoverError(f"can't take over from the running process: {error}") from None
    finally:
        predecessor.close()
    listen_now(more)
    for worker in workers:
        with suppress(TakeoverError):  # it has died: another one will be started
            worker.channel.send(Yours())
    return doors, said.key


def hand_out(
    workers: Sequence[Member],
    listeners: list[socket.socket],
    key: bytes,
    totals: Totals = NOTHING,
    times: int = 1,
) -> None:
    """Give each worker its listeners, and the first one what was counted so far.

    Raises TakeoverError.
    """
    for worker, share in zip(workers, share_out(listeners, len(workers)), strict=True):
        give_listeners(worker, share, key, totals if worker is workers[0] else NOTHING, times)


def give_listeners(
    worker: Member,
    listeners: list[socket.socket],
    key: bytes,
    totals: Totals = NOTHING,
    times: int = 1,
) -> None:
    """Give one worker its listeners. Raises TakeoverError."""
    worker.channel.renew(times)
    worker.channel.send(Listeners(len(listeners), key, totals), listeners)


def _sort_in(workers: Sequence[Member], predecessor: Channel) -> bool:
    """Give each worker what is its own of the next message; whether that was the last."""
    message, sockets = predecessor.receive_any()
    try:
        match message:
            case Sessions(sessions) if len(sockets) == sum(s.client + s.server for s in sessions):
                _sort_sessions(workers, sessions, sockets)
            case Newcomers(newcomers) if len(sockets) == len(newcomers):
                first = workers[0]  # whoever reads on in a request knows whose it is
                first.channel.send(message, sockets)
            case End():
                return True
            case _:
                raise TakeoverError(f"it says {type(message).__name__} in the wrong place")
    finally:
        _close(sockets)
    return False


def _sort_sessions(
    workers: Sequence[Member], sessions: list[Session], sockets: list[socket.socket]
) -> None:
    share = Share(0, len(workers))
    parts: list[tuple[list[Session], list[socket.socket]]] = [([], []) for _ in workers]
    rest = iter(sockets)
    for session in sessions:
        mine, its_sockets = parts[share.owner(id_of(session.context))]
        mine.append(session)
        its_sockets += islice(rest, session.client + session.server)
    for worker, (mine, its_sockets) in zip(workers, parts, strict=True):
        if mine:
            worker.channel.send(Sessions(mine), its_sockets)


def _close(sockets: list[socket.socket]) -> None:
    for sock in sockets:
        sock.close()
