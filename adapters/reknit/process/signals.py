"""Signals, and who takes them. They are let in here, once there is somebody: see mask.py."""

import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from logging import ERROR, INFO
from typing import TypeVar

import trio
from reknit_core.dialect.ruled.mistakes import DialectError

from reknit.observe.logs import tell
from reknit.process.mask import HANDLED
from reknit.settings.dialects import LoadedDialects
from reknit.trio.transport.certificates import CertificateError, Certificates

PASSES = 4  # of trio's loop, in which a signal gets from its handler to who waits for it

_Started = TypeVar("_Started")


@dataclass(frozen=True, slots=True)
class Signals:
    """What has come: to `stop` SIGTERM and SIGINT, to `reload` SIGHUP, to `restart` SIGUSR2.

    SIGUSR1 comes to `reload` too: to others it means something like that, here it does nothing.
    """

    stop: AsyncIterator[int]
    reload: AsyncIterator[int]
    restart: AsyncIterator[int]


@contextmanager
def receive() -> Iterator[Signals]:
    """Open the receivers, and let in what has been held back. Afterwards all is as it was."""
    with (
        trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as stop,
        trio.open_signal_receiver(signal.SIGHUP, signal.SIGUSR1) as reload,
        trio.open_signal_receiver(signal.SIGUSR2) as restart,
    ):
        before = signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
        try:
            yield Signals(stop, reload, restart)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


async def arrive() -> None:
    """Let those arrive that have come during a long call; whoever they cancel goes no further."""
    for _ in range(PASSES):
        await trio.lowlevel.checkpoint()


async def unless_stopped(
    signals: AsyncIterator[int], start: Callable[[], Awaitable[_Started]]
) -> _Started | None:
    """What `start` returns or raises; None if one of the signals comes first.

    One that comes while `start` shields itself is sent again, to whoever takes it afterwards.
    """
    started: list[_Started] = []
    failed: list[Exception] = []
    came: list[int] = []

    async def run() -> None:
        try:
            started.append(await start())
        except Exception as error:
            failed.append(error)
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        async for number in signals:
            came.append(number)
            nursery.cancel_scope.cancel()
    if failed:
        raise failed[0]
    if started:
        for number in came:
            signal.raise_signal(number)
        return started[0]
    for number in came:
        tell_signal(number)
    return None


def tell_signal(number: int) -> None:
    """Log that it has come."""
    tell(INFO, "signal", "got %(name)s", name=signal.Signals(number).name)


async def reload_on(
    signals: AsyncIterator[int],
    certificates: Certificates,
    dialects: LoadedDialects,
    reload: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """SIGHUP reads the files of certificates and dialects again; without any it does nothing.

    `reload` has others do it, who have read them.
    """
    async for number in signals:
        if number != signal.SIGHUP:
            text = "got %(name)s, which does nothing"
            tell(INFO, "signal", text, name=signal.Signals(number).name)
        elif not certificates.reloadable and not dialects.reloadable:
            text = "got %(name)s, and there are no certificates or dialects to read again"
            tell(INFO, "signal", text, name=signal.Signals(number).name)
        elif reload is not None:
            tell_signal(number)
            await reload()
        else:
            reload_all(certificates, dialects)


def reload_all(certificates: Certificates, dialects: LoadedDialects) -> None:
    """Read all files again that there are."""
    if certificates.reloadable:
        _reload_certificates(certificates)
    if dialects.reloadable:
        _reload_dialects(dialects)


def _reload_certificates(certificates: Certificates) -> None:
    """For new connections."""
    try:
        certificates.reload()
        tell(INFO, "certificates_read", "read the certificates again")
    except CertificateError as error:
        text = "the certificates stay as they were: %(reason)s"
        tell(ERROR, "certificates_bad", text, reason=str(error))


def _reload_dialects(dialects: LoadedDialects) -> None:
    """For new sessions: those that there are go on as they began."""
    try:
        dialects.reload()
        tell(INFO, "dialects_read", "read the dialects' files again, for new sessions")
    except DialectError as error:
        text = "the dialects stay as they were: %(reason)s"
        tell(ERROR, "dialects_bad", text, reason=str(error))
