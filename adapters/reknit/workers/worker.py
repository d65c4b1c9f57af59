"""A worker: a proxy whose sockets, sessions and signals come from the parent."""

import pickle
import socket
from contextlib import suppress
from math import inf

import trio
from reknit_core.dialect.ruled.mistakes import DialectError
from reknit_core.proxy.share import Share

from reknit.observe.dialects import load_dialects
from reknit.observe.logs import LOG
from reknit.process.file_limit import fit_to_files
from reknit.process.handover import Doors, give, take
from reknit.process.serve import collect_garbage_rarely, import_admin, make_hook
from reknit.process.signals import reload_all
from reknit.process.takeover import Channel, Give, Listeners, TakeoverError
from reknit.settings.config import Config
from reknit.settings.options import Staying
from reknit.state.directory import StateDir, StateError
from reknit.state.directory_store import DirectoryStore, keep_in
from reknit.state.elsewhere import Elsewhere, part_of
from reknit.trio.door.colleagues import Colleagues
from reknit.trio.proxy import Proxy
from reknit.trio.transport.certificates import CertificateError, Certificates
from reknit.workers.desk import Desk
from reknit.workers.messages import (
    TO_WORKER,
    Answer,
    Ask,
    Begin,
    Drain,
    Drained,
    End,
    Failed,
    Go,
    Here,
    Hurry,
    Link,
    Loaded,
    Reload,
    RollCall,
    Start,
    ToWorker,
    Up,
)


async def work(begin: Begin, link: Link) -> None:
    """Be that worker, until the parent says that this is the end, or is gone."""
    try:
        worker = Worker(begin, link)
    except (CertificateError, DialectError, StateError) as error:
        await link.say(Failed(str(error)))
        return
    await worker.run()


class Worker:
    """Raises CertificateError, DialectError or StateError."""

    def __init__(self, begin: Begin, link: Link) -> None:
        config = pickle.loads(begin.config)  # noqa: S301  # of the process that started this one
        assert isinstance(config, Config)
        self._config = config
        self._link = link
        self._share = share = Share(begin.number, begin.of)
        self._channel = Channel(socket.socket(fileno=begin.channel), inf)
        self._certificates = Certificates(config.tls, secure_upstream=config.is_secure)
        self._dialects = load_dialects(config.policy)
        collect_garbage_rarely()
        policy = fit_to_files(share.divide(config.policy))
        make_store = None
        if config.state_dir is not None:
            make_store = keep_in(StateDir(part_of(config.state_dir, share), config.state_sync))
        self._proxy = proxy = Proxy(
            policy,
            config.upstreams,
            self._certificates,
            records=config.admin is not None,
            make_store=make_store,
            dialects=self._dialects,
            share=share,
        )
        proxy.sessions.key = begin.key
        inboxes = [_socket(descriptor) for descriptor in begin.inboxes]
        own = _socket(begin.inbox)
        self._colleagues = proxy.colleagues = Colleagues(
            inboxes,
            own,
            policy,
            proxy.admission,
            proxy.newcomers,
            proxy.enter_here,
            proxy.pumps,
            proxy.reactor,
        )
        self._hook = make_hook(config)
        import_admin(config)
        self._desk = Desk(config, proxy, self._hook)
        self._listeners: list[socket.socket] = []
        self._stop = trio.Event()
        self._start: Start | None = None
        self._told = trio.Event()  # how to start, and later that all are up
        self._end = trio.Event()

    async def run(self) -> None:
        """Serve."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._listen_to_parent, nursery)
            await self._link.say(Loaded())
            await self._told.wait()
            self._told = trio.Event()
            try:
                damaged = await self._begin()
            except (TakeoverError, StateError) as error:
                await self._link.say(Failed(str(error)))
            else:
                await self._link.say(Up(damaged))
                await self._told.wait()
                await self._serve(nursery)
            nursery.cancel_scope.cancel()

    async def _begin(self) -> list[str]:
        """Have the sessions and listeners. Raises StateError or TakeoverError."""
        start, proxy, config = self._start, self._proxy, self._config
        assert start is not None  # else nobody has told
        await trio.lowlevel.wait_readable(self._channel.socket)
        if start.takes:
            self._listeners = take(proxy, self._channel).clients
            if proxy.store is not None:
                await proxy.store.take_over()
            return []
        _, self._listeners = self._channel.receive(Listeners)
        if config.state_dir is None:
            return []
        elsewhere = Elsewhere.of([config.state_dir / name for name in start.elsewhere], self._share)
        try:
            assert isinstance(proxy.store, DirectoryStore)
            proxy.adopt(proxy.store.restore(elsewhere))
        finally:
            elsewhere.close()
        return [*elsewhere.damaged]

    async def _serve(self, nursery: trio.Nursery) -> None:
        if self._hook is not None:
            nursery.start_soon(self._hook.run)
        nursery.start_soon(self._desk.run)
        nursery.start_soon(self._give_when_asked, nursery)
        await self._proxy.run(self._listeners, self._stop, self._linger)
        if self._hook is not None:
            await self._hook.finish()

    async def _linger(self) -> None:
        """The sessions here are over: others' clients may still come by."""
        await self._link.say(Drained())
        await self._end.wait()
        with trio.move_on_after(self._config.policy.close_timeout):
            await self._proxy.pumps.wait_empty()

    async def _listen_to_parent(self, nursery: trio.Nursery) -> None:
        async for message in self._link.hear(TO_WORKER):
            self._obey(message, nursery)
        nursery.cancel_scope.cancel()  # without it nobody would start this one again, or stop it

    def _obey(self, message: ToWorker, nursery: trio.Nursery) -> None:
        match message:
            case Start():
                self._start = message
                self._told.set()
            case Go():
                self._told.set()
            case Ask():
                nursery.start_soon(self._answer, message)
            case RollCall():
                nursery.start_soon(self._link.say, Here())
            case Drain():
                self._stop.set()
            case Hurry():
                self._proxy.drain.hurry()
            case Reload():
                reload_all(self._certificates, self._dialects)
            case End():
                self._end.set()
            case Begin():
                pass  # that was before

    async def _answer(self, ask: Ask) -> None:
        answer = await self._desk.answer(ask.method, ask.path, ask.query, ask.body)
        await self._link.say(Answer(ask.call, answer.status, answer.content_type, answer.body))

    # -- Another process takes over ------------------------------------------------------------

    async def _give_when_asked(self, nursery: trio.Nursery) -> None:
        while self._colleagues.is_open:
            await trio.lowlevel.wait_readable(self._channel.socket)
            with suppress(TakeoverError):  # the parent says so; here all goes on
                self._channel.receive(Give)
                self._give(nursery)

    def _give(self, nursery: trio.Nursery) -> None:
        """Raises TakeoverError, and then all is still here."""
        proxy = self._proxy
        try:
            give(proxy, Doors(), self._channel)
        except TakeoverError:
            raise
        except Exception:
            LOG.exception("not taken over, by an error of the proxy")
            nursery.cancel_scope.cancel()  # what has been said, nobody knows
            return
        for sock in self._listeners:
            sock.close()
        if proxy.store is not None:
            proxy.store.close()
        keeps = self._config.takeover_tls is Staying.KEEP
        nursery.start_soon(proxy.retire, self._stop, keeps)


def _socket(descriptor: int) -> socket.socket:
    sock = socket.socket(fileno=descriptor)
    sock.setblocking(False)
    return sock
