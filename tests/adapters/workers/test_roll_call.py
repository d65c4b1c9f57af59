"""A worker says that it lives; one that does not is ended."""

import pickle
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from in_trio import in_trio, until
from reknit.process.takeover import Listeners
from reknit.settings.config import Config
from reknit.workers.messages import Begin, RollCall, Start
from reknit.workers.worker_process import WorkerProcess
from reknit_core.policy.upstream import Upstream
from reknit_core.proxy.respawns import HANGS
from reknit_core.telemetry.totals import sum_totals


@asynccontextmanager
async def _worker() -> AsyncIterator[WorkerProcess]:
    """The only one, which serves nobody's clients."""
    config = pickle.dumps(Config((Upstream("127.0.0.1", 9),)))
    worker = WorkerProcess(0)
    inbox, outbox = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with inbox, outbox:
        worker.start(Begin(0, 1, bytes(16), config, 0, [], 0), inbox, [outbox])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(worker.run)
            await worker.loaded.wait()
            worker.channel.send(Listeners(0, bytes(16), sum_totals(())))
            await worker.say(Start(takes=False, elsewhere=[]))
            await worker.up.wait()
            await worker.go()
            yield worker
            nursery.cancel_scope.cancel()


@in_trio
async def test_one_that_lives_answers() -> None:
    async with _worker() as worker:
        for _ in range(3):
            worker.expect(HANGS)
            await worker.say(RollCall())
            await until(lambda: worker.silent == 0)
        assert not worker.has_ended


@in_trio
async def test_one_that_hangs_is_ended_and_says_where_it_is(
    capfd: pytest.CaptureFixture[str],
) -> None:
    async with _worker() as worker:
        worker.channel.socket.send(b"half")  # a message: it waits for the rest, for ever
        for _ in range(HANGS):
            worker.expect(HANGS)
        assert worker.process.poll() is None
        worker.expect(HANGS)
        await worker.ended.wait()
        assert worker.process.returncode == -signal.SIGABRT
    assert "most recent call first" in capfd.readouterr().err


@in_trio
async def test_one_that_is_stopped_is_ended_too() -> None:
    async with _worker() as worker:
        worker.process.send_signal(signal.SIGSTOP)
        for _ in range(HANGS + 2):
            worker.expect(HANGS)
        await worker.ended.wait()
        assert worker.process.returncode == -signal.SIGKILL
