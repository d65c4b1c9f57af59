"""`reknit serve --workers N`: the parent. It serves no client; it sees to it that others do.

It opens the listeners and the inboxes and keeps them open, starts workers and starts them again,
passes on signals, takes over and hands over, and answers for all to the operator.
"""

import os
import pickle
import signal
import socket
from collections.abc import AsyncIterator
from functools import partial
from logging import ERROR, INFO, WARNING
from typing import TYPE_CHECKING

import trio
from reknit_core.proxy.respawns import HANGS, STALLS, Respawns
from reknit_core.proxy.share import Share

from reknit.observe.dialects import load_dialects
from reknit.observe.logs import tell
from reknit.process import systemd
from reknit.process.file_limit import fit_to_files, tell_room
from reknit.process.handover import Doors
from reknit.process.restart import Restarts, TakeoverSocket, open_takeover_socket, predecessor
from reknit.process.serve import (
    ListenError,
    WorkerError,
    make_hook,
    may_serve_admin,
    open_admin,
    sockets_of_systemd,
    tell_listening,
)
from reknit.process.signals import (
    Signals,
    arrive,
    receive,
    reload_on,
    tell_signal,
    unless_stopped,
)
from reknit.process.takeover import Channel, TakeoverError
from reknit.settings.config import Config
from reknit.settings.dialects import LoadedDialects
from reknit.state.directory import StateError
from reknit.trio.door.listeners import close_listeners
from reknit.trio.transport.certificates import Certificates
from reknit.workers.estates import Gift, Pair, give_listeners, hand_out, take_all
from reknit.workers.kept import Kept
from reknit.workers.listening import listen_on, share_out
from reknit.workers.messages import Begin, Drain, End, Hurry, Reload, RollCall, Start, ToWorker
from reknit.workers.worker_process import WorkerProcess

if TYPE_CHECKING:
    from reknit.workers.front_desk import FrontDesk

_REASONS = (ListenError, StateError, TakeoverError, WorkerError)

ROLL = 1.0  # seconds between two roll calls
PARTING = 5.0  # seconds, beside those for closing, that a worker may take to end


async def supervise(
    config: Config, count: int, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED
) -> None:
    """Run so many workers until told to stop, or until another process has taken over.

    As reknit.process.serve.serve() does with one; raises what that raises, and WorkerError.
    """
    # Each worker has its own: what is wrong with them is said once.
    certificates = Certificates(config.tls, secure_upstream=config.is_secure)
    dialects = load_dialects(config.policy)
    with receive() as signals:
        parent = Parent(config, count, certificates, dialects)
        try:
            await parent.run(signals, task_status)
        finally:
            parent.close()


class Parent:
    """Raises StateError."""

    def __init__(
        self, config: Config, count: int, certificates: Certificates, dialects: LoadedDialects
    ) -> None:
        self._config = config
        self._certificates = certificates
        self._dialects = dialects
        self._policy = fit_to_files(Share(0, count).divide(config.policy))
        self.count = count
        self.workers: list[WorkerProcess] = []
        self.restarted = 0
        """How many workers were started again so far."""
        self._doors = Doors()
        self._key = os.urandom(16)
        self._inboxes: list[Pair] = [_make_inbox() for _ in range(count)]
        self._kept = Kept(config.state_dir, count)
        self._left_out: set[int] = set()  # have died before they had what they were to take over
        self._is_stopping = False
        self._is_hurried = False
        self._is_given = False
        self._hook = make_hook(config)
        self._takeover_socket: TakeoverSocket | None = None
        self._failure: Exception | None = None
        self._desk: FrontDesk | None = None

    def close(self) -> None:
        """Close what is open still."""
        close_listeners([*self._doors.clients, *self._doors.admin])
        for pair in self._inboxes:
            for sock in pair:
                sock.close()
        self._kept.close()

    def is_ready(self) -> bool:
        """Whether new sessions are taken."""
        return not self._is_stopping and not self._is_given

    async def run(self, signals: Signals, task_status: trio.TaskStatus[int]) -> None:
        """Serve."""
        async with trio.open_nursery() as nursery:
            try:
                begun = await unless_stopped(signals.stop, partial(self._begin, nursery))
            except _REASONS as error:
                self._failure = error
                begun = None
            if begun is not None:
                await self._serve(signals, nursery, task_status)
            nursery.cancel_scope.cancel()
        if self._failure is not None:
            raise self._failure

    async def _serve(
        self, signals: Signals, nursery: trio.Nursery, task_status: trio.TaskStatus[int]
    ) -> None:
        """Until nobody has sessions any more."""
        for number in range(self.count):
            nursery.start_soon(self._look_after, number, nursery)
        nursery.start_soon(self._call_the_roll, nursery)
        if self._hook is not None:
            nursery.start_soon(self._hook.run)
        nursery.start_soon(self._stop_on, signals.stop)
        reload = partial(self._say_all, Reload())
        nursery.start_soon(reload_on, signals.reload, self._certificates, self._dialects, reload)
        serving_admin = trio.CancelScope()
        nursery.start_soon(self._serve_admin, serving_admin, nursery)
        ports = tell_listening(self._doors.clients, self._config.upstreams)
        tell(INFO, "workers", "%(workers)d workers serve", workers=self.count)
        tell_room(Share(0, self.count).divide(self._config.policy), self._policy)
        systemd.notify(systemd.READY)
        nursery.start_soon(systemd.keep_watchdog)
        task_status.started(ports[0])

        def hand_over(channel: Channel) -> None:
            self._hand_over(channel)
            serving_admin.cancel()

        restarts = Restarts(hand_over, self.is_ready, self._takeover_socket, self._kept.name)
        nursery.start_soon(restarts.run, signals.restart)
        await self._wait_drained()
        if self._hook is not None:
            await self._hook.finish()

    # -- The beginning -------------------------------------------------------------------------

    async def _begin(self, nursery: trio.Nursery) -> bool:
        """Have workers that serve: True. Raises one of _REASONS.

        Once the sessions of another process are here, nothing ends this any more.
        """
        config = self._config
        self.workers = [self._start(number, nursery) for number in range(self.count)]
        for worker in self.workers:
            await worker.loaded.wait()
            worker.check()
        channel = await predecessor(config.takeover, self._kept.name)
        with trio.CancelScope(shield=channel is not None):
            if channel is None:
                await self._begin_anew()
            else:
                await self._take_over(channel)
            for worker in self.workers:
                await worker.go()
            if config.admin is not None and not self._doors.admin:
                await open_admin(config.admin, self._doors, must=channel is None)
            self._takeover_socket = open_takeover_socket(config.takeover, must=channel is None)
        return True

    def _start(self, number: int, nursery: trio.Nursery) -> WorkerProcess:
        worker = WorkerProcess(number)
        begin = Begin(number, self.count, self._key, pickle.dumps(self._config), 0, [], 0)
        try:
            worker.start(begin, self._inboxes[number][0], [sender for _, sender in self._inboxes])
        except OSError as error:
            raise WorkerError(f"can't start worker {number}: {error.strerror}") from None
        nursery.start_soon(worker.run)
        text = "worker %(number)d is process %(pid)d"
        tell(INFO, "worker_started", text, number=number, pid=worker.process.pid)
        return worker

    async def _begin_anew(self) -> None:
        self._kept.lock()
        self._doors.clients = sockets_of_systemd() or await listen_on(
            self._config.listen, self.count
        )
        hand_out(self.workers, self._doors.clients, self._key)
        await self._say_all(Start(takes=False, elsewhere=self._kept.elsewhere))
        for worker in self.workers:
            await worker.up.wait()
            worker.check()
        self._kept.settle(name for worker in self.workers for name in worker.damaged)
        await arrive()

    async def _take_over(self, channel: Channel) -> None:
        await self._say_all(Start(takes=True, elsewhere=[]))
        self._doors, self._key = take_all(self.workers, channel)
        await self._kept.take_over()
        for worker in self.workers:
            await worker.up.wait()
        self._left_out = {worker.number for worker in self.workers if worker.has_ended}
        if not self._left_out:
            await self._kept.clear()
        if not may_serve_admin(self._config, self._doors.admin):
            close_listeners(self._doors.admin)
            self._doors.admin = []

    # -- Workers that die ----------------------------------------------------------------------

    async def _look_after(self, number: int, nursery: trio.Nursery) -> None:
        """Start a worker again when it has died, unless that is of no use: then all ends."""
        respawns = Respawns()
        while True:
            worker = self.workers[number]
            await worker.ended.wait()
            if self._is_stopping or self._is_given:
                return
            lived = trio.current_time() - worker.began
            if self._desk is not None:
                self._desk.gone(worker)
            wait = respawns.wait(lived)
            text = "worker %(number)d has died: %(reason)s"
            tell(ERROR, "worker_died", text, number=number, reason=worker.reason)
            if wait is None:
                self._failure = WorkerError(
                    f"worker {number} dies again and again, soon after its start: {worker.reason}"
                )
                await self.drain()
                return
            await trio.sleep(wait)
            if self._is_stopping or self._is_given:
                return
            try:
                await self._start_again(number, nursery)
            except WorkerError as error:
                self._failure = error
                await self.drain()
                return

    async def _call_the_roll(self, nursery: trio.Nursery) -> None:
        """Whoever comes to one that hangs would wait in vain."""
        limit = int(min(systemd.watchdog_seconds() or HANGS, HANGS))
        while True:
            await trio.sleep(ROLL)
            for worker in self.workers:
                if worker.serves:
                    worker.expect(limit)
                    nursery.start_soon(worker.say, RollCall())

    async def _start_again(self, number: int, nursery: trio.Nursery) -> None:
        self.workers[number] = worker = self._start(number, nursery)
        self.restarted += 1
        await worker.loaded.wait()
        if worker.has_ended or self._is_given:
            return
        try:
            listeners = share_out(self._doors.clients, self.count)[number]
            give_listeners(worker, listeners, self._key)
        except TakeoverError:
            worker.kill()
            return
        elsewhere = self._kept.elsewhere if number in self._left_out else []
        await worker.say(Start(takes=False, elsewhere=elsewhere))
        await worker.up.wait()
        if worker.has_ended:
            return
        if self._left_out:
            self._left_out.discard(number)
            if not self._left_out:
                await self._kept.clear()
        await worker.go()
        tell(WARNING, "worker_again", "worker %(number)d serves again", number=number)

    # -- Signals, and the end ------------------------------------------------------------------

    async def _stop_on(self, signals: AsyncIterator[int]) -> None:
        """SIGTERM drains; SIGINT or a second one ends all sessions at once; then another cuts."""
        async for number in signals:
            tell_signal(number)
            if self._is_hurried:
                for worker in self.workers:
                    worker.kill()
            elif self._is_stopping or number == signal.SIGINT:
                self._is_hurried = True
            await self.drain()

    async def drain(self) -> None:
        """Take no new sessions, and send those away that there are; at once, if hurried."""
        if self.is_ready():  # else it has been said, or another process is the service now
            systemd.notify(systemd.STOPPING)
        self._is_stopping = True
        if self._is_hurried or not self._config.policy.drain_time:
            self._is_hurried = True
            await self._say_all(Hurry())
        await self._say_all(Drain())

    async def _say_all(self, message: ToWorker) -> None:
        for worker in self.workers:
            await worker.say(message)

    async def _wait_drained(self) -> None:
        """Return when no worker has sessions any more, and all have ended."""
        for number in range(self.count):
            while True:
                worker = self.workers[number]
                await worker.drained.wait()
                if self._is_stopping or self._is_given:
                    break
                await trio.sleep(0.01)  # it has died, and another one comes
        await self._say_all(End())
        with trio.move_on_after(self._config.policy.close_timeout + PARTING):
            for worker in self.workers:
                await worker.ended.wait()
        if not self._is_given:
            self._kept.leave_nothing()

    # -- Others --------------------------------------------------------------------------------

    def _hand_over(self, channel: Channel) -> None:
        """Give all away. Raises TakeoverError, and then all is still here."""
        for worker in self.workers:
            if not worker.serves:
                raise TakeoverError(f"worker {worker.number} is being started again")
            if worker.silent >= STALLS:
                raise TakeoverError(f"worker {worker.number} does not answer")
        Gift(self.workers, self._inboxes).give(self._doors, self._key, channel)
        self._is_given = True
        close_listeners(self._doors.clients)
        self._kept.close()

    async def _serve_admin(self, scope: trio.CancelScope, nursery: trio.Nursery) -> None:
        listeners = self._doors.admin
        if not listeners:
            return
        from reknit.admin.app import address_of, answer_on
        from reknit.admin.vitals import about
        from reknit.workers.front_desk import FrontDesk

        def drain() -> None:
            nursery.start_soon(self.drain)

        places = [address_of(listener) for listener in self._doors.clients]
        steers = self._config.admin_token is not None
        self._desk = FrontDesk(
            lambda: self.workers,
            lambda: self.restarted,
            self.is_ready,
            drain,
            partial(about, places, steers=steers),
        )
        shown = str(address_of(listeners[0]))
        tell(INFO, "admin_listening", "admin listening on %(address)s", address=shown)
        with scope:
            await answer_on(listeners, self._config.admin_token, self._desk.routes())


def _make_inbox() -> Pair:
    receiver, sender = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for sock in (receiver, sender):
        sock.setblocking(False)
    return receiver, sender
