"""Signals that are held back: one that comes while nobody takes it would end the process.

They wait from the first moment of `reknit serve` on, and in a process that SIGUSR2 starts even
before that, until their receivers are open (signals.py): before a session can be this process's.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

HANDLED = frozenset((signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2))


@contextmanager
def held_back() -> Iterator[None]:
    """None of them arrives in this thread, and a process that is started meanwhile begins so."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def heed_no_more() -> None:
    """The process has ended its work: what comes now must not make a failure of its exit."""
    for number in HANDLED:
        signal.signal(number, signal.SIG_IGN)
